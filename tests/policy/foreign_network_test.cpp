// Policies of other APIs: what is certain passes, and whatever else may open an agent pod is told.
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <policy/foreign_network.h>

namespace palisade::policy {
namespace {

using nlohmann::json;

const Labels& pod_labels() {
  static const Labels kLabels{
      {"app", "aider"}, {"palisade.dev/agent", "aider"}, {"palisade.dev/workspace", "fix"}};
  return kLabels;
}
const Labels& ns_labels() {
  static const Labels kLabels{{"kubernetes.io/metadata.name", "team-a"}, {"team", "a"}};
  return kLabels;
}

// The field that opens; "" where nothing does.
std::string opening(const std::string& group, const std::string& resource, const json& object) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(object.dump());
  simdjson::dom::element root;
  if (parser.parse(text).get(root) != simdjson::SUCCESS) throw std::runtime_error("no JSON");
  const auto found = foreign_opening(group, resource, root, {"team-a", ns_labels(), pod_labels()});
  if (found) {
    EXPECT_FALSE(found->found.empty());
  }
  return found ? found->field : "";
}

struct Case {
  const char* name;
  std::string spec;  // YAML-ish JSON
  std::string field;
};

void expect_all(const std::string& group, const std::string& resource,
                const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    EXPECT_EQ(opening(group, resource, {{"spec", json::parse(one.spec)}}), one.field)
        << resource << ": " << one.name;
  }
}

TEST(ForeignNetwork, AdminPoliciesBySubjectAndAction) {
  const std::string accept = R"("ingress": [{"action": "Deny"}, {"action": "Accept"}])";
  expect_all(
      "policy.networking.k8s.io", "clusternetworkpolicies",
      {
          {"everybody", R"({"subject": {"namespaces": {}}, )" + accept + "}", "spec.ingress[1]"},
          {"no subject", "{" + accept + "}", "spec.ingress[1]"},
          {"this namespace",
           R"({"subject": {"namespaces": {"matchLabels": {"team": "a"}}}, )" + accept + "}",
           "spec.ingress[1]"},
          {"another namespace",
           R"({"subject": {"namespaces": {"matchLabels": {"team": "b"}}}, )" + accept + "}", ""},
          {"these pods",
           R"({"subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "aider"}}}}, )" +
               accept + "}",
           "spec.ingress[1]"},
          {"all but agents",
           R"({"subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchExpressions":
             [{"key": "palisade.dev/agent", "operator": "DoesNotExist"}]}}}, )" +
               accept + "}",
           ""},
          {"pods and namespaces",
           R"({"subject": {"namespaces": {}, "pods": {"podSelector": {"matchLabels": {"app": "web"}}}}, )" +
               accept + "}",
           "spec.ingress[1]"},
          {"a selector of the future",
           R"({"subject": {"pods": {"podSelector": {"matchLabels": {"app": "web"}, "cel": "true"}}}, )" +
               accept + "}",
           "spec.ingress[1]"},
          {"denials",
           R"({"subject": {"namespaces": {}}, "egress": [{"action": "Deny"}, {"action": "Pass"}]})",
           ""},
          {"no action", R"({"egress": [{"to": []}]})", "spec.egress[0]"},
          {"another action", R"({"egress": [{"action": "deny"}]})", "spec.egress[0]"},
          {"rules that are no list", R"({"egress": {"action": "Deny"}})", "spec.egress"},
          {"the baseline", R"({"tier": "Baseline", "subject": {"namespaces": {}}, )" + accept + "}",
           ""},
      });
  expect_all("policy.networking.k8s.io", "adminnetworkpolicies",
             {{"allow", R"({"subject": {"namespaces": {}}, "egress": [{"action": "Allow"}]})",
               "spec.egress[0]"}});
}

