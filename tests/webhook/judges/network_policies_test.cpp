// Others' NetworkPolicies in a namespace where agents live.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const json kEverybody = json::object();
const json kHands{{"matchLabels", {{"app", "aider"}}}};
const json kWorkspace{{"matchLabels", {{"palisade.dev/workspace", "fix"}}}};
const json kNoAgents{
    {"matchExpressions", {{{"key", "palisade.dev/agent"}, {"operator", "DoesNotExist"}}}}};

json spec(const json& selector, const json& egress = nullptr, const json& ingress = nullptr,
          const json& types = {"Ingress", "Egress"}) {
  json out{{"podSelector", selector}, {"policyTypes", types}};
  if (!egress.is_null()) out["egress"] = egress;
  if (!ingress.is_null()) out["ingress"] = ingress;
  return out;
}

json rule(const json& peer, const json& port = 443) {
  return json::array({{{"to", json::array({peer})}, {"ports", json::array({{{"port", port}}})}}});
}
const json kNarrow = rule({{"podSelector", {{"matchLabels", {{"app", "llm"}}}}}});
const json kWide = json::array({json::object()});

json object(const std::string& name, const json& spec_) {
  return {{"metadata", {{"name", name}, {"namespace", "team-a"}}}, {"spec", spec_}};
}

Review write(const json& before, const json& now, const std::string& user = "mallory") {
  return {.operation = before.is_null() ? "CREATE"
                       : now.is_null()  ? "DELETE"
                                        : "UPDATE",
          .resource = "networkpolicies",
          .group = "networking.k8s.io",
          .user = user,
          .object = now,
          .old_object = before};
}

Judgement create(const FakeCluster& cluster, const json& spec_) {
  return write(nullptr, object("p", spec_)).ask(judge_network_policy, cluster);
}

// A pod made by hand and one of workspace fix, both closed.
FakeCluster both() {
  FakeCluster cluster;
  cluster.workspace("fix");
  cluster.pod("by-hand", {{"app", "aider"}});
  cluster.pod("fix-agent", {{"palisade.dev/workspace", "fix"}, {"palisade.dev/agent", "aider"}},
              "fix");
  cluster.policy("deny-hands", spec(kHands));
  return cluster;
}

TEST(NetworkPolicies, GiveAgentPodsNoMore) {
  const FakeCluster cluster = both();
  struct Case {
    const char* name;
    json spec_;
    std::vector<std::string> fields;
  };
  const auto block = [](const json& cidr) { return rule({{"ipBlock", cidr}}); };
  const std::string cidr = "spec.egress[0].to[0].ipBlock.cidr";
  for (const auto& c : {
           // a pod made by hand: narrow egress is fine
           Case{"deny", spec(kHands), {}},
           Case{"narrow", spec(kHands, kNarrow), {}},
           Case{"everything", spec(kHands, kWide), {"spec.egress[0].to", "spec.egress[0].ports"}},
           Case{"v4", spec(kHands, block({{"cidr", "0.0.0.0/0"}})), {cidr, cidr}},
           Case{"v4 but",
                spec(kHands, block({{"cidr", "0.0.0.0/0"}, {"except", {"10.0.0.0/8"}}})),
                {cidr, cidr}},
           Case{"v6", spec(kHands, block({{"cidr", "::/0"}})), {cidr, cidr}},
           Case{"half", spec(kHands, block({{"cidr", "16.0.0.0/4"}})), {cidr}},
           Case{"metadata", spec(kHands, block({{"cidr", "169.254.169.254/32"}})), {cidr}},
           Case{"empty peer", spec(kHands, rule(json::object())), {"spec.egress[0].to[0]"}},
           Case{"every pod",
                spec(kHands, rule({{"podSelector", json::object()}})),
                {"spec.egress[0].to[0].podSelector"}},
           Case{"every namespace",
                spec(kHands, rule({{"namespaceSelector", json::object()}})),
                {"spec.egress[0].to[0].namespaceSelector"}},
           Case{"dns",
                spec(kHands, rule(kNarrow[0]["to"][0], 53)),
                {"spec.egress[0].ports[0].port"}},
           Case{"ingress", spec(kHands, nullptr, kWide), {"spec.ingress[0]"}},
           Case{"ingress, no types",
                {{"podSelector", kHands}, {"ingress", kWide}},
                {"spec.ingress[0]"}},
           // a workspace's: nothing is
           Case{"workspace deny", spec(kWorkspace), {}},
           Case{"workspace narrow", spec(kWorkspace, kNarrow), {"spec.egress[0]"}},
           Case{"workspace wide",
                spec(kWorkspace, kWide),
                {"spec.egress[0].to", "spec.egress[0].ports"}},
           // everybody's is the agents' too
           Case{"all deny", spec(kEverybody), {}},
           Case{"all narrow", spec(kEverybody, kNarrow), {"spec.egress[0]"}},
           Case{"all ingress", spec(kEverybody, nullptr, kWide), {"spec.ingress[0]"}},
           Case{"no selector", {{"egress", kNarrow}}, {"spec.egress[0]"}},
           // and who leaves them out may open what he likes
           Case{"web", spec({{"matchLabels", {{"app", "web"}}}}, kWide, kWide), {}},
       }) {
    SCOPED_TRACE(c.name);
    const Judgement judged = create(cluster, c.spec_);
    expect_refused(judged, "deny-all-network", c.fields);
    EXPECT_FALSE(judged.always);
    // The operator knows what it does.
    expect_passes(
        write(nullptr, object("p", c.spec_), kOperator).ask(judge_network_policy, cluster));
    // An update to it is no better.
    expect_refused(
        write(object("p", spec(kHands, kNarrow, nullptr, {"Egress"})), object("p", c.spec_))
            .ask(judge_network_policy, cluster),
        "deny-all-network", c.fields);
  }
}

