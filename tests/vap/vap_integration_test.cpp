// The same verdict from both guards: the API server with what `palisade render vap` prints, and the
// policy that the webhook asks, on every fixture there is.
#include <map>

#include "policy/breaks.h"
#include "policy/disguises.h"
#include "vap/both.h"
#include "vap/podsecurity.h"

namespace palisade::vap::testing {
namespace {

using policy::Settings;
using policy::testing::apply;
using policy::testing::good_pod;
using policy::testing::kGone;

TEST_F(Vap, GoodPodsPass) {
  agree("good", good_pod());
  json variant = good_pod();
  variant["metadata"].erase("labels");
  variant["metadata"].erase("ownerReferences");
  agree("good without marks", variant);
  variant = good_pod();
  variant["spec"]["tolerations"] = {{{"key", "a"}, {"operator", "Exists"}}};
  variant["metadata"]["annotations"]["example.com/note"] = "unconfined";
  agree("good with more", variant);
  agree("good where all are judged", good_pod(), {}, "guard-all");
}

TEST_F(Vap, EveryBrokenContainerIsNamedAlike) {
  for (const auto& broken : policy::testing::container_breaks()) {
    if (!(broken.settings == Settings{})) continue;
    for (const std::string place : {"/spec/containers/0", "/spec/initContainers/0"}) {
      json pod = good_pod();
      for (const auto& change : broken.changes)
        apply(pod, change, place);
      agree(broken.control + ": " + broken.name + " at " + place, storable(std::move(pod)));
    }
  }
}

TEST_F(Vap, EveryBrokenPodIsNamedAlike) {
  for (const auto& broken : policy::testing::pod_breaks()) {
    if (!(broken.settings == Settings{})) continue;
    json pod = good_pod();
    for (const auto& change : broken.changes)
      apply(pod, change);
    agree(broken.control + ": " + broken.name, storable(std::move(pod)));
  }
  // Others the API server refuses; together they may stand.
  json windows = good_pod();
  windows["spec"] = {{"os", {{"name", "windows"}}},
                     {"containers", {{{"name", "x"}, {"image", "x"}}}}};
  agree("linux-only: Windows and nothing else", windows);
  json claims = good_pod();
  claims["spec"]["resourceClaims"] = {{{"name", "nic"}, {"resourceClaimName", "sriov"}}};
  claims["spec"]["containers"][0]["resources"]["claims"] = {{{"name", "nic"}}};
  agree("no-device-claims: a claim used", claims);
  json host_port = good_pod();
  host_port["spec"]["containers"][0]["ports"] = {{{"containerPort", 80}, {"hostPort", 80}}};
  agree("host-ports: one", host_port);
}

// What the API server stores only together with something else.
TEST_F(Vap, BrokenInWaysThatNeedMore) {
  json process = good_pod();
  json& spec = process["spec"];
  spec.erase("hostUsers");
  spec["hostNetwork"] = true;
  spec["securityContext"] = {{"windowsOptions", {{"hostProcess", true}}}};
  for (const char* list : {"containers", "initContainers"}) {
    for (json& container : spec[list])
      container.erase("securityContext");
  }
  agree("no-windows-host-process: all containers", process);
  json device = good_pod();
  device["spec"].erase("hostUsers");
  device["spec"]["containers"][0]["volumeDevices"] = {{{"name", "disk"}, {"devicePath", "/dev/x"}}};
  device["spec"]["volumes"].push_back(
      {{"name", "disk"}, {"persistentVolumeClaim", {{"claimName", "disk"}}}});
  agree("no-block-devices: a claim's", device);
  json mounts = good_pod();
  mounts["spec"]["containers"][0]["volumeMounts"][0]["mountPropagation"] = "HostToContainer";
  agree("no-mount-propagation: to the container", mounts);
  mounts["spec"]["containers"][0]["volumeMounts"][0]["mountPropagation"] = "Bidirectional";
  mounts["spec"]["containers"][0]["securityContext"]["privileged"] = true;
  agree("no-mount-propagation: both ways", storable(mounts));
  json none = good_pod();
  none["spec"]["containers"][0]["resources"] = {
      {"limits", {{"cpu", "0"}, {"memory", "0"}, {"ephemeral-storage", "0"}}}};
  agree("resource-limits: zero", none);
  none["spec"]["containers"][0]["resources"]["limits"] = {
      {"cpu", "8.0001"}, {"memory", "1.5e10"}, {"ephemeral-storage", "0.031Ti"}};
  agree("resource-limits: odd quantities", none);
  none["spec"]["containers"][0]["resources"]["limits"] = {
      {"cpu", "7999.5m"}, {"memory", "16777216Ki"}, {"ephemeral-storage", "3e10"}};
  agree("resource-limits: odd quantities within", none);
}

TEST_F(Vap, PodSecurityFixtures) {
  for (const PodSecurityFixture& fixture : pod_security_fixtures())
    agree(fixture.title(), fixture.pod);
}

TEST_F(Vap, BareAndGarbledPods) {
  const json owner = good_pod()["metadata"]["ownerReferences"];
  for (const char* container :
       {R"({})", R"({"command": []})", R"({"env": [], "envFrom": []})",
        R"({"securityContext": {}})", R"({"securityContext": {"capabilities": {}}})",
        R"({"resources": {"limits": {}}})", R"({"ports": [], "volumeMounts": []})",
        R"({"livenessProbe": {"exec": {}}})", R"({"lifecycle": {}})",
        R"({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})",
        R"({"env": [{"name": "A"}, {"name": "B", "value": ""}]})",
        R"({"env": [{"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})",
        R"({"args": ["", "", "--x="]})"}) {
    json pod = {{"metadata", {{"labels", {{"palisade.dev/agent", ""}}}}},
                {"spec", {{"containers", {json::parse(container)}}}}};
    pod["spec"]["containers"][0]["name"] = "x";
    pod["spec"]["containers"][0]["image"] = "x";
    agree(std::string("bare: ") + container, pod);
  }
  for (const char* spec :
       {R"({"volumes": []})", R"({"volumes": [{"name": "a"}]})",
        R"({"volumes": [{"name": "a", "projected": {"sources": []}}]})",
        R"({"volumes": [{"name": "a", "projected": {"sources": null}}]})",
        R"({"volumes": [{"name": "a", "emptyDir": {}}]})", R"({"securityContext": {}})",
        R"({"affinity": {}, "tolerations": [], "hostAliases": [{"ip": "127.0.0.1"}]})",
        R"({"initContainers": [], "ephemeralContainers": []})"}) {
    json pod = {{"metadata", {{"ownerReferences", owner}}}, {"spec", json::parse(spec)}};
    pod["spec"]["containers"] = {{{"name", "x"}, {"image", "x"}}};
    agree(std::string("bare: ") + spec, pod);
  }
}

