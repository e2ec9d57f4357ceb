// What the operator writes for a workspace, fact by fact, and that its own policy finds nothing
// wrong with any pod that it can write.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "operator/fixture.h"
#include "policy/fixture.h"

namespace palisade::op::testing {
namespace {

using policy::testing::findings_of;
using policy::testing::tell;

std::set<std::string> mounted_by(const Json& pod, const std::string& name) {
  std::set<std::string> out;
  for (const Json& mount : container(pod, name).at("volumeMounts"))
    out.insert(mount.at("name").get<std::string>());
  return out;
}

const Json& mount_of(const Json& pod, const std::string& name, const std::string& volume) {
  return named(container(pod, name).at("volumeMounts"), volume);
}

std::string variable_of(const Json& pod, const std::string& name, const std::string& variable) {
  return named(container(pod, name).at("env"), variable).at("value");
}

Json courier_config(const Json& workspace, const Defaults& set = defaults()) {
  return Json::parse(
      config_map_of(parsed(workspace), set).at("data").at("courier.json").get<std::string>());
}

bool has(const Json& list, const Json& item) {
  return std::ranges::find(list, item) != list.end();
}

TEST(Desired, EveryObjectIsLabelledNamedAndOwned) {
  const Workspace w = parsed(usual_workspace());
  struct Row {
    Json object;
    std::string api_version, kind, name;
  };
  const Row rows[] = {
      {desired_service_account(w), "v1", "ServiceAccount", "fix-login-agent"},
      {desired_secret(w, "t"), "v1", "Secret", "fix-login-git"},
      {config_map_of(w), "v1", "ConfigMap", "fix-login-agent"},
      {desired_network_policy(w, access()), "networking.k8s.io/v1", "NetworkPolicy",
       "fix-login-agent"},
      {desired_pod(w, defaults(), access(), "t"), "v1", "Pod", "fix-login-agent"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.kind);
    EXPECT_EQ(row.object["apiVersion"], row.api_version);
    EXPECT_EQ(row.object["kind"], row.kind);
    const Json& metadata = row.object["metadata"];
    EXPECT_EQ(metadata["name"], row.name);
    EXPECT_EQ(metadata["namespace"], "team-a");
    EXPECT_EQ(metadata["labels"]["palisade.dev/workspace"], "fix-login");
    EXPECT_EQ(metadata["labels"]["app.kubernetes.io/managed-by"], "palisade");
    EXPECT_EQ(metadata["ownerReferences"], Json::array({{{"apiVersion", "palisade.dev/v1alpha1"},
                                                         {"kind", "AgentWorkspace"},
                                                         {"name", "fix-login"},
                                                         {"uid", kUid},
                                                         {"controller", true},
                                                         {"blockOwnerDeletion", true}}}));
    EXPECT_EQ(metadata["labels"].value("palisade.dev/agent", ""), row.kind == "Pod" ? "aider" : "");
  }
}

TEST(Desired, TheSameInputsGiveTheSameBytes) {
  EXPECT_EQ(pod_of(usual_workspace()).dump(), pod_of(usual_workspace()).dump());
}

TEST(Desired, ServiceAccountMountsNoToken) {
  EXPECT_EQ(desired_service_account(parsed(minimal_workspace()))["automountServiceAccountToken"],
            false);
}

TEST(Desired, SecretHoldsTheTokenInBase64) {
  const Workspace w = parsed(usual_workspace());
  const std::pair<const char*, const char*> rows[] = {{"", ""},
                                                      {"a", "YQ=="},
                                                      {"ab", "YWI="},
                                                      {"abc", "YWJj"},
                                                      {"ghp_0123456789", "Z2hwXzAxMjM0NTY3ODk="}};
  for (const auto& [token, encoded] : rows) {
    const Json secret = desired_secret(w, token);
    EXPECT_EQ(secret["type"], "Opaque");
    EXPECT_EQ(secret["data"], Json({{"token", encoded}})) << token;
  }
}

TEST(Desired, NetworkIsDeniedButForTheGatewayAndTheGitHost) {
  const Json spec = desired_network_policy(parsed(minimal_workspace()), access())["spec"];
  EXPECT_EQ(spec["podSelector"],
            Json({{"matchLabels", {{"palisade.dev/workspace", "fix-login"}}}}));
  EXPECT_EQ(spec["policyTypes"], Json({"Ingress", "Egress"}));
  EXPECT_FALSE(spec.contains("ingress")) << "an ingress rule would let somebody in";
  EXPECT_EQ(spec["egress"],
            Json::array({{{"to", access().llm.peers}, {"ports", access().llm.ports}},
                         {{"to", access().git.peers}, {"ports", access().git.ports}}}));
  for (const Json& rule : spec["egress"]) {
    EXPECT_FALSE(rule["to"].empty()) << "a rule without peers opens everything";
    EXPECT_FALSE(rule["ports"].empty());
  }
}

TEST(Desired, ExtraEgressComesLastWithItsProtocolFilledIn) {
  Json workspace = minimal_workspace();
  const Json peers = Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}});
  workspace["spec"]["isolation"]["egress"] = Json::array(
      {{{"to", peers},
        {"ports", Json::array({{{"port", 5432}}, {{"port", 53}, {"protocol", "UDP"}}})}},
       {{"to", peers}}});
  const Json egress = desired_network_policy(parsed(workspace), access())["spec"]["egress"];
  ASSERT_EQ(egress.size(), 4U);
  EXPECT_EQ(egress[2]["to"], peers);
  EXPECT_EQ(egress[2]["ports"], Json::array({{{"port", 5432}, {"protocol", "TCP"}},
                                             {{"port", 53}, {"protocol", "UDP"}}}));
  EXPECT_EQ(egress[3], Json({{"to", peers}}));
}

