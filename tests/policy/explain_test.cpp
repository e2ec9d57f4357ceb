#include <gtest/gtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

TEST(Explain, SaysWhatWhereWhyAndTheFixOncePerControl) {
  json pod = good_pod();
  pod["spec"]["hostNetwork"] = true;
  pod["spec"]["hostPID"] = true;
  pod["spec"]["containers"][0]["securityContext"]["privileged"] = true;
  const auto findings = findings_of(pod);
  const Control& privileged = *find_control("not-privileged");
  const Control& host = *find_control("no-host-namespaces");
  EXPECT_EQ(explain(findings),
            "3 problems:\n"
            "[not-privileged] " +
                std::string(privileged.title) +
                "\n"
                "  spec.containers[0].securityContext.privileged: true - gives the container every "
                "device "
                "and capability of the node\n"
                "  why: " +
                std::string(privileged.why) +
                "\n"
                "  fix: " +
                std::string(privileged.remedy) +
                "\n"
                "[no-host-namespaces] " +
                std::string(host.title) +
                "\n"
                "  spec.hostNetwork: true - puts the pod on the node's network, where no "
                "NetworkPolicy applies\n"
                "  spec.hostPID: true - shows the pod every process of the node\n"
                "  why: " +
                std::string(host.why) +
                "\n"
                "  fix: " +
                std::string(host.remedy));
}

TEST(Explain, OneAndNone) {
  json pod = good_pod();
  pod["spec"]["hostPID"] = true;
  EXPECT_TRUE(explain(findings_of(pod)).starts_with("1 problem:\n"));
  EXPECT_EQ(explain({}), "no problems");
}

TEST(Explain, IsBoundedAndCountsWhatItLeavesOut) {
  json pod = good_pod();
  json bad = pod["spec"]["containers"][0];
  bad.erase("securityContext");
  bad.erase("resources");
  for (int i = 0; i < 400; ++i)
    pod["spec"]["containers"].push_back(bad);
  const auto findings = findings_of(pod);
  EXPECT_LE(findings.size(), 1000U);
  const std::string text = explain(findings);
  EXPECT_LE(text.size(), 16U * 1024U);
  EXPECT_GT(text.size(), 12U * 1024U);
  EXPECT_TRUE(text.starts_with(std::to_string(findings.size()) + " problems:"));
  const auto told = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  const auto at = text.rfind("\n... and ");
  ASSERT_NE(at, std::string::npos);
  const auto left = std::stoul(text.substr(at + 9));
  EXPECT_LT(left, findings.size());
  EXPECT_GT(left + told, findings.size());
  EXPECT_TRUE(text.ends_with(" more"));
}

TEST(Explain, EvenOneHugeValueIsShown) {
  json pod = good_pod();
  pod["spec"]["hostPID"] = std::string(100000, 'x');
  pod["metadata"]["annotations"]
     ["container.apparmor.security.beta.kubernetes.io/" + std::string(100000, 'y')] = "unconfined";
  const std::string text = explain(findings_of(pod));
  EXPECT_LE(text.size(), 16U * 1024U);
  EXPECT_NE(text.find("spec.hostPID"), std::string::npos);
  EXPECT_NE(text.find("[apparmor]"), std::string::npos);
}

TEST(Explain, NothingThatMovesACursorPasses) {
  json pod = good_pod();
  const std::string evil =
      "a\x1b[2J\n\r\x7f\xC2\x9B"
      "b\xE2\x80\xAE"
      "c\xE2\x81\xA6"
      "d\xE2\x80\xA8"
      "d\xD8\x9C"
      "e \xC3\xA9";
  pod["spec"]["containers"][0]["securityContext"]["procMount"] = evil;
  pod["spec"]["volumes"][0] = {{"name", "v"}, {evil, json::object()}};
  pod["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/" + evil] = evil;
  const auto findings = findings_of(pod);
  EXPECT_EQ(findings.size(), 3U) << tell(findings);
  const std::string text = explain(findings);
  for (const char* bad : {"\x1b", "\r", "\x7f", "\xC2\x9B", "\xE2\x80\xAE", "\xE2\x81\xA6",
                          "\xE2\x80\xA8", "\xD8\x9C"}) {
    EXPECT_EQ(text.find(bad), std::string::npos) << text;
    EXPECT_EQ(shown(evil).find(bad), std::string::npos);
  }
  EXPECT_NE(text.find("\xC3\xA9"), std::string::npos) << "letters stay";
  for (const Finding& finding : findings)
    EXPECT_EQ(finding.field.find('\x1b'), std::string::npos);
  EXPECT_EQ(shown("one\ntwo\t\xC3\xA9"), "one?two?\xC3\xA9");
  EXPECT_EQ(shown("abc\xC3\xA9", 4), "abc...");
  EXPECT_EQ(shown("abc\xC3\xA9", 5), "abc\xC3\xA9");
  EXPECT_EQ(shown("\xA9\xA9\xA9", 1), "...");
}

// A path goes into JSON answers: cutting a long key must leave it UTF-8.
TEST(Explain, NoPathCutsACodePoint) {
  const std::string kept(252, 'k');
  for (const std::string last : {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\xA6\x8A", "xy"}) {
    json pod = good_pod();
    pod["spec"]["volumes"][0] = {{"name", "v"}, {kept + last + "more", json::object()}};
    const auto findings = findings_of(pod);
    ASSERT_FALSE(findings.empty());
    EXPECT_TRUE(simdjson::validate_utf8(findings[0].field)) << findings[0].field;
    EXPECT_NE(findings[0].field.find(kept), std::string::npos) << findings[0].field;
  }
}

}  // namespace
}  // namespace palisade::policy::testing