TEST_F(Vap, Keys) {
  const auto word = [](const std::string& name, const json& args) {
    json pod = good_pod();
    pod["spec"]["containers"][0]["args"] = args;
    agree("words: " + name, pod);
  };
  const auto variable = [](const std::string& name, const std::string& value) {
    json pod = good_pod();
    pod["spec"]["containers"][0]["env"] = {{{"name", name}, {"value", value}}};
    agree("variable: " + name + "=" + value, pod);
  };
  for (const char* name : {"OPENAI_API_KEY",
                           "openai_api_key",
                           "AIDER_OPENAI_API_KEY",
                           "API_KEY",
                           "SOMETHING_NEW_API_KEY",
                           "OPENAIAPIKEY",
                           "MY_APIKEY",
                           "HF_TOKEN",
                           "HUGGING_FACE_HUB_TOKEN",
                           "REPLICATE_API_TOKEN",
                           "ANTHROPIC_AUTH_TOKEN",
                           "GITHUB_TOKEN",
                           "AWS_SECRET_ACCESS_KEY",
                           "AWS_SESSION_TOKEN",
                           "AZURE_OPENAI_KEY",
                           "MAX_TOKEN",
                           "TOKENIZER",
                           "KEY",
                           "MONKEY",
                           "OPENAI_API_KEYS",
                           "OPENAI_API_BASE",
                           "PUBLIC_KEY",
                           "HOTKEY",
                           "TOKEN_COUNT",
                           "SECRET_KEY",
                           "MYSECRET_KEY"})
    variable(name, "abc");
  for (const char* value : {"",
                            "none",
                            "None",
                            "NONE",
                            "dummy",
                            "placeholder",
                            "not-needed",
                            "not_needed",
                            "NotNeeded",
                            "unused",
                            "sk-dummy",
                            "sk-none",
                            "fake-key",
                            "xxx",
                            "-",
                            "<none>",
                            "$(OTHER)",
                            "nonesuch",
                            "sk-1",
                            "1",
                            "secret",
                            "none1",
                            "dummy.key",
                            "openai=abc",
                            "openai=none",
                            "AIzaX",
                            "abc==",
                            "n\xC3\xB6ne",
                            "sk",
                            "\"none\"",
                            " none ",
                            "a=b=c"})
    variable("OPENAI_API_KEY", value);
  const std::string key = "sk-" + std::string("Zz09Zz09Zz09Zz09Zz09Zz09");
  for (const std::string& value :
       {key, "x " + key, "[" + key + "]", "https://u:" + key + "@example.com",
        "risk-" + key.substr(3), std::string("sk-short"),
        std::string("task-force-of-many-words-here")})
    variable("HARMLESS", value);
  word("flag and value", {"--openai-api-key", "abc"});
  word("flag and placeholder", {"--openai-api-key", "none"});
  word("flag without one", {"--openai-api-key"});
  word("flag, empty, other", {"--openai-api-key", "", "--model", "x"});
  word("flag=value", {"--openai-api-key=abc"});
  word("flag=placeholder", {"--openai-api-key=none"});
  word("shortened", {"--anth", "abc", "--api", "openai=none"});
  word("shortened with a provider's", {"--api", "openai=abc"});
  word("too short", {"--openai-api", "abc", "--ap", "abc"});
  word("one dash", {"-openai-api-key", "abc"});
  word("set-env", {"--set-env=OPENAI_API_KEY=abc"});
  word("set-env none", {"--set-env=OPENAI_API_KEY=none"});
  word("script", {"sh", "-c", "OPENAI_API_KEY=abc aider"});
  word("script, quoted", {"sh", "-c", "OPENAI_API_KEY=\"abc\" aider"});
  word("script, quoted none", {"sh", "-c", "OPENAI_API_KEY=\"none\" aider"});
  word("script, a reference", {"sh", "-c", "OPENAI_API_KEY=$KEY aider --api-key \"${KEY}\""});
  word("script, a flag", {"sh", "-c", "aider --openai-api-key 'abc' --model x"});
  word("a key alone", {key});
  word("a long message about keys",
       {"--message", "Rotate the API key, the token and " + std::string(4000, 'x')});
}

