// What NetworkPolicies do to an agent pod, tricks included.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "policy/networks.h"

namespace palisade::policy::testing {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(NetworkPolicy, IsReadWithTheDefaultsOfKubernetes) {
  struct Case {
    const char* spec;
    bool ingress, egress;
  };
  for (const Case& c : {
           Case{R"({"podSelector": {}})", true, false},
           Case{R"({})", true, false},
           Case{R"({"podSelector": {}, "policyTypes": null})", true, false},
           Case{R"({"podSelector": {}, "policyTypes": []})", true, false},
           Case{R"({"podSelector": {}, "egress": []})", true, false},
           Case{R"({"podSelector": {}, "egress": null})", true, false},
           Case{R"({"podSelector": {}, "egress": [{}]})", true, true},
           Case{R"({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]})", true, false},
           Case{R"({"podSelector": {}, "policyTypes": ["Egress"]})", false, true},
           Case{R"({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]})", true, true},
           Case{R"({"podSelector": {}, "policyTypes": ["egress", "Both", 1]})", false, false},
           Case{R"({"podSelector": {}, "policyTypes": "Egress"})", false, false},
           Case{R"([])", false, false},
       }) {
    const NetworkPolicy p = policy(c.spec);
    EXPECT_EQ(p.isolates(Direction::ingress), c.ingress) << c.spec;
    EXPECT_EQ(p.isolates(Direction::egress), c.egress) << c.spec;
  }
  const NetworkPolicy p = parsed(
      R"({"metadata": {"name": "n", "namespace": "ns", "labels": {"a": "b"},
          "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}})");
  EXPECT_EQ(p.name(), "n");
  EXPECT_EQ(p.ns(), "ns");
  EXPECT_EQ(p.labels().at("a"), "b");
  EXPECT_TRUE(p.terminating());
  simdjson::dom::parser parser;
  for (const char* text : {"[]", "1", "null", R"({"metadata": {"name": 1}})", R"({"metadata": 1})",
                           R"({"metadata": {"name": "a", "name": "b"}})"}) {
    EXPECT_FALSE(NetworkPolicy::parse(parser.parse(std::string_view(text)))) << text;
  }
}

TEST(NetworkPolicy, SelectsAndMaySelect) {
  struct Case {
    const char* selector;
    bool selects, may;
  };
  for (const Case& c : {
           Case{R"({})", true, true},
           Case{R"(null)", true, true},
           Case{R"({"matchLabels": {"app": "aider"}})", true, true},
           Case{R"({"matchLabels": {"app": "web"}})", false, false},
           Case{R"({"matchExpressions": [{"key": "palisade.dev/agent", "operator": "Exists"}]})",
                true, true},
           Case{R"({"matchExpressions": [{"key": "palisade.dev/agent",
                                          "operator": "DoesNotExist"}]})",
                false, false},
           Case{R"({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]})",
                true, true},
           // Not understood: no pod is safe by it, and any may be opened by it.
           Case{R"({"matchExpressions": [{"key": "x", "operator": "Gt", "values": ["1"]}]})", false,
                true},
           Case{R"({"matchFields": {}})", false, true},
           Case{R"("app=aider")", false, true},
           Case{R"({}, "podSelector": {"matchLabels": {"app": "none"}})", false, true},
       }) {
    const NetworkPolicy p = policy(R"({"podSelector": )" + std::string(c.selector) + "}");
    EXPECT_EQ(p.selects(kPod), c.selects) << c.selector;
    EXPECT_EQ(p.may_select(kPod), c.may) << c.selector;
  }
}

