// For every control: the good pod passes, and with one thing broken exactly that control reports,
// at exactly that path, whatever kind of container it is in.
#include <algorithm>

#include <gtest/gtest.h>

#include <policy/guards.h>

#include "policy/breaks.h"

namespace palisade::policy::testing {
namespace {

struct Place {
  const char* pointer;
  const char* path;
  bool ephemeral;
};
constexpr Place kPlaces[] = {
    {"/spec/containers/0", "spec.containers[0]", false},
    {"/spec/initContainers/0", "spec.initContainers[0]", false},  // a sidecar
    {"/spec/initContainers/1", "spec.initContainers[1]", false},
    {"/spec/ephemeralContainers/0", "spec.ephemeralContainers[0]", true},
};

void expect_only(const std::vector<Finding>& findings, const std::string& control,
                 std::vector<std::string> fields) {
  EXPECT_EQ(controls_of(findings), std::set<std::string>{control}) << tell(findings);
  auto told = fields_of(findings);
  std::ranges::sort(told);
  std::ranges::sort(fields);
  EXPECT_EQ(told, fields) << tell(findings);
}

TEST(Controls, GoodPodsPass) {
  EXPECT_TRUE(findings_of(good_pod()).empty()) << tell(findings_of(good_pod()));
  const auto findings = findings_of(good_pod_with_ephemeral());
  EXPECT_TRUE(findings.empty()) << tell(findings);
}

TEST(Controls, OneThingBrokenInAContainer) {
  for (const Broken& broken : container_breaks()) {
    for (const Place& place : kPlaces) {
      if (place.ephemeral && !broken.ephemeral) continue;
      SCOPED_TRACE(broken.control + ": " + broken.name + " at " + place.path);
      json pod = good_pod_with_ephemeral();
      for (const Change& change : broken.changes)
        apply(pod, change, place.pointer);
      std::vector<std::string> fields;
      for (const std::string& field : broken.fields)
        fields.push_back(place.path + field);
      expect_only(findings_of(pod, broken.settings), broken.control, fields);
    }
  }
}

TEST(Controls, TheSameBrokenThingInTwoContainersIsFoundTwice) {
  for (const Broken& broken : container_breaks()) {
    SCOPED_TRACE(broken.control + ": " + broken.name);
    json pod = good_pod_with_ephemeral();
    std::vector<std::string> fields;
    for (const Place& place : {kPlaces[0], kPlaces[2]}) {
      for (const Change& change : broken.changes)
        apply(pod, change, place.pointer);
      for (const std::string& field : broken.fields)
        fields.push_back(place.path + field);
    }
    expect_only(findings_of(pod, broken.settings), broken.control, fields);
  }
}

TEST(Controls, OneThingBrokenInThePod) {
  for (const Broken& broken : pod_breaks()) {
    SCOPED_TRACE(broken.control + ": " + broken.name);
    json pod = good_pod();
    for (const Change& change : broken.changes)
      apply(pod, change);
    expect_only(findings_of(pod, broken.settings), broken.control, broken.fields);
  }
}

TEST(Controls, EachHasAFixtureThatBreaksIt) {
  std::set<std::string> broken;
  for (const Broken& item : container_breaks())
    broken.insert(item.control);
  for (const Broken& item : pod_breaks())
    broken.insert(item.control);
  std::set<std::string> all;
  for (const Control& control : controls()) {
    if (!control.needs_cluster) all.emplace(control.id);
  }
  EXPECT_EQ(all, broken);
}

// A debug container is judged like the others, and joins nobody.
TEST(Controls, AnEphemeralContainerTargetsNoOther) {
  json pod = good_pod_with_ephemeral();
  json& target = pod["spec"]["ephemeralContainers"][0]["targetContainerName"];
  for (const auto& [value, refused] : std::vector<std::pair<json, bool>>{
           {"courier", true}, {7, true}, {"", false}, {nullptr, false}}) {
    target = value;
    const auto findings = findings_of(pod);
    EXPECT_EQ(fields_of(findings),
              refused ? std::vector<std::string>{"spec.ephemeralContainers[0].targetContainerName"}
                      : std::vector<std::string>{})
        << value << tell(findings);
  }
}

TEST(Controls, AreFullyDescribed) {
  std::set<std::string_view> ids;
  std::vector<Control> all;
  for (const auto table : {controls(), guards()})
    all.insert(all.end(), table.begin(), table.end());
  for (const Control& control : all) {
    SCOPED_TRACE(control.id);
    EXPECT_TRUE(ids.insert(control.id).second) << "two controls with one id";
    EXPECT_FALSE(control.title.empty());
    EXPECT_FALSE(control.why.empty());
    EXPECT_FALSE(control.remedy.empty());
    EXPECT_FALSE(control.references.empty());
    EXPECT_EQ(control.why.back(), '.');
    EXPECT_NE(control.remedy.back(), '.');
    ASSERT_NE(find_control(control.id), nullptr);
    EXPECT_EQ(find_control(control.id)->id, control.id);
    EXPECT_EQ(control.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos);
  }
  EXPECT_EQ(find_control("no-such-control"), nullptr);
  EXPECT_EQ(find_control(""), nullptr);
}

// They judge requests: whoever walks over the pods' table meets none of them, and whoever has a
// finding finds it.
TEST(Guards, StandBesideTheTableOfPods) {
  const std::set<std::string_view> wanted{kSessionAccess,    kSchedulerBinding, kAgentIdentity,
                                          kWorkspaceObjects, kAgentRights,      kNamespaceLabels,
                                          kPalisadeObjects,  kWorkspaceCreator, kWorkspaceBounds};
  std::set<std::string_view> ids;
  for (const Control& guard : guards()) {
    ids.insert(guard.id);
    EXPECT_TRUE(guard.is_guard && guard.needs_cluster) << guard.id;
    EXPECT_EQ(guard.check, nullptr) << guard.id;
    EXPECT_EQ(guard.cel, nullptr) << guard.id;
  }
  EXPECT_EQ(ids, wanted);
  for (const Control& control : controls()) {
    EXPECT_FALSE(control.is_guard) << control.id;
    EXPECT_NE(control.check, nullptr) << control.id;
  }
}

TEST(Guards, TellWhyAndWhatToDo) {
  for (const Control& guard : guards()) {
    const std::string told =
        explain(std::vector<Finding>{{guard.id, "metadata.name", "\"x\"", "is refused"}});
    EXPECT_NE(told.find("\n[" + std::string(guard.id) + "] " + std::string(guard.title) + "\n"),
              std::string::npos)
        << told;
    EXPECT_NE(
        told.find("\n  why: " + std::string(guard.why) + "\n  fix: " + std::string(guard.remedy)),
        std::string::npos)
        << told;
  }
}

// A pod-level value is judged even where every container overrides it; one at container level wins.
TEST(Controls, ResolvePodAndContainerLevelAsTheKubeletDoes) {
  const std::vector<std::pair<std::string, json>> fields{
      {"runAsNonRoot", true},
      {"runAsUser", 1001},
      {"runAsGroup", 1001},
      {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  for (const auto& [field, good] : fields) {
    SCOPED_TRACE(field);
    json pod = good_pod();
    // Only at container level.
    pod["spec"]["securityContext"].erase(field);
    for (const char* list : {"containers", "initContainers"}) {
      for (json& container : pod["spec"][list])
        container["securityContext"][field] = good;
    }
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
    // Null is absent, so the pod's value is inherited.
    pod = good_pod();
    pod["spec"]["containers"][0]["securityContext"][field] = nullptr;
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
    // No securityContext at all: what is inherited still holds, the rest is found.
    pod["spec"]["containers"][0].erase("securityContext");
    EXPECT_EQ(controls_of(findings_of(pod)),
              (std::set<std::string>{"no-privilege-escalation", "drop-all-capabilities",
                                     "read-only-root-filesystem"}));
  }
}

TEST(Controls, GoodVariantsPass) {
  const std::string c = "/spec/containers/0/";
  const std::vector<Change> changes{
      {c + "securityContext/procMount", R"("Default")"},
      {c + "securityContext/procMount", R"("")"},
      {c + "securityContext/appArmorProfile", R"({"type": "RuntimeDefault"})"},
      {c + "securityContext/seLinuxOptions", R"({"type": "container_t", "level": "s0:c1,c2"})"},
      {c + "securityContext/seLinuxOptions", R"({"type": "container_engine_t", "user": ""})"},
      {c + "securityContext/capabilities", R"({"drop": ["NET_RAW", "ALL"], "add": []})"},
      {c + "securityContext/capabilities/add", "null"},
      {c + "securityContext/windowsOptions", R"({"hostProcess": false})"},
      {c + "securityContext/runAsUser", "1.0e3"},
      {c + "securityContext/privileged", "null"},
      {c + "ports", R"([{"containerPort": 80, "hostPort": 0}])"},
      {c + "ports", "null"},
      {c + "livenessProbe", R"({"httpGet": {"port": 80, "host": ""}})"},
      {c + "livenessProbe", R"({"grpc": {"port": 80}})"},
      {c + "lifecycle", R"({"preStop": {"exec": {"command": ["sync"]}}})"},
      {c + "volumeDevices", "[]"},
      {c + "resources/claims", "[]"},
      {c + "volumeMounts/0/mountPropagation", R"("None")"},
      {c + "terminationMessagePath", R"("/dev/termination-log")"},
      {c + "aFieldOfTheFuture", "null"},
      {"/spec/resourceClaims", "[]"},
      {"/spec/os", R"({"name": "linux"})"},
      {"/spec/terminationGracePeriodSeconds", "600"},
      {"/spec/priorityClassName", R"("batch")"},
      {"/spec/priority", "1000000000"},
      {"/spec/tolerations",
       R"([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}])"},
      {"/spec/affinity", R"({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "kubernetes.io/hostname", "namespaces": []}],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm":
          {"topologyKey": "z", "namespaceSelector": {}}}]}})"},
      {"/metadata/annotations/example.com~1cdi.k8s.io", R"("x")"},
      {"/metadata/annotations/notcrio.io~1x", R"("x")"},
      {c + "resources/limits", R"({"cpu": 2, "memory": 1073741824, "ephemeral-storage": "1e9"})"},
      {c + "resources/limits/cpu", "0.5"},
      {c + "resources/limits/cpu", R"("8000m")"},
      {c + "resources/limits/memory", R"("16Gi")"},
      {c + "resources/limits/nvidia.com~1gpu", R"("1")"},
      {c + "envFrom", R"([{"configMapRef": {"name": "c"}}])"},
      {c + "env/0", R"({"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})"},
      {"/spec/hostNetwork", "false"},
      {"/spec/shareProcessNamespace", "null"},
      {"/spec/activeDeadlineSeconds", "86400"},
      {"/spec/activeDeadlineSeconds", "1"},
      {"/spec/securityContext/sysctls", "[]"},
      {"/spec/securityContext/supplementalGroups", "[2000]"},
      {"/spec/securityContext/fsGroup", "null"},
      {"/spec/resources", R"({"limits": {"cpu": "2", "memory": "4Gi"}})"},
      {"/spec/volumes", "null"},
      {"/spec/volumes/0/emptyDir/sizeLimit", "1024"},
      {"/metadata/annotations", "null"},
      {"/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1aider",
       R"("runtime/default")"},
      {"/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", R"("runtime/default")"},
      {"/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1aider",
       R"("docker/default")"},
      {"/metadata/annotations/example.com~1note", R"("unconfined")"},
  };
  for (const auto& [pointer, text] : changes) {
    SCOPED_TRACE(pointer + " = " + text);
    json pod = good_pod();
    apply(pod, {pointer, text});
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
  }
}

