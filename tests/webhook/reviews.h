// AdmissionReviews as the API server sends them, and what an answer says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <webhook/review.h>

#include "policy/fixture.h"
#include "webhook/fake_view.h"

namespace palisade::webhook::testing {

using nlohmann::json;
using policy::testing::Change;
using policy::testing::good_pod;
using policy::testing::kGone;

inline constexpr std::string_view kUid = "705ab4f5-6393-11e8-b7cc-42010a800002";

inline json envelope(const json& pod, const std::string& operation = "CREATE",
                     const json& old_pod = nullptr, const std::string& subresource = "") {
  const json kind = {{"group", ""}, {"version", "v1"}, {"kind", "Pod"}};
  const json resource = {{"group", ""}, {"version", "v1"}, {"resource", "pods"}};
  json request = {
      {"uid", kUid},
      {"kind", kind},
      {"resource", resource},
      {"requestKind", kind},
      {"requestResource", resource},
      {"name", "fix-login-agent"},
      {"namespace", "team-a"},
      {"operation", operation},
      {"userInfo", {{"username", "system:serviceaccount:palisade-system:palisade-operator"}}},
      {"object", pod},
      {"oldObject", old_pod},
      {"dryRun", false}};
  if (!subresource.empty()) {
    request["subResource"] = subresource;
    request["requestSubResource"] = subresource;
  }
  return {{"kind", "AdmissionReview"}, {"apiVersion", "admission.k8s.io/v1"}, {"request", request}};
}

// A plain server: nothing of it would pass the policy, and nothing of it is Aider's.
inline json nginx_pod() {
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", "nginx"}, {"namespace", "team-a"}, {"labels", {{"app", "web"}}}}},
          {"spec", {{"containers", {{{"name", "nginx"}, {"image", "nginx:1.27"}}}}}}};
}

inline json changed(json pod, const Change& change) {
  policy::testing::apply(pod, change);
  return pod;
}

// One thing broken in the good pod, and the control that must name it.
struct Weakened {
  std::string_view name;
  Change change;
  std::string_view control;
  std::string_view field;  // as the message gives it
};

inline const std::vector<Weakened>& weakened_pods() {
  static const std::vector<Weakened> kPods{
      {"privileged",
       {"/spec/containers/0/securityContext/privileged", "true"},
       "not-privileged",
       "spec.containers[0].securityContext.privileged"},
      {"runs as root",
       {"/spec/securityContext/runAsUser", "0"},
       "non-zero-ids",
       "spec.securityContext.runAsUser"},
      {"may be root",
       {"/spec/containers/0/securityContext/runAsNonRoot", "false"},
       "run-as-non-root",
       "spec.containers[0].securityContext.runAsNonRoot"},
      {"writable root",
       {"/spec/containers/0/securityContext/readOnlyRootFilesystem", "false"},
       "read-only-root-filesystem",
       "spec.containers[0].securityContext.readOnlyRootFilesystem"},
      {"escalates",
       {"/spec/initContainers/0/securityContext/allowPrivilegeEscalation", "true"},
       "no-privilege-escalation",
       "spec.initContainers[0].securityContext.allowPrivilegeEscalation"},
      {"a capability more",
       {"/spec/containers/0/securityContext/capabilities/add", R"(["SYS_ADMIN"])"},
       "drop-all-capabilities",
       "spec.containers[0].securityContext.capabilities.add[0]"},
      {"seccomp off",
       {"/spec/securityContext/seccompProfile/type", R"("Unconfined")"},
       "seccomp-profile",
       "spec.securityContext.seccompProfile.type"},
      {"the host's network",
       {"/spec/hostNetwork", "true"},
       "no-host-namespaces",
       "spec.hostNetwork"},
      {"the node's files",
       {"/spec/volumes/0", R"({"name": "workspace", "hostPath": {"path": "/"}})"},
       "volume-types",
       "spec.volumes[0].hostPath"},
      {"no memory limit",
       {"/spec/containers/0/resources/limits/memory", std::string(kGone)},
       "resource-limits",
       "spec.containers[0].resources.limits.memory"},
  };
  return kPods;
}

// Of every review that is asked here, unless the test says otherwise: 2026-01-01.
inline constexpr std::int64_t kNow = 1'767'225'600;

inline Outcome ask_text(std::string_view body, const ClusterView& cluster) {
  return review(body, cluster, kNow);
}

inline Outcome ask_text(std::string_view body, Mode mode = Mode::kAgents) {
  FakeView cluster;
  cluster.guarded.mode = mode;
  return ask_text(body, cluster);
}

inline Outcome ask(const json& body, const ClusterView& cluster) {
  return ask_text(body.dump(), cluster);
}

inline Outcome ask(const json& body, Mode mode = Mode::kAgents) {
  return ask_text(body.dump(), mode);
}

// The whole answer, which must always be well-formed, for this request, and agree with what is
// counted.
inline json response_of(const Outcome& outcome) {
  EXPECT_EQ(outcome.status, 200) << outcome.body;
  json answer = json::parse(outcome.body, nullptr, false);
  EXPECT_FALSE(answer.is_discarded()) << outcome.body;
  if (answer.is_discarded()) return json::object();
  EXPECT_EQ(answer.value("apiVersion", ""), "admission.k8s.io/v1");
  EXPECT_EQ(answer.value("kind", ""), "AdmissionReview");
  json response = answer.value("response", json::object());
  EXPECT_EQ(response.value("uid", ""), kUid);
  EXPECT_EQ(response.at("allowed"), outcome.allowed);
  if (!outcome.allowed) {
    EXPECT_EQ(response.at("status").at("code"), 403);
    EXPECT_EQ(response.at("status").at("status"), "Failure");
    EXPECT_FALSE(response.at("status").at("message").get<std::string>().empty());
  }
  return response;
}

inline std::string message_of(const Outcome& outcome) {
  const json response = response_of(outcome);
  return response.contains("status") ? response["status"].value("message", "") : std::string();
}

inline void expect_allowed(const Outcome& outcome, const std::string& reason) {
  const json response = response_of(outcome);
  EXPECT_TRUE(outcome.allowed) << outcome.body;
  EXPECT_THAT(response["auditAnnotations"].value("reason", ""), ::testing::HasSubstr(reason));
}

}  // namespace palisade::webhook::testing
