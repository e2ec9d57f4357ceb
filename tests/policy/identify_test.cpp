// What counts as an Aider pod, disguises and look-alikes included.
#include <gtest/gtest.h>

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
  for (const char* image :
       {"aider", "aider:latest", "paulgauthier/aider", "paulgauthier/aider-full:v0.86",
        "registry.example.com:5000/palisade/aider@sha256:00", "example.com/aider/runner",
        "EXAMPLE.com/Tools/AIDER", "localhost/palisade/aider:dev", "team/my-aider-image", "myaider",
        "aider/chat", "example.com:443/a/b/xaiderx:tag@sha256:0"}) {
    EXPECT_EQ(with_container(R"("image": ")" + std::string(image) + "\""),
              "aider is in the path of an image")
        << image;
  }
  for (const char* image :
       {"nginx", "nginx:aider", "nginx:1.0-aider", "registry.example.com/nginx@sha256:aider",
        "aider.example.com/nginx", "aider.example.com:5000/nginx", "example.com:5000/nginx", "",
        "aide", "ai/der", "a:ider"}) {
    EXPECT_EQ(with_container(R"("image": ")" + std::string(image) + "\""), "") << image;
  }
}

TEST(Identify, CommandLines) {
  for (const char* words : {R"(["aider"])",
                            R"(["/usr/local/bin/aider"])",
                            R"(["AIDER"])",
                            R"(["Aider.exe"])",
                            R"(["aider-chat"])",
                            R"(["/opt/x/aider-install", "-y"])",
                            R"(["./aider"])",
                            R"(["python3", "-m", "aider"])",
                            R"(["python3", "-m", "aider.main"])",
                            R"(["python3", "-maider"])",
                            R"(["python3", "-Imaider"])",
                            R"(["python3", "-Im", "aider"])",
                            R"(["sh", "-c", "exec aider --yes"])",
                            R"(["sh", "-c", "cd /x && python -m aider"])",
                            R"(["sh", "-c", "cd /x;aider"])",
                            R"(["bash", "-lc", "\"aider\" 'x'"])",
                            R"j(["sh", "-c", "$(which aider)"])j",
                            R"(["env", "A=b", "/venv/bin/aider"])",
                            R"(["pip", "install", "aider-chat"])",
                            R"(["python", "/x/site-packages/aider/__main__.py"])",
                            R"(["python3", "/x/aider/main.py"])",
                            R"(["python3", "-c", "from aider.main import main"])",
                            R"(["C:\\tools\\aider.exe"])",
                            R"(["--program=aider"])",
                            R"(["x", "\naider\n"])"}) {
    EXPECT_EQ(with_container(R"("command": )" + std::string(words)), "a command line runs aider")
        << words;
    EXPECT_EQ(with_container(R"("args": )" + std::string(words)), "a command line runs aider")
        << words;
  }
  for (const char* words :
       {R"(["nginx", "-g", "daemon off;"])", R"(["--name=raider"])", R"(["raider"])",
        R"(["/opt/raider/bin"])", R"(["tomb-raider"])", R"(["aiders"])", R"(["aider2"])",
        R"(["python3", "-m", "raider"])", R"(["python3", "-mraider"])", R"(["-Maid", "er"])",
        R"(["--maider"])", R"(["-m", "aid", "er"])", R"(["braider-m"])", R"(["my-aider"])",
        R"([1, null, {}])", R"("aider")", R"({"aider": 1})", R"(["/aider.d/../nginx"])",
        R"(["x", ""])"}) {
    EXPECT_EQ(with_container(R"("command": )" + std::string(words)), "") << words;
    EXPECT_EQ(with_container(R"("args": )" + std::string(words)), "") << words;
  }
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

TEST(Identify, EveryKindOfContainer) {
  for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
    EXPECT_NE(
        reason(R"({"spec": {")" + list + R"(": [{"image": "nginx"}, {"command": ["aider"]}]}})"),
        "")
        << list;
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