// What other objects decide is never found in a pod alone, nor said to be.
TEST(Controls, TwoNeedTheClusterAndFindNothingWithoutIt) {
  for (const char* const id : {"deny-all-network", "image-signature"}) {
    const Control* const control = find_control(id);
    ASSERT_NE(control, nullptr) << id;
    EXPECT_TRUE(control->needs_cluster) << id;
    for (const char* text :
         {"{}", "null", R"({"spec": {"containers": [{}], "hostNetwork": true}})"})
      EXPECT_FALSE(controls_of(findings_of(std::string(text))).contains(id)) << id << ": " << text;
  }
  EXPECT_EQ(std::ranges::count_if(controls(), [](const Control& c) { return c.needs_cluster; }), 2);
}

// The scheduler's own work is no finding: a pod that it placed, and the same pod as it was before.
TEST(Controls, APlacedPodKeepsItsNode) {
  json pod = good_pod();
  pod["spec"]["nodeName"] = "";
  EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
  pod["spec"]["nodeName"] = "node-1";
  pod["status"] = {{"phase", "Running"},
                   {"conditions",
                    {{{"type", "Initialized"}, {"status", "True"}},
                     {{"type", "PodScheduled"}, {"status", "True"}}}}};
  EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
  for (const char* conditions :
       {"null", "[]", R"("PodScheduled")", R"(["PodScheduled"])", R"([{"type": "PodScheduled"}])",
        R"([{"type": "PodScheduled", "status": true}])",
        R"([{"type": "Ready", "status": "True"}])"}) {
    pod["status"]["conditions"] = json::parse(conditions);
    EXPECT_EQ(fields_of(findings_of(pod)), std::vector<std::string>{"spec.nodeName"}) << conditions;
  }
}

