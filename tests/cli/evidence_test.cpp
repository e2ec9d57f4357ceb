// The document for auditors: what is in it, and that nothing in it is markup.
#include "evidence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/rfc3339.h>

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

EvidenceInput period() {
  EvidenceInput out;
  out.since = *kube::parse_rfc3339("2026-11-01T00:00:00Z");
  out.until = *kube::parse_rfc3339("2026-11-08T00:00:00Z");
  return out;
}
json session(const std::string& name, const char* created, const char* finished = nullptr) {
  json out{{"metadata",
            {{"name", name},
             {"namespace", "team-a"},
             {"uid", "u-" + name},
             {"creationTimestamp", created},
             {"annotations", {{"palisade.dev/created-by", "alice"}}}}},
           {"spec", {{"repository", {{"url", "https://git.example.com/a"}}}}},
           {"status", {{"phase", "Running"}}}};
  if (finished != nullptr)
    out["status"] = {{"phase", "Succeeded"},
                     {"finishedAt", finished},
                     {"audit", {{"execs", 12}, {"refusals", 3}, {"findings", 1}}}};
  return out;
}
json exception(const char* name, const char* created, const char* expires) {
  return {{"metadata", {{"name", name}, {"creationTimestamp", created}}},
          {"spec",
           {{"namespaces", {"team-a"}},
            {"controls", {"run-as-non-root"}},
            {"reason", "legacy"},
            {"ticket", "T-1"},
            {"approver", "bob"},
            {"expires", expires}}}};
}

TEST(Evidence, HoldsThePeriodAndNothingElse) {
  EvidenceInput input = period();
  input.workspaces = {session("b-in", "2026-11-02T00:00:00Z", "2026-11-02T01:00:00Z"),
                      session("a-over", "2026-10-30T00:00:00Z"),
                      session("before", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z"),
                      session("after", "2026-11-09T00:00:00Z")};
  input.exceptions = {exception("now", "2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z"),
                      exception("ended", "2026-10-01T00:00:00Z", "2026-11-03T00:00:00Z"),
                      exception("long-ago", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")};
  const json evidence = evidence_of(input);
  ASSERT_EQ(evidence["sessions"].size(), 2U);
  EXPECT_EQ(evidence["sessions"][0]["name"], "a-over");
  EXPECT_EQ(evidence["sessions"][0]["audit"]["refusals"], nullptr);  // not known is not none
  EXPECT_EQ(evidence["sessions"][1]["name"], "b-in");
  EXPECT_EQ(evidence["sessions"][1]["createdBy"], "alice");
  ASSERT_EQ(evidence["exceptions"].size(), 2U);
  EXPECT_EQ(evidence["summary"]["activeExceptions"], 1);
  EXPECT_EQ(evidence["summary"]["refusals"], 3);
  input.ns = "team-b";
  EXPECT_EQ(evidence_of(input)["exceptions"].size(), 0U);
}

TEST(Evidence, SaysWhatBecameOfTokens) {
  EvidenceInput input = period();
  const auto with = [](json w, const char* kind) {
    w["spec"]["repository"]["credentials"][kind] = json::object();
    return w;
  };
  input.workspaces = {with(session("a", "2026-11-02T00:00:00Z", "2026-11-02T01:00:00Z"), "gitlab"),
                      with(session("b", "2026-11-02T00:00:00Z", "2026-11-02T01:00:00Z"), "gitea"),
                      with(session("c", "2026-11-02T00:00:00Z"), "secretRef"),
                      session("d", "2026-11-02T00:00:00Z")};
  input.events = {{{"reason", "TokenNotRevoked"},
                   {"type", "Warning"},
                   {"reportingController", "palisade.dev/operator"},
                   {"eventTime", "2026-11-02T01:00:00.000000Z"},
                   {"note", "17 is left"},
                   {"regarding", {{"uid", "u-b"}, {"kind", "AgentWorkspace"}, {"name", "b"}}}},
                  {{"reason", "Other"},
                   {"type", "Warning"},
                   {"reportingController", "kubelet"},
                   {"eventTime", "2026-11-02T01:00:00.000000Z"}}};
  const json evidence = evidence_of(input);
  const auto held = [&](std::size_t i) { return evidence["tokens"][i]["held"]; };
  EXPECT_EQ(held(0), "revoked at the end");
  EXPECT_EQ(held(1), "NOT REVOKED");
  EXPECT_EQ(held(2), "while the session runs");
  EXPECT_EQ(held(3), "none");
  EXPECT_EQ(evidence["summary"]["tokensNotRevoked"], 1);
  EXPECT_EQ(evidence["events"].size(), 1U);
}

TEST(Evidence, NamesTheControlsThatNameTheClause) {
  const json evidence = evidence_of(period());
  std::map<std::string, json> controls;
  for (const json& one : evidence["frameworks"])
    controls[one["clause"].get<std::string>()] = one["controls"];
  EXPECT_FALSE(controls["CC6.1"].empty());
  EXPECT_FALSE(controls["CC8.1"].empty());
  EXPECT_FALSE(controls["LLM02"].empty());
  EXPECT_TRUE(controls.contains("A.8.15"));
}

TEST(Evidence, IsTextWhateverTheClusterSays) {
  EvidenceInput input = period();
  const std::string evil = "<script>alert(1)</script>|[x](javascript:1)\x1b[2J\n# head";
  json w = session("a", "2026-11-02T00:00:00Z", "2026-11-02T01:00:00Z");
  w["metadata"]["annotations"]["palisade.dev/created-by"] = evil;
  w["status"]["branch"] = evil;
  w["spec"]["isolation"]["exec"]["allow"] = {evil};
  input.workspaces = {w};
  json e = exception("x", "2026-10-01T00:00:00Z", "2026-12-01T00:00:00Z");
  e["spec"]["reason"] = evil;
  e["spec"]["controls"] = {evil, 7};
  input.exceptions = {e};
  input.ns = "team-a";
  input.reports = {
      {{"metadata", {{"namespace", evil}}},
       {"results", {{{"source", "palisade"}, {"result", "fail"}, {"message", evil}}}}}};
  input.unread = {evil};
  const json evidence = evidence_of(input);
  EXPECT_EQ(evidence["findings"].size(), 1U);
  const std::string page = evidence_html(evidence);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
  const std::string text = evidence_markdown(evidence);
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  EXPECT_THAT(text, Not(HasSubstr("](javascript")));
  EXPECT_THAT(text, Not(HasSubstr("\n# head")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(Evidence, TakesObjectsOfAnyShape) {
  EvidenceInput input = period();
  input.workspaces = {json::object(), {{"metadata", 7}}, {{"status", {{"conditions", "x"}}}}};
  input.exceptions = {json::object(), {{"spec", {{"expires", 7}}}}};
  input.reports = {{{"results", 7}}, {{"results", {7}}}};
  input.events = {json::object()};
  const json evidence = evidence_of(input);
  EXPECT_EQ(evidence["sessions"].size(), 3U);
  EXPECT_THAT(evidence_markdown(evidence), HasSubstr("## Sessions"));
  EXPECT_THAT(evidence_html(evidence), HasSubstr("</html>"));
  EXPECT_THAT(evidence_markdown(evidence_of(period())),
              HasSubstr("No session is known for this period."));
}

}  // namespace
}  // namespace palisade::cli
