// The real program on real files: what it prints and what it exits with.
#include <policy/guards.h>

#include "cli/program.h"
#include "policy/fixture.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using policy::testing::good_pod;
using testing::has;

class Check : public testing::ProgramTest {};

json bad_pod() {
  json pod = good_pod();
  pod["spec"]["hostNetwork"] = true;
  return pod;
}

constexpr const char* kNginx = R"(apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
    - name: web
      image: nginx:1.27
)";

TEST_F(Check, GoodPod) {
  write("pod.json", good_pod().dump(2));
  const auto result = run("check -f pod.json");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_TRUE(has(result.out, "pod.json:1: Pod team-a/fix-login-agent (Aider pod: ")) << result.out;
  EXPECT_TRUE(has(result.out, "1 pod checked: 1 compliant, 0 with findings (0)\n")) << result.out;
  EXPECT_EQ(result.err, "");
}

TEST_F(Check, FindingsExitWithOne) {
  write("pod.json", bad_pod().dump(2));
  const auto result = run("check -f pod.json");
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "1 problem:\n[no-host-namespaces]")) << result.out;
  EXPECT_TRUE(has(result.out, "spec.hostNetwork: true - ")) << result.out;
  EXPECT_TRUE(has(result.out, "fix: ")) << result.out;
}

TEST_F(Check, StandardInput) {
  EXPECT_EQ(run("check -f -", good_pod().dump()).status, 0);
  const auto result = run("check -f -", bad_pod().dump());
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "<stdin>:1: Pod ")) << result.out;
}

TEST_F(Check, OtherPodsPassUnlessAllAreChecked) {
  write("web.yaml", kNginx);
  auto result = run("check -f web.yaml");
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(has(result.out, "web.yaml:1: Pod web: no Aider pod, not checked")) << result.out;
  EXPECT_TRUE(has(result.out, "0 pods checked: 0 compliant, 0 with findings (0); 1 no Aider pod"))
      << result.out;
  result = run("check -f web.yaml --all");
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "[run-as-non-root]")) << result.out;
  write("good.json", [] {
    json pod = good_pod();
    pod.erase("metadata");
    pod["spec"]["containers"][0]["image"] = "nginx";
    pod["spec"]["containers"][0]["command"] = {"nginx"};
    return pod.dump();
  }());
  EXPECT_EQ(run("check -f good.json --all").status, 0);
}

TEST_F(Check, YamlDocumentsTemplatesAndLists) {
  const std::string text =
      std::string(kNginx) +
      "---\n# comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
      "---\n" +
      json{{"apiVersion", "v1"},
           {"kind", "List"},
           {"items",
            json::array({good_pod(),
                         {{"apiVersion", "batch/v1"},
                          {"kind", "CronJob"},
                          {"metadata", {{"name", "nightly"}}},
                          {"spec", {{"jobTemplate", {{"spec", {{"template", bad_pod()}}}}}}}}})}}
          .dump(1) +
      "\n";
  write("all.yaml", text);
  const auto result = run("check -f all.yaml");
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_TRUE(has(result.out, "CronJob nightly")) << result.out;
  EXPECT_TRUE(
      has(result.out, "  items[1].spec.jobTemplate.spec.template.spec.hostNetwork: true - "))
      << result.out;
  EXPECT_TRUE(has(
      result.out,
      "2 pods checked: 1 compliant, 1 with findings (1); 1 no Aider pod; 1 other object skipped\n"))
      << result.out;
}

TEST_F(Check, YamlBooleansAreReadAsKubectlDoes) {
  const std::string pod = R"(apiVersion: v1
kind: Pod
metadata: {name: a, labels: {palisade.dev/agent: aider}}
spec: {hostNetwork: yes, hostPID: "true", shareProcessNamespace: off}
)";
  const auto result = run("check -f -", pod);
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "spec.hostNetwork: true - puts")) << result.out;
  EXPECT_TRUE(has(result.out, "spec.hostPID: \"true\" - must be true or false")) << result.out;
  EXPECT_FALSE(has(result.out, "shareProcessNamespace:")) << result.out;
}

TEST_F(Check, UnreadableInputExitsWithTwoAndItsPlace) {
  struct Case {
    const char* text;
    const char* place;
  };
  for (const Case& item : {
           Case{"a: 1\n  b: 2\n", "x.yaml:2:"},
           Case{"kind: Pod\napiVersion: v1\nkind: Pod\n",
                "x.yaml:3:1: the key \"kind\" is given twice"},
           Case{"{\"kind\": \"Pod\",\n", "x.yaml:2:1: "},
           Case{"", "x.yaml:1:1: there is no Kubernetes object"},
           Case{"# nothing\n---\n", "x.yaml:1:1: there is no Kubernetes object"},
           Case{"---\n\njust text\n", "x.yaml:3:1: the document is no Kubernetes object"},
           Case{"foo: bar\n", "x.yaml:1:1: the document is no Kubernetes object: kind is missing"},
           Case{"a: \xFF\n", "x.yaml:1:4: the text is not UTF-8"},
       }) {
    write("x.yaml", item.text);
    const auto result = run("check -f x.yaml");
    EXPECT_EQ(result.status, 2) << item.text;
    EXPECT_TRUE(result.err.starts_with(item.place)) << item.text << " -> " << result.err;
    EXPECT_EQ(result.out, "") << item.text;
  }
  const auto missing = run("check -f missing.yaml");
  EXPECT_EQ(missing.status, 2);
  EXPECT_TRUE(missing.err.starts_with("missing.yaml: cannot be opened: ")) << missing.err;
  write("big.yaml", std::string(10 * 1024 * 1024 + 1, '#'));
  EXPECT_TRUE(has(run("check -f big.yaml").err, "larger than")) << run("check -f big.yaml").err;
}

