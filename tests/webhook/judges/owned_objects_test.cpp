// What the operator makes for a workspace beside its pod.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLabel = R"(metadata.labels["palisade.dev/workspace"])";
constexpr const char* kOwner = "metadata.ownerReferences[0]";

json owned(const std::string& name, const std::string& workspace = "fix",
           const std::string& uid = "") {
  return {{"metadata",
           {{"name", name},
            {"namespace", "team-a"},
            {"labels", {{"palisade.dev/workspace", workspace}}},
            {"ownerReferences", owned_by(workspace, uid)}}},
          {"data", {{"token", "c2VjcmV0"}}}};
}

json plain(const std::string& name) {
  return {{"metadata", {{"name", name}, {"namespace", "team-a"}}}, {"data", {{"a", "b"}}}};
}

Review write(const char* resource, const char* operation, const json& before, const json& now,
             const std::string& user = "mallory") {
  return {.operation = operation,
          .resource = resource,
          .group = std::string(resource) == "networkpolicies" ? "networking.k8s.io" : "",
          .user = user,
          .object = now,
          .old_object = before};
}

Judge judge_of(const std::string& resource) {
  return resource == "networkpolicies" ? judge_network_policy : judge_owned_object;
}

constexpr std::array kResources{"secrets", "configmaps", "serviceaccounts", "networkpolicies"};

TEST(OwnedObjects, OfALiveWorkspaceAreTheOperators) {
  FakeCluster cluster;
  cluster.workspace("fix");
  json changed = owned("fix-agent");
  changed["data"]["token"] = "eA==";
  json stripped = plain("fix-agent");
  for (const std::string resource : kResources) {
    SCOPED_TRACE(resource);
    const Judge judge = judge_of(resource);
    const auto ask = [&](const char* operation, const json& before, const json& now,
                         const std::string& user) {
      return write(resource.c_str(), operation, before, now, user).ask(judge, cluster);
    };
    for (const char* user :
         {"mallory", "system:serviceaccount:kube-system:generic-garbage-collector",
          "system:serviceaccount:kube-system:namespace-controller", ""}) {
      expect_refused(ask("UPDATE", owned("fix-agent"), changed, user), "workspace-objects",
                     {kOwner});
      expect_refused(ask("UPDATE", owned("fix-agent"), stripped, user), "workspace-objects",
                     {kOwner});
      expect_refused(ask("DELETE", owned("fix-agent"), nullptr, user), "workspace-objects",
                     {kOwner});
    }
    expect_passes(ask("UPDATE", owned("fix-agent"), changed, kOperator));
    expect_passes(ask("DELETE", owned("fix-agent"), nullptr, kOperator));
    expect_passes(ask("CREATE", nullptr, owned("fix-agent"), kOperator));
    // Others' objects, whatever they are called.
    for (const char* name : {"fix-agent", "fix-git", "x"}) {
      expect_passes(ask("CREATE", nullptr, plain(name), "mallory"));
      expect_passes(ask("UPDATE", plain(name), plain(name), "mallory"));
      expect_passes(ask("DELETE", plain(name), nullptr, "mallory"));
    }
  }
}

TEST(OwnedObjects, OfAWorkspaceThatIsGoneHoldNothingUp) {
  FakeCluster cluster;
  cluster.workspace("leaving", "jane", true).workspace("new", "jane", false, "uid-2");
  for (const std::string resource : kResources) {
    SCOPED_TRACE(resource);
    const auto remove = [&](const json& before) {
      return write(resource.c_str(), "DELETE", before, nullptr).ask(judge_of(resource), cluster);
    };
    expect_passes(remove(owned("gone-agent", "gone")));
    expect_passes(remove(owned("leaving-agent", "leaving")));
    // An earlier workspace of the same name: its leftovers must go before the new one can start.
    expect_passes(remove(owned("new-agent", "new", "uid-1")));
    expect_refused(remove(owned("new-agent", "new", "uid-2")), "workspace-objects", {kOwner});
  }
}

TEST(OwnedObjects, StayAsLongAsThePodDoes) {
  FakeCluster cluster;
  cluster.workspace("leaving", "jane", true);
  cluster.pod("leaving-agent", {}, "leaving").pod("orphan-agent", {}, "orphan");
  for (const std::string resource : kResources) {
    SCOPED_TRACE(resource);
    for (const char* workspace : {"leaving", "orphan"}) {
      expect_refused(write(resource.c_str(), "DELETE", owned("x", workspace), nullptr)
                         .ask(judge_of(resource), cluster),
                     "workspace-objects", {kOwner});
    }
    // Another matter is whether it closes the pod.
    if (resource == "networkpolicies") continue;
    expect_passes(write(resource.c_str(), "DELETE", owned("x", "leaving", "older"), nullptr)
                      .ask(judge_of(resource), cluster));
  }
  cluster.pods_.clear();
  expect_passes(
      write("secrets", "DELETE", owned("x", "leaving"), nullptr).ask(judge_owned_object, cluster));
}

TEST(OwnedObjects, AreNotForged) {
  const FakeCluster cluster;  // also for a workspace that is not there yet
  json labelled = plain("fix-agent");
  labelled["metadata"]["labels"] = {{"palisade.dev/workspace", ""}};
  json referring = plain("other");
  referring["metadata"]["ownerReferences"] = owned_by("fix");
  for (const std::string resource : kResources) {
    SCOPED_TRACE(resource);
    const auto ask = [&](const char* operation, const json& before, const json& now) {
      return write(resource.c_str(), operation, before, now).ask(judge_of(resource), cluster);
    };
    expect_refused(ask("CREATE", nullptr, owned("fix-agent")), "workspace-objects",
                   {kLabel, kOwner});
    expect_refused(ask("CREATE", nullptr, labelled), "workspace-objects", {kLabel});
    expect_refused(ask("CREATE", nullptr, referring), "workspace-objects", {kOwner});
    expect_refused(ask("UPDATE", plain("fix-agent"), labelled), "workspace-objects", {kLabel});
    expect_refused(ask("UPDATE", plain("other"), referring), "workspace-objects", {kOwner});
    // What was there before the guard may still be changed and taken off.
    expect_passes(ask("UPDATE", labelled, labelled));
    expect_passes(ask("UPDATE", labelled, plain("fix-agent")));
    expect_passes(ask("UPDATE", referring, plain("other")));
  }
}