TEST(NetworkPolicies, TheFixThatIsToldPasses) {
  const FakeCluster cluster = both();
  json selector = kNoAgents;
  selector["matchLabels"] = {{"tier", "web"}};
  expect_passes(create(cluster, spec(selector, kWide, kWide)));
  FakeCluster workspaces_only = both();
  workspaces_only.pods_.erase(workspaces_only.pods_.begin());
  const Judgement refused = create(workspaces_only, spec(kEverybody, kWide));
  EXPECT_THAT(refused.findings.at(0).message,
              AllOf(HasSubstr("palisade.dev/agent"), HasSubstr("DoesNotExist")));
  EXPECT_THAT(refused.reason, HasSubstr("fix-agent"));
  expect_passes(create(workspaces_only, spec(kNoAgents, kWide)));
}

TEST(NetworkPolicies, MindThePodsThatAWorkspaceWillHave) {
  FakeCluster cluster;
  expect_passes(create(cluster, spec(kEverybody, kWide)));
  cluster.workspace("leaving", "jane", true);
  expect_passes(create(cluster, spec(kEverybody, kWide)));
  cluster.workspace("fix");
  for (const json& selector :
       {kEverybody, kWorkspace, json{{"matchLabels", {{"palisade.dev/agent", "aider"}}}},
        json{{"matchLabels", {{"app.kubernetes.io/managed-by", "palisade"}}}},
        json{{"matchExpressions",
              {{{"key", "palisade.dev/workspace"}, {"operator", "NotIn"}, {"values", {"x"}}}}}}}) {
    expect_refused(create(cluster, spec(selector, kNarrow)), "deny-all-network",
                   {"spec.egress[0]"});
  }
  expect_passes(create(cluster, spec(kHands, kWide)));
  // Not in its namespace.
  Review elsewhere = write(nullptr, object("p", spec(kEverybody, kWide)));
  elsewhere.ns = "team-b";
  expect_passes(elsewhere.ask(judge_network_policy, cluster));
}

TEST(NetworkPolicies, WhatIsNotUnderstoodMaySelectAnyPod) {
  const FakeCluster cluster = both();
  expect_refused(create(cluster, spec({{"matchFields", json::object()}}, nullptr, kWide)),
                 "deny-all-network", {"spec.ingress[0]"});
  expect_refused(create(cluster, {{"podSelector", kHands}, {"egress", {{{"toFQDNs", {"x"}}}}}}),
                 "deny-all-network",
                 {"spec.egress[0].toFQDNs", "spec.egress[0].to", "spec.egress[0].ports"});
}

TEST(NetworkPolicies, AnUpdateThatLeavesTheSpecPasses) {
  const FakeCluster cluster = both();
  // From before the guard.
  const json wide = object("p", spec(kEverybody, kWide));
  json marked = wide;
  marked["metadata"]["annotations"] = {{"a", "b"}};
  expect_passes(write(wide, marked).ask(judge_network_policy, cluster));
  json other = wide;
  other["spec"]["egress"].push_back(kNarrow[0]);
  EXPECT_FALSE(write(wide, other).ask(judge_network_policy, cluster).findings.empty());
  expect_passes(write(wide, object("p", spec(kEverybody))).ask(judge_network_policy, cluster));
}

