// What the API server asks the webhook about, and what it does where nobody answers.
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/policy.h>
#include <policy/templates.h>
#include <policy/vap.h>
#include <webhook/review.h>

#include "chart/chart.h"

namespace palisade::chart::testing {
namespace {

using ::testing::Contains;
using ::testing::UnorderedElementsAre;

// group/resource and operation of each rule.
std::set<std::pair<std::string, std::string>> asked_of(const json& webhook) {
  std::set<std::pair<std::string, std::string>> asked;
  for (const json& rule : webhook.at("rules")) {
    for (const std::string& group : strings_of(rule, "apiGroups")) {
      for (const std::string& resource : strings_of(rule, "resources")) {
        for (const std::string& operation : strings_of(rule, "operations"))
          asked.emplace((group.empty() ? "" : group + "/") + resource, operation);
      }
    }
  }
  return asked;
}

// The entry of that name.
json entry_of(const json& configuration, const std::string& name) {
  const json& webhooks = configuration.at("webhooks");
  for (const json& webhook : webhooks) {
    if (webhook.at("name") == name) return webhook;
  }
  ADD_FAILURE() << "no entry " << name;
  return json::object();
}

TEST(Chart, TheApiServerAsksForEveryPodAndFailsClosed) {
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  ASSERT_EQ(configuration["webhooks"].size(), 15U);
  for (const json& webhook : configuration["webhooks"]) {
    EXPECT_EQ(webhook["matchPolicy"], "Equivalent");
    EXPECT_EQ(webhook["sideEffects"], "NoneOnDryRun");
    EXPECT_EQ(webhook["admissionReviewVersions"], json({"v1"}));
    EXPECT_EQ(webhook["failurePolicy"],
              webhook["name"] == "workloads.palisade.dev" ? "Ignore" : "Fail");
    // Labels can be taken off, and some requests match no selector.
    EXPECT_FALSE(webhook.contains("objectSelector"));
    EXPECT_EQ(webhook.contains("namespaceSelector"), webhook["name"] == "all-pods.palisade.dev");
    // The webhook writes it; Helm would take it away again.
    EXPECT_FALSE(webhook["clientConfig"].contains("caBundle"));
  }
  const json pods = entry_of(configuration, "pods.palisade.dev");
  EXPECT_THAT(asked_of(pods),
              UnorderedElementsAre(std::pair("pods", "CREATE"), std::pair("pods", "UPDATE"),
                                   std::pair("pods/ephemeralcontainers", "UPDATE"),
                                   std::pair("pods/resize", "UPDATE")));
  ASSERT_EQ(pods["matchConditions"].size(), 2U);
  EXPECT_EQ(pods["matchConditions"][0]["name"], "not-exempt");
}

// What a pod must have to be sent is what the program says: nothing is left out that it knows, and
// where all pods are enforced each is sent by one entry or the other.
TEST(Chart, ThePodsConditionIsThePolicys) {
  std::ifstream in(chart() / "files/agent.cel");
  std::string written;
  std::getline(in, written);
  const std::string condition = policy::agent_match_condition();
  EXPECT_EQ(written, condition)
      << "write it anew: palisade render condition > charts/palisade/files/agent.cel";
  EXPECT_EQ(run({PALISADE_PROGRAM, "render", "condition"}).out, condition + "\n");
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  const json pods = entry_of(configuration, "pods.palisade.dev");
  EXPECT_EQ(pods["matchConditions"][1]["expression"],
            "request.?subResource.orValue('') != '' || " + condition);
  const json all = entry_of(configuration, "all-pods.palisade.dev");
  EXPECT_EQ(all["matchConditions"][1]["expression"], "!(" + condition + ")");
  EXPECT_EQ(all["namespaceSelector"], json::parse(R"({"matchExpressions": [
                {"key": "palisade.dev/enforce", "operator": "Exists"},
                {"key": "palisade.dev/enforce", "operator": "NotIn", "values": ["agents", "off"]}]})"));
  EXPECT_THAT(asked_of(all),
              UnorderedElementsAre(std::pair("pods", "CREATE"), std::pair("pods", "UPDATE")));
}

TEST(Chart, TheApiServerAsksWhoCreatesAWorkspace) {
  const json configuration = named(objects(), "MutatingWebhookConfiguration", "palisade-webhook");
  ASSERT_EQ(configuration["webhooks"].size(), 1U);
  const json& webhook = configuration["webhooks"][0];
  EXPECT_EQ(webhook["failurePolicy"], "Fail");
  EXPECT_EQ(webhook["clientConfig"]["service"]["path"], "/mutate");
  EXPECT_EQ(asked_of(webhook), (std::set<std::pair<std::string, std::string>>{
                                   {"palisade.dev/agentworkspaces", "CREATE"},
                                   {"palisade.dev/agentworkspaces", "UPDATE"}}));
}

// Every kind that the policy knows as a maker of pods; an outage does not hold those up, since
// their pods are asked for anyway.
TEST(Chart, TheApiServerAsksForWhateverMakesPods) {
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  const json workloads = entry_of(configuration, "workloads.palisade.dev");
  EXPECT_EQ(workloads["failurePolicy"], "Ignore");
  std::set<std::pair<std::string, std::string>> known;
  for (const palisade::policy::PodTemplate& kind : palisade::policy::pod_templates()) {
    if (kind.resource == "pods") continue;
    const std::string group(kind.group);
    for (const char* operation : {"CREATE", "UPDATE"})
      known.emplace((group.empty() ? "" : group + "/") + std::string(kind.resource), operation);
  }
  EXPECT_EQ(asked_of(workloads), known);
}

// What the program judges it is asked for, and nothing is asked for that it denies as unknown.
TEST(Chart, WhatIsJudgedIsAskedForAndNothingElse) {
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  std::set<std::string> asked;
  for (const json& webhook : configuration["webhooks"]) {
    for (const auto& [resource, operation] : asked_of(webhook))
      asked.insert(resource);
  }
  std::set<std::string> judged;
  for (const webhook::JudgedResource& one : webhook::judged_resources()) {
    std::string name(one.group);
    if (!name.empty()) name += '/';
    name += one.resource;
    if (!one.subresource.empty()) (name += '/') += one.subresource;
    EXPECT_TRUE(judged.insert(name).second) << name << " is judged by two";
  }
  EXPECT_EQ(asked, judged);
}

// The API server waits for an answer as long as the entry says, with every request that is guarded.
TEST(Chart, NobodyWaitsLongForAnAnswer) {
  for (const char* kind : {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}) {
    const json configuration = named(objects(), kind, "palisade-webhook");
    EXPECT_FALSE(configuration["webhooks"].empty());
    for (const json& webhook : configuration["webhooks"]) {
      EXPECT_GE(webhook["timeoutSeconds"], 1) << webhook["name"];
      EXPECT_LE(webhook["timeoutSeconds"], 5) << webhook["name"];
    }
    // Whoever wants another has it in each entry.
    const json slower =
        named(objects({R"(webhook={"timeoutSeconds": 10})"}), kind, "palisade-webhook");
    for (const json& webhook : slower["webhooks"])
      EXPECT_EQ(webhook["timeoutSeconds"], 10) << webhook["name"];
  }
}

TEST(Chart, OnlyItsOwnNamespaceAndTheNamedOnesAreExempt) {
  const struct {
    Strings values;
    const char* ns;
    json exempt;
  } cases[] = {
      {{}, "palisade-system", {"kube-system", "palisade-system"}},
      {{}, "elsewhere", {"kube-system", "elsewhere"}},
      {{}, "kube-system", {"kube-system"}},
      {{R"(webhook={"exemptNamespaces": []})"}, "palisade-system", {"palisade-system"}},
      {{R"(webhook={"exemptNamespaces": ["a", "b"]})"}, "c", {"a", "b", "c"}},
  };
  for (const auto& c : cases) {
    const json configuration =
        named(objects(c.values, c.ns), "ValidatingWebhookConfiguration", "palisade-webhook");
    const std::set<std::string> everywhere{"rights.palisade.dev", "namespaces.palisade.dev",
                                           "own.palisade.dev", "workspaces.palisade.dev"};
    for (const json& webhook : configuration["webhooks"]) {
      // Nothing that it asks for has a namespace: a condition that names it would refuse
      // everything.
      if (webhook["name"] == "cluster-network.palisade.dev") {
        EXPECT_FALSE(webhook.contains("matchConditions"));
        for (const json& rule : webhook["rules"])
          EXPECT_EQ(rule["scope"], "Cluster");
        continue;
      }
      const json& first = webhook["matchConditions"].at(0);
      if (everywhere.contains(webhook["name"].get<std::string>())) {
        EXPECT_NE(first["name"], "not-exempt") << webhook["name"];
      } else {
        EXPECT_EQ(first["name"], "not-exempt") << webhook["name"];
        EXPECT_EQ(first["expression"], "!(request.namespace in " + c.exempt.dump() + ")");
      }
    }
  }
}

TEST(Chart, TheServiceLeadsToTheWebhook) {
  const auto all = objects({}, "elsewhere");
  const json configuration = named(all, "ValidatingWebhookConfiguration", "palisade-webhook");
  EXPECT_EQ(configuration["webhooks"][0]["clientConfig"],
            configuration["webhooks"][1]["clientConfig"]);
  const json& target = configuration["webhooks"][0]["clientConfig"]["service"];
  EXPECT_EQ(target["namespace"], "elsewhere");
  EXPECT_EQ(target["path"], "/validate");
  const json service = named(all, "Service", target["name"].get<std::string>());
  ASSERT_EQ(service["spec"]["ports"].size(), 1U);
  EXPECT_EQ(service["spec"]["ports"][0]["port"], target["port"]);
  const json deployment = named(all, "Deployment", "palisade-webhook");
  const json& pod = deployment["spec"]["template"];
  for (const auto& [key, value] : service["spec"]["selector"].items())
    EXPECT_EQ(pod["metadata"]["labels"].value(key, ""), value) << key;
  const json& container = pod["spec"]["containers"][0];
  EXPECT_THAT(container["ports"],
              Contains(json(
                  {{"name", service["spec"]["ports"][0]["targetPort"]}, {"containerPort", 8443}})));
  // The certificate names this Service, and the caBundle goes into this configuration.
  for (const char* argument : {"--service=palisade-webhook", "--namespace=elsewhere",
                               "--webhook-configuration=palisade-webhook", "--port=8443"})
    EXPECT_THAT(container["args"], Contains(argument));
  // No selector of one program takes in the other's pods.
  EXPECT_NE(named(all, "Deployment", "palisade-operator")["spec"]["selector"],
            deployment["spec"]["selector"]);
}

TEST(Chart, TheCustomResourceDefinitionsAreTheRepositorys) {
  const Outcome shown = helm({"show", "crds", chart().string()});
  ASSERT_EQ(shown.code, 0) << shown.err;
  std::vector<json> sources;
  for (const char* kind : {"agentpolicies", "agentworkspacepools", "agentworkspaces",
                           "agentworkspacetemplates", "hardeningexceptions"}) {
    std::ifstream in(fs::path(environment("PALISADE_SOURCE_DIR")) / "crds" /
                     (std::string(kind) + ".palisade.dev.yaml"));
    const std::string source{std::istreambuf_iterator<char>(in), {}};
    const auto objects = objects_of(source);
    ASSERT_EQ(objects.size(), 1U) << kind;
    sources.push_back(objects[0]);
  }
  EXPECT_EQ(objects_of(shown.out), sources);
}

}  // namespace
}  // namespace palisade::chart::testing