TEST(Desired, PodIsFencedIn) {
  const Json spec = pod_of(usual_workspace())["spec"];
  const std::pair<const char*, Json> rows[] = {
      {"serviceAccountName", "fix-login-agent"},
      {"automountServiceAccountToken", false},
      {"enableServiceLinks", false},
      {"hostUsers", false},
      {"restartPolicy", "Never"},
      {"activeDeadlineSeconds", 7200},
      {"terminationGracePeriodSeconds", 60},
      {"dnsPolicy", "None"},
      {"dnsConfig", {{"nameservers", {"127.0.0.1"}}}},
      {"schedulingGates", Json::array({{{"name", "palisade.dev/network-policy"}}})},
      {"hostAliases", Json::array({{{"ip", "10.96.0.20"}, {"hostnames", {"llm.llm.svc"}}},
                                   {{"ip", "192.0.2.10"}, {"hostnames", {"git.example.com"}}}})},
  };
  for (const auto& [field, value] : rows)
    EXPECT_EQ(spec.value(field, Json()), value) << field;
  for (const char* absent : {"runtimeClassName", "hostNetwork", "hostPID", "hostIPC",
                             "shareProcessNamespace", "nodeName", "imagePullSecrets"}) {
    EXPECT_FALSE(spec.contains(absent)) << absent;
  }
  const Json& security = spec["securityContext"];
  EXPECT_EQ(security["runAsNonRoot"], true);
  for (const char* id : {"runAsUser", "runAsGroup", "fsGroup"})
    EXPECT_EQ(security[id], 1001) << id;
  EXPECT_EQ(security["seccompProfile"], Json({{"type", "RuntimeDefault"}}));
}

TEST(Desired, EveryContainerIsHardenedAndLimited) {
  const Json pod = pod_of(usual_workspace());
  const std::pair<const char*, int> rows[] = {{"relay", 1004},    {"courier", 1002},
                                              {"checkout", 1001}, {"guard", 1002},
                                              {"recorder", 1003}, {"aider", 1001}};
  for (const auto& [name, user] : rows) {
    SCOPED_TRACE(name);
    EXPECT_EQ(container(pod, name)["securityContext"],
              Json({{"runAsNonRoot", true},
                    {"runAsUser", user},
                    {"runAsGroup", 1001},
                    {"privileged", false},
                    {"allowPrivilegeEscalation", false},
                    {"readOnlyRootFilesystem", true},
                    {"capabilities", {{"drop", {"ALL"}}}},
                    {"seccompProfile", {{"type", "RuntimeDefault"}}}}));
    for (const char* resource : {"cpu", "memory", "ephemeral-storage"})
      EXPECT_TRUE(container(pod, name)["resources"]["limits"].contains(resource)) << resource;
    for (const char* absent : {"envFrom", "ports", "lifecycle", "volumeDevices"})
      EXPECT_FALSE(container(pod, name).contains(absent)) << absent;
    const Json env = container(pod, name).value("env", Json::array());
    for (const Json& variable : env)
      EXPECT_FALSE(variable.contains("valueFrom")) << variable;
  }
  EXPECT_EQ(container(pod, "aider")["resources"]["limits"],
            Json({{"cpu", "2"}, {"memory", "2Gi"}, {"ephemeral-storage", "4Gi"}}));
}

