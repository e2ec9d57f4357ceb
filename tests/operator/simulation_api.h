// An API server as small as the operator's promises need one: resource versions, UIDs,
// preconditions, finalizers, pods that end gracefully, apply and merge patches, a status apart, and
// of each kind the watch of what carries the operator's label. It looks at every write of the
// operator, and says which promise it broke.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
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

  std::function<void(const std::string&)> note;  // what happened, for people; may be empty
  std::chrono::system_clock::time_point now;
  int writes = 0;        // by the operator
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
  void look_at_ended_pod(const Place& place, const Json& pod);
  void look_at_secret(const Place& place, const Json& before);
  void look_at_end(const Place& place, const Json& workspace);
  void fail(const std::string& promise, const Place& place);
  // A pod of that name that runs, or may.
  [[nodiscard]] kube::ObjectPtr live_pod(const std::string& key) const;

  struct Read {
    bool right = false;  // the policy denied all when the process last read or wrote it
    Json egress;
    bool touched = false;  // by others since then
  };
  std::map<std::string, std::map<std::string, kube::ObjectPtr>> objects_;  // plural, key
  std::map<std::string, std::vector<StoreEvent>> logs_;
  std::map<std::string, Json> allowed_;               // what a live pod may reach, by its uid
  std::map<std::pair<int, std::string>, Read> read_;  // policies, by process and key
  std::uint64_t version_ = 100;
  int uids_ = 0;
};

[[nodiscard]] bool is_final(const Json& pod);
[[nodiscard]] bool is_gated(const Json& pod);
// Of its controller; "" where it has none. A gateway's Secret has it in its name.
[[nodiscard]] std::string owner_uid(const Json& object);

}  // namespace palisade::op::testing
