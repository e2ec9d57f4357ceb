// An API server as small as the operator's promises need one: resource versions, UIDs,
// preconditions, finalizers, pods that end gracefully, apply and merge patches, a status apart, and
// of each kind the watch of what carries the operator's label. It looks at every write of the
// operator, and says which promise it broke.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <kube/client.h>
#include <operator/decide.h>

namespace palisade::op::testing {

// Every choice of an interleaving. 0 is always the quietest one, so that whatever is left out of a
// tape is quiet: a failing tape can be cut down.
class Choices {
 public:
  explicit Choices(std::uint64_t seed) : random_(seed) {}
  explicit Choices(std::vector<std::uint32_t> tape) : replayed_(true), tape_(std::move(tape)) {}

  int pick(int below);
  // With a chance of `percent`.
  bool happens(int percent) { return pick(100) >= 100 - percent; }
  [[nodiscard]] const std::vector<std::uint32_t>& tape() const { return tape_; }

 private:
  const bool replayed_ = false;
  std::mt19937_64 random_;
  std::vector<std::uint32_t> tape_;
  std::size_t at_ = 0;
};

// What a watch tells.
struct StoreEvent {
  bool gone = false;
  kube::ObjectPtr object;
};

// An object's place: "networkpolicies" "team-a/ws-0-agent".
struct Place {
  std::string plural, ns, name, subresource{};
  [[nodiscard]] std::string key() const { return ns + "/" + name; }
};

class ModelApi {
 public:
  // The operator's requests, by process.
  kube::Response answer(const kube::Request& request, const Place& place, int process);
  [[nodiscard]] static Place place_of(const kube::Request& request);

  // What others do. Null where there is no such object.
  [[nodiscard]] kube::ObjectPtr find(const std::string& plural, const std::string& key) const;
  [[nodiscard]] std::vector<kube::ObjectPtr> all(const std::string& plural) const;
  void put(const std::string& plural, Json object);
  void edit(const std::string& plural, const std::string& key, const Json& merge_patch);
  void remove(const std::string& plural, const std::string& key, bool at_once = false);
  // Kubernetes' garbage collector: what is owned by what is no longer there goes.
  void collect();

  // Everything that a watch has told of a kind, in order.
  [[nodiscard]] const std::vector<StoreEvent>& log(const std::string& plural) {
    return logs_[plural];
  }
  // What a list answers to the operator.
  [[nodiscard]] std::vector<kube::ObjectPtr> list(const std::string& plural) const;

  [[nodiscard]] std::string version() const { return std::to_string(version_); }

  // A setup's pod has begun to write to the claim that it mounts, or has ended well.
  void writes_to_claim(const Json& pod);
  void filled_claim(const Json& pod);
  // The kubelet mounts for an agent what a setup has made. False: it is not there.
  bool mounts_claim(const Json& pod);
  [[nodiscard]] bool is_mounted(const std::string& claim) const;

  std::function<void(const std::string&)> note;  // what happened, for people; may be empty
  std::chrono::system_clock::time_point now;
  int writes = 0;  // by the operator, but for claims: those are kept and collected by the clock
  int taken = 0;   // pods, out of pools
  int set_up = 0;  // claims that became complete
  bool lenient = false;  // writes come late: of the orders only the network's are asked for
  std::string broken;    // the first promise that did not hold

 private:
  kube::Response patch(const kube::Request& request, const Place& place, Json body);
  kube::Response erase(const Place& place, const Json& options);
  void store(const std::string& plural, Json object);
  void drop(const std::string& plural, const std::string& key);
  void tell(const std::string& plural, const kube::ObjectPtr& before, const kube::ObjectPtr& after);

  // The promises.
  void look(const Place& place, const kube::ObjectPtr& before, const kube::ObjectPtr& after,
            int process);
  void was_read(const std::string& policy, const kube::ObjectPtr& found, int process);
  void was_touched(const std::string& policy);
  void look_at_policy(const Place& place, const kube::ObjectPtr& before,
                      const kube::ObjectPtr& after);
  void look_at_pod(const Place& place, const kube::ObjectPtr& before, const kube::ObjectPtr& after,
                   int process);
  void look_at_new_pod(const Place& place, const Json& pod);
  void look_at_ended_pod(const Place& place, const Json& pod);
  void look_at_secret(const Place& place, const Json& before);
  void look_at_end(const Place& place, const Json& owner);
  // The pod begins to be held by the policy that is its own: by what that says, it may run.
  void let_run(const std::string& promise, const Place& place, const Json& pod, int process);
  // simulation_promises_pools.cpp
  void look_at_warm_pod(const Place& place, const Json& pod);
  void look_at_taken_pod(const Place& place, const Json& before, const Json& after, int process);
  void look_at_config_map(const Place& place, const kube::ObjectPtr& before, const Json& after);
  void look_at_sessions(const Place& place, const std::string& workspace);
  // simulation_promises_setups.cpp
  void look_at_setup_pod(const Place& place, const Json& pod);
  void look_at_claim(const Place& place, const kube::ObjectPtr& before,
                     const kube::ObjectPtr& after);
  void fail(const std::string& promise, const Place& place);
  // The workspace or pool of that uid; null where it is gone.
  [[nodiscard]] kube::ObjectPtr of_uid(const std::string& plural, const std::string& uid) const;
  // Pods that run, or may, and that the policy of that name is about; `owner` has it.
  [[nodiscard]] std::vector<kube::ObjectPtr> live_pods(const std::string& policy,
                                                       const std::string& owner) const;

  struct Read {
    bool right = false;  // the policy denied all when the process last read or wrote it
    Json egress;
    bool touched = false;  // by others since then
  };
  std::map<std::string, std::map<std::string, kube::ObjectPtr>> objects_;  // plural, key
  std::map<std::string, std::vector<StoreEvent>> logs_;
  std::map<std::string, Json> allowed_;               // what a live pod may reach, by its uid
  std::map<std::pair<int, std::string>, Read> read_;  // policies, by process and key
  std::set<std::string> ran_;                         // workspaces whose agent has, or may have
  std::map<std::string, std::string> writers_;  // claims' uids, and the pods' that wrote there
  std::set<std::string> filled_;                // claims' uids
  std::uint64_t version_ = 100;
  int uids_ = 0;
};

[[nodiscard]] bool is_final(const Json& pod);
[[nodiscard]] bool is_gated(const Json& pod);
// Its controller; an empty object where it has none.
[[nodiscard]] const Json& owner_of(const Json& object);
// Of its controller; "" where it has none. A gateway's Secret has it in its name.
[[nodiscard]] std::string owner_uid(const Json& object);
[[nodiscard]] bool is_a_pools(const Json& object);
[[nodiscard]] bool is_a_setups(const Json& pod);
// The name of the setup's claim that a pod mounts, or "".
[[nodiscard]] std::string setup_claim_of(const Json& pod);
// The key of the NetworkPolicy that its pod stands behind: workspace's, setup's or pool's.
[[nodiscard]] std::string policy_of(const Json& pod);

}  // namespace palisade::op::testing
