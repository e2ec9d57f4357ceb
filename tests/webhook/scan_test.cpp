// What is kept of a pod, and the report that is made of what is kept.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <scan_record.h>
#include <scan_report.h>

#include "policy/fixture.h"
#include "webhook/fake_view.h"

namespace palisade::webhook {
namespace {

using nlohmann::json;
using policy::testing::good_pod;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kNow = 1'800'000'000;

json plain_pod() {
  return {{"metadata", {{"namespace", "team-a"}, {"name", "web"}, {"uid", "w"}}},
          {"spec", {{"containers", {{{"name", "web"}, {"image", "nginx:1"}}}}}}};
}

json bad_pod(const std::string& name = "fix-login-agent", const std::string& uid = "u") {
  json pod = good_pod();
  pod["metadata"]["name"] = name;
  pod["metadata"]["uid"] = uid;
  pod["spec"]["hostNetwork"] = true;
  pod["spec"]["containers"][0]["securityContext"]["privileged"] = true;
  return pod;
}

std::shared_ptr<const policy::HardeningException> exception_for(const std::string& control,
                                                                std::int64_t expires) {
  auto out = std::make_shared<policy::HardeningException>();
  out->name = "gpu";
  out->namespaces = {"team-a"};
  out->controls = {control};
  out->expires = expires;
  return out;
}

ReportPod judged(const json& pod, const NamespaceRules& rules = {}) {
  return {scan_pod(pod, &rules, 1), {}, {}};
}

std::vector<std::string> controls_of(const ScanRecord& record) {
  std::vector<std::string> out;
  for (const ScanFinding& finding : record.findings)
    out.emplace_back(finding.control);
  return out;
}

TEST(ScanRecordTest, WhoIsJudgedIsWhatAReviewWouldJudge) {
  struct Case {
    const char* name;
    json pod;
    Mode mode;
    bool agent;
    bool judged;
  };
  json ended = good_pod();
  ended["status"]["phase"] = "Succeeded";
  json failed = good_pod();
  failed["status"]["phase"] = "Failed";
  json running = good_pod();
  running["status"]["phase"] = "Running";
  running["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  const std::vector<Case> cases{
      {"agent", good_pod(), Mode::kAgents, true, true},
      {"agent where all are", good_pod(), Mode::kAll, true, true},
      {"agent where none is", good_pod(), Mode::kOff, true, false},
      {"other", plain_pod(), Mode::kAgents, false, false},
      {"other where all are", plain_pod(), Mode::kAll, false, true},
      {"other where none is", plain_pod(), Mode::kOff, false, false},
      {"has succeeded", ended, Mode::kAll, true, false},
      {"has failed", failed, Mode::kAgents, true, false},
      {"is terminating", running, Mode::kAgents, true, true},
  };
  for (const Case& c : cases) {
    NamespaceRules rules;
    rules.mode = c.mode;
    const ScanRecord record = scan_pod(c.pod, &rules, 7);
    EXPECT_EQ(record.is_agent(), c.agent) << c.name;
    EXPECT_EQ(is_judged(record, rules), c.judged) << c.name;
    EXPECT_EQ(record.basis, c.judged ? 7U : 0U) << c.name;
    if (!c.judged) {
      EXPECT_TRUE(record.findings.empty()) << c.name;
    }
  }
}

TEST(ScanRecordTest, FindingsAreTheControlTables) {
  NamespaceRules rules;
  EXPECT_THAT(controls_of(scan_pod(good_pod(), &rules, 1)), ElementsAre());
  const ScanRecord record = scan_pod(bad_pod(), &rules, 1);
  std::set<std::string> expected;
  for (const policy::Finding& finding : policy::testing::findings_of(bad_pod()))
    expected.emplace(finding.control);
  const auto kept = controls_of(record);
  EXPECT_EQ(std::set(kept.begin(), kept.end()), expected);
  EXPECT_TRUE(expected.contains("not-privileged"));
  rules.settings.max_memory_bytes = 1;
  EXPECT_THAT(controls_of(scan_pod(good_pod(), &rules, 2)), Contains("resource-limits"));
}

TEST(ScanRecordTest, WithoutRulesOrWithBrokenOnesNothingIsJudged) {
  const ScanRecord unknown = scan_pod(bad_pod(), nullptr, 5);
  EXPECT_EQ(unknown.basis, 0U);
  EXPECT_TRUE(unknown.is_agent());
  EXPECT_TRUE(unknown.findings.empty());
  NamespaceRules broken;
  broken.problem = "AgentPolicy x cannot be read";
  EXPECT_EQ(scan_pod(bad_pod(), &broken, 5).basis, 0U);
}

TEST(ScanRecordTest, PackingLosesNothing) {
  NamespaceRules rules;
  json odd = bad_pod();
  odd["metadata"]["labels"]["empty"] = "";
  odd["metadata"]["labels"]["a=b"] = "c";  // no label the API server takes
  json ended = plain_pod();
  ended["status"]["phase"] = "Failed";
  for (const json& pod : {good_pod(), bad_pod(), odd, plain_pod(), ended}) {
    for (const NamespaceRules* by : {static_cast<const NamespaceRules*>(&rules),
                                     static_cast<const NamespaceRules*>(nullptr)}) {
      const ScanRecord record = scan_pod(pod, by, 3);
      json packed = pack(record);
      packed["metadata"] = {{"namespace", record.pod.ns},
                            {"name", record.pod.name},
                            {"uid", record.pod.uid},
                            {"resourceVersion", "1"}};
      const ScanRecord back = unpack(packed);
      EXPECT_EQ(back.pod.ns, record.pod.ns);
      EXPECT_EQ(back.pod.name, record.pod.name);
      EXPECT_EQ(back.pod.uid, record.pod.uid);
      EXPECT_EQ(back.pod.reason, record.pod.reason);
      EXPECT_EQ(back.pod.workspace, record.pod.workspace);
      EXPECT_EQ(back.pod.workspace_uid, record.pod.workspace_uid);
      EXPECT_EQ(back.ended, record.ended);
      EXPECT_EQ(back.basis, record.basis);
      EXPECT_EQ(back.left_out, record.left_out);
      EXPECT_EQ(controls_of(back), controls_of(record));
      if (!record.pod.labels.contains("a=b")) {
        EXPECT_EQ(back.pod.labels, record.pod.labels);
      }
      EXPECT_EQ(pack(back), pack(record));
    }
  }
}

TEST(ScanRecordTest, WhatIsKeptIsBoundedWhateverThePodHolds) {
  json pod = good_pod();
  const std::string long_name(5000, 'n');
  for (int i = 0; i < 60; ++i) {
    json container = pod["spec"]["containers"][0];
    container["name"] = long_name + std::to_string(i) + "\n\x01";
    container["securityContext"] = {{"privileged", true}};
    container["image"] = "x\u00e9" + long_name;
    pod["spec"]["containers"].push_back(container);
  }
  NamespaceRules rules;
  const ScanRecord record = scan_pod(pod, &rules, 1);
  EXPECT_EQ(record.findings.size(), kMaxScanFindings);
  EXPECT_GT(record.left_out, 0U);
  // No control is hidden by another's many findings.
  const auto kept = controls_of(record);
  std::set<std::string> expected;
  for (const policy::Finding& finding : policy::testing::findings_of(pod))
    expected.emplace(finding.control);
  EXPECT_EQ(std::set(kept.begin(), kept.end()), expected);
  for (const ScanFinding& finding : record.findings) {
    EXPECT_LE(finding.field.size(), kMaxScanField);
    EXPECT_LE(finding.found.size(), kMaxScanFound);
    EXPECT_LE(finding.message.size(), kMaxScanMessage);
  }
  EXPECT_LT(pack(record).dump().size(), 64U * 1024);
}

TEST(ScanRecordTest, TextsAreCutBetweenCharacters) {
  EXPECT_EQ(tidy("abc", 3), "abc");
  EXPECT_EQ(tidy("a\nb\x7f", 10), "a b ");
  EXPECT_EQ(tidy("abcdef", 5), "ab...");
  EXPECT_EQ(tidy("a\u00e9\u00e9\u00e9", 6), "a\u00e9...");
  EXPECT_EQ(tidy("ab\u00e9\u00e9", 5), "ab...");
}

TEST(ScanReportTest, EachControlOfEachPodIsAResult) {
  NamespaceRules rules;
  json good = good_pod();
  good["metadata"]["name"] = "good";
  const std::vector pods{judged(good), judged(bad_pod("bad", "uid-bad"))};
  const Report report = make_report(pods, rules, kNow, json::array());
  const auto broken = policy::testing::controls_of(policy::testing::findings_of(bad_pod()));
  ASSERT_EQ(report.results.size(), broken.size() + 1);
  std::set<std::string> rules_seen;
  for (const json& result : report.results) {
    EXPECT_EQ(result["policy"], "palisade");
    EXPECT_EQ(result["timestamp"], (json{{"seconds", kNow}, {"nanos", 0}}));
    if (result["result"] == "pass") {
      EXPECT_EQ(result["resources"][0]["name"], "good");
      EXPECT_FALSE(result.contains("rule"));
      continue;
    }
    EXPECT_EQ(result["result"], "fail");
    EXPECT_EQ(result["scored"], true);
    EXPECT_EQ(result["resources"], (json::array({{{"apiVersion", "v1"},
                                                  {"kind", "Pod"},
                                                  {"namespace", "team-a"},
                                                  {"name", "bad"},
                                                  {"uid", "uid-bad"}}})));
    rules_seen.insert(result["rule"]);
    if (result["rule"] == "not-privileged") {
      EXPECT_EQ(result["severity"], "high");
      EXPECT_THAT(result["message"].get<std::string>(),
                  HasSubstr("spec.containers[0].securityContext.privileged is true: "));
    }
  }
  EXPECT_EQ(rules_seen, broken);
  EXPECT_EQ(report.summary,
            (json{{"fail", broken.size()}, {"pass", 1}, {"warn", 0}, {"skip", 0}, {"error", 0}}));
  EXPECT_THAT(report.pods,
              UnorderedElementsAre(Pair(ReportResult::kFail, 1U), Pair(ReportResult::kPass, 1U)));
  EXPECT_EQ(report.controls.at("not-privileged"), 1U);
  EXPECT_EQ(report.left_out, 0U);
}

TEST(ScanReportTest, ModesAndExceptionsAreTheNamespaces) {
  struct Case {
    const char* name;
    std::function<void(NamespaceRules&)> change;
    const char* result;
    bool counted;
  };
  const std::vector<Case> cases{
      {"enforced", [](NamespaceRules&) {}, "fail", true},
      {"namespace warns", [](NamespaceRules& r) { r.action = Action::kWarn; }, "warn", true},
      {"namespace audits", [](NamespaceRules& r) { r.action = Action::kAudit; }, "warn", true},
      {"control warns", [](NamespaceRules& r) { r.actions["not-privileged"] = Action::kWarn; },
       "warn", true},
      {"control enforced where others warn",
       [](NamespaceRules& r) {
         r.action = Action::kWarn;
         r.actions["not-privileged"] = Action::kEnforce;
       },
       "fail", true},
      {"excepted",
       [](NamespaceRules& r) { r.exceptions = {exception_for("not-privileged", kNow + 1)}; },
       "skip", false},
      {"excepted in the past",
       [](NamespaceRules& r) { r.exceptions = {exception_for("not-privileged", kNow - 1)}; },
       "fail", true},
      {"another excepted",
       [](NamespaceRules& r) { r.exceptions = {exception_for("host-ports", kNow + 1)}; }, "fail",
       true},
  };
  for (const Case& c : cases) {
    NamespaceRules rules;
    c.change(rules);
    const std::vector pods{judged(bad_pod(), rules)};
    const Report report = make_report(pods, rules, kNow, json::array());
    const auto row = std::ranges::find_if(
        report.results, [](const json& one) { return one.value("rule", "") == "not-privileged"; });
    ASSERT_NE(row, report.results.end()) << c.name;
    EXPECT_EQ((*row)["result"], c.result) << c.name;
    EXPECT_EQ((*row)["properties"].contains("exception"), c.result == std::string("skip"))
        << c.name;
    EXPECT_EQ(report.controls.contains("not-privileged"), c.counted) << c.name;
  }
}

TEST(ScanReportTest, NetworkAndUncertaintyAreResultsToo) {
  NamespaceRules rules;
  ReportPod open = judged(good_pod());
  open.network = policy::network_findings({open.record.pod.labels, "", ""}, {});
  ReportPod unsure = judged(good_pod());
  unsure.unsure = "AgentPolicy x cannot be read: spec.maxLifetime";
  const std::vector pods{open, unsure};
  const Report report = make_report(pods, rules, kNow, json::array());
  ASSERT_EQ(report.results.size(), 2U);
  EXPECT_EQ(report.results[0]["rule"], "deny-all-network");
  EXPECT_EQ(report.results[0]["result"], "fail");
  EXPECT_EQ(report.results[1]["result"], "error");
  EXPECT_THAT(report.results[1]["message"].get<std::string>(), HasSubstr("spec.maxLifetime"));
}

TEST(ScanReportTest, TheSamePodsMakeTheSameReportWithItsOldTimes) {
  NamespaceRules rules;
  std::vector pods{judged(bad_pod("b", "2")), judged(bad_pod("a", "1")), judged(good_pod())};
  const Report first = make_report(pods, rules, kNow, json::array());
  std::ranges::reverse(pods);
  const Report again = make_report(pods, rules, kNow + 1000, first.results);
  EXPECT_EQ(again.results, first.results);
  // A new pod of the same name is another one; a new finding has its own time.
  pods[1] = judged(bad_pod("a", "3"));
  json worse = bad_pod("b", "2");
  worse["spec"]["hostPID"] = true;
  pods[2] = judged(worse);
  const Report changed = make_report(pods, rules, kNow + 1000, first.results);
  for (const json& result : changed.results) {
    const bool is_new =
        result["resources"][0]["uid"] == "3" ||
        (result["resources"][0]["name"] == "b" && result.value("rule", "") == "no-host-namespaces");
    EXPECT_EQ(result["timestamp"]["seconds"], is_new ? kNow + 1000 : kNow) << result.dump();
  }
}

TEST(ScanReportTest, ManyPodsAreCappedWorstFirstAndCountedWhole) {
  NamespaceRules rules;
  rules.actions["host-ports"] = Action::kWarn;
  std::vector<ReportPod> pods;
  json good = good_pod();
  for (int i = 0; i < 900; ++i) {
    good["metadata"]["name"] = "good-" + std::to_string(i);
    good["metadata"]["uid"] = "g" + std::to_string(i);
    pods.push_back(judged(good));
    if (i < 400) pods.push_back(judged(bad_pod("bad-" + std::to_string(i), std::to_string(i))));
  }
  const Report report = make_report(pods, rules, kNow, json::array());
  EXPECT_LE(report.results.size(), kMaxReportResults);
  EXPECT_LE(report.results.dump().size(), kMaxReportBytes + 64 * 1024);
  EXPECT_GT(report.left_out, 0U);
  std::size_t total = 0;
  for (const auto& [key, count] : report.summary.items())
    total += count.get<std::size_t>();
  EXPECT_EQ(total, report.results.size() + report.left_out);
  EXPECT_EQ(report.summary["pass"], 900);
  EXPECT_EQ(report.results.front()["result"], "fail");
  EXPECT_EQ(report.pods.at(ReportResult::kFail), 400U);

  // Long messages meet the bound on bytes before that on results.
  std::vector<ReportPod> wordy;
  for (int i = 0; i < 600; ++i) {
    ReportPod pod = judged(bad_pod("bad-" + std::to_string(i), std::to_string(i)));
    for (ScanFinding& finding : pod.record.findings)
      finding.message = std::string(kMaxScanMessage, 'm');
    for (int more = 0; more < 3; ++more)
      pod.record.findings.push_back(pod.record.findings.front());
    wordy.push_back(std::move(pod));
  }
  const Report capped = make_report(wordy, rules, kNow, json::array());
  EXPECT_LE(capped.results.dump().size(), kMaxReportBytes + 64 * 1024);
  for (const json& result : capped.results)
    EXPECT_LE(result["message"].get<std::string>().size(), kMaxResultMessage);
}

// Older schemas of the report APIs refuse any other word.
TEST(ScanReportTest, EverySeverityIsOneThatAllSchemasKnow) {
  NamespaceRules rules;
  ReportPod pod = judged(good_pod());
  for (const policy::Control& control : policy::controls())
    pod.record.findings.push_back({control.id, "f", "v", "m"});
  const Report report = make_report(std::vector{pod}, rules, kNow, json::array());
  ASSERT_EQ(report.results.size(), policy::controls().size());
  std::set<std::string> seen;
  for (const json& result : report.results)
    seen.insert(result["severity"]);
  EXPECT_EQ(seen, (std::set<std::string>{"high", "medium", "low"}));
}

}  // namespace
}  // namespace palisade::webhook
