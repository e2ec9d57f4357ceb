// When the rendered policies judge, and what becomes of it: templates, namespaces, updates,
// settings.
#include <policy/vap.h>

#include "vap/both.h"

namespace palisade::vap::testing {
namespace {

using policy::testing::apply;
using policy::testing::kGone;

TEST_F(Vap, WorkloadsAreJudgedByTheirTemplate) {
  for (const policy::PodTemplate& kind : policy::pod_templates()) {
    if (kind.path[0].empty()) continue;
    for (const auto& [name, pod] : std::map<std::string, json>{
             {"good", good_pod()},
             {"privileged", storable([] {
                json p = good_pod();
                p["spec"]["containers"][0]["securityContext"]["privileged"] = true;
                return p;
              }())},
             {"nginx", json{{"metadata", json::object()},
                            {"spec",
                             {{"restartPolicy", "Never"},
                              {"containers", {{{"name", "n"}, {"image", "nginx"}}}}}}}},
             {"aider by its image",
              json{{"metadata", json::object()},
                   {"spec",
                    {{"restartPolicy", "Never"},
                     {"containers", {{{"name", "n"}, {"image", "aider"}}}}}}}}}) {
      SCOPED_TRACE(std::string(kind.kind) + ": " + name);
      const json object = workload(kind, pod);
      std::string pointer;
      for (const std::string_view member : kind.path) {
        if (!member.empty()) pointer += "/" + std::string(member);
      }
      const auto wanted = expected(object.at(json::json_pointer(pointer)));
      const Verdict verdict = cluster_->create(resource_of(kind), "team-a", object);
      EXPECT_TRUE(verdict.created || verdict.judged) << verdict.text;
      EXPECT_EQ(verdict.controls, wanted) << verdict.text;
    }
  }
}

TEST_F(Vap, NamespacesChooseWhatIsJudgedAndWhatAFindingDoes) {
  json weak = good_pod();
  weak["spec"]["shareProcessNamespace"] = true;
  const json plain = {{"spec", {{"containers", {{{"name", "n"}, {"image", "nginx"}}}}}}};
  const auto create = [&](const std::string& ns, const json& pod) {
    return cluster_->create(resources::kPods, ns, pod);
  };
  EXPECT_TRUE(create("team-a", plain).created);
  EXPECT_TRUE(create("guard-all", plain).judged);
  EXPECT_TRUE(create("guard-typo", plain).judged);
  EXPECT_TRUE(create("guard-off", weak).created);
  EXPECT_TRUE(create("guard-off", plain).created);
  EXPECT_TRUE(create("warned", weak).created);
  EXPECT_TRUE(create("audited", weak).created);
  EXPECT_TRUE(create("typo-mode", weak).judged);
  EXPECT_TRUE(create("kube-system", weak).created) << "exempt";
}

TEST_F(Vap, WarnTellsTheUserAndAuditOnlyTheLog) {
  json weak = good_pod();
  weak["spec"]["shareProcessNamespace"] = true;
  const auto of_palisade = [](const Cluster::Told& told) {
    std::string out;
    for (const std::string& warning : told.warnings) {
      if (warning.find("Palisade refuses this") != std::string::npos) out += warning;
    }
    return out;
  };
  const Cluster::Told warned = cluster_->tell("warned", weak);
  EXPECT_EQ(warned.status, 201);
  EXPECT_THAT(of_palisade(warned), ::testing::HasSubstr("no-host-namespaces"));
  EXPECT_THAT(warned.recorded, ::testing::HasSubstr("no-host-namespaces"));
  const Cluster::Told audited = cluster_->tell("audited", weak);
  EXPECT_EQ(audited.status, 201);
  EXPECT_EQ(of_palisade(audited), "");
  EXPECT_THAT(audited.recorded, ::testing::HasSubstr("no-host-namespaces"));
  EXPECT_THAT(audited.recorded, ::testing::HasSubstr("palisade-pods"));
  for (const char* ns : {"warned", "audited"}) {
    const Cluster::Told good = cluster_->tell(ns, good_pod());
    EXPECT_EQ(good.status, 201) << ns;
    EXPECT_EQ(of_palisade(good), "") << ns;
    EXPECT_EQ(good.recorded, "") << ns;
  }
}

// Both guards, and nobody behind the webhook: what it would refuse beside the policies is refused
// with Fail; where its entry is opened meanwhile, the policies hold alone.
TEST_F(Vap, HoldsWhileTheWebhookIsAway) {
  cluster_->name_space("away");
  const kube::Resource configurations{"admissionregistration.k8s.io", "v1",
                                      "validatingwebhookconfigurations",
                                      "ValidatingWebhookConfiguration", false};
  const json nowhere{
      {"metadata", {{"name", "away"}}},
      {"webhooks",
       {{{"name", "pods.palisade.dev"},
         {"admissionReviewVersions", {"v1"}},
         {"sideEffects", "None"},
         {"failurePolicy", "Fail"},
         {"timeoutSeconds", 2},
         {"clientConfig", {{"url", "https://127.0.0.1:1/validate"}}},
         {"matchConditions",
          {{{"name", "away"}, {"expression", "request.namespace == 'away'"}},
           {{"name", "could-be-an-agent"}, {"expression", policy::agent_match_condition()}}}},
         {"rules",
          {{{"apiGroups", {""}},
            {"apiVersions", {"v1"}},
            {"resources", {"pods"}},
            {"operations", {"CREATE", "UPDATE"}}}}}}}}};
  const auto made = cluster_->client().create(configurations, "", nowhere);
  ASSERT_TRUE(made) << made.error().text();
  json weak = good_pod();
  weak["spec"]["shareProcessNamespace"] = true;
  const json plain = {{"spec", {{"containers", {{{"name", "n"}, {"image", "nginx"}}}}}}};
  const auto create = [&](const json& pod) {
    return cluster_->create(resources::kPods, "away", pod);
  };
  const auto held_up = [&](const json& pod) {
    return create(pod).text.find("failed calling webhook") != std::string::npos;
  };
  ASSERT_TRUE(Cluster::eventually([&] { return held_up(good_pod()); }));
  Verdict verdict = create(weak);
  EXPECT_TRUE(verdict.judged) << "the policies come first: " << verdict.text;
  EXPECT_TRUE(create(plain).created) << "nobody else waits";
  // As the runbook has it.
  const auto opened = cluster_->client().patch(
      configurations, "", "away", kube::PatchType::kJson,
      json::array(
          {{{"op", "replace"}, {"path", "/webhooks/0/failurePolicy"}, {"value", "Ignore"}}}));
  ASSERT_TRUE(opened) << opened.error().text();
  ASSERT_TRUE(Cluster::eventually([&] { return !held_up(good_pod()); }));
  verdict = create(good_pod());
  EXPECT_TRUE(verdict.created) << verdict.text;
  verdict = create(weak);
  EXPECT_EQ(verdict.controls, std::set<std::string>{"no-host-namespaces"}) << verdict.text;
  EXPECT_TRUE(create(plain).created);
  EXPECT_TRUE(cluster_->client().remove(configurations, "", "away"));
}

TEST_F(Vap, UpdatesMayNotWeakenAndMayLeaveAsItWas) {
  const auto pod_in = [&](const std::string& ns, json pod, const std::string& name) {
    pod["metadata"]["name"] = name;
    pod["metadata"]["namespace"] = ns;
    const auto made = cluster_->client().create(resources::kPods, ns, pod);
    ASSERT_TRUE(made) << made.error().text();
  };
  const auto patch = [&](const std::string& ns, const std::string& name, const json& change,
                         const char* subresource = "") {
    return Cluster::verdict(cluster_->client().patch(
        resources::kPods, ns, name, kube::PatchType::kStrategicMerge, change, subresource));
  };
  json old = good_pod();
  old["spec"]["shareProcessNamespace"] = true;
  pod_in("guard-off", old, "old");
  const auto judged =
      cluster_->client().patch(resources::kNamespaces, "", "guard-off", kube::PatchType::kMerge,
                               {{"metadata", {{"labels", {{"palisade.dev/enforce", "agents"}}}}}});
  ASSERT_TRUE(judged) << judged.error().text();
  json weak = good_pod();
  weak["spec"]["shareProcessNamespace"] = true;
  ASSERT_TRUE(Cluster::eventually(
      [&] { return cluster_->create(resources::kPods, "guard-off", weak).judged; }));

  // From before the guard: labelled, finished and stripped of its marks, but not weakened.
  EXPECT_TRUE(patch("guard-off", "old", {{"metadata", {{"labels", {{"x", "y"}}}}}}).created);
  EXPECT_TRUE(patch("guard-off", "old", {{"metadata", {{"annotations", {{"x", "y"}}}}}}).created);
  const Verdict annotated =
      patch("guard-off", "old", {{"metadata", {{"annotations", {{"cdi.k8s.io/gpu", "all"}}}}}});
  EXPECT_TRUE(annotated.judged) << annotated.text;

  pod_in("team-a", good_pod(), "fresh");
  EXPECT_TRUE(patch("team-a", "fresh", {{"metadata", {{"labels", {{"x", "y"}}}}}}).created);
  const json unlabelled = {{"metadata", {{"labels", nullptr}, {"ownerReferences", nullptr}}}};
  const auto stripped = cluster_->client().patch(resources::kPods, "team-a", "fresh",
                                                 kube::PatchType::kMerge, unlabelled);
  EXPECT_TRUE(stripped) << stripped.error().text();
  // What docs/without-the-webhook.md says of it: marks alone can be taken off, and then a pod that
  // nothing else marks is nobody's. This one's image still is an agent's.
  EXPECT_TRUE(
      patch("team-a", "fresh", {{"metadata", {{"annotations", {{"cdi.k8s.io/x", "y"}}}}}}).judged);
  const auto debug = [](const json& security) {
    return json{{"spec",
                 {{"ephemeralContainers",
                   {{{"name", "debug"},
                     {"image", "registry.example.com/tools:1"},
                     {"command", {"sh"}},
                     {"securityContext", security}}}}}}};
  };
  const json strong = good_pod()["spec"]["containers"][0]["securityContext"];
  json writable = strong;
  writable["readOnlyRootFilesystem"] = false;
  pod_in("team-a", good_pod(), "debugged");
  EXPECT_EQ(patch("team-a", "debugged", debug(writable), "ephemeralcontainers").controls,
            std::set<std::string>{"read-only-root-filesystem"});
  json joining = debug(strong);
  joining["spec"]["ephemeralContainers"][0]["targetContainerName"] = "courier";
  EXPECT_EQ(patch("team-a", "debugged", joining, "ephemeralcontainers").controls,
            std::set<std::string>{"no-host-namespaces"});
  const Verdict added = patch("team-a", "debugged", debug(strong), "ephemeralcontainers");
  EXPECT_TRUE(added.created) << added.text;
  const auto resize = [&](const char* cpu) {
    return patch(
        "team-a", "debugged",
        {{"spec",
          {{"containers", {{{"name", "aider"}, {"resources", {{"limits", {{"cpu", cpu}}}}}}}}}}},
        "resize");
  };
  EXPECT_EQ(resize("9").controls, std::set<std::string>{"resource-limits"});
  const Verdict resized = resize("3");
  EXPECT_TRUE(resized.created) << resized.text;
}

// Other settings are in the expressions. In namespaces of their own, beside the others.
TEST_F(Vap, SettingsAreRenderedIn) {
  Settings settings;
  settings.allowed_registries = {{"registry.example.com", "o'clock.example.com\\/"}};
  settings.require_digests = true;
  settings.allowed_runtime_classes = {{"gvisor"}};
  settings.allowed_seccomp_localhost_profiles = {"agent.json"};
  settings.allowed_token_audiences = {"vault"};
  settings.allowed_volume_types = {"emptyDir", "configMap", "projected", "image"};
  settings.max_lifetime_seconds = 7199;
  settings.max_cpu_millis = 1999;
  settings.max_memory_bytes = (2LL << 30) - 1;
  settings.max_empty_dir_bytes = (4LL << 30) - 1;
  settings.require_user_namespace = false;
  for (const char* name : {"gvisor", "runc"}) {
    const auto made = cluster_->client().create(
        {"node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false}, "",
        {{"apiVersion", "node.k8s.io/v1"},
         {"kind", "RuntimeClass"},
         {"metadata", {{"name", name}}},
         {"handler", name}});
    ASSERT_TRUE(made) << made.error().text();
  }
  // Off for the other policies, which know the label as it is; judged by those that are added.
  cluster_->name_space("settings", {{"settings", "own"}});
  cluster_->install(settings, "own",
                    {{"key", "settings"}, {"operator", "In"}, {"values", {"own"}}});
  for (const char* mode : {"enforce", "warn", "audit"}) {
    for (const char* shape : {"pods"}) {
      const std::string name = std::string("palisade-") + shape + "-" + mode;
      const json others = {{"key", "settings"}, {"operator", "DoesNotExist"}};
      const auto patched = cluster_->client().patch(
          kBindings, "", name, kube::PatchType::kJson,
          json::array({{{"op", "add"},
                        {"path", "/spec/matchResources/namespaceSelector/matchExpressions/-"},
                        {"value", others}}}));
      ASSERT_TRUE(patched) << patched.error().text();
    }
  }
  json both = good_pod();
  both["spec"]["hostUsers"] = true;
  ASSERT_TRUE(Cluster::eventually([&] {
    const Verdict verdict = cluster_->create(resources::kPods, "settings", both);
    return verdict.controls == expected(both, settings);
  })) << ::testing::PrintToString(expected(both, settings))
      << " " << cluster_->create(resources::kPods, "settings", both).text;

  const std::string digest = "@sha256:" + std::string(64, 'a');
  json fits = good_pod();
  fits["spec"]["activeDeadlineSeconds"] = 7199;
  fits["spec"]["runtimeClassName"] = "gvisor";
  fits["spec"].erase("hostUsers");
  fits["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] = "1Gi";
  fits["spec"]["volumes"][6] = {
      {"name", "git-token"},
      {"projected",
       {{"sources", {{{"serviceAccountToken", {{"path", "t"}, {"audience", "vault"}}}}}}}}};
  fits["spec"]["securityContext"]["seccompProfile"] = {{"type", "Localhost"},
                                                       {"localhostProfile", "agent.json"}};
  for (const char* list : {"containers", "initContainers"}) {
    for (json& container : fits["spec"][list]) {
      container["image"] = "registry.example.com/x" + digest;
      container["resources"]["limits"] = {
          {"cpu", "1999m"}, {"memory", "1Gi"}, {"ephemeral-storage", "1Gi"}};
    }
  }
  // Of several policies that deny, the API server names one: only what is let in shows that the
  // others have gone.
  ASSERT_TRUE(Cluster::eventually([&] {
    return cluster_->create(resources::kPods, "settings", fits).created;
  })) << cluster_->create(resources::kPods, "settings", fits).text;
  const auto other = [&](const std::string& name,
                         const std::vector<policy::testing::Change>& changes) {
    json pod = fits;
    for (const auto& change : changes)
      apply(pod, change);
    agree("settings: " + name, pod, settings, "settings");
  };
  other("fits", {});
  other("o'clock", {{"/spec/containers/0/image", json("o'clock.example.com/x" + digest).dump()}});
  other("no digest", {{"/spec/containers/0/image", R"("registry.example.com/x:1")"}});
  other("a digest too short",
        {{"/spec/containers/0/image",
          json("registry.example.com/x@sha256:" + std::string(63, 'a')).dump()}});
  other("another registry",
        {{"/spec/containers/0/image", json("registry.example.com.evil/x" + digest).dump()}});
  other("short", {{"/spec/containers/0/image", json("nginx" + digest).dump()}});
  other("another class", {{"/spec/runtimeClassName", R"("runc")"}});
  other("no class", {{"/spec/runtimeClassName", std::string(kGone)}});
  other("another profile",
        {{"/spec/securityContext/seccompProfile/localhostProfile", R"("x.json")"}});
  other("too long", {{"/spec/activeDeadlineSeconds", "7200"}});
  other("too much CPU", {{"/spec/containers/0/resources/limits/cpu", R"("2")"}});
  other("much memory", {{"/spec/containers/0/resources/limits/memory", R"("2Gi")"}});
  other("another audience",
        {{"/spec/volumes/6/projected/sources/0/serviceAccountToken/audience", R"("x")"}});
  other("a token for the agent",
        {{"/spec/containers/0/volumeMounts/-", R"({"name": "git-token", "mountPath": "/id"})"}});
  other("a token for a sidecar", {{"/spec/initContainers/0/volumeMounts/-",
                                   R"({"name": "git-token", "mountPath": "/id"})"}});
  other("a Secret",
        {{"/spec/volumes/6", R"({"name": "git-token", "secret": {"secretName": "s"}})"}});
  other("an image volume",
        {{"/spec/volumes/6", R"({"name": "git-token", "image": {"reference": "x"}})"}});
}

}  // namespace
}  // namespace palisade::vap::testing