TEST(Desired, CourierIsASidecarAndTheOnlyOneWithTheToken) {
  const Json pod = pod_of(usual_workspace());
  const Json& inits = pod["spec"]["initContainers"];
  ASSERT_EQ(inits.size(), 5U);
  EXPECT_EQ(inits[0]["name"], "relay");
  EXPECT_EQ(inits[1]["name"], "courier");
  EXPECT_EQ(inits[1]["restartPolicy"], "Always") << "without it the kubelet waits for its end";
  EXPECT_TRUE(inits[1].contains("startupProbe")) << "checkout would start before the fetch";
  EXPECT_EQ(inits[2]["name"], "checkout");
  EXPECT_FALSE(inits[2].contains("restartPolicy"));
  EXPECT_EQ(mounted_by(pod, "relay"), std::set<std::string>{"config"});
  EXPECT_EQ(mounted_by(pod, "courier"),
            (std::set<std::string>{"courier", "seed", "config", "workspace", "git-token"}));
  EXPECT_EQ(mounted_by(pod, "checkout"),
            (std::set<std::string>{"seed", "config", "workspace", "tmp"}));
  EXPECT_EQ(mounted_by(pod, "aider"),
            (std::set<std::string>{"workspace", "tmp", "closed", "guard", "policy", "record"}));
  EXPECT_EQ(named(pod["spec"]["volumes"], "git-token")["secret"],
            Json({{"secretName", "fix-login-git"},
                  {"defaultMode", 0440},
                  {"items", {{{"key", "token"}, {"path", "token"}}}}}))
      << "tokens that wait to be revoked are in that Secret too";
  EXPECT_EQ(pod.dump().find("secret-token"), std::string::npos) << "the token is in the pod";
  for (const char* name : {"relay", "courier", "checkout", "guard", "recorder"})
    EXPECT_EQ(container(pod, name)["image"], defaults().courier_image);
}

TEST(Desired, WhatIsForReadingIsMountedReadOnly) {
  const Json pod = pod_of(usual_workspace());
  const std::pair<const char*, const char*> rows[] = {
      {"courier", "workspace"}, {"courier", "config"},  {"courier", "git-token"},
      {"checkout", "seed"},     {"checkout", "config"}, {"recorder", "record"},
      {"aider", "guard"},       {"aider", "policy"}};
  for (const auto& [name, volume] : rows)
    EXPECT_EQ(mount_of(pod, name, volume).value("readOnly", false), true) << name << " " << volume;
  std::set<std::string> closed;
  for (const Json& mount : container(pod, "aider")["volumeMounts"]) {
    if (mount["name"] != "closed") continue;
    EXPECT_EQ(mount.value("readOnly", false), true) << mount;
    closed.insert(mount["mountPath"].get<std::string>());
  }
  EXPECT_EQ(closed, (std::set<std::string>{"/dev/shm", "/dev/mqueue"}));
}