TEST(ForeignNetwork, CiliumsByEndpointAndRules) {
  const auto endpoints = [](const std::string& selector) {
    return R"({"endpointSelector": )" + selector + R"(, "egress": [{"toEntities": ["world"]}]})";
  };
  expect_all(
      "cilium.io", "ciliumclusterwidenetworkpolicies",
      {
          {"everybody", endpoints("{}"), "spec.egress"},
          {"no selector", R"({"ingress": [{}]})", "spec.ingress"},
          {"others", endpoints(R"({"matchLabels": {"app": "web"}})"), ""},
          {"others, by source", endpoints(R"({"matchLabels": {"k8s:app": "web"}})"), ""},
          {"this pod, by source", endpoints(R"({"matchLabels": {"any:app": "aider"}})"),
           "spec.egress"},
          {"this namespace",
           endpoints(R"({"matchLabels": {"k8s:io.kubernetes.pod.namespace": "team-a"}})"),
           "spec.egress"},
          {"another namespace",
           endpoints(R"({"matchLabels": {"io.kubernetes.pod.namespace": "team-b"}})"), ""},
          {"another team's namespaces",
           endpoints(R"({"matchLabels": {"io.cilium.k8s.namespace.labels.team": "b"}})"), ""},
          {"an account",
           endpoints(R"({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "web"}})"),
           "spec.egress"},
          {"another source", endpoints(R"({"matchLabels": {"container:app": "web"}})"),
           "spec.egress"},
          {"all but agents",
           endpoints(
               R"({"matchExpressions": [{"key": "palisade.dev/agent", "operator": "DoesNotExist"}]})"),
           ""},
          {"all but what Cilium may leave out",
           endpoints(R"({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})"),
           "spec.egress"},
          {"not understood", endpoints(R"({"matchLabels": ["app"]})"), "spec.egress"},
          {"denials", R"({"endpointSelector": {}, "egressDeny": [{}], "ingress": []})", ""},
          {"nodes", R"({"nodeSelector": {}, "ingress": [{}]})", ""},
          {"nodes and endpoints",
           R"({"nodeSelector": {}, "endpointSelector": {}, "ingress": [{}]})", "spec.ingress"},
      });
  const json several{
      {"spec", {{"endpointSelector", json::object()}}},
      {"specs",
       {{{"endpointSelector", {{"matchLabels", {{"app", "web"}}}}}, {"egress", {json::object()}}},
        {{"endpointSelector", json::object()}, {"egress", {json::object()}}}}}};
  EXPECT_EQ(opening("cilium.io", "ciliumnetworkpolicies", several), "specs[1].egress");
  EXPECT_EQ(opening("cilium.io", "ciliumnetworkpolicies", {{"specs", {{"egress", {1}}}}}), "specs");
}

TEST(ForeignNetwork, CalicosBySelectorAndAction) {
  const auto allow = [](const std::string& selector) {
    return R"({"selector": ")" + selector + R"(", "ingress": [{"action": "Allow"}]})";
  };
  expect_all("projectcalico.org", "globalnetworkpolicies",
             {
                 {"everybody", allow("all()"), "spec.ingress[0]"},
                 {"nothing said", allow(""), "spec.ingress[0]"},
                 {"no selector", R"({"egress": [{"action": "Log"}, {"action": "Pass"}]})",
                  "spec.egress[1]"},
                 {"others", allow("app == 'web'"), ""},
                 {"all but agents", allow("!has(palisade.dev/agent)"), ""},
                 {"another namespace", allow("projectcalico.org/namespace == 'team-b'"), ""},
                 {"a namespace's label", allow("pcns.team == 'b'"), ""},
                 {"an account's label", allow("pcsa.team == 'b'"), "spec.ingress[0]"},
                 {"denials", R"({"egress": [{"action": "Deny"}, {"action": "Log"}]})", ""},
                 {"another team's namespaces",
                  R"({"namespaceSelector": "team == 'b'", "egress": [{"action": "Allow"}]})", ""},
                 {"a selector that is no text",
                  R"({"selector": 1, "egress": [{"action": "Allow"}]})", "spec.egress[0]"},
             });
}

