// What of a request leaves the pod.
#include "passage.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::relay {
namespace {

Route route() {
  Route out;
  out.name = "llm";
  out.path = "/v1";
  out.url.path = "/base/v1";
  return out;
}

TEST(Passage, LeadsBelowTheRoutesPathAndNowhereElse) {
  const struct {
    const char* target;
    const char* passed;  // null: a 404
  } cases[] = {
      {"/v1", "/base/v1"},
      {"/v1/", "/base/v1/"},
      {"/v1/models?x=y&z=/../a", "/base/v1/models?x=y&z=/../a"},
      {"/v1?x", "/base/v1?x"},
      {"/v1/models/org%2Fname", "/base/v1/models/org%2Fname"},
      {"/v1/a..b/...", "/base/v1/a..b/..."},
      {"/", nullptr},
      {"/v2/models", nullptr},
      {"/v11", nullptr},
      {"/V1/models", nullptr},
      {"/x/v1/models", nullptr},
      {"/v1/../admin", nullptr},
      {"/v1/..", nullptr},
      {"/v1/./x", nullptr},
      {"/v1/x/..", nullptr},
      {"/v1/%2e%2e/admin", nullptr},
      {"/v1/%2E./admin", nullptr},
      {"/v1/x/..%2fadmin", nullptr},
      {"/v1/..%5Cadmin", nullptr},
      {"/v1/..\\admin", nullptr},
      {"/v1/%00", nullptr},
      {"/../v1/x", nullptr},
  };
  for (const auto& c : cases) {
    const auto out = outgoing(route(), {"POST", c.target, {}});
    EXPECT_EQ(out.has_value(), c.passed != nullptr) << c.target;
    if (out && c.passed != nullptr) {
      EXPECT_EQ(out->target, c.passed);
    } else if (!out) {
      EXPECT_EQ(out.error().status, 404) << c.target;
    }
  }
  Route bare = route();
  bare.path = bare.url.path = "";
  EXPECT_EQ(outgoing(bare, {"GET", "/x", {}})->target, "/x");
  bare.path = "/v1";
  EXPECT_EQ(outgoing(bare, {"GET", "/v1", {}})->target, "/");
}

TEST(Passage, IsForWhatApisAndGitSend) {
  for (const char* method : {"GET", "HEAD", "POST"})
    EXPECT_TRUE(outgoing(route(), {method, "/v1/x", {}})) << method;
  for (const char* method : {"PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"}) {
    const auto out = outgoing(route(), {method, "/v1/x", {}});
    ASSERT_FALSE(out) << method;
    EXPECT_EQ(out.error().status, 405) << method;
  }
}

TEST(Passage, TakesTheFieldsThatAreNeededAndNoOther) {
  const Fields said{{"Host", "evil"},
                    {"Authorization", "Bearer mine"},
                    {"Proxy-Authorization", "x"},
                    {"X-Api-Key", "x"},
                    {"Cookie", "x"},
                    {"Forwarded", "for=x"},
                    {"X-Forwarded-For", "x"},
                    {"X-Real-Ip", "x"},
                    {"X-Palisade-Namespace", "other"},
                    {"Connection", "close, Accept"},
                    {"Transfer-Encoding", "chunked"},
                    {"Content-Length", "5"},
                    {"Expect", "100-continue"},
                    {"Accept-Encoding", "gzip"},
                    {"Accept", "text/event-stream"},
                    {"Content-Type", "application/json"},
                    {"Content-Type", "text/evil"},
                    {"Content-Encoding", "gzip"},
                    {"user-agent", "aider"},
                    {"GIT-PROTOCOL", "version=2"},
                    {"anthropic-version", "2023-06-01"},
                    {"anthropic-beta", "x"}};
  const auto out = outgoing(route(), {"POST", "/v1/x", said});
  ASSERT_TRUE(out);
  std::string all;
  for (const Field& field : out->fields.all())
    all += field.name + "=" + field.value + ";";
  EXPECT_EQ(all,
            "accept=text/event-stream;content-type=application/json;content-encoding=gzip;"
            "user-agent=aider;git-protocol=version=2;anthropic-version=2023-06-01;"
            "anthropic-beta=x;");
}

TEST(Passage, HasATokenThatIsOne) {
  EXPECT_EQ(bearer("abc.def-_~+/="), "Bearer abc.def-_~+/=");
  for (const std::string& text :
       {std::string(), std::string("a b"), std::string("a\r\nX: y"), std::string("a\tb"),
        std::string("a\0b", 3), std::string("\x80"), std::string(20'000, 'x')})
    EXPECT_EQ(bearer(text), std::nullopt) << text.substr(0, 20);
}

TEST(Refusals, AreToldAsTheCallerReadsThem) {
  Route llm = route();
  const Refused refused{502, "gateway_unreachable", "cannot \"reach\" it\xff"};
  const Said said = in_words(llm, refused);
  EXPECT_STREQ(said.content_type, "application/json");
  const auto json = nlohmann::json::parse(said.body);
  EXPECT_EQ(json["error"]["code"], "gateway_unreachable");
  EXPECT_EQ(json["error"]["type"], "relay_error");
  EXPECT_TRUE(json["error"]["message"].get<std::string>().starts_with("cannot \"reach\" it"));
  llm.name = "git";
  EXPECT_STREQ(in_words(llm, refused).content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(in_words(llm, refused).body, "cannot \"reach\" it\xff\n");
}

}  // namespace
}  // namespace palisade::gateway::relay
