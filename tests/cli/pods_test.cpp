// Where pods are found in a manifest.
#include "pods.h"

#include <gtest/gtest.h>

namespace palisade::cli {
namespace {

struct Found {
  std::vector<std::string> prefixes;
  std::vector<std::string> names;
  std::size_t others = 0;
  std::string problem;
};

Found find(const std::string& text) {
  simdjson::dom::parser parser;
  const Contents contents = find_pods(parser.parse(text));
  Found found{{}, {}, contents.others, contents.problem};
  for (const PodPlace& pod : contents.pods) {
    found.prefixes.push_back(pod.prefix);
    found.names.push_back(pod.kind + " " + pod.space + "/" + pod.name);
    std::int64_t mark = 0;
    EXPECT_EQ(pod.pod["spec"]["mark"].get(mark), simdjson::SUCCESS) << text;
    EXPECT_EQ(mark, 7) << "the pod itself must be found";
  }
  return found;
}

TEST(Pods, EveryKindThatMakesThem) {
  const std::string pod = R"({"spec": {"mark": 7}})";
  const std::string head = R"("metadata": {"name": "n", "namespace": "s"})";
  struct Kind {
    const char* kind;
    const char* version;
    std::string body;
    const char* prefix;
  };
  const std::string spec = R"("spec": {"template": )" + pod + "}";
  for (const Kind& kind : std::vector<Kind>{
           {"Pod", "v1", R"("spec": {"mark": 7})", ""},
           {"PodTemplate", "v1", R"("template": )" + pod, "template."},
           {"ReplicationController", "v1", spec, "spec.template."},
           {"Deployment", "apps/v1", spec, "spec.template."},
           {"Deployment", "extensions/v1beta1", spec, "spec.template."},
           {"StatefulSet", "apps/v1", spec, "spec.template."},
           {"DaemonSet", "apps/v1", spec, "spec.template."},
           {"ReplicaSet", "apps/v1", spec, "spec.template."},
           {"Job", "batch/v1", spec, "spec.template."},
           {"CronJob", "batch/v1", R"("spec": {"jobTemplate": {)" + spec + "}}",
            "spec.jobTemplate.spec.template."},
       }) {
    const auto found = find(R"({"kind": ")" + std::string(kind.kind) + R"(", "apiVersion": ")" +
                            kind.version + "\", " + head + ", " + kind.body + "}");
    EXPECT_EQ(found.problem, "");
    EXPECT_EQ(found.prefixes, std::vector<std::string>{kind.prefix}) << kind.kind;
    EXPECT_EQ(found.names, std::vector<std::string>{std::string(kind.kind) + " s/n"});
    EXPECT_EQ(found.others, 0U);
  }
}

TEST(Pods, OtherKindsAndGroupsAreCounted) {
  for (const char* text :
       {R"({"kind": "Service", "apiVersion": "v1"})",
        R"({"kind": "Job", "apiVersion": "batch.volcano.sh/v1", "spec": {"template": {}}})",
        R"({"kind": "Pod", "apiVersion": "example.com/v1"})",
        R"({"kind": "AgentWorkspace", "apiVersion": "palisade.dev/v1alpha1"})"}) {
    const auto found = find(text);
    EXPECT_EQ(found.others, 1U) << text;
    EXPECT_TRUE(found.prefixes.empty());
    EXPECT_EQ(found.problem, "");
  }
}

TEST(Pods, ListsAreWalkedWithTheirPlace) {
  const std::string pod = R"({"kind": "Pod", "apiVersion": "v1", "spec": {"mark": 7}})";
  auto found = find(
      R"({"kind": "List", "apiVersion": "v1", "items": [{"kind": "Secret", "apiVersion": "v1"}, )" +
      pod + R"(, {"kind": "List", "apiVersion": "v1", "items": [)" + pod + "]}]}");
  EXPECT_EQ(found.prefixes, (std::vector<std::string>{"items[1].", "items[2].items[0]."}));
  EXPECT_EQ(found.others, 1U);
  found = find(
      R"({"kind": "PodList", "apiVersion": "v1", "items": [{"spec": {"mark": 7}}, {"spec": {"mark": 7}}]})");
  EXPECT_EQ(found.prefixes, (std::vector<std::string>{"items[0].", "items[1]."}));
  found = find(R"({"kind": "DeploymentList", "apiVersion": "apps/v1",
                   "items": [{"spec": {"template": {"spec": {"mark": 7}}}}]})");
  EXPECT_EQ(found.prefixes, (std::vector<std::string>{"items[0].spec.template."}));
}

TEST(Pods, WhatIsNoObjectIsAProblem) {
  for (
      const char* text :
      {"[]", "1", "\"Pod\"", "{}", R"({"kind": "Pod"})", R"({"apiVersion": "v1"})",
       R"({"kind": 1, "apiVersion": "v1"})",
       R"({"kind": "List", "apiVersion": "v1", "items": [1]})",
       R"({"kind": "List", "apiVersion": "v1", "items": [{"spec": {}}]})",
       R"({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}, "spec": {}})",
       R"({"kind": "Deployment", "apiVersion": "apps/v1", "spec": "x"})",
       R"({"kind": "CronJob", "apiVersion": "batch/v1", "spec": {"jobTemplate": {"spec": {}}}})"}) {
    const auto found = find(text);
    EXPECT_NE(found.problem, "") << text;
    EXPECT_TRUE(found.prefixes.empty()) << text;
  }
  std::string deep = R"({"kind": "Pod", "apiVersion": "v1", "spec": {"mark": 7}})";
  for (int i = 0; i < 20; ++i)
    deep = R"({"kind": "List", "apiVersion": "v1", "items": [)" + deep + "]}";
  EXPECT_NE(find(deep).problem, "");
}

}  // namespace
}  // namespace palisade::cli
