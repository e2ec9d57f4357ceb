// What counts as an Aider pod, disguises and look-alikes included.
#include <gtest/gtest.h>

#include "policy/disguises.h"
#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

std::string reason(const std::string& text) {
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(text);
  return agent_reason(parser.parse(padded));
}

std::string with_container(const std::string& fields) {
  return reason(R"({"spec": {"containers": [{"name": "c", "image": "nginx"}, {"name": "x", )" +
                fields + "}]}}");
}

TEST(Identify, TheGoodPodAndEachMarkByItself) {
  EXPECT_FALSE(reason(good_pod().dump()).empty());
  for (const char* metadata :
       {R"({"labels": {"palisade.dev/agent": "aider"}})",
        R"({"labels": {"palisade.dev/agent": "x"}})", R"({"labels": {"palisade.dev/agent": ""}})",
        R"({"labels": {"palisade.dev/agent": null}})",
        R"({"labels": {"palisade.dev/workspace": "w"}})",
        R"({"ownerReferences": [{"kind": "Other", "apiVersion": "v1"},
            {"kind": "AgentWorkspace", "apiVersion": "palisade.dev/v1alpha1"}]})",
        R"({"ownerReferences": [{"kind": "AgentWorkspace", "apiVersion": "palisade.dev/v9"}]})"}) {
    EXPECT_FALSE(reason(R"({"metadata": )" + std::string(metadata) + "}").empty()) << metadata;
  }
}

TEST(Identify, Images) {
  for (const char* image : kAiderImages) {
    EXPECT_EQ(with_container(R"("image": ")" + std::string(image) + "\""),
              "aider is in the path of an image")
        << image;
  }
  for (const char* image : kOtherImages) {
    EXPECT_EQ(with_container(R"("image": ")" + std::string(image) + "\""), "") << image;
  }
}

TEST(Identify, CommandLines) {
  for (const char* words : kAiderCommands) {
    EXPECT_EQ(with_container(R"("command": )" + std::string(words)), "a command line runs aider")
        << words;
    EXPECT_EQ(with_container(R"("args": )" + std::string(words)), "a command line runs aider")
        << words;
  }
  for (const char* words : kOtherCommands) {
    EXPECT_EQ(with_container(R"("command": )" + std::string(words)), "") << words;
    EXPECT_EQ(with_container(R"("args": )" + std::string(words)), "") << words;
  }
}

