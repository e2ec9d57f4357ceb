// A pod's marks: what makes it an agent's or a workspace's can be neither forged nor taken off.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

constexpr const char* kWorkspace = R"(metadata.labels["palisade.dev/workspace"])";
constexpr const char* kAgent = R"(metadata.labels["palisade.dev/agent"])";

json workspace_pod() {
  return {{"metadata",
           {{"name", "fix-agent"},
            {"namespace", "team-a"},
            {"labels",
             {{"palisade.dev/workspace", "fix"},
              {"palisade.dev/agent", "aider"},
              {"app.kubernetes.io/managed-by", "palisade"}}},
            {"annotations", {{"palisade.dev/spec-hash", "1"}, {"palisade.dev/access", "{}"}}},
            {"ownerReferences", owned_by("fix")}}},
          {"spec",
           {{"containers", {{{"name", "aider"}, {"image", "aider"}}}},
            {"initContainers",
             {{{"name", "courier"}, {"image", "courier"}},
              {{"name", "checkout"}, {"image", "courier"}}}},
            {"schedulingGates", {{{"name", "palisade.dev/network-policy"}}}}}}};
}

json plain_pod() {
  return {{"metadata", {{"name", "web"}, {"namespace", "team-a"}, {"labels", {{"app", "web"}}}}},
          {"spec", {{"containers", {{{"name", "web"}, {"image", "nginx"}}}}}}};
}

json with(json object, const std::string& pointer, const json& value) {
  object[json::json_pointer(pointer)] = value;
  return object;
}

json without(json object, const std::string& pointer) {
  const json::json_pointer at(pointer);
  object[at.parent_pointer()].erase(at.back());
  return object;
}

FakeCluster closed_cluster() {
  FakeCluster cluster;
  cluster.policy("deny-all",
                 {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}});
  return cluster;
}

Judgement metadata_only(const Request& request, const ClusterView& cluster) {
  Judgement out;
  out.subject = "pod";
  out.reason = "test";
  out.findings = pod_metadata_findings(request, cluster);
  return out;
}

Review update(const json& before, const json& now, const std::string& user = "mallory",
              const std::string& resource = "pods/status") {
  return {.operation = "UPDATE",
          .resource = resource,
          .name = now["metadata"]["name"],
          .user = user,
          .object = now,
          .old_object = before};
}

TEST(PodMarks, OnlyTheOperatorMakesPodsOfAWorkspace) {
  const FakeCluster cluster = closed_cluster();
  const auto create = [&](const json& pod, const char* user) {
    return Review{.resource = "pods", .user = user, .object = pod}.ask(metadata_only, cluster);
  };
  expect_passes(create(workspace_pod(), kOperator));
  expect_passes(create(plain_pod(), "mallory"));
  // Calling a pod an agent is anybody's right.
  expect_passes(create(with(plain_pod(), "/metadata/labels/palisade.dev~1agent", "x"), "mallory"));
  expect_refused(create(workspace_pod(), "mallory"), "agent-identity",
                 {kWorkspace, "metadata.ownerReferences[0]"});
  for (const json& value : {json("fix"), json(""), json(nullptr)})
    expect_refused(
        create(with(plain_pod(), "/metadata/labels/palisade.dev~1workspace", value), "mallory"),
        "agent-identity", {kWorkspace});
  const json replica_set{{"apiVersion", "apps/v1"}, {"kind", "ReplicaSet"}, {"name", "x"}};
  json owners = json::array({replica_set, owned_by("fix")[0]});
  expect_refused(create(with(plain_pod(), "/metadata/ownerReferences", owners), "mallory"),
                 "agent-identity", {"metadata.ownerReferences[1]"});
  owners[1]["apiVersion"] = "palisade.dev/v9";
  owners[1]["controller"] = false;
  expect_refused(create(with(plain_pod(), "/metadata/ownerReferences", owners), "mallory"),
                 "agent-identity", {"metadata.ownerReferences[1]"});
  // Without an operator in the settings nobody is it.
  FakeCluster nobody;
  nobody.principals_.operator_user = "";
  const Review review{.resource = "pods", .user = "", .object = workspace_pod()};
  EXPECT_FALSE(review.ask(metadata_only, nobody).findings.empty());
}

TEST(PodMarks, OfTemplatesToo) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(workspace_pod().dump());
  const auto findings = membership_findings(parser.parse(text), "spec.template.");
  ASSERT_EQ(findings.size(), 2U);
  EXPECT_EQ(findings[0].field, "spec.template." + std::string(kWorkspace));
  EXPECT_EQ(findings[1].field, "spec.template.metadata.ownerReferences[0]");
}

