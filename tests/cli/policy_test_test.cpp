// `palisade test` on tests that hold, that do not, and that cannot be read.
#include "cli/program.h"
#include "cli/xml_check.h"
#include "policy/fixture.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using policy::testing::good_pod;
using testing::has;
using testing::XmlReader;

class PolicyTest : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    write("deploy/good.json", good_pod().dump());
    json bad = good_pod();
    bad["spec"]["hostNetwork"] = true;
    write("deploy/bad.json", bad.dump());
    write("deploy/web.yaml",
          "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n");
  }
};

constexpr const char* kTest = R"(apiVersion: palisade.dev/v1alpha1
kind: PolicyTest
cases:
  - name: good is good
    file: ../deploy/good.json
    expect: allowed
  - name: bad is bad
    file: ../deploy/bad.json
    expect: denied
  - name: and for this reason
    file: ../deploy/bad.json
    expect: denied
    controls: [no-host-namespaces]
  - name: no agent
    file: ../deploy/web.yaml
    expect: allowed
  - name: inline
    object: {apiVersion: v1, kind: Pod, metadata: {name: a, labels: {palisade.dev/agent: aider}}, spec: {}}
    expect: denied
)";

TEST_F(PolicyTest, WhatHoldsPasses) {
  write("tests/t.yaml", kTest);
  const auto result = run("test tests");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(has(result.out, "ok    tests/t.yaml:4: good is good\n")) << result.out;
  EXPECT_TRUE(has(result.out, "5 cases: 5 as expected, 0 not\n")) << result.out;
  // Files are found from the test, not from where the program runs.
  EXPECT_EQ(run("test '" + (folder_ / "tests/t.yaml").string() + "'").status, 0);
  const json document = json::parse(run("test tests -o json").out);
  EXPECT_EQ(document.at("summary"), json::parse(R"({"passed": 5, "failed": 0, "errors": 0})"));
}

TEST_F(PolicyTest, WhatDoesNotHoldFails) {
  struct Case {
    const char* text;
    const char* said;
  };
  for (const Case& item : {
           Case{"file: ../deploy/bad.json, expect: allowed",
                "expected allowed\n      but it is denied by no-host-namespaces\n"},
           Case{"file: ../deploy/good.json, expect: denied",
                "expected denied\n      but it is allowed\n"},
           Case{"file: ../deploy/bad.json, expect: denied, controls: [no-sysctls]",
                "expected denied by no-sysctls\n      but it is denied by no-host-namespaces\n"},
           // Exactly these, no fewer.
           Case{"file: ../deploy/bad.json, expect: denied, controls: [no-sysctls, "
                "no-host-namespaces]",
                "expected denied by no-host-namespaces, no-sysctls\n"},
       }) {
    write("tests/t.yaml", "kind: PolicyTest\ncases: [{name: x, " + std::string(item.text) + "}]\n");
    const auto result = run("test tests");
    EXPECT_EQ(result.status, 1) << item.text << result.err;
    EXPECT_TRUE(has(result.out, "FAIL  tests/t.yaml:2: x\n")) << result.out;
    EXPECT_TRUE(has(result.out, item.said)) << result.out;
    const auto root = XmlReader::read(run("test tests -o junit").out);
    EXPECT_EQ(root.attributes.at("failures"), "1");
    EXPECT_EQ(root.all("failure").size(), 1U);
  }
}

TEST_F(PolicyTest, SettingsPoliciesExceptionsAndTheNamespaceCount) {
  json lax = good_pod();
  lax["spec"].erase("hostUsers");
  write("deploy/lax.json", lax.dump());
  write("policy.yaml", "requireUserNamespace: false\n");
  write("exception.yaml", R"(apiVersion: palisade.dev/v1alpha1
kind: HardeningException
metadata: {name: legacy}
spec:
  namespaces: [team-a]
  controls: [no-host-namespaces]
  reason: moved next month
  ticket: OPS-1
  approver: jane
  expires: "2026-02-01T00:00:00Z"
)");
  struct Case {
    const char* text;
    const char* one;
    int status;
  };
  for (const Case& item : {
           Case{"", "file: ../deploy/lax.json, expect: denied, controls: [user-namespace]", 0},
           Case{"settings: {requireUserNamespace: false}",
                "file: ../deploy/lax.json, expect: allowed", 0},
           Case{"settings: {file: ../policy.yaml}", "file: ../deploy/lax.json, expect: allowed", 0},
           Case{"agentPolicies: [{apiVersion: palisade.dev/v1alpha1, kind: AgentPolicy, metadata: "
                "{name: p}, spec: {maxLifetime: 1h}}]",
                "file: ../deploy/good.json, expect: denied, controls: [bounded-lifetime]", 0},
           Case{"agentPolicies: [{apiVersion: palisade.dev/v1alpha1, kind: AgentPolicy, metadata: "
                "{name: p}, spec: {namespaceSelector: {matchLabels: {a: b}}, maxLifetime: 1h}}]",
                "file: ../deploy/good.json, expect: allowed", 0},
           Case{"namespace: {name: team-a, labels: {palisade.dev/mode: warn}}",
                "file: ../deploy/bad.json, expect: allowed", 0},
           Case{"namespace: {labels: {palisade.dev/enforce: all}}",
                "file: ../deploy/web.yaml, expect: denied", 0},
           Case{"exceptions: [{file: ../exception.yaml}]\nnow: \"2026-01-31T00:00:00Z\"",
                "file: ../deploy/bad.json, expect: allowed", 0},
           Case{"exceptions: [{file: ../exception.yaml}]\nnow: \"2026-02-02T00:00:00Z\"",
                "file: ../deploy/bad.json, expect: denied", 0},
           Case{"exceptions: [{file: ../exception.yaml}]\nnow: \"2026-01-31T00:00:00Z\"\n"
                "namespace: {name: team-b}",
                "file: ../deploy/bad.json, expect: denied", 0},
       }) {
    write("tests/t.yaml", "kind: PolicyTest\n" + std::string(item.text) + "\ncases: [{name: x, " +
                              item.one + "}]\n");
    const auto result = run("test tests");
    EXPECT_EQ(result.status, item.status) << item.text << '\n' << result.out << result.err;
  }
}