TEST(NetworkPolicies, TheLastThatClosesALivePodStays) {
  FakeCluster cluster = both();
  const json deny = cluster.network_[0];
  const std::vector<std::string> both_ways{"metadata.name", "metadata.name"};
  expect_refused(write(deny, nullptr).ask(judge_network_policy, cluster), "deny-all-network",
                 both_ways);
  struct Case {
    const char* name;
    json spec_;
    std::size_t findings;
  };
  for (const Case& c : {
           Case{"ingress only", spec(kHands, nullptr, nullptr, {"Ingress"}), 1},
           Case{"egress only", spec(kHands, nullptr, nullptr, {"Egress"}), 1},
           Case{"other pods", spec({{"matchLabels", {{"app", "web"}}}}), 2},
           Case{"not understood", spec({{"matchFields", json::object()}}), 2},
           Case{"more pods", spec(kEverybody), 0},
           Case{"narrow", spec(kHands, kNarrow), 0},
       }) {
    SCOPED_TRACE(c.name);
    expect_refused(write(deny, object("deny-hands", c.spec_)).ask(judge_network_policy, cluster),
                   "deny-all-network", std::vector<std::string>(c.findings, "spec"));
  }
  // The operator's is another matter, and so is one that covers nobody.
  expect_passes(write(deny, nullptr, kOperator).ask(judge_network_policy, cluster));
  expect_passes(write(object("web", spec({{"matchLabels", {{"app", "web"}}}})), nullptr)
                    .ask(judge_network_policy, cluster));
  // With another that closes it, in one policy or in two, it may go.
  FakeCluster more = cluster;
  more.policy("ingress", {{"podSelector", kEverybody}});
  expect_refused(write(deny, nullptr).ask(judge_network_policy, more), "deny-all-network",
                 {"metadata.name"});
  more.policy("egress", spec(kEverybody, nullptr, nullptr, {"Egress"}));
  expect_passes(write(deny, nullptr).ask(judge_network_policy, more));
  // What counts is what is there now, not what was seen a moment ago.
  more.live_network_ = {deny};
  expect_refused(write(deny, nullptr).ask(judge_network_policy, more), "deny-all-network",
                 both_ways);
  // One that is on its way out counts no more, and its end changes nothing.
  more.live_network_ = {deny, more.network_[1], more.network_[2]};
  more.live_network_[2]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  expect_refused(write(deny, nullptr).ask(judge_network_policy, more), "deny-all-network",
                 {"metadata.name"});
  expect_passes(write(more.live_network_[2], nullptr).ask(judge_network_policy, more));
  // With the pod gone it may go.
  cluster.pods_.clear();
  expect_passes(write(deny, nullptr).ask(judge_network_policy, cluster));
}

TEST(NetworkPolicies, ExceptionsLetThemPassAndAreNoted) {
  FakeCluster cluster = both();
  auto exception = std::make_shared<policy::HardeningException>();
  exception->name = "legacy";
  exception->namespaces = {"team-a"};
  exception->controls = {"deny-all-network"};
  exception->expires = kNow + 60;
  simdjson::dom::parser parser;
  exception->pods =
      policy::Selector::parse(parser.parse(kHands.dump()), "spec.podSelector").value();
  cluster.rules_["team-a"].exceptions = {exception};
  const Judgement opened = create(cluster, spec(kHands, kWide));
  expect_passes(opened);
  ASSERT_EQ(opened.exceptions.size(), 1U);
  EXPECT_EQ(opened.exceptions[0].exception->name, "legacy");
  EXPECT_EQ(opened.exceptions[0].controls, std::vector<std::string_view>{"deny-all-network"});
  const Judgement uncovered =
      write(cluster.network_[0], nullptr).ask(judge_network_policy, cluster);
  expect_passes(uncovered);
  EXPECT_EQ(uncovered.exceptions.size(), 1U);
  EXPECT_FALSE(create(cluster, spec(kEverybody, kWide)).findings.empty());
  EXPECT_TRUE(create(cluster, spec(kHands)).exceptions.empty());
  exception->expires = kNow - 1;
  EXPECT_FALSE(create(cluster, spec(kHands, kWide)).findings.empty());
}

TEST(NetworkPolicies, DenyWhatTheyCannotTell) {
  FakeCluster cluster = both();
  expect_needs(judge_network_policy, write(nullptr, object("p", spec(kHands, kWide))), cluster,
               {"rules", "agent_pods", "workspaces"});
  expect_needs(judge_network_policy, write(cluster.network_[0], nullptr), cluster,
               {"rules", "agent_pods", "workspaces", "live network_policies"});
  Review odd = write(object("p", spec(kHands)), object("p", spec(kHands)));
  odd.old_object = nullptr;
  expect_unsure(odd.ask(judge_network_policy, cluster), "no old object");
  odd.operation = "CREATE";
  odd.object = {{"metadata", {{"name", 1}}}};
  expect_unsure(odd.ask(judge_network_policy, cluster), "metadata.name must be a text");
  odd.object = nullptr;
  expect_unsure(odd.ask(judge_network_policy, cluster), "holds no object");
  odd.operation = "CONNECT";
  expect_unsure(odd.ask(judge_network_policy, cluster), "operation");
}