TEST(Desired, GitDirOnlyGivesTheRepositoryToReadAndNoMore) {
  Json workspace = usual_workspace();
  workspace["spec"]["repository"]["mount"] = "GitDirOnly";
  const Json pod = pod_of(workspace);
  const Json courier = courier_config(workspace);
  EXPECT_EQ(courier["mount"], "GitDirOnly");
  EXPECT_EQ(courier["bundle"], "/palisade/project/repo.git");
  // Its objects are looked for by this name in checkout and agent alike.
  for (const char* name : {"courier", "checkout", "aider"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(mount_of(pod, name, "seed")["mountPath"], "/palisade/project");
    EXPECT_EQ(mount_of(pod, name, "seed").value("readOnly", false),
              std::string_view(name) != "courier");
  }
  EXPECT_EQ(mounted_by(pod, "aider"), (std::set<std::string>{"workspace", "tmp", "closed", "guard",
                                                             "policy", "record", "seed"}));
  for (const Json& mount : container(pod, "aider")["volumeMounts"]) {
    if (mount.value("readOnly", false)) continue;
    EXPECT_TRUE(mount["name"] == "workspace" || mount["name"] == "tmp" || mount["name"] == "record")
        << mount;
  }
}

TEST(Desired, ReadOnlyGivesOneDirectoryToWrite) {
  Json workspace = usual_workspace();
  workspace["spec"]["repository"]["mount"] = "ReadOnly";
  workspace["spec"]["repository"]["outputDir"] = "docs/reports";
  workspace["spec"]["task"]["files"] = {"src/login.py", "docs/reports/a.md", "docs/reports.md"};
  const Json pod = pod_of(workspace);
  std::map<std::string, std::string> writable;
  for (const Json& mount : container(pod, "aider")["volumeMounts"]) {
    if (!mount.value("readOnly", false)) writable[mount["mountPath"]] = mount["name"];
  }
  EXPECT_EQ(writable,
            (std::map<std::string, std::string>{{"/palisade/record", "record"},
                                                {"/tmp", "tmp"},
                                                {"/workspace/.home", "workspace"},
                                                {"/workspace/repo/docs/reports", "output"}}))
      << "the record is behind Landlock";
  EXPECT_EQ(mount_of(pod, "aider", "project"),
            Json({{"name", "project"}, {"mountPath", "/workspace/repo"}, {"readOnly", true}}));
  EXPECT_EQ(mount_of(pod, "aider", "seed")["readOnly"], true);
  EXPECT_EQ(mount_of(pod, "courier", "output"),
            Json({{"name", "output"}, {"mountPath", "/palisade/output"}, {"readOnly", true}}));
  EXPECT_FALSE(mounted_by(pod, "courier").contains("workspace"));
  EXPECT_FALSE(mounted_by(pod, "courier").contains("project"));
  EXPECT_FALSE(mount_of(pod, "checkout", "project").contains("readOnly"));
  const Json courier = courier_config(workspace);
  EXPECT_EQ(courier["mount"], "ReadOnly");
  EXPECT_EQ(courier["outputDir"], "docs/reports");
  EXPECT_EQ(courier["output"], "/palisade/output");
  EXPECT_EQ(courier["gitDir"], "/workspace/.home/repo.git");
  // What it cannot write it is shown.
  const Json& command = container(pod, "aider")["command"];
  EXPECT_TRUE(has(command, "--read=src/login.py"));
  EXPECT_TRUE(has(command, "--file=docs/reports/a.md"));
  EXPECT_TRUE(has(command, "--read=docs/reports.md"));
}

TEST(Desired, WithoutAMountThePodIsWhatItWas) {
  Json workspace = usual_workspace();
  const Json before = pod_of(workspace);
  workspace["spec"]["repository"]["mount"] = "ReadWrite";
  EXPECT_EQ(pod_of(workspace), before) << "an upgrade would end what runs";
  EXPECT_FALSE(courier_config(workspace).contains("mount"));
  EXPECT_EQ(mount_of(before, "checkout", "seed")["mountPath"], "/seed");
  EXPECT_FALSE(mounted_by(before, "aider").contains("seed"));
}

TEST(Desired, ScratchSpaceIsSizedAndTmpIsMemory) {
  const Json pod = pod_of(usual_workspace());
  for (const Json& volume : pod["spec"]["volumes"]) {
    if (volume.contains("emptyDir")) {
      EXPECT_TRUE(volume["emptyDir"].contains("sizeLimit")) << volume;
    }
  }
  EXPECT_EQ(named(pod["spec"]["volumes"], "tmp")["emptyDir"],
            Json({{"sizeLimit", "512Mi"}, {"medium", "Memory"}}));
  EXPECT_EQ(named(pod["spec"]["volumes"], "config")["configMap"]["name"], "fix-login-agent");
}

TEST(Desired, AiderKnowsTheGatewayAndNoKey) {
  const Json pod = pod_of(usual_workspace());
  EXPECT_EQ(variable_of(pod, "aider", "OPENAI_API_BASE"), "http://127.0.0.1:4000/v1");
  EXPECT_EQ(variable_of(pod, "aider", "OPENAI_API_KEY"), "none");
  EXPECT_EQ(variable_of(pod, "aider", "HOME"), "/workspace/.home");
  EXPECT_EQ(variable_of(pod, "aider", "LITELLM_LOCAL_MODEL_COST_MAP"), "True");
  EXPECT_EQ(variable_of(pod, "aider", "PROMPT_TOOLKIT_NO_CPR"), "1");
  EXPECT_EQ(container(pod, "aider")["workingDir"], "/workspace/repo");
}

TEST(Desired, OneShotTaskIsGivenAsSingleWords) {
  Json workspace = usual_workspace();
  workspace["spec"]["task"] = {{"message", "--yes; $(reboot) 'x'"},
                               {"files", {"a b.py", "src/--x"}},
                               {"testCommand", {"sh", "-c", "it's $HOME"}}};
  const Json pod = pod_of(workspace);
  const Json& aider = container(pod, "aider");
  const Json& command = aider["command"];
  // Guard stands before Aider, a shell does not; what the test prints goes back three times.
  const Json start(Json::array_t(command.begin(), command.begin() + 13));
  EXPECT_EQ(start, Json({"/palisade/bin/palisade-guard", "run", "--policy",
                         "/palisade/policy/guard.json", "--", "/palisade/bin/palisade-guard",
                         "rounds", "--message=--yes; $(reboot) 'x'", "--rounds=3",
                         "--relay-port=4000", R"(--test=["sh","-c","it's $HOME"])", "--", "aider"}))
      << command;
  EXPECT_FALSE(aider.contains("args"));
  for (const char* word :
       {"--yes-always", "--file=a b.py", "--file=src/--x", "--no-suggest-shell-commands",
        "--analytics-disable", "--no-check-update", "--no-detect-urls"}) {
    EXPECT_TRUE(has(command, word)) << word << " in " << command;
  }
  EXPECT_EQ(std::ranges::count(command, Json("--message=--yes; $(reboot) 'x'")), 1)
      << "the rounds give Aider its message";
  EXPECT_FALSE(aider.contains("stdin"));
  EXPECT_FALSE(aider.contains("tty"));
}

TEST(Desired, WithoutCommandsThereAreNoRounds) {
  Json workspace = usual_workspace();
  workspace["spec"]["task"] = {{"message", "--yes"}, {"rounds", 5}};
  const Json command = container(pod_of(workspace), "aider")["command"];
  EXPECT_EQ(command[5], "aider") << command;
  EXPECT_TRUE(has(command, "--message=--yes")) << command;
  workspace["spec"]["task"]["lintCommand"] = {"ruff", "check"};
  const Json checked = container(pod_of(workspace), "aider")["command"];
  for (const char* word : {"rounds", "--rounds=5", R"(--lint=["ruff","check"])"})
    EXPECT_TRUE(has(checked, word)) << word << " in " << checked;
}

TEST(Desired, AiderCallsTheOneModelThatTheSpecNames) {
  Json workspace = usual_workspace();
  workspace["spec"]["agent"]["model"] = "team/model-7";
  const Json command = container(gateway_pod_of(workspace), "aider")["command"];
  for (const char* option : {"--model", "--weak-model"}) {
    const auto at = std::ranges::find(command, Json(option));
    ASSERT_NE(at, command.end()) << option;
    EXPECT_EQ(*std::next(at), "openai/team/model-7") << option;
  }
}

TEST(Desired, WithoutATaskAiderWaitsOnATerminal) {
  const Json pod = pod_of(minimal_workspace());
  const Json& aider = container(pod, "aider");
  EXPECT_EQ(aider["stdin"], true);
  EXPECT_EQ(aider["tty"], true);
  for (const Json& word : aider["command"]) {
    EXPECT_FALSE(word.get<std::string>().starts_with("--message")) << word;
    EXPECT_NE(word, "--yes-always") << "a person answers for himself";
  }
}

TEST(Desired, WithoutCredentialsThereIsNoTokenAndNothingIsPushed) {
  const Json pod = pod_of(minimal_workspace());
  EXPECT_EQ(mounted_by(pod, "courier").count("git-token"), 0U);
  for (const Json& volume : pod["spec"]["volumes"])
    EXPECT_FALSE(volume.contains("secret")) << volume;
  const Json courier = courier_config(minimal_workspace());
  EXPECT_EQ(courier["access"], "ReadOnly");
  EXPECT_EQ(courier["tokenFile"], "");
  EXPECT_EQ(courier["username"], "");
}

TEST(Desired, CourierIsToldTheRepositoryAndItsOneBranch) {
  Json workspace = usual_workspace();
  workspace["spec"]["repository"]["ref"] = "release/2";
  Json courier = courier_config(workspace);
  const std::pair<const char*, Json> rows[] = {{"url", "https://git.example.com/team/app.git"},
                                               {"ref", "release/2"},
                                               {"branch", "palisade/fix-login"},
                                               {"access", "ReadWrite"},
                                               {"username", "x-access-token"},
                                               {"tokenFile", "/var/run/secrets/palisade/git/token"},
                                               {"caFile", ""},
                                               {"terminationLog", "/dev/termination-log"}};
  for (const auto& [field, value] : rows)
    EXPECT_EQ(courier.value(field, Json()), value) << field;
  workspace["spec"]["repository"]["access"] = "ReadOnly";
  EXPECT_EQ(courier_config(workspace)["access"], "ReadOnly");
}

TEST(Desired, GitAuthoritiesOfTheAdministratorReachTheCourier) {
  Defaults set = defaults();
  EXPECT_FALSE(config_map_of(parsed(usual_workspace()), set)["data"].contains("git-ca.pem"));
  set.git_ca = "-----BEGIN CERTIFICATE-----\n";
  const Json data = config_map_of(parsed(usual_workspace()), set)["data"];
  EXPECT_EQ(data["git-ca.pem"], set.git_ca);
  EXPECT_EQ(courier_config(usual_workspace(), set)["caFile"], "/etc/palisade/git-ca.pem");
}

TEST(Desired, SpecChoosesImageRuntimeLimitsDeadlineAndUserNamespace) {
  Json workspace = usual_workspace();
  workspace["spec"]["agent"] = {{"image", "registry.example.com/mine@sha256:0"},
                                {"model", "claude"},
                                {"resources", {{"limits", {{"memory", "3Gi"}, {"cpu", 1}}}}}};
  workspace["spec"]["isolation"] = {{"userNamespace", false}, {"runtimeClassName", "gvisor"}};
  workspace["spec"]["lifecycle"] = {{"deadline", "1h30m"}};
  const Json pod = pod_of(workspace);
  EXPECT_EQ(pod["spec"]["hostUsers"], true);
  EXPECT_EQ(pod["spec"]["runtimeClassName"], "gvisor");
  EXPECT_EQ(pod["spec"]["activeDeadlineSeconds"], 5400);
  const Json& aider = container(pod, "aider");
  EXPECT_EQ(aider["image"], "registry.example.com/mine@sha256:0");
  EXPECT_EQ(container(pod, "courier")["image"], defaults().courier_image)
      << "the one with the token is never the user's image";
  EXPECT_TRUE(has(aider["command"], "openai/claude"));
  EXPECT_EQ(aider["resources"]["limits"],
            Json({{"cpu", "1"}, {"memory", "3Gi"}, {"ephemeral-storage", "4Gi"}}));
}

TEST(Desired, EndpointThatIsAnAddressNeedsNoAlias) {
  Access numbers = access();
  numbers.git.alias.clear();
  numbers.llm.alias.clear();
  const Json pod = desired_pod(parsed(usual_workspace()), defaults(), numbers, "t");
  EXPECT_FALSE(pod["spec"].contains("hostAliases"));
}

TEST(Desired, AnnotationsTellWhatThePodWasMadeFrom) {
  const Json before = pod_of(usual_workspace())["metadata"]["annotations"];
  EXPECT_EQ(access_from_json(before[kAccessAnnotation].get<std::string>()), access());
  for (const char* name : {kSpecHashAnnotation, kTokenHashAnnotation})
    EXPECT_EQ(before[name].get<std::string>().size(), 32U) << name;

  const auto changed = [&](const char* name, const Json& after) {
    return before[name] != after["metadata"]["annotations"][name];
  };
  Json other = usual_workspace();
  other["spec"]["agent"]["model"] = "other";
  EXPECT_TRUE(changed(kSpecHashAnnotation, pod_of(other)));

  other = usual_workspace();
  other["spec"]["repository"]["ref"] = "other";  // in the ConfigMap alone
  EXPECT_TRUE(changed(kSpecHashAnnotation, pod_of(other)));

  other = usual_workspace();
  other["spec"]["isolation"]["egress"] =
      Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})}}});
  EXPECT_NE(desired_network_policy(parsed(other), access())["metadata"]["annotations"],
            desired_network_policy(parsed(usual_workspace()), access())["metadata"]["annotations"]);
  EXPECT_FALSE(changed(kSpecHashAnnotation, pod_of(other))) << "a narrower network spares the pod";

  const Workspace w = parsed(usual_workspace());
  EXPECT_TRUE(changed(kTokenHashAnnotation, desired_pod(w, defaults(), access(), "new")));
  EXPECT_FALSE(changed(kSpecHashAnnotation, desired_pod(w, defaults(), access(), "new")));
}