TEST_F(PolicyTest, MistakesAreToldWithTheirPlace) {
  struct Case {
    const char* text;
    const char* said;
  };
  for (const Case& item : {
           Case{"cases: [\n", "tests/t.yaml:"},
           Case{"other: 1\ncases: []\n", "tests/t.yaml:2:1: other is no field of PolicyTest"},
           Case{"cases: []\n", "tests/t.yaml:2:1: cases must be a list with at least one case"},
           Case{"settings: {x: 1}\ncases: [{}]\n", "tests/t.yaml:2:1: settings cannot be used: "},
           Case{"cases:\n  - file: a\n    expect: allowed\n",
                "tests/t.yaml:3:5: cases[0].name is missing"},
           Case{"cases:\n  - name: a\n    file: x\n    expect: maybe\n",
                "tests/t.yaml:5:5: cases[0].expect must be allowed or denied"},
           Case{"cases:\n  - name: a\n    file: gone.yaml\n    expect: denied\n",
                "tests/t.yaml:4:5: cases[0].file names what cannot be read: tests/gone.yaml"},
           Case{"cases:\n  - name: a\n    file: x\n    object: {}\n    expect: denied\n",
                "tests/t.yaml:3:5: cases[0] must have either file or object"},
           Case{"cases:\n  - name: a\n    object: {a: b}\n    expect: denied\n",
                "tests/t.yaml:4:5: cases[0].object cannot be judged: "},
           Case{"cases:\n  - {name: a, file: ../deploy/bad.json, expect: denied, controls: [x]}\n",
                "cases[0].controls[0] is unknown: there is no control \"x\""},
           Case{"cases:\n  - {name: a, file: ../deploy/bad.json, expect: allowed, controls: "
                "[apparmor]}\n",
                "cases[0].controls goes with expect: denied only"},
           Case{"cases:\n  - {name: a, file: ../deploy/bad.json, expect: denied}\n"
                "  - {name: a, file: ../deploy/bad.json, expect: denied}\n",
                "tests/t.yaml:4:6: cases[1].name is another case's name too"},
           Case{"agentPolicies: [{kind: x}]\ncases: [{}]\n",
                "tests/t.yaml:2:17: agentPolicies[0] is no AgentPolicy: "},
           Case{"exceptions: {}\ncases: [{}]\n", "tests/t.yaml:2:1: exceptions must be a list"},
           Case{"now: yesterday\ncases: [{}]\n", "tests/t.yaml:2:1: now "},
           Case{"namespace: {labels: {a: 1}}\ncases: [{}]\n",
                "tests/t.yaml:2:13: namespace.labels must hold texts"},
           Case{"settings: {file: none.yaml}\ncases: [{}]\n", "tests/t.yaml:2:12: settings.file "},
           Case{"apiVersion: v2\ncases: [{}]\n", "tests/t.yaml:2:1: apiVersion must be "},
       }) {
    write("tests/t.yaml", "kind: PolicyTest\n" + std::string(item.text));
    const auto result = run("test tests");
    EXPECT_EQ(result.status, 2) << item.text << result.out;
    EXPECT_TRUE(has(result.err, item.said)) << item.said << " -> " << result.err;
    EXPECT_NO_THROW(EXPECT_EQ(XmlReader::read(run("test tests -o junit").out).name, "testsuites"));
  }
}

TEST_F(PolicyTest, OneBrokenCaseDoesNotHideTheOthers) {
  write("tests/t.yaml",
        "kind: PolicyTest\ncases:\n  - {name: a}\n"
        "  - {name: b, file: ../deploy/good.json, expect: allowed}\n");
  const auto result = run("test tests");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.out, "1 case: 1 as expected, 0 not")) << result.out;
}

TEST_F(PolicyTest, NoTestAtAllIsAnError) {
  auto result = run("test deploy");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "there is no PolicyTest")) << result.err;
  result = run("test deploy/good.json");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "deploy/good.json:1:1: there is no PolicyTest in it")) << result.err;
  EXPECT_EQ(run("test").status, 2);
  EXPECT_EQ(run("test nowhere").status, 2);
}

TEST_F(PolicyTest, TheExampleOfTheHelpIsTrue) {
  const auto help = run("test --help");
  const auto from = help.out.find("  apiVersion: palisade.dev/v1alpha1");
  const auto to = help.out.find("\n\nAll but cases");
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  write("team/t.yaml", help.out.substr(from, to - from) + "\n");
  write("team/policy.yaml", "requireUserNamespace: false\n");
  write("policies/team-a.yaml",
        "apiVersion: palisade.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: a}\nspec: {}\n");
  write("exceptions/legacy.yaml", R"(apiVersion: palisade.dev/v1alpha1
kind: HardeningException
metadata: {name: legacy}
spec: {namespaces: [x], controls: [apparmor], reason: r, ticket: t, approver: a, expires: "2026-02-01T00:00:00Z"}
)");
  json job = good_pod();
  write("deploy/nightly.yaml", job.dump());
  job["spec"]["securityContext"]["sysctls"] = json::array({{{"name", "a"}, {"value", "1"}}});
  write("team/fixtures/sysctls.yaml", job.dump());
  const auto result = run("test team");
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_TRUE(has(result.out, "3 cases: 3 as expected")) << result.out;
}

}  // namespace
}  // namespace palisade::cli