TEST(PodMarks, StayAsTheyAre) {
  const FakeCluster cluster = closed_cluster();
  const json pod = workspace_pod();
  struct Case {
    const char* name;
    json now;
    std::vector<std::string> fields;
  };
  const std::string labels = "/metadata/labels/palisade.dev~1";
  const std::string annotations = "/metadata/annotations/palisade.dev~1";
  json other_owner = pod;
  other_owner["metadata"]["ownerReferences"][0]["uid"] = "other";
  json renamed_owner = pod;
  renamed_owner["metadata"]["ownerReferences"][0]["name"] = "other";
  json unblocked = pod;
  unblocked["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = false;
  for (const auto& c : {
           Case{"nothing", pod, {}},
           Case{"status", with(pod, "/status", {{"phase", "Running"}}), {}},
           Case{"a finalizer", with(pod, "/metadata/finalizers", {"x"}), {}},
           Case{"the garbage collector", unblocked, {}},
           Case{"another annotation", with(pod, "/metadata/annotations/note", "x"), {}},
           Case{"no workspace", without(pod, labels + "workspace"), {kWorkspace}},
           Case{"another workspace", with(pod, labels + "workspace", "x"), {kWorkspace}},
           Case{"a null workspace", with(pod, labels + "workspace", nullptr), {kWorkspace}},
           Case{"no agent", without(pod, labels + "agent"), {kAgent}},
           Case{"another agent", with(pod, labels + "agent", "other"), {kAgent}},
           Case{"no labels", without(pod, "/metadata/labels"), {kAgent, kWorkspace}},
           Case{"a mark more",
                with(pod, labels + "x", "y"),
                {R"(metadata.labels["palisade.dev/x"])"}},
           Case{
               "no owner", without(pod, "/metadata/ownerReferences"), {"metadata.ownerReferences"}},
           Case{"no owners",
                with(pod, "/metadata/ownerReferences", json::array()),
                {"metadata.ownerReferences"}},
           Case{"other uid",
                other_owner,
                {"metadata.ownerReferences", "metadata.ownerReferences[0]"}},
           Case{"other name",
                renamed_owner,
                {"metadata.ownerReferences", "metadata.ownerReferences[0]"}},
           Case{"access",
                with(pod, annotations + "access", "{1}"),
                {R"(metadata.annotations["palisade.dev/access"])"}},
           Case{"no hash",
                without(pod, annotations + "spec-hash"),
                {R"(metadata.annotations["palisade.dev/spec-hash"])"}},
           Case{"a new one",
                with(pod, annotations + "new", "1"),
                {R"(metadata.annotations["palisade.dev/new"])"}},
           Case{"an image",
                with(pod, "/spec/containers/0/image", "evil"),
                {"spec.containers[0].image"}},
           Case{"a courier's image",
                with(pod, "/spec/initContainers/1/image", "evil"),
                {"spec.initContainers[1].image"}},
           Case{"no image", without(pod, "/spec/containers/0/image"), {"spec.containers[0].image"}},
           Case{"no containers left",
                with(pod, "/spec/containers", json::array()),
                {"spec.containers[0].image"}},
           Case{"resources", with(pod, "/spec/containers/0/resources", {{"limits", {}}}), {}},
           Case{"no gate", without(pod, "/spec/schedulingGates"), {"spec.schedulingGates"}},
           Case{"another gate",
                with(pod, "/spec/schedulingGates", {{{"name", "x"}}}),
                {"spec.schedulingGates"}},
       }) {
    SCOPED_TRACE(c.name);
    // One that is on its way out still runs.
    for (const bool terminating : {false, true}) {
      SCOPED_TRACE(terminating);
      json before = pod;
      json now = c.now;
      if (terminating) {
        for (json* one : {&before, &now}) {
          (*one)["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
          (*one)["metadata"]["deletionGracePeriodSeconds"] = 30;
        }
      }
      expect_refused(update(before, now).ask(metadata_only, cluster), "agent-identity", c.fields);
      expect_passes(update(before, now, kOperator).ask(metadata_only, cluster));
      // No controller is exempt.
      expect_refused(
          update(before, now, "system:serviceaccount:kube-system:generic-garbage-collector")
              .ask(metadata_only, cluster),
          "agent-identity", c.fields);
    }
  }
}

TEST(PodMarks, AreNotForgedByAnUpdate) {
  const FakeCluster cluster = closed_cluster();
  const json pod = plain_pod();
  expect_refused(update(pod, with(pod, "/metadata/labels/palisade.dev~1workspace", "fix"))
                     .ask(judge_pod_status, cluster),
                 "agent-identity", {kWorkspace});
  expect_refused(update(pod, with(pod, "/metadata/ownerReferences", owned_by("fix")))
                     .ask(judge_pod_status, cluster),
                 "agent-identity", {"metadata.ownerReferences[0]"});
  expect_passes(update(pod, with(pod, "/metadata/labels/palisade.dev~1agent", "aider"))
                    .ask(judge_pod_status, cluster));
  expect_passes(update(pod, with(pod, "/metadata/annotations/palisade.dev~1x", "1"))
                    .ask(judge_pod_status, cluster));
  expect_passes(
      update(pod, with(pod, "/metadata/labels/app", "db")).ask(judge_pod_status, cluster));
}

TEST(PodStatus, CostsNoLookUpWhereLabelsStay) {
  FakeCluster cluster = closed_cluster();
  const json pod = workspace_pod();
  expect_passes(update(pod, with(pod, "/status", {{"phase", "Running"}}), "system:node:n1")
                    .ask(judge_pod_status, cluster));
  expect_passes(update(plain_pod(), with(plain_pod(), "/metadata/labels/x", "y"), "system:node:n1")
                    .ask(judge_pod_status, cluster));
  EXPECT_EQ(cluster.lookups_, 0);
}

TEST(PodStatus, DoesNotRelabelAnAgentPodOutOfItsNetworkPolicy) {
  FakeCluster cluster;
  cluster.policy("deny-aider", {{"podSelector", {{"matchLabels", {{"app", "aider"}}}}},
                                {"policyTypes", {"Ingress", "Egress"}}});
  cluster.policy("web", {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
                         {"policyTypes", {"Ingress", "Egress"}},
                         {"egress", {json::object()}}});
  json pod = plain_pod();
  pod["metadata"]["labels"] = {{"app", "aider"}, {"palisade.dev/agent", "aider"}};
  expect_refused(
      update(pod, with(pod, "/metadata/labels/app", "other")).ask(judge_pod_status, cluster),
      "deny-all-network", {"metadata.labels", "metadata.labels"});
  expect_refused(
      update(pod, with(pod, "/metadata/labels/app", "web")).ask(judge_pod_status, cluster),
      "deny-all-network",
      {"NetworkPolicy team-a/web: spec.egress[0].to",
       "NetworkPolicy team-a/web: spec.egress[0].ports"});
  expect_passes(
      update(pod, with(pod, "/metadata/labels/tier", "x")).ask(judge_pod_status, cluster));
  expect_needs(judge_pod_status, update(pod, with(pod, "/metadata/labels/app", "other")), cluster,
               {"network_policies", "live network_policies"});
  // One that was open before may be relabelled.
  pod["metadata"]["labels"]["app"] = "open";
  expect_passes(
      update(pod, with(pod, "/metadata/labels/app", "open-2")).ask(judge_pod_status, cluster));
}

TEST(PodStatus, DeniesWhatItCannotTell) {
  const FakeCluster cluster = closed_cluster();
  Review review = update(workspace_pod(), workspace_pod());
  review.old_object = nullptr;
  expect_unsure(review.ask(judge_pod_status, cluster), "not the old one");
  review = update(workspace_pod(), workspace_pod());
  review.operation = "CREATE";
  expect_unsure(review.ask(judge_pod_status, cluster), "operation");
}

Judgement network_only(const Request& request, const ClusterView& cluster) {
  Judgement out;
  out.subject = "pod";
  out.reason = "test";
  auto found = pod_network_findings(request, cluster);
  if (!found) return Judgement::unsure(found.error());
  out.findings = *std::move(found);
  return out;
}

TEST(PodNetwork, OfANewPod) {
  FakeCluster cluster;
  const auto create = [&](const json& pod) {
    return Review{.resource = "pods", .object = pod}.ask(network_only, cluster);
  };
  expect_refused(create(plain_pod()), "deny-all-network", {"metadata.labels", "metadata.labels"});
  // The policy is younger than the cache.
  cluster.live_network_ = {{{"metadata", {{"name", "p"}, {"namespace", "team-a"}}},
                            {"spec", {{"policyTypes", {"Ingress", "Egress"}}}}}};
  expect_passes(create(plain_pod()));
  expect_needs(network_only, {.resource = "pods", .object = plain_pod()}, cluster,
               {"network_policies", "live network_policies"});
  // A workspace's pod has its own policy, known by its owner.
  cluster.live_network_.clear();
  cluster.policy("fix-agent",
                 {{"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "fix"}}}}},
                  {"policyTypes", {"Ingress", "Egress"}},
                  {"egress", {json::object()}}});
  expect_refused(create(workspace_pod()), "deny-all-network",
                 {"NetworkPolicy team-a/fix-agent: spec.egress[0].to",
                  "NetworkPolicy team-a/fix-agent: spec.egress[0].ports"});
  cluster.network_[0]["metadata"]["ownerReferences"] = owned_by("fix");
  expect_passes(create(workspace_pod()));
  cluster.policy(
      "more",
      {{"podSelector", json::object()},
       {"egress",
        {{{"to", {{{"ipBlock", {{"cidr", "10.0.0.1/32"}}}}}}, {"ports", {{{"port", 1}}}}}}}});
  expect_refused(create(workspace_pod()), "deny-all-network",
                 {"NetworkPolicy team-a/more: spec.egress[0]"});
}

}  // namespace
}  // namespace palisade::webhook::testing
