#include "credentials.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::llm {
namespace {

// Made here in parts, so that no scanner takes this file for a leak.
std::string token(const char* prefix, const char* rest) {
  return std::string(prefix) + rest;
}

struct Sample {
  std::string text;  // what is hidden
  const char* kind;
};
std::vector<Sample> samples() {
  return {{token("gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"), "a GitHub token"},
          {token("github_", "pat_11ABCDEFG0abcdefghijkl_0123456789abcdef"), "a GitHub token"},
          {token("glp", "at-abcDEF123_-456ghiJKL"), "a GitLab token"},
          {token("AK", "IA2E0A8F3B244C9986"), "an AWS key"},
          {token("xox", "b-1234567890-abcdefXYZ"), "a Slack token"},
          {token("AIz", "aSyA1234567890abcdefghijklmnopqrstu"), "a Google key"},
          {token("ya2", "9.a0AfH6SMBx1234567890abcdef"), "a Google key"},
          {token("sk-", "abcdefghij0123456789ABCDEFGHIJ"), "an LLM API key"},
          {token("sk-", "ant-api03-abc_DEF-0123456789"), "an LLM API key"},
          {token("sk-", "proj-abc_DEF-0123456789"), "an LLM API key"},
          {token("eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w"),
           "a JSON Web Token"}};
}

TEST(Credentials, AreFoundWhereverTheyBegin) {
  for (const Sample& sample : samples()) {
    for (const char* before : {"", " ", "KEY=", "\"", "(", "\n", "https://x/?t=", "a,b:", "\\n",
                               "\\t", "\\u0022", "%3D", "-"}) {
      for (const char* behind : {"", " ", "\"", "\n", ")", ","}) {
        const std::string text = before + sample.text + behind;
        const auto found = find_credentials(text, {});
        ASSERT_EQ(found.size(), 1U) << text;
        EXPECT_EQ(found[0].kind, sample.kind) << text;
        EXPECT_EQ(found[0].span.of(text), sample.text) << text;
        EXPECT_EQ(masked(text, {}),
                  before + ("[masked " + std::to_string(sample.text.size())) + " bytes]" + behind);
      }
    }
  }
}

TEST(Credentials, OtherTextsStay) {
  for (const std::string& text : std::vector<std::string>{
           "", "ghp_", "ghp_short1", "my_ghp_16C7e42F292c6912E7710c838347Ae178B4ax",
           "sk-learn-is-a-library", "sketch", "AKIA", "AKIAlower", "eyJ", "eyJhbGciOiJIUzI1NiJ9",
           "Bearer of bad news, all of it", "bearer token", "Authorization: Bearer $TOKEN",
           "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
           "text.startswith('-----BEGIN PRIVATE KEY-----')", "AIzaShort",
           "aws_secret_access_key = os.environ['X']", "a.b.c", "xoxb-"}) {
    EXPECT_TRUE(find_credentials(text, {}).empty()) << text;
    EXPECT_EQ(masked(text, {}), text);
  }
}

TEST(Credentials, PartsAreHidden) {
  struct {
    std::string text;
    std::string masked;
  } const cases[] = {
      {"Authorization: Bearer abcdef0123456789abcdef\r\n",
       "Authorization: Bearer [masked 22 bytes]\r\n"},
      {"authorization: bearer " + samples()[0].text, "authorization: bearer [masked 40 bytes]"},
      {"-----BEGIN RSA "
       "PRIVATE KEY-----\nMIIEpAIBAAKCAQEAabcdefghijklmnopqrstuvwx0123\n"
       "-----END RSA PRIVATE KEY-----\nx",
       "-----BEGIN RSA "
       "PRIVATE KEY-----[masked 46 bytes]-----END RSA PRIVATE KEY-----\nx"},
      {"-----BEGIN OPENSSH "
       "PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAA",
       "-----BEGIN OPENSSH "
       "PRIVATE KEY-----[masked 46 bytes]"},
      {"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYabcd012345",
       "aws_secret_access_key = [masked 40 bytes]"},
      {"AWS_SECRET_ACCESS_KEY=\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYabcd012345\"",
       "AWS_SECRET_ACCESS_KEY=\"[masked 40 bytes]\""},
  };
  for (const auto& test : cases)
    EXPECT_EQ(masked(test.text, {}), test.masked);
}

TEST(Credentials, OwnTokenIsFoundWhateverItLooksLike) {
  Secrets secrets;
  secrets.add("plain word token", "x-access-token", "the workspace's git token");
  EXPECT_EQ(masked("a plain word tokens", secrets), "a [masked 16 bytes]s");
  const auto found = find_credentials("xplain word tokenplain word token", secrets);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].kind, "the workspace's git token");
  // echo -n 'x-access-token:plain word token' | base64
  EXPECT_EQ(masked("Basic eC1hY2Nlc3MtdG9rZW46cGxhaW4gd29yZCB0b2tlbg==", secrets),
            "Basic [masked 42 bytes]==");
  // Within another, it is hidden to its end.
  EXPECT_EQ(masked(samples()[0].text + "plain word token.", secrets), "[masked 56 bytes].");
  EXPECT_EQ(masked("bearer plain word token0123456789abcdef", secrets),
            "bearer [masked 16 bytes]0123456789abcdef");
  // What follows a credential at once is looked at as well.
  EXPECT_EQ(masked(samples()[3].text + samples()[0].text, {}),
            "[masked 20 bytes][masked 40 bytes]");
  Secrets shorter;
  shorter.add("", "u", "x");
  shorter.add("1234567", "u", "x");
  EXPECT_TRUE(shorter.all().empty());
}