TEST(Controls, ImagesAreTakenFromTheListedRegistriesInFull) {
  const auto judge = [](const Settings& settings, const std::string& image) {
    json pod = good_pod();
    for (const char* list : {"containers", "initContainers"}) {
      for (json& container : pod["spec"][list])
        container["image"] = image;
    }
    return findings_of(pod, settings).size();
  };
  const std::string digest = "@sha256:" + std::string(64, 'a');
  const Settings listed = registries({"registry.example.com/team", "mirror.example.org:5000/"});
  for (const char* image : {"registry.example.com/team/aider:1", "registry.example.com/team/a/b",
                            "mirror.example.org:5000/x"}) {
    EXPECT_EQ(judge(listed, image), 0U) << image;
  }
  for (const char* image : {"registry.example.com/other/aider", "registry.example.com/teams/aider",
                            "mirror.example.org/x", "mirror.example.org:50001/x"}) {
    EXPECT_EQ(judge(listed, image), 3U) << image;
  }
  EXPECT_EQ(judge(registries({}), "registry.example.com/team/aider"), 3U)
      << "an empty list is none";
  EXPECT_EQ(judge(registries({"/"}), "/x"), 3U) << "a prefix of nothing lets nothing pass";

  Settings digests;
  digests.require_digests = true;
  EXPECT_EQ(judge(digests, "nginx" + digest), 0U);
  EXPECT_EQ(judge(digests, "nginx:1" + digest), 0U);
  EXPECT_EQ(judge(digests, "nginx@sha512:" + std::string(128, '0')), 0U);
  for (const std::string& image :
       {std::string("nginx"), std::string("nginx:1"), "nginx@sha256:" + std::string(63, 'a'),
        "nginx@sha256:" + std::string(64, 'A'), "nginx" + digest + "a", "nginx" + digest + "@x",
        "nginx@md5:" + std::string(32, 'a'), "nginx@" + std::string(64, 'a'),
        "nginx@sha512:" + std::string(64, 'a')}) {
    EXPECT_EQ(judge(digests, image), 3U) << image;
  }
}