TEST_F(Check, OneUnreadableFileDoesNotHideTheOthers) {
  write("bad.yaml", "a: [\n");
  write("pod.json", bad_pod().dump());
  const auto result = run("check -f bad.yaml -f pod.json -f missing");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.out, "spec.hostNetwork")) << result.out;
  EXPECT_TRUE(has(result.err, "bad.yaml:")) << result.err;
  EXPECT_TRUE(has(result.err, "missing: cannot be opened: No such file")) << result.err;
}

TEST_F(Check, SettingsAndSkip) {
  json pod = good_pod();
  pod["spec"].erase("hostUsers");
  write("pod.json", pod.dump());
  EXPECT_EQ(run("check -f pod.json").status, 1);
  EXPECT_EQ(run("check -f pod.json --skip user-namespace").status, 0);
  EXPECT_EQ(run("check -f pod.json --skip apparmor --skip user-namespace").status, 0);
  EXPECT_EQ(run("check -f pod.json --skip apparmor").status, 1);
  write("settings.json", R"({"requireUserNamespace": false})");
  EXPECT_EQ(run("check -f pod.json --settings settings.json").status, 0);
  write("settings.yaml", "# for old nodes\nrequireUserNamespace: no\n");
  EXPECT_EQ(run("check -f pod.json --settings settings.yaml").status, 0);
  EXPECT_EQ(run("check -f pod.json --settings -", "requireUserNamespace: false").status, 0);
  for (const char* bad :
       {"{\"requireUserNamespace\": 1}", "{\"other\": 1}", "{", "", "a: 1\n---\nb: 2\n"}) {
    write("bad.json", bad);
    const auto result = run("check -f pod.json --settings bad.json");
    EXPECT_EQ(result.status, 2) << bad;
    EXPECT_TRUE(result.err.starts_with("bad.json:")) << result.err;
  }
  const auto unknown = run("check -f pod.json --skip no-such");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_TRUE(has(unknown.err, "there is no control \"no-such\"")) << unknown.err;
}

TEST_F(Check, Json) {
  write("pod.json", bad_pod().dump());
  write("web.yaml", kNginx);
  const auto result = run("check -f pod.json -f web.yaml -o json");
  EXPECT_EQ(result.status, 1);
  const json document = json::parse(result.out);
  ASSERT_EQ(document["pods"].size(), 2U);
  const json& finding = document["pods"][0]["findings"][0];
  EXPECT_EQ(finding["control"], "no-host-namespaces");
  EXPECT_EQ(finding["field"], "spec.hostNetwork");
  EXPECT_EQ(finding["found"], "true");
  EXPECT_FALSE(finding["why"].get<std::string>().empty());
  EXPECT_FALSE(finding["fix"].get<std::string>().empty());
  EXPECT_EQ(document["pods"][1]["checked"], false);
  EXPECT_EQ(document["pods"][1]["agent"], "");
  EXPECT_EQ(document["summary"], json::parse(R"({"compliant": 0, "failing": 1, "notChecked": 1,
      "otherObjects": 0, "notKubernetes": 0, "findings": 1, "tolerated": 0,
      "unreadable": false})"));
  EXPECT_EQ(finding["effect"], "deny");
}

TEST_F(Check, NamesCannotMoveTheCursor) {
  json pod = bad_pod();
  pod["metadata"]["name"] = "a\x1b[2Jb";
  write("pod.json", pod.dump());
  EXPECT_FALSE(has(run("check -f pod.json").out, "\x1b"));
}

TEST_F(Check, UsageErrorsExitWithTwoAndHelpWithNone) {
  for (const char* arguments :
       {"", "check", "chekc", "check -f", "check -f x -o xml", "check -f - -f -",
        "check -f - --settings -", "check --no-such", "version extra"}) {
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_NE(result.err, "") << arguments;
  }
  const auto help = run("check --help");
  EXPECT_EQ(help.status, 0);
  EXPECT_TRUE(has(help.out, "palisade check -f pod.yaml")) << help.out;
  EXPECT_TRUE(has(help.out, "Exit status: 0 compliant, 1 findings, 2 unreadable")) << help.out;
  EXPECT_EQ(run("--help").status, 0);
  EXPECT_TRUE(run("version").out.starts_with("palisade "));
}

TEST_F(Check, ControlsAreListed) {
  const auto text = run("controls");
  const auto wide = run("controls -o wide");
  EXPECT_TRUE(wide.out.starts_with("CONTROL ")) << wide.out;
  const auto markdown = run("controls -o markdown");
  const auto listed = json::parse(run("controls -o json").out);
  ASSERT_EQ(listed.size(), policy::controls().size() + policy::guards().size());
  std::size_t at = 0;
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      EXPECT_EQ(listed[at]["id"], control.id);
      EXPECT_EQ(listed[at++]["guard"], control.is_guard);
      EXPECT_TRUE(has(text.out, std::string(control.id) + " ")) << control.id;
      EXPECT_TRUE(has(wide.out, "\n" + std::string(control.id) + " ")) << control.id;
      EXPECT_TRUE(has(wide.out, std::string(control.references.front()))) << control.id;
      EXPECT_TRUE(has(markdown.out, "\n## " + std::string(control.id) + "\n")) << control.id;
    }
  }
}

TEST_F(Check, AFullOutputIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  write("pod.json", good_pod().dump());
  EXPECT_EQ(run("check -f pod.json >/dev/full").status, 2);
}

}  // namespace
}  // namespace palisade::cli