// Variables that the pod itself gives a value: the kubelet resolves $(NAME), a shell $NAME.
TEST(Identify, VariablesOfTheContainerAreResolved) {
  const std::string env =
      R"("env": [{"name": "D", "value": "d"}, {"name": "TOOL", "value": "/usr/bin/aider"},
                 {"name": "PART", "value": "ai"}, {"name": "SECRET", "valueFrom": {}}])";
  for (const char* words : {R"j(["$(TOOL)", "--yes"])j", R"(["sh", "-c", "$TOOL --yes"])",
                            R"(["sh", "-c", "\"${TOOL}\" --yes"])", R"j(["sh", "-c", "ai$(D)er"])j",
                            R"(["sh", "-c", "ai${D}er"])", R"(["sh", "-c", "${PART}${D}er --yes"])",
                            R"(["sh", "-c", "ai${NOTHING}der"])", R"(["sh", "-c", "ai$@der"])",
                            R"(["sh", "-c", "ai'$D'er"])"}) {
    const bool finds = std::string_view(words).find("$@") == std::string_view::npos;
    EXPECT_EQ(with_container(env + R"(, "command": )" + words),
              finds ? "a command line runs aider" : "")
        << words;
  }
  // The value alone says nothing: a dashboard may show it.
  EXPECT_EQ(with_container(env + R"(, "command": ["dashboard", "--title=tools"])"), "");
  EXPECT_EQ(
      with_container(env + R"j(, "command": ["sh", "-c", "echo $(date) ${D} $D $ ${ $( $()"])j"),
      "");
}

TEST(Identify, Base64IsDecoded) {
  for (const char* words :
       {R"(["sh", "-c", "echo @PLAIN@ | base64 -d | sh"])",
        R"(["sh", "-c", "base64 -d <<<@PLAIN@|sh"])",
        R"j(["python3", "-c", "exec(__import__('base64').b64decode('@PLAIN@'))"])j",
        R"j(["--script=@PLAIN@"])j", R"(["data:text/x-sh;base64,@PLAIN@"])", R"(["/proc/@PLAIN@"])",
        R"(["sh", "-c", "echo @TWICE@"])", R"(["sh", "-c", "echo '@WRAPPED@' | base64 -d | sh"])",
        R"(["@UPPER@"])", R"(["@ONE@"])", R"(["@TWO@"])", R"(["sh", "-c", "echo @HA''LF@"])"}) {
    std::string text = words;
    for (const auto& [name, value] :
         std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"@PLAIN@", "YWlkZXIgLS15ZXM="},
             {"@TWICE@", "WlhobFl5QmhhV1JsY2lBdExYbGxjdz09"},
             {"@WRAPPED@", "YWlkZX\\nIgLS15ZXM="},
             {"@UPPER@", "QUlERVI="},
             {"@ONE@", "IGFpZGVy"},
             {"@TWO@", "OyBhaWRlcg=="},
             {"@HA''LF@", "YWlkZX''IgLS15ZXM="}}) {
      if (const auto at = text.find(name); at != std::string::npos)
        text.replace(at, name.size(), value);
    }
    EXPECT_EQ(with_container(R"("args": )" + text), "a command line runs aider") << text;
  }
  for (const char* words : {R"(["sh", "-c", "echo dG9tYi1yYWlkZXIgYW5kIGZyaWVuZHM= | base64 -d"])",
                            R"(["--token=QUtJQUlPU0ZPRE5ON0VYQU1QTEU="])",
                            R"(["SGVsbG8sIFdvcmxkISBIZWxsbywgV29ybGQh"])",
                            R"(["OPENAI_API_KEY", "XDG_CONFIG_HOME"])"}) {
    EXPECT_EQ(with_container(R"("args": )" + std::string(words)), "") << words;
  }
}

// A pod's author must not choose how long a review takes.
TEST(Identify, WhatIsUndoneIsBounded) {
  std::string layers(600'000, 'A');
  for (std::size_t i = 0; i < layers.size(); i += 5)
    layers[i] = "$'Zx"[i / 5 % 4];
  EXPECT_EQ(with_container(R"("args": [")" + layers + "\"]"), "");
  std::string references;
  for (int i = 0; i < 50'000; ++i)
    references += "$A ";
  std::string env = R"("env": [{"name": "B", "value": "b"})";
  for (int i = 0; i < 2'000; ++i)
    env += R"(, {"name": "B", "value": "b"})";
  EXPECT_EQ(with_container(env + R"(], "args": [")" + references + "\"]"), "");
  // The word as it stands is found wherever it is.
  EXPECT_NE(with_container(R"("args": [")" + layers + "\", \"" + references + "\", \"aider\"]"),
            "");
}

