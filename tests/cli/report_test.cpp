// SARIF and JUnit as other programs read them, and the places of findings.
#include <regex>
#include <set>

#include <policy/guards.h>

#include "cli/program.h"
#include "cli/xml_check.h"
#include "policy/fixture.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using policy::testing::good_pod;
using testing::has;
using testing::XmlReader;

class Report : public testing::ProgramTest {
 protected:
  json sarif(const std::string& arguments, int status = 1) const {
    const auto result = run("check -o sarif " + arguments);
    EXPECT_EQ(result.status, status) << result.err;
    return json::parse(result.out);
  }
};

constexpr const char* kTwoPods = R"(# the team's pods
apiVersion: v1
kind: Pod
metadata:
  name: a
  labels: {palisade.dev/agent: aider}
spec:
  hostNetwork: true
  containers:
    - name: agent
      image: registry.example.com/x:1
      securityContext:
        privileged: true
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: team-a}
spec:
  template:
    metadata:
      labels:
        palisade.dev/agent: aider
    spec:
      hostPID: true
)";

const json* result_of(const json& document, const std::string& control, const std::string& field) {
  for (const json& result : document.at("runs").at(0).at("results")) {
    const json& where = result.at("locations").at(0).at("logicalLocations").at(0);
    if (result.at("ruleId") == control && where.at("name") == field) return &result;
  }
  return nullptr;
}

TEST_F(Report, SarifHasTheShapeOfItsSchema) {
  write("m/pods.yaml", kTwoPods);
  const json document = sarif("m");
  EXPECT_EQ(document.at("version"), "2.1.0");
  EXPECT_TRUE(document.at("$schema").get<std::string>().starts_with("https://"));
  ASSERT_EQ(document.at("runs").size(), 1U);
  const json& run = document.at("runs").at(0);
  const json& driver = run.at("tool").at("driver");
  EXPECT_EQ(driver.at("name"), "palisade");
  const json& rules = driver.at("rules");
  ASSERT_EQ(rules.size(), policy::controls().size() + policy::guards().size());
  std::set<std::string> ids;
  for (const json& rule : rules) {
    EXPECT_TRUE(ids.insert(rule.at("id")).second) << rule.at("id");
    for (const char* text : {"shortDescription", "fullDescription", "help"}) {
      EXPECT_FALSE(rule.at(text).at("text").get<std::string>().empty()) << text;
    }
    EXPECT_TRUE(has(rule.at("help").at("markdown"), "**Fix:** ")) << rule;
    EXPECT_FALSE(rule.at("properties").at("references").empty()) << rule;
    EXPECT_EQ(rule.at("defaultConfiguration").at("level"), "error");
  }
  EXPECT_TRUE(ids.contains("session-access"));
  ASSERT_GT(run.at("results").size(), 4U);
  std::set<std::string> prints;
  for (const json& result : run.at("results")) {
    EXPECT_TRUE(ids.contains(result.at("ruleId"))) << result;
    EXPECT_EQ(rules.at(result.at("ruleIndex").get<std::size_t>()).at("id"), result.at("ruleId"));
    EXPECT_EQ(result.at("level"), "error");
    EXPECT_FALSE(result.at("message").at("text").get<std::string>().empty());
    const json& place = result.at("locations").at(0).at("physicalLocation");
    EXPECT_EQ(place.at("artifactLocation").at("uri"), "m/pods.yaml");
    EXPECT_TRUE(run.at("originalUriBaseIds")
                    .contains(place.at("artifactLocation").at("uriBaseId").get<std::string>()));
    EXPECT_GE(place.at("region").at("startLine"), 1);
    EXPECT_GE(place.at("region").at("startColumn"), 1);
    const std::string print = result.at("partialFingerprints").at("palisadeFinding/v1");
    EXPECT_TRUE(std::regex_match(print, std::regex("[0-9a-f]{64}:1"))) << print;
    EXPECT_TRUE(prints.insert(print).second) << print;
  }
  EXPECT_EQ(run.at("invocations").at(0).at("executionSuccessful"), true);
}