TEST(NetworkPolicy, NarrowEgressIsAnOpeningThatIsNotWide) {
  for (const char* rule : {
           R"({"to": [{"podSelector": {"matchLabels": {"app": "llm"}}}], "ports": [{"port": 80}]})",
           R"({"to": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In",
                "values": ["llm", "gateway"]}]}}], "ports": [{"port": 80, "endPort": 80}]})",
           R"({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}},
                "podSelector": {"matchLabels": {"app": "llm"}}}], "ports": [{"port": 80}]})",
           R"({"to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}], "ports": [{"port": 443,
                "protocol": "TCP"}]})",
           R"({"to": [{"ipBlock": {"cidr": "10.7.0.0/16", "except": ["10.7.1.0/24"]}}],
                "ports": [{"port": 443}]})",
           R"({"to": [{"ipBlock": {"cidr": "2001:db8:1::/48"}}], "ports": [{"port": 443}]})",
           R"({"to": [{"ipBlock": {"cidr": "100.100.0.0/16", "except": ["100.100.100.0/24"]}}],
                "ports": [{"port": 443}]})",
       }) {
    const NetworkPolicy p = policy(R"({"podSelector": {}, "egress": [)" + std::string(rule) + "]}");
    EXPECT_THAT(wide_fields(p), IsEmpty()) << rule;
    ASSERT_EQ(p.openings().size(), 1U) << rule;
    EXPECT_EQ(p.openings()[0].field, "spec.egress[0]");
    EXPECT_EQ(p.openings()[0].direction, Direction::egress);
  }
}

TEST(NetworkPolicy, EveryIngressRuleIsWide) {
  for (const char* rule :
       {"{}", R"({"from": []})", R"({"from": [{"podSelector": {"matchLabels": {"app": "x"}}}]})",
        R"({"from": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 1}]})", "null",
        "1"}) {
    for (const char* types : {R"(["Ingress"])", R"(["Egress"])", "[]"}) {
      EXPECT_THAT(wide_fields(policy(R"({"policyTypes": )" + std::string(types) +
                                     R"(, "ingress": [)" + rule + "]}")),
                  ElementsAre("spec.ingress[0]"))
          << rule << types;
    }
  }
  EXPECT_THAT(wide_fields(policy(R"({"ingress": {}})")), ElementsAre("spec.ingress"));
  EXPECT_THAT(wide_fields(policy(R"({"ingress": [], "ingress": [{}]})")),
              ElementsAre("spec.ingress"));
}

TEST(NetworkPolicy, EgressWithoutPeers) {
  for (const char* rule :
       {R"({"ports": [{"port": 443}]})", R"({"ports": [{"port": 443}], "to": null})",
        R"({"ports": [{"port": 443}], "to": []})", R"({"ports": [{"port": 443}], "to": {}})"}) {
    EXPECT_THAT(wide_fields(policy(R"({"egress": [)" + std::string(rule) + "]}")),
                ElementsAre("spec.egress[0].to"))
        << rule;
  }
  EXPECT_THAT(wide_fields(policy(R"({"egress": [{}]})")),
              ElementsAre("spec.egress[0].to", "spec.egress[0].ports"));
  for (const char* rules : {"[null]", "[[]]", "[7]"})
    EXPECT_THAT(wide_fields(policy(R"({"egress": )" + std::string(rules) + "}")),
                ElementsAre("spec.egress[0]"));
  for (const char* rules : {"{}", "true", R"([], "egress": [])"})
    EXPECT_THAT(wide_fields(policy(R"({"egress": )" + std::string(rules) + "}")),
                Contains("spec.egress"));
  EXPECT_THAT(wide_fields(policy(R"({"egress": [{"toFQDNs": ["x"]}]})")),
              Contains("spec.egress[0].toFQDNs"));
}