TEST(ForeignNetwork, CalicosSelectorsAreReadAsFarAsTheyAreCertain) {
  const Labels labels{{"app", "aider"}, {"tier", "x"}};
  for (const auto& [text, may] : std::vector<std::pair<const char*, bool>>{
           {"app == 'aider'", true},
           {"app == \"web\"", false},
           {"app=='web'&&tier=='x'", false},
           {" app == 'aider' && tier == 'x' ", true},
           {"app == 'aider' && tier == 'y'", false},
           {"app != 'aider'", false},
           {"app != 'web'", true},
           {"other != 'web'", true},
           {"has(app)", true},
           {"has(other)", false},
           {"!has(app)", false},
           {"! has(other)", true},
           {"all()", true},
           {"all() && has(other)", false},
           // Not read to the end: nothing that was found counts.
           {"app == 'web' || all()", true},
           {"has(other) || has(app)", true},
           {"!(app == 'web')", true},
           {"(has(other))", true},
           {"app in {'web'}", false},
           {"app in {'web', \"aider\"}", true},
           {"app not in {'web','aider'}", false},
           {"app not in { 'web' }", true},
           {"other in {'x'}", false},
           {"other not in {'x'}", true},
           {"app == 'web' )", true},
           {"app == 'web", true},
           {"app == 'web' &&", true},
           {"app == 'web' && other", true},
           {"has(other", true},
           {"has()", true},
           {"global()", true},
           {"app != \"a && app == 'web' && b\"", true},
           {"app contains 'x'", true},
           {"app in {'web'", true},
           {"app in {}", true},
           {"app in 'web'", true},
           {"app not 'web'", true},
           {"app in {web}", true},
           {"!app == 'aider'", true},
       }) {
    EXPECT_EQ(calico_may_match(text, labels), may) << text;
  }
}

TEST(ForeignNetwork, AntreasByWhatTheyAreAppliedTo) {
  const std::string rules = R"("egress": [{"action": "Drop"}, {"action": "Allow"}])";
  const auto to = [&](const std::string& peer) {
    return R"({"appliedTo": [)" + peer + "], " + rules + "}";
  };
  expect_all(
      "crd.antrea.io", "clusternetworkpolicies",
      {
          {"everybody", to(R"({"podSelector": {}})"), "spec.egress[1]"},
          {"others", to(R"({"podSelector": {"matchLabels": {"app": "web"}}})"), ""},
          {"another namespace",
           to(R"({"podSelector": {}, "namespaceSelector": {"matchLabels": {"team": "b"}}})"), ""},
          {"others, or a group",
           to(R"({"podSelector": {"matchLabels": {"app": "web"}}}, {"group": "g"})"),
           "spec.egress[1]"},
          {"an account", to(R"({"serviceAccount": {"name": "x", "namespace": "team-a"}})"),
           "spec.egress[1]"},
          {"by rule",
           R"({"egress": [{"action": "Allow", "appliedTo": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
            {"action": "Allow", "appliedTo": [{"podSelector": {}}]}]})",
           "spec.egress[1]"},
          {"to nothing that is said", "{" + rules + "}", "spec.egress[1]"},
          {"not understood", R"({"appliedTo": {"podSelector": 1}, )" + rules + "}",
           "spec.egress[1]"},
          {"the baseline",
           R"({"tier": "baseline", "appliedTo": [{"podSelector": {}}], )" + rules + "}", ""},
          {"denials",
           R"({"appliedTo": [{"podSelector": {}}], "ingress": [{"action": "Reject"}, {"action": "Pass"}]})",
           ""},
      });
}

TEST(ForeignNetwork, WhatNobodyKnowsMayOpenAnything) {
  EXPECT_EQ(opening("example.com", "networkpolicies", {{"spec", json::object()}}), "spec");
  for (const char* group : {"policy.networking.k8s.io", "projectcalico.org", "crd.antrea.io"}) {
    EXPECT_EQ(opening(group, "x", {{"metadata", json::object()}}), "") << group << ": no rules";
    EXPECT_EQ(opening(group, "x", {{"spec", {{"ingress", 1}}}}), "spec.ingress") << group;
  }
}

}  // namespace
}  // namespace palisade::policy
