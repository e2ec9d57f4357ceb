// A workspace's objects as the API server would hold them, without one: plans are carried out on
// them action by action, so that every prefix of a plan can be looked at.
#pragma once

#include <functional>
#include <string>

#include "operator/fixture.h"

namespace palisade::op::testing {

class Model {
 public:
  // With Palisade's own gateway or, without it, a gateway and a git host that the session reaches
  // itself.
  explicit Model(Json workspace = usual_workspace(), bool own_gateway = false);

  Observed seen;
  Config config;
  std::chrono::system_clock::time_point now;
  bool gone = false;     // the workspace
  bool graceful = true;  // a pod that was freed takes its time to end, as one on a node does

  [[nodiscard]] Plan decide() const { return op::decide(seen, config, now); }
  void carry_out(const Action& action);
  // Decides and carries out until nothing is left to do; the number of plans that had actions.
  // `after_each` is called after every single action. Throws after 20.
  int settle(const std::function<void(const Action&)>& after_each = [](const Action&) {});

  [[nodiscard]] Json& spec() { return seen.workspace["spec"]; }
  [[nodiscard]] std::string phase() const;
  // {status, reason, message}
  [[nodiscard]] Json condition(const std::string& type) const;
  void edit(kube::ObjectPtr Observed::*object, const Json& merge_patch);
  void put(kube::ObjectPtr Observed::*object, Json value);
  // The kubelet: runs the pod, ends it with a report, or lets a terminating one go.
  void run();
  void end(const std::string& pod_phase, const std::string& report, Json more = Json::object());
  void let_go();

 private:
  kube::ObjectPtr* place(const Action& action);
  void take(const Action& action);
  int uids_ = 0;
};

[[nodiscard]] std::string tell(const Action& action);
[[nodiscard]] std::string tell(const Plan& plan);

}  // namespace palisade::op::testing
