// What `palisade doctor` makes of nodes, of what guard found on them, and of versions.
#include <doctor.h>  // of cli/, not the tests' own
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::cli {
namespace {

using kube::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> told(const Diagnoses& out) {
  std::vector<std::string> lines;
  for (const Diagnosis& one : out.all()) {
    EXPECT_EQ(one.check, "isolation");
    EXPECT_EQ(one.fix.empty(), one.level == Level::ok) << one.message;
    lines.push_back(std::string(level_name(one.level)) + ": " + one.message);
  }
  return lines;
}

std::vector<std::string> isolation(const std::vector<Json>& nodes, const std::vector<Json>& all) {
  Diagnoses out;
  check_isolation(nodes, all, out);
  return told(out);
}

Json node(const char* kernel, const char* runtime = "containerd://2.4.2",
          const char* kubelet = "v1.36.3", const char* architecture = "amd64") {
  return {{"metadata", {{"name", "n"}}},
          {"status",
           {{"nodeInfo",
             {{"kernelVersion", kernel},
              {"architecture", architecture},
              {"kubeletVersion", kubelet},
              {"containerRuntimeVersion", runtime}}}}}};
}

Json session(const char* name, const char* reason, const char* started, int execs,
             const char* phase = "Failed") {
  const bool isolated = std::string(reason) == "NetworkPolicyInPlace";
  return {{"metadata", {{"namespace", "t"}, {"name", name}}},
          {"status",
           {{"phase", phase},
            {"startedAt", started},
            {"audit", {{"execs", execs}}},
            {"conditions",
             {{{"type", "Ready"}, {"reason", "x"}},
              {{"type", "Isolated"},
               {"status", isolated ? "True" : "False"},
               {"reason", reason},
               {"message", "the door"}}}}}}};
}

constexpr const char* kUnknown =
    "warning: nobody knows whether NetworkPolicies, Landlock and seccomp hold here: no session "
    "that is still there has tried";

TEST(DoctorIsolation, NodesSayWhatTheyAre) {
  struct Case {
    Json node;
    const char* said;
  };
  for (const Case& c : {
           Case{node("6.1.0-13-amd64"), "warning: node n runs Linux 6.1.0-13-amd64, without"},
           Case{node("5.15.0"), "node n runs Linux 5.15.0"},
           Case{node("6.8.0", "containerd://2.0.0", "v1.33.0", "arm64"), "is of arm64"},
           Case{node("6.8.0", "containerd://1.7.28"), "has containerd://1.7.28, before 2.0"},
           Case{node("6.8.0", "cri-o://1.24.1"), "has cri-o://1.24.1, before 1.25"},
           Case{node("6.8.0", "containerd://2.0.0", "v1.32.9"), "has kubelet v1.32.9"},
       }) {
    EXPECT_THAT(isolation({c.node}, {}), ::testing::Contains(HasSubstr(c.said)));
  }
  for (const Json& fit :
       {node("6.2.0"), node("6.18.1-cloud"), node("10.0.0"), node("6.8.0", "cri-o://1.25.0"),
        node("6.8.0", "other://0.1"), node("strange", "", ""), Json::object()}) {
    EXPECT_THAT(
        isolation({fit}, {}),
        ElementsAre("ok: nothing that 1 nodes say of themselves speaks against guard", kUnknown))
        << fit;
  }
  EXPECT_THAT(
      isolation({node("6.1.0")}, {}),
      ElementsAre(HasSubstr("runs Linux 6.1.0"), "problem: no node can run guard", kUnknown));
  EXPECT_THAT(isolation({node("6.1.0"), node("6.2.0")}, {}),
              ElementsAre(HasSubstr("runs Linux 6.1.0"), kUnknown));
}

TEST(DoctorIsolation, SessionsSayWhatHeld) {
  const Json good = session("good", "NetworkPolicyInPlace", "2026-01-02T00:00:00Z", 3);
  const Json ended =
      session("ended", "NetworkPolicyInPlace", "2026-01-02T00:00:00Z", 0, "Succeeded");
  const std::string open =
      "session t/open found its network open, so NetworkPolicies are not enforced where it ran: "
      "the door";
  const Json early = session("open", "PreflightFailed", "2026-01-01T00:00:00Z", 0);
  const Json late = session("open", "PreflightFailed", "2026-01-03T00:00:00Z", 0);
  const std::string ok =
      "ok: NetworkPolicies, Landlock and seccomp held where session t/good ran: "
      "guard tried them before the agent started";
  EXPECT_THAT(isolation({}, {good}), ElementsAre(ok));
  EXPECT_THAT(isolation({}, {ended}), ElementsAre(HasSubstr("held where session t/ended ran")));
  EXPECT_THAT(isolation({}, {late}), ElementsAre("problem: " + open));
  EXPECT_THAT(isolation({}, {good, late}), ElementsAre("problem: " + open, ok));
  EXPECT_THAT(isolation({}, {early, good}),
              ElementsAre("warning: " + open + " (since then t/good was held)", ok));
  EXPECT_THAT(isolation({}, {session("old", "KernelUnsupported", "2026-01-03T00:00:00Z", 0)}),
              ElementsAre(HasSubstr("problem: session t/old found no Landlock, or no seccomp")));
  // None of these has tried.
  for (const Json& unknown : {session("a", "NotStarted", "", 0, "Pending"),
                              session("b", "NetworkPolicyInPlace", "", 0, "Running"),
                              session("c", "GuardFailed", "2026-01-03T00:00:00Z", 9),
                              Json::object(), Json{{"status", "x"}}})
    EXPECT_THAT(isolation({}, {unknown}), ElementsAre(kUnknown)) << unknown;
}

TEST(DoctorVersions, FieldsAreTold) {
  const Json schema{
      {"properties",
       {{"mode", {{"enum", {"a", 2}}}},
        {"list", {{"items", {{"properties", {{"x", Json::object()}}}}}}},
        {"map", {{"additionalProperties", {{"properties", {{"y", Json::object()}}}}}}},
        {"any", {{"additionalProperties", true}}}}}};
  const Json definition{
      {"spec", {{"versions", {{{"name", "v1"}, {"schema", {{"openAPIV3Schema", schema}}}}}}}}};
  EXPECT_THAT(definition_fields(definition),
              ElementsAre("v1:any", "v1:list", "v1:list[].x", "v1:map", "v1:map{}.y", "v1:mode",
                          "v1:mode=2", "v1:mode=a"));
  EXPECT_THAT(definition_fields(Json()), ElementsAre());
}

}  // namespace
}  // namespace palisade::cli