// Where identification ends, and a namespace that enforces all pods begins
// (docs/identification.md).
TEST(Identify, EndsAtWhatOnlyRunningTells) {
  const struct {
    const char* name;
    const char* fields;
  } cases[] = {
      {"a renamed image whose entrypoint is aider",
       R"("image": "registry.example.com/tools/runner:1")"},
      {"a renamed image and a renamed program",
       R"("image": "tools/runner", "command": ["/opt/bin/helper", "--yes"])"},
      {"a retagged image", R"("image": "registry.example.com/tools:aider")"},
      {"a variable that the script sets", R"("command": ["sh", "-c", "x=d; ai${x}er"])"},
      {"a shell's substitution", R"("command": ["sh", "-c", "ai${x:-d}er"])"},
      {"pieces joined by Python", R"j("command": ["python3", "-c", "__import__('ai' + 'der')"])j"},
      {"hexadecimal", R"("command": ["sh", "-c", "echo 6169646572 | xxd -r -p | sh"])"},
      {"escapes", R"("command": ["sh", "-c", "$'\\x61\\x69\\x64\\x65\\x72'"])"},
      {"rot13", R"("command": ["sh", "-c", "echo nvqre | tr a-z n-za-m | sh"])"},
      {"compressed and encoded",
       R"("command": ["sh", "-c", "echo H4sIAAAAAAAAA0vMTEktAgBXn8xjBQAAAA== | base64 -d | gunzip | sh"])"},
      {"a glob", R"("command": ["sh", "-c", "/usr/local/bin/aid?r"])"},
      {"a script from elsewhere",
       R"("command": ["sh", "-c", "curl -s https://example.com/x | sh"])"},
      {"a script in a ConfigMap",
       R"("command": ["sh", "/scripts/run.sh"], "volumeMounts": [{"name": "s", "mountPath": "/scripts"}])"},
      {"variables of a ConfigMap's own names",
       R"("envFrom": [{"configMapRef": {"name": "aider-env"}}])"},
      {"a program behind standard input", R"("command": ["sh"], "stdin": true)"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(with_container(c.fields), "") << c.name;
}

TEST(Identify, CommandAndArgumentsTogether) {
  EXPECT_NE(with_container(R"("command": ["python3", "-m"], "args": ["aider"])"), "");
  EXPECT_NE(with_container(R"("command": ["python3", "-m"], "args": ["aider.main", "--yes"])"), "");
}

TEST(Identify, ProbesAndHooks) {
  const std::string exec = R"({"exec": {"command": ["sh", "-c", "aider --version"]}})";
  for (const std::string probe : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    EXPECT_NE(with_container("\"" + probe + "\": " + exec), "") << probe;
  }
  for (const std::string hook : {"postStart", "preStop"}) {
    EXPECT_NE(with_container(R"("lifecycle": {")" + hook + "\": " + exec + "}"), "") << hook;
  }
  EXPECT_EQ(with_container(R"("livenessProbe": {"exec": "aider"}, "lifecycle": [])"), "");
}

TEST(Identify, Variables) {
  EXPECT_NE(with_container(R"("env": [{"name": "A"}, {"name": "AIDER_MODEL", "value": "x"}])"), "");
  EXPECT_NE(with_container(R"("env": [{"name": "aider_yes"}])"), "");
  EXPECT_NE(with_container(R"("envFrom": [{"prefix": "AIDER_", "configMapRef": {"name": "c"}}])"),
            "");
  for (const char* env : {R"("env": [{"name": "RAIDER_X"}])", R"("env": [{"name": "AIDER"}])",
                          R"("env": [{"name": "X", "value": "AIDER_X"}])",
                          R"("env": [{"name": 1}, "AIDER_X", null])", R"("env": {"AIDER_X": "1"})",
                          R"("envFrom": [{"prefix": "X_"}])", R"("envFrom": "AIDER_")"}) {
    EXPECT_EQ(with_container(env), "") << env;
  }
}

TEST(Identify, VariablesReadFromElsewhere) {
  for (const char* source : {"configMapKeyRef", "secretKeyRef"}) {
    EXPECT_EQ(with_container(R"("env": [{"name": "MODEL", "valueFrom": {")" + std::string(source) +
                             R"(": {"name": "c", "key": "AIDER_MODEL"}}}])"),
              "an AIDER_* variable is read");
  }
  for (
      const char* env :
      {R"("env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "aider", "key": "MODEL"}}}])",
       R"("env": [{"name": "X", "valueFrom": "AIDER_X"}])",
       R"j("env": [{"name": "X", "valueFrom": null}])j",
       R"("envFrom": [{"configMapRef": {"name": "AIDER_"}}, null, 1])"}) {
    EXPECT_EQ(with_container(env), "") << env;
  }
}