TEST_F(Vap, DisguisesAreSeenAlike) {
  const auto with = [](const json& fields) {
    json pod = {{"metadata", json::object()},
                {"spec", {{"containers", {{{"name", "c"}, {"image", "nginx"}}, fields}}}}};
    json& container = pod["spec"]["containers"][1];
    container["name"] = "x";
    if (!container.contains("image")) container["image"] = "nginx";
    return pod;
  };
  for (const char* const* images : {policy::testing::kAiderImages, policy::testing::kOtherImages}) {
    const std::size_t count = images == policy::testing::kAiderImages
                                  ? std::size(policy::testing::kAiderImages)
                                  : std::size(policy::testing::kOtherImages);
    for (std::size_t i = 0; i < count; ++i) {
      if (images[i][0] == '\0') continue;
      agree(std::string("image: ") + images[i], with({{"image", images[i]}}));
    }
  }
  const auto words = [&](const char* text) {
    const json list = json::parse(text);
    if (!list.is_array() || !std::ranges::all_of(list, [](const json& w) { return w.is_string(); }))
      return;
    agree(std::string("command: ") + text, with({{"command", list}}));
    agree(std::string("args: ") + text, with({{"args", list}}));
  };
  for (const char* text : policy::testing::kAiderCommands)
    words(text);
  for (const char* text : policy::testing::kOtherCommands)
    words(text);
  const json exec = {{"exec", {{"command", {"sh", "-c", "aider --version"}}}}};
  for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"})
    agree(std::string("probe: ") + probe, with({{probe, exec}}));
  for (const char* hook : {"postStart", "preStop"})
    agree(std::string("hook: ") + hook, with({{"lifecycle", {{hook, exec}}}}));
  agree("variable", with({{"env", {{{"name", "AIDER_MODEL"}, {"value", "x"}}}}}));
  agree("variable in lower case", with({{"env", {{{"name", "aider_yes"}}}}}));
  agree("another variable", with({{"env", {{{"name", "RAIDER_X"}, {"value", "AIDER_X"}}}}}));
  agree("variables",
        with({{"envFrom", {{{"prefix", "AIDER_"}, {"configMapRef", {{"name", "c"}}}}}}}));
  agree(
      "a variable read",
      with({{"env",
             {{{"name", "M"},
               {"valueFrom", {{"configMapKeyRef", {{"name", "c"}, {"key", "AIDER_MODEL"}}}}}}}}}));
  for (const char* metadata :
       {R"({"labels": {"palisade.dev/agent": "aider"}})",
        R"({"labels": {"palisade.dev/agent": ""}})",
        R"({"labels": {"palisade.dev/workspace": "w"}})",
        R"({"labels": {"palisade.dev/other": "w"}})", R"({"labels": {"Palisade.dev/Agent": "w"}})",
        R"({"ownerReferences": [{"kind": "Other", "apiVersion": "v1", "name": "a", "uid": "1"},
            {"kind": "AgentWorkspace", "apiVersion": "palisade.dev/v9", "name": "a", "uid": "2"}]})",
        R"({"ownerReferences": [{"kind": "AgentWorkspace", "apiVersion": "example.com/v1",
            "name": "a", "uid": "2"}]})"}) {
    json pod = with({{"image", "nginx"}});
    pod["metadata"] = json::parse(metadata);
    agree(std::string("metadata: ") + metadata, pod);
  }
  json first = with({{"image", "nginx"}});
  first["spec"]["initContainers"] = {{{"name", "i"}, {"image", "nginx"}, {"command", {"aider"}}}};
  agree("in an init container", first);
  json mounted = with({{"image", "nginx"}});
  mounted["spec"]["volumes"] = {{{"name", "v"}, {"image", {{"reference", "team/aider:1"}}}}};
  agree("an image that is mounted", mounted);
  agree("hidden: in base64",
        with({{"args", {"sh", "-c", "echo YWlkZXIgLS15ZXM= | base64 -d | sh"}}}));
  agree("hidden: in a variable", with({{"env", {{{"name", "TOOL"}, {"value", "/usr/bin/aider"}}}},
                                       {"command", {"$(TOOL)"}}}));
}