TEST(Credentials, JsonStaysValid) {
  const std::string secret = samples()[0].text;
  const std::string json = R"({ "model":"m", "messages":[{"content":"line\nTOKEN=)" + secret +
                           R"(\nnext \u00e9 \"q\""},{"content":"none"},{"arguments":"{\"t\":\")" +
                           secret + R"(\"}"}]})";
  const Outgoing out = check_outgoing(json, {});
  EXPECT_EQ(out.leak.count, 2U);
  EXPECT_EQ(out.leak.where, "messages[0].content");
  EXPECT_EQ(out.leak.kind, "a GitHub token");
  EXPECT_FALSE(out.in_name);
  const std::string changed = edited(json, out.edits);
  const auto read = nlohmann::json::parse(changed);
  EXPECT_EQ(read["messages"][0]["content"], "line\nTOKEN=[masked 40 bytes]\nnext \u00e9 \"q\"");
  EXPECT_EQ(read["messages"][2]["arguments"], "{\"t\":\"[masked 40 bytes]\"}");
  EXPECT_EQ(changed.find(secret), std::string::npos);
  EXPECT_TRUE(changed.starts_with(R"({ "model":"m", "messages":[{"content":)")) << "the rest stays";

  // However it is escaped.
  std::string escaped;
  for (const char c : secret) {
    char unit[8];
    std::snprintf(unit, sizeof unit, "\\u%04x", static_cast<unsigned char>(c));
    escaped += unit;
  }
  EXPECT_EQ(check_outgoing("{\"a\":\"" + escaped + "\"}", {}).leak.count, 1U);

  const Outgoing name = check_outgoing("{\"" + secret + "\":1}", {});
  EXPECT_TRUE(name.in_name);
  EXPECT_TRUE(name.edits.empty());
  EXPECT_EQ(check_outgoing(R"({"a":["b","a long text without any"]})", {}).leak.count, 0U);
}

TEST(Credentials, LongTextsTakeNoLonger) {
  // Each would be quadratic if a look began anew at every byte.
  for (const std::string& unit : std::vector<std::string>{"eyJ", "-----BEGIN ", "bearer ", "ghp_",
                                                          "aws_secret_access_key", "sk-",
                                                          "-----BEGIN "
                                                          "PRIVATE KEY-----" +
                                                              std::string(130, ' ')}) {
    std::string text;
    while (text.size() < 1'000'000)
      text += unit;
    EXPECT_LE(find_credentials(text, {}).size(), text.size() / unit.size()) << unit;
  }
}

}  // namespace
}  // namespace palisade::gateway::llm