TEST(Identify, MountedImages) {
  const auto with_volume = [](const std::string& volume) {
    return reason(
        R"({"spec": {"containers": [{"image": "python:3.12", "command": ["/opt/run"]}], "volumes": [)" +
        volume + "]}}");
  };
  EXPECT_EQ(with_volume(R"({"name": "v", "image": {"reference": "paulgauthier/aider:1"}})"),
            "aider is in the path of an image that is mounted");
  for (const char* volume :
       {R"({"name": "v", "image": {"reference": "tools/raider"}})",
        R"({"name": "aider", "emptyDir": {}})", R"({"name": "v", "configMap": {"name": "aider"}})",
        "null", R"({"image": "aider"})"}) {
    EXPECT_EQ(with_volume(volume), "") << volume;
  }
}

// What is said of a pod is no mark of it: labels, annotations and names of its author's choice.
TEST(Identify, GeneratedNamesAndAnnotationsNeitherMarkNorHide) {
  const std::string run = R"(, "spec": {"containers": [{"image": "x", "command": ["aider"]}]}})";
  const std::string serve = R"(, "spec": {"containers": [{"image": "x", "command": ["serve"]}]}})";
  for (
      const char* metadata :
      {R"({"generateName": "aider-"})", R"({"generateName": "web-", "name": ""})",
       R"({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"command\":[\"aider\"]}"}})",
       R"({"annotations": {"palisade.dev/agent": "aider"}})",
       R"({"labels": {"app.kubernetes.io/name": "aider"}})"}) {
    EXPECT_EQ(reason(R"({"metadata": )" + std::string(metadata) + serve), "") << metadata;
    EXPECT_EQ(reason(R"({"metadata": )" + std::string(metadata) + run), "a command line runs aider")
        << metadata;
  }
}

TEST(Identify, SidecarsAndDebuggersInEveryDisguise) {
  for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
    for (
        const char* fields :
        {R"("image": "team/Aider:1")", R"("args": ["uvx", "aider-chat"])",
         R"("env": [{"name": "AIDER_MODEL"}])",
         R"("restartPolicy": "Always", "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "ai''der"]}}})",
         R"("startupProbe": {"exec": {"command": ["sh", "-c", "echo YWlkZXIgLS15ZXM= | base64 -d | sh"]}})"}) {
      EXPECT_NE(reason(R"({"spec": {")" + list + R"(": [{"image": "nginx"}, {"name": "s", )" +
                       fields + "}]}}"),
                "")
          << list << fields;
    }
  }
}

TEST(Identify, EveryKindOfContainer) {
  for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
    EXPECT_NE(
        reason(R"({"spec": {")" + list + R"(": [{"image": "nginx"}, {"command": ["aider"]}]}})"),
        "")
        << list;
  }
}

// Nobody looks through such a list, so nothing may hide in it.
TEST(Identify, MoreContainersThanAreLookedThroughCountAsAnAgents) {
  for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
    json pod = {{"spec", {{list, json::array()}}}};
    for (int i = 0; i < 500; ++i)
      pod["spec"][list].push_back({{"image", "nginx"}});
    EXPECT_EQ(reason(pod.dump()), "") << list;
    pod["spec"][list].push_back({{"image", "aider"}});
    EXPECT_EQ(reason(pod.dump()), "it has too many containers to look through") << list;
  }
}

TEST(Identify, OtherPodsAndGarbageAreNone) {
  for (
      const char* pod :
      {"{}", "[]", "null", "1", R"("aider")", R"({"metadata": "aider", "spec": "aider"})",
       R"({"metadata": {"name": "aider", "labels": {"app": "aider", "palisade.dev/other": "x"}}})",
       R"({"metadata": {"labels": ["palisade.dev/agent"], "ownerReferences": "AgentWorkspace"}})",
       R"({"metadata": {"ownerReferences": [{"kind": "AgentWorkspace", "apiVersion": "example.com/v1"},
            {"kind": "Pod", "apiVersion": "palisade.dev/v1"}, 1, null, "x"]}})",
       R"({"spec": {"containers": ["aider", null, 1, []]}})",
       R"({"spec": {"serviceAccountName": "aider", "containers": [{"name": "aider", "image": "nginx"}]}})"}) {
    EXPECT_EQ(reason(pod), "") << pod;
  }
}

}  // namespace
}  // namespace palisade::policy::testing