TEST(Desired, TokenHashTellsNothingAcrossWorkspaces) {
  Json twin = usual_workspace();
  twin["metadata"]["uid"] = "another";
  EXPECT_NE(pod_of(usual_workspace())["metadata"]["annotations"][kTokenHashAnnotation],
            pod_of(twin)["metadata"]["annotations"][kTokenHashAnnotation]);
}

TEST(Desired, AccessSurvivesItsAnnotationAndGarbageDoesNot) {
  EXPECT_EQ(access_from_json(to_json(access()).dump()), access());
  for (const char* text :
       {"", "{", "[]", "null", "{}", R"({"llmUrl": 1, "llm": {}, "git": {}})",
        R"({"llmUrl": "x", "llm": {}, "git": {}})", R"({"llmUrl": "x", "llm": [], "git": "y"})"}) {
    EXPECT_FALSE(access_from_json(text)) << text;
  }
}

TEST(Desired, PolicyFindsNothingInAnyPod) {
  struct Row {
    const char* name;
    Json change;
  };
  const Row rows[] = {
      {"as it is", Json::object()},
      {"interactive", {{"task", nullptr}}},
      {"read-only", {{"repository", {{"access", "ReadOnly"}}}}},
      {"public", {{"repository", {{"credentials", nullptr}}}}},
      {"git directory only", {{"repository", {{"mount", "GitDirOnly"}}}}},
      {"read-only project",
       {{"repository", {{"mount", "ReadOnly"}, {"outputDir", "docs/reports"}}}}},
      {"gvisor", {{"isolation", {{"runtimeClassName", "gvisor"}}}}},
      {"longest", {{"lifecycle", {{"deadline", "24h"}}}}},
      {"large",
       {{"agent",
         {{"resources",
           {{"limits", {{"cpu", "8"}, {"memory", "16Gi"}, {"ephemeral-storage", "32Gi"}}}}}}}}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Json workspace = usual_workspace();
    workspace["spec"].merge_patch(row.change);
    const auto findings = findings_of(pod_of(workspace));
    EXPECT_TRUE(findings.empty()) << tell(findings);
  }
}

TEST(Desired, PolicyFindsWhatASpecAsksForBeyondIt) {
  struct Row {
    Json change;
    const char* control;
  };
  const Row rows[] = {
      {{{"isolation", {{"userNamespace", false}}}}, "user-namespace"},
      {{{"agent", {{"resources", {{"limits", {{"cpu", "9"}}}}}}}}, "resource-limits"},
      {{{"agent", {{"resources", {{"limits", {{"memory", "17Gi"}}}}}}}}, "resource-limits"},
      {{{"agent", {{"resources", {{"limits", {{"memory", "0"}}}}}}}}, "resource-limits"},
      {{{"task", {{"testCommand", {"env", "OPENAI_API_KEY=sk-abc", "pytest"}}}}},
       "no-llm-key-by-value"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.change.dump());
    Json workspace = usual_workspace();
    workspace["spec"].merge_patch(row.change);
    EXPECT_EQ(policy::testing::controls_of(findings_of(pod_of(workspace))),
              std::set<std::string>{row.control});
  }
  policy::Settings settings;
  settings.require_user_namespace = false;
  Json workspace = usual_workspace();
  workspace["spec"]["isolation"]["userNamespace"] = false;
  EXPECT_TRUE(findings_of(pod_of(workspace), settings).empty());
}

}  // namespace
}  // namespace palisade::op::testing