TEST_F(Report, SarifOfNothingIsStillAWholeDocument) {
  write("pod.json", good_pod().dump());
  const json clean = sarif("pod.json", 0);
  EXPECT_TRUE(clean.at("runs").at(0).at("results").is_array());
  EXPECT_TRUE(clean.at("runs").at(0).at("results").empty());
  const json broken = sarif("missing.yaml", 2);
  EXPECT_EQ(broken.at("runs").at(0).at("invocations").at(0).at("executionSuccessful"), false);
}

TEST_F(Report, FindingsStandWhereTheirFieldIs) {
  write("p.yaml", kTwoPods);
  const json document = sarif("p.yaml");
  struct Case {
    const char* control;
    const char* field;
    int line;
    int column;
  };
  for (const Case& item : {
           Case{"no-host-namespaces", "spec.hostNetwork", 8, 3},
           Case{"not-privileged", "spec.containers[0].securityContext.privileged", 13, 9},
           // Not written: where its nearest parent is.
           Case{"read-only-root-filesystem",
                "spec.containers[0].securityContext.readOnlyRootFilesystem", 12, 7},
           Case{"no-host-namespaces", "spec.template.spec.hostPID", 24, 7},
       }) {
    const json* result = result_of(document, item.control, item.field);
    ASSERT_NE(result, nullptr) << item.field;
    const json& region = result->at("locations").at(0).at("physicalLocation").at("region");
    EXPECT_EQ(region.at("startLine"), item.line) << item.field;
    EXPECT_EQ(region.at("startColumn"), item.column) << item.field;
  }
}

TEST_F(Report, FingerprintsStayWhenLinesMove) {
  write("p.yaml", kTwoPods);
  const json before = sarif("p.yaml");
  write("p.yaml", std::string("# one\n# more\n\n") + kTwoPods);
  const json after = sarif("p.yaml");
  const json& old = before.at("runs").at(0).at("results");
  const json& now = after.at("runs").at(0).at("results");
  ASSERT_EQ(old.size(), now.size());
  for (std::size_t i = 0; i < old.size(); ++i) {
    EXPECT_EQ(old.at(i).at("partialFingerprints"), now.at(i).at("partialFingerprints"));
    EXPECT_NE(old.at(i).at("locations"), now.at(i).at("locations"));
  }
}

TEST_F(Report, SarifEncodesPathsAndKnowsStandardInput) {
  json pod = good_pod();
  pod["spec"]["hostNetwork"] = true;
  write("a dir/p%#\xC3\xA4.yaml", pod.dump());
  const auto uri = [](const json& document) {
    return document.at("runs")
        .at(0)
        .at("results")
        .at(0)
        .at("locations")
        .at(0)
        .at("physicalLocation")
        .at("artifactLocation");
  };
  EXPECT_EQ(uri(sarif("'a dir'")).at("uri"), "a%20dir/p%25%23%C3%A4.yaml");
  const auto result = run("check -o sarif -", pod.dump());
  EXPECT_EQ(uri(json::parse(result.out)).at("uri"), "stdin");
  const json absolute = uri(sarif("'" + (folder_ / "a dir").string() + "'"));
  EXPECT_FALSE(absolute.contains("uriBaseId")) << absolute;
}