TEST(ForeignNetworkPolicies, AreAnAdministratorsWhereAgentsLive) {
  const json open{{"endpointSelector", json::object()}, {"egress", {json::object()}}};
  const auto ask = [&](const FakeCluster& cluster, const std::vector<std::string>& groups,
                       const json& before = nullptr) {
    return Review{.operation = before.is_null() ? "CREATE" : "UPDATE",
                  .resource = "ciliumnetworkpolicies",
                  .group = "cilium.io",
                  .groups = groups,
                  .object = object("p", open),
                  .old_object = before}
        .ask(judge_foreign_network_policy, cluster);
  };
  FakeCluster cluster;
  expect_passes(ask(cluster, {}));
  cluster.pod("web", {}, "", "");
  expect_passes(ask(cluster, {}));
  cluster.workspace("fix");
  expect_refused(ask(cluster, {}), "deny-all-network", {"spec.egress"});
  expect_passes(ask(cluster, {"system:masters"}));
  expect_passes(ask(cluster, {}, object("p", open)));
  expect_refused(ask(cluster, {}, object("p", {{"endpointSelector", nullptr}})), "deny-all-network",
                 {"spec.egress"});
  // The same spec, but for what stands beside it.
  json more = object("p", open);
  more["specs"] = {{{"endpointSelector", json::object()}}};
  expect_refused(ask(cluster, {}, more), "deny-all-network", {"spec.egress"});
  cluster.workspaces_.clear();
  cluster.pod("by-hand", {});
  expect_refused(ask(cluster, {}), "deny-all-network", {"spec.egress"});
  cluster.rules_["team-a"].mode = Mode::kOff;
  expect_passes(ask(cluster, {}));
  for (const char* broken : {"agent_pods", "workspaces", "rules"}) {
    cluster.broken_ = broken;
    expect_unsure(ask(cluster, {}), "does not answer");
  }
}

// Cluster-scoped ones: agents of every namespace, each by its own namespace's guard.
TEST(ForeignNetworkPolicies, OfTheClusterAreJudgedByEveryNamespace) {
  const auto ask = [](const FakeCluster& cluster, const json& subject) {
    return Review{.resource = "adminnetworkpolicies",
                  .group = "policy.networking.k8s.io",
                  .ns = "",
                  .name = "p",
                  .object = {{"metadata", {{"name", "p"}}},
                             {"spec", {{"subject", subject}, {"egress", {{{"action", "Allow"}}}}}}}}
        .ask(judge_foreign_network_policy, cluster);
  };
  const json everybody{{"namespaces", json::object()}};
  const json others{{"pods",
                     {{"namespaceSelector", json::object()},
                      {"podSelector",
                       {{"matchExpressions",
                         {{{"key", "palisade.dev/agent"}, {"operator", "DoesNotExist"}}}}}}}}};
  const json team_b{{"namespaces", {{"matchLabels", {{"team", "b"}}}}}};
  FakeCluster cluster;
  expect_passes(ask(cluster, everybody));
  cluster.workspace("fix");
  cluster.rules_["team-a"].labels = {{"team", "a"}};
  expect_refused(ask(cluster, everybody), "deny-all-network", {"spec.egress[0]"});
  expect_passes(ask(cluster, others));
  expect_passes(ask(cluster, team_b));
  // A mode of another namespace lets nothing through here, and a warning is given where it would.
  cluster.rules_["team-a"].action = Action::kWarn;
  const Judgement warned = ask(cluster, everybody);
  expect_passes(warned);
  EXPECT_THAT(warned.warnings, ::testing::ElementsAre(HasSubstr("spec.egress[0]")));
  cluster.workspaces_.push_back({"team-b", "other", "uid-other", "joe", false});
  cluster.rules_["team-b"].labels = {{"team", "b"}};
  expect_refused(ask(cluster, team_b), "deny-all-network", {"spec.egress[0]"});
  expect_refused(ask(cluster, everybody), "deny-all-network", {"spec.egress[0]"});
  auto exception = std::make_shared<policy::HardeningException>();
  exception->namespaces = {"team-b"};
  exception->controls = {"deny-all-network"};
  exception->expires = kNow + 1;
  cluster.rules_["team-b"].exceptions = {exception};
  const Judgement used = ask(cluster, team_b);
  expect_passes(used);
  EXPECT_EQ(used.exceptions.size(), 1U);
}

}  // namespace
}  // namespace palisade::webhook::testing