// The API server ends expressions that cost too much, and a policy that ends so denies: other
// people's pods must stay far from that, whatever is in them.
TEST_F(Vap, LargePodsAreJudgedToo) {
  std::string script;
  while (script.size() < 700'000)
    script += "echo 'the API key of raid and token, ai der' && curl -s \"$URL\" | sh\n";
  json big = {
      {"spec",
       {{"containers", {{{"name", "x"}, {"image", "nginx"}, {"command", {"sh", "-c", script}}}}}}}};
  const Verdict passed = cluster_->create(resources::kPods, "team-a", big);
  EXPECT_TRUE(passed.created) << passed.text.substr(0, 500);

  json many = {{"spec", {{"containers", json::array()}}}};
  for (int i = 0; i < 60; ++i) {
    json container = {{"name", "c" + std::to_string(i)}, {"image", "registry.example.com/x:1"}};
    for (int j = 0; j < 40; ++j) {
      container["env"].push_back({{"name", "V" + std::to_string(j)}, {"value", "some value"}});
      container["args"].push_back("--option-" + std::to_string(j) + "=value");
    }
    many["spec"]["containers"].push_back(container);
  }
  const Verdict several = cluster_->create(resources::kPods, "team-a", many);
  EXPECT_TRUE(several.created) << several.text.substr(0, 500);
  // The same as an agent's: refused for what is wrong with it, not for its size.
  many["metadata"]["labels"]["palisade.dev/agent"] = "aider";
  agree("a large agent pod", many);

  json task = good_pod();
  std::string message = "Rotate the API key and the token. ";
  while (message.size() < 20'000)
    message += "Then make the login form accept spaces, and mention it in the key-file.\n";
  task["spec"]["containers"][0]["args"] = {"--model", "openai/gpt-4o", "--message", message};
  agree("a long task", task);
  task["spec"]["containers"][0]["args"].push_back("--openai-api-key=abc");
  agree("a long task and a key", task);
}

// After all others, as the fixtures are listed: every control with a twin was named by both.
TEST_F(Vap, ZEveryTwinWasSeen) {
  for (const policy::Control& control : policy::controls()) {
    if (control.needs_cluster) {
      EXPECT_EQ(control.cel, nullptr) << control.id;
      continue;
    }
    EXPECT_NE(control.cel, nullptr) << control.id;
    EXPECT_EQ(seen_.contains(std::string(control.id)),
              !kNeverStored.contains(std::string(control.id)))
        << control.id;
  }
  std::string told;
  for (const auto& [name, text] : refused_by_itself_)
    told += "\n  " + name + ": " + text;
  EXPECT_GT(judged_, 300);
  EXPECT_LT(refused_by_itself_.size(), 80U) << told;
  if (std::getenv("PALISADE_TEST_VERBOSE") != nullptr)
    std::cout << judged_ << " judged" << told << "\n";
}

}  // namespace
}  // namespace palisade::vap::testing