TEST_F(Report, JUnitHasATestcaseForEachPod) {
  write("p.yaml", kTwoPods);
  write("good.json", good_pod().dump());
  write("web.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {}\n");
  const auto result = run("check -o junit p.yaml good.json web.yaml");
  EXPECT_EQ(result.status, 1) << result.err;
  const auto root = XmlReader::read(result.out);
  EXPECT_EQ(root.name, "testsuites");
  const auto cases = root.all("testcase");
  ASSERT_EQ(cases.size(), 4U);
  EXPECT_EQ(root.attributes.at("tests"), "4");
  EXPECT_EQ(root.attributes.at("failures"), "2");
  EXPECT_EQ(root.attributes.at("errors"), "0");
  EXPECT_EQ(root.attributes.at("skipped"), "1");
  EXPECT_EQ(cases[0]->attributes.at("name"), "Pod a");
  EXPECT_EQ(cases[0]->attributes.at("classname"), "p.yaml");
  ASSERT_EQ(cases[0]->children.size(), 1U);
  EXPECT_TRUE(has(cases[0]->children[0].text, "spec.hostNetwork: true")) << result.out;
  EXPECT_TRUE(has(cases[1]->children[0].text, "spec.template.spec.hostPID")) << result.out;
  EXPECT_TRUE(cases[2]->children.empty());
  EXPECT_EQ(cases[3]->children[0].name, "skipped");
  const auto broken = XmlReader::read(run("check -o junit missing.yaml").out);
  EXPECT_EQ(broken.attributes.at("errors"), "1");
}

TEST_F(Report, HostileNamesBreakNoReport) {
  const std::vector<std::string> names{
      "]]><!--&amp;'\"", "a\x1b[2J\x01\x7f", "\u202e\u2066x\u200b\ufeff", "tab\tnew\nline\r",
      "\xEF\xBF\xBF",    "<failure/>",       std::string(3000, 'x')};
  for (const std::string& name : names) {
    json pod = good_pod();
    pod["metadata"]["name"] = name;
    pod["metadata"]["namespace"] = name;
    pod["spec"]["hostNetwork"] = name;
    pod["spec"]["containers"][0]["name"] = name;
    pod["metadata"]["annotations"]["container.seccomp.security.alpha.kubernetes.io/" + name] = name;
    write("m/p.json", pod.dump());
    for (const char* format : {"text", "json", "sarif", "junit"}) {
      const auto result = run("check m -o " + std::string(format));
      EXPECT_EQ(result.status, 1) << result.err;
      for (const char* never : {"\x1b", "\x01", "\x7f"})
        EXPECT_FALSE(has(result.out, never)) << format;
      if (std::string(format) == "junit") {
        EXPECT_NO_THROW(EXPECT_EQ(XmlReader::read(result.out).all("failure").size(), 1U))
            << result.out;
      } else if (std::string(format) != "text") {
        EXPECT_TRUE(json::accept(result.out)) << format;
      }
    }
  }
}

TEST(Text, PrintableLetsNothingMoveTheCursor) {
  struct Case {
    std::string text;
    std::string wanted;
  };
  for (const Case& item : {
           Case{"plain \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80",
                "plain \xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
           Case{"\x1b[2J\n\t\x7f", "?[2J???"},
           Case{"\xC2\x9B", "?"},      // a C1 control
           Case{"\xE2\x80\xAE", "?"},  // right-to-left override
           Case{"\xE2\x80\xA8", "?"},  // line separator
           Case{"\xEF\xBB\xBF", "?"},
           Case{"\xC0\xAF\xED\xA0\x80", "?????"},  // overlong, surrogate
           Case{"\xF5\x80\xE2\x82", "????"},
           Case{"", ""},
       }) {
    EXPECT_EQ(printable(item.text), item.wanted);
  }
}

TEST(Text, XmlHoldsNothingThatXmlForbids) {
  EXPECT_EQ(xml("<a b='c'>&\"\n\x01\xFF\xEF\xBF\xBE"),
            "&lt;a b=&apos;c&apos;&gt;&amp;&quot;&#10;???");
}

TEST(Text, DistanceCountsEdits) {
  EXPECT_EQ(distance("", ""), 0U);
  EXPECT_EQ(distance("abc", ""), 3U);
  EXPECT_EQ(distance("abc", "acb"), 1U);
  EXPECT_EQ(distance("run-as-root", "run-as-non-root"), 4U);
  EXPECT_EQ(distance("kitten", "sitting"), 3U);
}

}  // namespace
}  // namespace palisade::cli