TEST(OwnedObjects, NoTokenThatNeverEnds) {
  FakeCluster cluster;
  cluster.workspace("fix");
  const auto secret = [](const char* account, const char* type) {
    json out = plain("mine");
    out["type"] = type;
    out["metadata"]["annotations"] = {{"kubernetes.io/service-account.name", account}};
    return out;
  };
  const char* const type = "kubernetes.io/service-account-token";
  const std::vector<std::string> field{
      R"(metadata.annotations["kubernetes.io/service-account.name"])"};
  expect_refused(write("secrets", "CREATE", nullptr, secret("fix-agent", type))
                     .ask(judge_owned_object, cluster),
                 "workspace-objects", field);
  expect_refused(write("secrets", "UPDATE", secret("default", type), secret("fix-agent", type))
                     .ask(judge_owned_object, cluster),
                 "workspace-objects", field);
  for (const json& other : {secret("default", type), secret("fix-agent", "Opaque"),
                            secret("other-agent", type), secret("-agent", type)}) {
    expect_passes(write("secrets", "CREATE", nullptr, other).ask(judge_owned_object, cluster));
  }
  expect_passes(write("configmaps", "CREATE", nullptr, secret("fix-agent", type))
                    .ask(judge_owned_object, cluster));
  expect_needs(judge_owned_object, write("secrets", "CREATE", nullptr, secret("fix-agent", type)),
               cluster, {"workspace"});
}

TEST(OwnedObjects, DenyWhatTheyCannotTell) {
  FakeCluster cluster;
  cluster.workspace("fix", "jane", true);
  expect_needs(judge_owned_object, write("secrets", "DELETE", owned("fix-git"), nullptr), cluster,
               {"workspace", "agent_pods"});
  for (const char* operation : {"UPDATE", "DELETE"})
    expect_unsure(write("secrets", operation, nullptr, plain("x")).ask(judge_owned_object, cluster),
                  "no old object");
  for (const char* operation : {"CREATE", "UPDATE"})
    expect_unsure(write("secrets", operation, plain("x"), nullptr).ask(judge_owned_object, cluster),
                  "holds no object");
  expect_unsure(write("secrets", "CONNECT", nullptr, nullptr).ask(judge_owned_object, cluster),
                "operation");
  expect_unsure(write("secrets", "MERGE", nullptr, nullptr).ask(judge_owned_object, cluster),
                "operation \"MERGE\"");
}

TEST(OwnedObjects, OthersCostNoLookUp) {
  FakeCluster cluster;
  cluster.workspace("fix");
  for (const char* operation : {"CREATE", "UPDATE", "DELETE"})
    expect_passes(
        write("secrets", operation, plain("x"), plain("x")).ask(judge_owned_object, cluster));
  EXPECT_EQ(cluster.lookups_, 0);
}

Review token(const std::string& account, const std::string& user,
             const std::vector<std::string>& groups = {}, const json& spec = json::object()) {
  return {.resource = "serviceaccounts/token",
          .name = account,
          .user = user,
          .groups = groups,
          .object = {{"kind", "TokenRequest"}, {"spec", spec}}};
}

TEST(TokenRequest, AgentsHaveNone) {
  FakeCluster cluster;
  cluster.workspace("fix").workspace("leaving", "jane", true);
  const json bound{{"boundObjectRef", {{"kind", "Pod"}, {"name", "fix-agent"}, {"uid", "1"}}}};
  for (const char* user : {"mallory", kOperator, "system:serviceaccount:team-a:fix-agent"}) {
    const Judgement refused =
        token("fix-agent", user, {"system:masters"}, bound).ask(judge_token_request, cluster);
    expect_refused(refused, "workspace-objects", {"metadata.name"});
    EXPECT_THAT(refused.reason, HasSubstr("fix"));
    expect_passes(token("default", user).ask(judge_token_request, cluster));
    expect_passes(token("other-agent", user).ask(judge_token_request, cluster));
    expect_passes(token("leaving-agent", user).ask(judge_token_request, cluster));
  }
  // A kubelet asks for a volume of the pod.
  expect_passes(token("fix-agent", "system:node:n1", {"system:nodes"}, bound)
                    .ask(judge_token_request, cluster));
  for (const json& spec : {json::object(), json{{"boundObjectRef", {{"kind", "Secret"}}}},
                           json{{"boundObjectRef", nullptr}}}) {
    expect_refused(token("fix-agent", "system:node:n1", {"system:nodes"}, spec)
                       .ask(judge_token_request, cluster),
                   "workspace-objects", {"metadata.name"});
  }
  expect_needs(judge_token_request, token("fix-agent", "mallory"), cluster, {"workspace"});
  expect_needs(judge_token_request, token("leaving-agent", "mallory"), cluster,
               {"workspace", "agent_pods"});
  expect_unsure(token("", "mallory").ask(judge_token_request, cluster), "names no ServiceAccount");
  Review odd = token("fix-agent", "mallory");
  odd.operation = "UPDATE";
  expect_unsure(odd.ask(judge_token_request, cluster), "operation");
}

}  // namespace
}  // namespace palisade::webhook::testing
