// What the tests of spec.setup share: a workspace that wants one, and the world around it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <policy/policy.h>

#include "operator/model.h"
#include "setups.h"

namespace palisade::op::testing {

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";
constexpr const char* kDigest = "fedcba9876543210fedcba9876543210fedcba98";
constexpr const char* kOther = "other/uid-of-other";

inline Json wanting(Json setup = Json::object()) {
  Json workspace = usual_workspace();
  workspace["spec"]["setup"] = {{"command", {"sh", "-c", "make deps"}},
                                {"inputs", {"requirements.txt", "a/lock.json"}},
                                {"ref", kCommit}};
  workspace["spec"]["setup"].merge_patch(setup);
  return workspace;
}

inline policy::SetupMirror mirror(const char* name = "pypi.example.com",
                                  const char* address = "192.0.2.40") {
  return {name, {address}, 8443};
}

struct SetupWorld : Model {
  explicit SetupWorld(Json workspace = wanting(), bool own_gateway = true)
      : Model(std::move(workspace), own_gateway) {
    name_mirrors({mirror()});
  }
  void name_mirrors(std::vector<policy::SetupMirror> mirrors) {
    policy::AgentPolicy policy;
    policy.name = "mirrors";
    policy.setup_mirrors = std::move(mirrors);
    seen.policies = std::vector<policy::AgentPolicy>{policy};
  }
  // The kubelet.
  void begin_setup() {
    edit(&Observed::setup_pod,
         {{"spec", {{"nodeName", "node-1"}}}, {"status", {{"phase", "Running"}}}});
  }
  void end_setup(const char* phase, Json status = Json::object()) {
    status["phase"] = phase;
    edit(&Observed::setup_pod, {{"status", status}});
  }
  void succeed() {
    settle();
    begin_setup();
    settle();
    end_setup("Succeeded");
    settle();
  }
  [[nodiscard]] Json record() const {
    return seen.workspace.value("status", Json::object()).value("setup", Json::object());
  }
  [[nodiscard]] std::string reason() const { return condition("SetupReady")["reason"]; }
  // As another workspace has made it.
  void offer_claim(const std::string& by, bool complete) {
    Json claim = desired_setup_claim(parsed(seen.workspace), key());
    claim["metadata"]["uid"] = "claim-of-another";
    claim["metadata"]["resourceVersion"] = "70";
    claim["metadata"]["annotations"][kSetupByAnnotation] = by;
    if (complete)
      claim["metadata"]["annotations"][kSetupCompleteAnnotation] = "2026-01-01T11:00:00Z";
    put(&Observed::setup_claim, std::move(claim));
  }
  [[nodiscard]] std::string key() const {
    return setup_key(parsed(seen.workspace), config.defaults, {{mirror()}, kCommit, {}});
  }
};

}  // namespace palisade::op::testing
