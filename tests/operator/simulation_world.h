// A little world around the reconcile: an operator that leads and may crash at any request, maybe
// one that stands by and takes over, users, other people who meddle, a kubelet, a clock. One
// thread; every choice comes from Choices, so that a run can be repeated to the letter.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <operator/pools.h>
#include <operator/reconciler.h>

#include "operator/simulation_api.h"
#include "setups.h"

namespace palisade::op::testing {

// Not derived from std::exception: nothing but the simulation catches it.
struct Crash {};

class World;

// What a worker takes up.
struct Task {
  enum Kind : std::uint8_t { kWorkspace, kPool, kSweep };
  Kind kind = kWorkspace;
  std::string key;
  auto operator<=>(const Task&) const = default;
};

// An operator process: what it knows dies with it. Its caches follow the API server's watches each
// as late as the choices have it.
class Process {
 public:
  Process(World& world, int number);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Of one kind: the next event, the last one once more, or a fresh list after a gap. hear() says
  // whether there was anything to hear.
  bool hear(std::size_t kind);
  void hear_again(std::size_t kind);
  void relist(std::size_t kind);
  void hear_all();
  [[nodiscard]] std::size_t kinds() const;

  // As the controller's: until then it only listens.
  void lead();
  // A worker takes one of those that are due and nobody looks at. False: there is none.
  bool work();
  [[nodiscard]] bool is_due() const { return !due_.empty(); }
  void timers();  // the clock has moved

  const int number;
  bool dead = false;

 private:
  struct Wire;
  void upsert(const kube::Resource& resource, const kube::ObjectPtr& object);
  void drop(const kube::Resource& resource, const kube::ObjectPtr& object);
  void told(const kube::Resource& resource, const kube::ObjectPtr& before,
            const kube::ObjectPtr& after);
  void told_of_pools(const kube::Resource& resource, const kube::ObjectPtr& before,
                     const kube::ObjectPtr& after);
  [[nodiscard]] Reconciler::Hooks hooks();
  void told_of_claim(const kube::ObjectPtr& before, const kube::ObjectPtr& after);
  [[nodiscard]] bool is_free(const Task& task) const;
  [[nodiscard]] Reconciler::Outcome look_at(const Task& task);

  World& world_;
  std::map<std::string, kube::Cache> caches_;
  std::map<std::string, std::size_t> heard_;  // events of a kind's log
  std::shared_ptr<Known> known_;
  std::unique_ptr<Pools> pools_;               // null in a world without
  std::unique_ptr<SetupCollector> collector_;  // the same
  std::unique_ptr<Reconciler> reconciler_;
  bool leads_ = false;
  Known::Clock::time_point swept_;
  std::set<Task> due_, busy_;
  std::map<Task, Known::Clock::time_point> later_;
};

class World {
 public:
  explicit World(Choices& choices, bool tell = false);

  // "" where every promise was kept.
  [[nodiscard]] std::string run();
  [[nodiscard]] const std::vector<std::string>& history() const { return history_; }
  [[nodiscard]] const ModelApi& api() const { return api_; }

 private:
  friend class Process;
  friend class TakeOver;
  int pick(int below) { return choices_.pick(below); }
  bool happens(int percent) { return choices_.happens(percent); }
  void note(const std::string& what) {
    if (tell_) history_.push_back(what);
  }

  // A request of a process, with what happens around it.
  kube::Result<kube::Response> exchange(Process& process, const kube::Request& request);
  void meanwhile(Process& process);
  [[nodiscard]] std::optional<kube::Result<kube::Response>> refused(const kube::Request& request,
                                                                    const Place& place);
  void start(std::size_t number);
  // The leader has ended. Who stands by leads, with what it has heard of by then.
  void replace_leader();
  void work();
  void carry_out_late();
  void step();

  // simulation_people.cpp
  void user();
  void meddle();
  void kubelet();
  void run_pods();
  void end_agent(const kube::ObjectPtr& pod, bool well);
  void heal();
  [[nodiscard]] std::string workspace_key();
  [[nodiscard]] Json rules();
  void edit(const std::string& who, const std::string& plural, const std::string& key,
            const Json& change);
  void pass(std::chrono::seconds time);
  void begin_aider(const std::string& pod);
  // Of the workspace's session: the pod's key.
  [[nodiscard]] std::string pod_key(const std::string& workspace) const;

  // simulation_pools.cpp
  void make_pools();
  void heal_pools();
  // As the webhook does where a workspace is made from the template.
  void fill_in_template(Json& workspace) const;
  void use_pools();
  void meddle_with_pools();
  // A pod that waits, or waited until now.
  void run_warm_pod(const kube::ObjectPtr& pod);
  void fail_warm_pod();
  [[nodiscard]] static bool is_made_warm(const Json& pod);
  [[nodiscard]] std::vector<kube::ObjectPtr> warm_pods() const;
  [[nodiscard]] std::string wrong_pool(const Json& object) const;

  // simulation_setups.cpp
  void ask_for_setup(Json& workspace);
  void meddle_with_setups();
  void run_setup_pod(const kube::ObjectPtr& pod);
  void fail_setup_pod();
  void let_go_of_claims();
  [[nodiscard]] std::string wrong_setup(const Json& workspace) const;
  [[nodiscard]] std::string wrong_claims() const;

  // simulation_end.cpp
  [[nodiscard]] std::string settle();
  void drain();
  // What is there and what should be, or "".
  [[nodiscard]] std::string wrong() const;
  [[nodiscard]] std::string wrong_with(const Json& workspace) const;
  [[nodiscard]] std::string wrong_session(const Workspace& wanted, const Json& workspace) const;
  [[nodiscard]] std::string not_prompt() const;
  [[nodiscard]] Access access_of(const Workspace& workspace) const;

  Choices& choices_;
  const bool tell_;
  std::vector<std::string> history_;
  ModelApi api_;
  Config config_;
  bool own_gateway_ = false;
  bool has_pools_ = false, has_setups_ = false;
  int commit_ = 1;                   // of the repository's main branch, one digit
  std::map<std::string, int> harm_;  // done to setups, by the workspace's uid
  bool claims_gone_ = false;         // others have removed what a setup had made
  std::vector<const kube::Resource*> watched_;
  std::array<std::shared_ptr<Process>, 2> processes_;  // the second may be none
  std::size_t leader_ = 0;
  // Writes that are on their way as the leader's term ends; by chance where it is empty.
  std::function<bool(const kube::Request&, const Place&)> holds_;
  // Sent by one that led, and not yet carried out.
  struct Late {
    kube::Request request;
    Place place;
    int number;
  };
  std::vector<Late> late_;
  int late_ends_ = 0;  // deletes of pods among them, in all
  std::vector<std::shared_ptr<Process>> dead_;
  int processes_made_ = 0;
  bool troubled_ = true;  // anything may happen
  int depth_ = 0;
  Known::Clock::time_point clock_{std::chrono::hours(1)};
  std::set<std::string> ended_;        // workspaces whose agent has ended by itself, by uid
  std::map<std::string, int> losses_;  // pods that others took away, by the workspace's uid
  std::set<std::string> clashed_;      // workspaces whose names others have held, by key
};

}  // namespace palisade::op::testing