TEST(Controls, RuntimeClassesAreThoseOfTheSettings) {
  json pod = good_pod();
  EXPECT_TRUE(findings_of(pod, classes({"", "gvisor"})).empty());
  pod["spec"]["runtimeClassName"] = "gvisor";
  EXPECT_TRUE(findings_of(pod, classes({"", "gvisor"})).empty());
  EXPECT_TRUE(findings_of(pod).empty());
  EXPECT_EQ(findings_of(pod, classes({})).size(), 1U);
  EXPECT_EQ(findings_of(pod, classes({""})).size(), 1U);
}

TEST(Controls, SettingsDecideWhatTheySay) {
  Settings settings;
  json pod = good_pod();
  pod["spec"].erase("hostUsers");
  settings.require_user_namespace = false;
  EXPECT_TRUE(findings_of(pod, settings).empty());

  pod = good_pod();
  pod["spec"]["securityContext"]["seccompProfile"] = {{"type", "Localhost"},
                                                      {"localhostProfile", "agent.json"}};
  pod["metadata"]["annotations"]["seccomp.security.alpha.kubernetes.io/pod"] =
      "localhost/agent.json";
  EXPECT_EQ(findings_of(pod).size(), 2U) << tell(findings_of(pod));
  settings = {};
  settings.allowed_seccomp_localhost_profiles = {"agent.json"};
  EXPECT_TRUE(findings_of(pod, settings).empty());

  settings = {};
  settings.max_lifetime_seconds = 7199;
  settings.max_cpu_millis = 1999;
  settings.max_memory_bytes = (2LL << 30) - 1;
  settings.max_ephemeral_bytes = (4LL << 30) - 1;
  settings.max_empty_dir_bytes = (4LL << 30) - 1;
  EXPECT_EQ(
      fields_of(findings_of(good_pod(), settings)),
      (std::vector<std::string>{
          "spec.volumes[0].emptyDir.sizeLimit", "spec.containers[0].resources.limits.cpu",
          "spec.containers[0].resources.limits.memory",
          "spec.containers[0].resources.limits.ephemeral-storage", "spec.activeDeadlineSeconds"}));
}

TEST(Controls, PrefixGoesBeforeEachPath) {
  json pod = good_pod();
  pod["spec"]["hostPID"] = true;
  pod["metadata"]["annotations"]["seccomp.security.alpha.kubernetes.io/pod"] = "unconfined";
  EXPECT_EQ(
      fields_of(findings_of(pod, {}, "spec.jobTemplate.spec.template.")),
      (std::vector<std::string>{
          R"(spec.jobTemplate.spec.template.metadata.annotations["seccomp.security.alpha.kubernetes.io/pod"])",
          "spec.jobTemplate.spec.template.spec.hostPID"}));
}

TEST(Controls, FindingsComeInTheTablesOrder) {
  const auto findings = findings_of(json::parse(R"({"spec": {"containers": [{}, {}]}})"));
  std::size_t last = 0;
  for (const Finding& finding : findings) {
    const auto at = static_cast<std::size_t>(find_control(finding.control) - controls().data());
    EXPECT_GE(at, last);
    last = at;
  }
  EXPECT_GT(findings.size(), 20U);
}

}  // namespace
}  // namespace palisade::policy::testing