TEST(NetworkPolicy, WidePeers) {
  struct Case {
    const char* peer;
    const char* field;
  };
  for (const Case& c : {
           Case{"{}", ""},
           Case{"null", ""},
           Case{"[]", ""},
           Case{R"({"podSelector": null})", ""},
           Case{R"({"podSelector": {}})", ".podSelector"},
           Case{R"({"podSelector": {"matchLabels": {}}})", ".podSelector"},
           Case{R"({"podSelector": {"matchLabels": null, "matchExpressions": []}})",
                ".podSelector"},
           Case{R"({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}})",
                ".podSelector"},
           Case{R"({"podSelector": {"matchExpressions": [{"key": "a",
                    "operator": "DoesNotExist"}]}})",
                ".podSelector"},
           Case{R"({"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn",
                    "values": ["b"]}]}})",
                ".podSelector"},
           Case{R"({"namespaceSelector": {}})", ".namespaceSelector"},
           Case{R"({"namespaceSelector": {}, "podSelector": {}})", ".namespaceSelector"},
           Case{R"({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "llm"}}})",
                ".namespaceSelector"},
           Case{R"({"namespaceSelector": {"matchExpressions": [{"operator": "Exists",
                    "key": "kubernetes.io/metadata.name"}]}})",
                ".namespaceSelector"},
           Case{R"({"namespaceSelector": {"matchExpressions": [{"operator": "NotIn",
                    "key": "kubernetes.io/metadata.name", "values": ["nowhere"]}]},
                    "podSelector": {"matchLabels": {"app": "llm"}}})",
                ".namespaceSelector"},
           Case{R"({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}}})",
                ".podSelector"},
           Case{R"({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}},
                    "podSelector": {}})",
                ".podSelector"},
           Case{R"({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt",
                    "values": ["1"]}]}})",
                ".podSelector"},
           Case{R"({"podSelector": "app=llm"})", ".podSelector"},
           Case{R"({"podSelector": {"matchLabels": {"a": "b"}}, "podSelector": {}})",
                ".podSelector"},
           Case{R"({"serviceSelector": {"matchLabels": {"a": "b"}},
                    "podSelector": {"matchLabels": {"a": "b"}}})",
                ".serviceSelector"},
           Case{R"({"ipBlock": {"cidr": "10.0.0.1/32"}, "podSelector": {"matchLabels":
                    {"a": "b"}}})",
                ""},
           Case{R"({"ipBlock": 1})", ".ipBlock"},
           Case{R"({"ipBlock": {}})", ".ipBlock.cidr"},
       }) {
    EXPECT_THAT(wide_fields(to("[" + std::string(c.peer) + "]")),
                ElementsAre("spec.egress[0].to[0]" + std::string(c.field)))
        << c.peer;
    // A good peer before it changes nothing.
    EXPECT_THAT(wide_fields(to(R"([{"podSelector": {"matchLabels": {"app": "llm"}}}, )" +
                               std::string(c.peer) + "]")),
                ElementsAre("spec.egress[0].to[1]" + std::string(c.field)))
        << c.peer;
  }
}

TEST(NetworkPolicy, Ports) {
  struct Case {
    const char* list;
    const char* field;  // "": none
  };
  for (const Case& c : {
           Case{R"([{"port": 443}])", ""},
           Case{R"([{"port": 443, "protocol": "UDP"}, {"port": 8443}])", ""},
           Case{R"([{"port": 443, "endPort": 443}])", ""},
           Case{R"([{}])", "[0].port"},
           Case{R"([{"protocol": "TCP"}])", "[0].port"},
           Case{R"([{"port": null}])", "[0].port"},
           Case{R"([{"port": 54, "endPort": 65535}])", "[0].endPort"},
           Case{R"([{"port": 443, "endPort": 444}])", "[0].endPort"},
           Case{R"([{"port": 443, "endPort": "444"}])", "[0].endPort"},
           Case{R"([{"port": 443}, {"port": 80, "endPort": 90}])", "[1].endPort"},
           Case{R"([{"port": "https"}])", "[0].port"},
           Case{R"([{"port": "443"}])", "[0].port"},
           Case{R"([{"port": "dns"}])", "[0].port"},
           Case{R"([{"port": 53, "protocol": "UDP"}])", "[0].port"},
           Case{R"([{"port": 53, "protocol": "TCP"}])", "[0].port"},
           Case{R"([{"port": 53.0}])", "[0].port"},
           Case{R"([{"port": 443, "icmp": 1}])", "[0].icmp"},
           Case{R"([443])", "[0]"},
           Case{R"([null])", "[0]"},
       }) {
    if (std::string_view(c.field).empty()) {
      EXPECT_THAT(wide_fields(ports(c.list)), IsEmpty()) << c.list;
    } else {
      EXPECT_THAT(wide_fields(ports(c.list)),
                  ElementsAre("spec.egress[0].ports" + std::string(c.field)))
          << c.list;
    }
  }
  for (const char* list : {"null", "[]", "{}"})
    EXPECT_THAT(wide_fields(ports(list)), ElementsAre("spec.egress[0].ports"));
  EXPECT_THAT(wide_fields(ports(R"([{"port": 1, "endPort": 100}])")),
              ElementsAre("spec.egress[0].ports[0].endPort", "spec.egress[0].ports[0].port"));
}

TEST(NetworkPolicy, WideOpeningsAreNotHiddenBehindOthers) {
  json egress = json::array();
  for (int i = 0; i < 5000; ++i) {
    egress.push_back({{"to", {{{"podSelector", {{"matchLabels", {{"app", "llm"}}}}}}}},
                      {"ports", {{{"port", 443}}}}});
  }
  egress.push_back(json::object());
  const NetworkPolicy p = policy(json{{"podSelector", json::object()}, {"egress", egress}}.dump());
  EXPECT_THAT(wide_fields(p), ElementsAre("spec.egress[5000].to", "spec.egress[5000].ports"));
  EXPECT_LT(p.openings().size(), 100U);
  const NetworkPolicy many = policy(
      json{{"egress", json(5000, json::object())}, {"ingress", json(5000, json::object())}}.dump());
  EXPECT_LT(many.openings().size(), 100U);
}

Policies set(std::initializer_list<std::pair<const char*, const char*>> named) {
  Policies out;
  for (const auto& [name, spec] : named)
    out.push_back(std::make_shared<const NetworkPolicy>(
        policy(spec, name, std::string_view(name) == "fix-agent" ? "u-1" : "")));
  return out;
}

std::vector<std::string> told(const Policies& policies, std::string_view own = "",
                              std::string_view uid = "u-1") {
  std::vector<std::string> out;
  for (const Finding& finding : network_findings({kPod, own, uid}, policies)) {
    EXPECT_EQ(finding.control, kDenyAllNetwork);
    EXPECT_FALSE(finding.found.empty());
    out.push_back(finding.field + " | " + finding.message);
  }
  return out;
}

constexpr const char* kDenyAll = R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})";
constexpr const char* kNarrow = R"({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
    {"to": [{"podSelector": {"matchLabels": {"app": "llm"}}}], "ports": [{"port": 80}]}]})";
constexpr const char* kEverything = R"({"podSelector": {}, "egress": [{}]})";

TEST(NetworkFindings, APodMustBeClosedInBothDirections) {
  EXPECT_THAT(told({}), ElementsAre(HasSubstr("the way into"), HasSubstr("the way out of")));
  EXPECT_THAT(told(set({{"all", kDenyAll}})), IsEmpty());
  EXPECT_THAT(told(set({{"in", R"({"podSelector": {}})"}})),
              ElementsAre(HasSubstr("has Egress in spec.policyTypes")));
  EXPECT_THAT(told(set({{"out", R"({"policyTypes": ["Egress"]})"}})),
              ElementsAre(HasSubstr("has Ingress in spec.policyTypes")));
  EXPECT_THAT(told(set({{"out", R"({"policyTypes": ["Egress"]})"}, {"in", "{}"}})), IsEmpty());
  // One for others covers nobody else.
  EXPECT_THAT(told(set({{"web", R"({"podSelector": {"matchLabels": {"app": "web"}},
                                   "policyTypes": ["Ingress", "Egress"]})"}})),
              ElementsAre(HasSubstr("no NetworkPolicy"), HasSubstr("no NetworkPolicy")));
  // Nor one that is not understood, or on its way out.
  EXPECT_THAT(told(set({{"odd", R"({"podSelector": {"matchFields": {}},
                                   "policyTypes": ["Ingress", "Egress"]})"}})),
              ElementsAre(HasSubstr("no NetworkPolicy"), HasSubstr("no NetworkPolicy")));
  const Policies leaving{std::make_shared<const NetworkPolicy>(
      parsed(R"({"metadata": {"name": "p", "namespace": "n", "deletionTimestamp": "x"},
                 "spec": {"policyTypes": ["Ingress", "Egress"]}})"))};
  EXPECT_THAT(told(leaving), ElementsAre(HasSubstr("way into"), HasSubstr("way out of")));
  // The labels are shown, however many they are.
  Labels many;
  for (int i = 0; i < 100; ++i)
    many["key" + std::to_string(i)] = "w\xc3\xa9rt";
  const auto findings = network_findings({many, "", ""}, {});
  EXPECT_LT(findings.at(0).found.size(), 200U);
  EXPECT_NO_THROW((void)json(findings.at(0).found).dump());
}

TEST(NetworkFindings, AHandMadePodMayHaveNarrowEgressOnly) {
  EXPECT_THAT(told(set({{"all", kDenyAll}, {"llm", kNarrow}})), IsEmpty());
  EXPECT_THAT(told(set({{"all", kDenyAll}, {"web", kEverything}})),
              ElementsAre(HasSubstr("NetworkPolicy team-a/web: spec.egress[0].to | "),
                          HasSubstr("NetworkPolicy team-a/web: spec.egress[0].ports | ")));
  EXPECT_THAT(told(set({{"all", kDenyAll}, {"in", R"({"ingress": [{"from": [{"podSelector":
                       {"matchLabels": {"app": "x"}}}]}]})"}})),
              ElementsAre(HasSubstr("NetworkPolicy team-a/in: spec.ingress[0] | ")));
  // Whom it does not select it does not open.
  EXPECT_THAT(told(set({{"all", kDenyAll}, {"web", R"({"podSelector": {"matchExpressions": [{"key":
                          "palisade.dev/agent", "operator": "DoesNotExist"}]}, "egress": [{}]})"}})),
              IsEmpty());
  // One whose selector is not understood may select it.
  EXPECT_THAT(told(set({{"all", kDenyAll},
                        {"odd", R"({"podSelector": {"matchFields": {}}, "ingress": [{}]})"}})),
              ElementsAre(HasSubstr("team-a/odd")));
}

TEST(NetworkFindings, AWorkspacesPodHasItsOwnPolicyAndNoOther) {
  const auto with = [](const char* name, const char* spec) {
    return set({{"fix-agent", kEverything}, {"all", kDenyAll}, {name, spec}});
  };
  EXPECT_THAT(told(with("deny", kDenyAll), "fix-agent"), IsEmpty());
  EXPECT_THAT(
      told(with("llm", kNarrow), "fix-agent"),
      ElementsAre(::testing::AllOf(HasSubstr("NetworkPolicy team-a/llm: spec.egress[0] | "),
                                   HasSubstr("DoesNotExist"), HasSubstr("spec.isolation.egress"))));
  EXPECT_THAT(told(with("llm", kNarrow), "other-agent"),
              Contains(HasSubstr("team-a/fix-agent: spec.egress[0].to")));
  // Somebody else's policy, or an earlier workspace's, under the name.
  for (const char* uid : {"", "u-2"})
    EXPECT_THAT(told(with("deny", kDenyAll), "fix-agent", uid),
                Contains(HasSubstr("team-a/fix-agent: spec.egress[0].to")));
  EXPECT_THAT(told({std::make_shared<const NetworkPolicy>(policy(kEverything, "fix-agent")),
                    std::make_shared<const NetworkPolicy>(policy(kDenyAll))},
                   "fix-agent", ""),
              Contains(HasSubstr("team-a/fix-agent: spec.egress[0].to")));
  // The operator lets nothing in: whoever added that to its policy did.
  EXPECT_THAT(told(set({{"fix-agent", R"({"policyTypes": ["Ingress", "Egress"],
                                         "ingress": [{}]})"}}),
                   "fix-agent"),
              ElementsAre(HasSubstr("team-a/fix-agent: spec.ingress[0] | ")));
}

TEST(NetworkFindings, AreFastAndFew) {
  Policies policies = set({{"all", kDenyAll}, {"a", kNarrow}, {"b", kNarrow}, {"c", kNarrow}});
  const auto before = std::chrono::steady_clock::now();
  std::size_t found = 0;
  for (int i = 0; i < 1000; ++i)
    found += network_findings({kPod, "", ""}, policies).size();
  EXPECT_EQ(found, 0U);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  for (int i = 0; i < 3000; ++i)
    policies.push_back(std::make_shared<const NetworkPolicy>(policy(kEverything)));
  EXPECT_LE(network_findings({kPod, "", ""}, policies).size(), kMaxFindings + 64);
}

}  // namespace
}  // namespace palisade::policy::testing
