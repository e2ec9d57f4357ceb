#include "token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/base64.h>

namespace palisade::gateway {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr std::size_t kMax = 16 * 1024;

std::string url(const std::string& bytes) {
  std::string out = kube::encode_base64(bytes);
  std::ranges::replace(out, '+', '-');
  std::ranges::replace(out, '/', '_');
  std::erase(out, '=');
  return out;
}

std::string token(const json& claims) {
  return url(R"({"alg":"RS256"})") + "." + url(claims.dump()) + "." + url("signature");
}

json claims() {
  return {{"aud", {"palisade-gateway"}}, {"exp", 1'800'000'000}, {"sub", "x"}};
}

TEST(Token, SaysWhenItEnds) {
  const auto read = read_token(token(claims()), "palisade-gateway", kMax);
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(std::chrono::system_clock::to_time_t(read->expires), 1'800'000'000);
  json one = claims();
  one["aud"] = "palisade-gateway";
  EXPECT_TRUE(read_token(token(one), "palisade-gateway", kMax));
}

TEST(Token, WhatCannotBeOneIsRefusedWithoutAsking) {
  const auto with = [](const char* key, const json& value) {
    json out = claims();
    out[key] = value;
    return token(out);
  };
  json endless = claims();
  endless.erase("exp");
  struct Case {
    std::string token;
    const char* says;
  };
  const Case cases[] = {
      {"", "no token"},
      {"x", "no ServiceAccount token"},
      {"a.b", "no ServiceAccount token"},
      {"a.b.c", "no ServiceAccount token"},
      {token(claims()) + ".x", "no ServiceAccount token"},
      {token(claims()) + "\n", "no ServiceAccount token"},
      {token(claims()) + "==", "no ServiceAccount token"},
      {"..", "no ServiceAccount token"},
      {url("{}") + "." + url("[]") + "." + url("x"), "no ServiceAccount token"},
      {url("{}") + "." + url("{\"aud\"") + "." + url("x"), "no ServiceAccount token"},
      {std::string(100 * 1024, 'a'), "too long"},
      {with("aud", json::array({"other"})), "another audience"},
      {with("aud", json::array()), "another audience"},
      {with("aud", 3), "another audience"},
      {with("aud", "palisade-gatewayx"), "another audience"},
      {with("exp", "soon"), "no end"},
      {with("exp", -5), "no end"},
      {with("exp", 1e300), "no end"},
      {with("exp", std::numeric_limits<std::uint64_t>::max()), "no end"},
      {token(endless), "no end"},
  };
  for (const Case& one : cases) {
    const auto read = read_token(one.token, "palisade-gateway", kMax);
    ASSERT_FALSE(read) << one.token.substr(0, 80);
    EXPECT_THAT(read.error(), HasSubstr(one.says)) << one.token.substr(0, 80);
  }
}

json review() {
  return {{"status",
           {{"authenticated", true},
            {"audiences", {"palisade-gateway"}},
            {"user",
             {{"username", "system:serviceaccount:team-a:fix-login-agent"},
              {"extra",
               {{"authentication.kubernetes.io/pod-name", {"fix-login-agent"}},
                {"authentication.kubernetes.io/pod-uid", {"pod-uid"}}}}}}}}};
}

TEST(TokenReview, ProvesNamespaceAccountAndPod) {
  const auto proven = proven_by(review(), "palisade-gateway");
  ASSERT_TRUE(proven) << proven.error();
  EXPECT_EQ(*proven, (Proven{"team-a", "fix-login-agent", "fix-login-agent", "pod-uid"}));
}

TEST(TokenReview, ProvesNothingWithoutEachOfThem) {
  struct Case {
    const char* at;
    json value;
    const char* says;
  };
  const std::string extra = "/status/user/extra/authentication.kubernetes.io~1";
  const std::string name = extra + "pod-name";
  const std::string uid = extra + "pod-uid";
  const Case cases[] = {
      {"/status/authenticated", false, "does not accept"},
      {"/status/authenticated", "true", "does not accept"},
      {"/status", nullptr, "does not accept"},
      {"/status/audiences", json::array({"other"}), "not for audience"},
      {"/status/audiences", json::array(), "not for audience"},
      {"/status/user/username", "alice", "no ServiceAccount's"},
      {"/status/user/username", "system:serviceaccount:team-a", "no ServiceAccount's"},
      {"/status/user/username", "system:serviceaccount:team-a:", "no ServiceAccount's"},
      {"/status/user/username", "system:serviceaccount::x", "no ServiceAccount's"},
      {"/status/user/username", "system:serviceaccount:a:b:c", "no ServiceAccount's"},
      {name.c_str(), json::array(), "not bound to a pod"},
      {name.c_str(), json::array({"a", "b"}), "not bound to a pod"},
      {uid.c_str(), json::array({3}), "not bound to a pod"},
      {uid.c_str(), "pod-uid", "not bound to a pod"},
      {"/status/user/extra", nullptr, "not bound to a pod"},
  };
  for (const Case& one : cases) {
    json broken = review();
    broken[json::json_pointer(one.at)] = one.value;
    const auto proven = proven_by(broken, "palisade-gateway");
    ASSERT_FALSE(proven) << one.at;
    EXPECT_THAT(proven.error(), HasSubstr(one.says)) << one.at;
  }
  EXPECT_FALSE(proven_by(json::object(), "palisade-gateway"));
  EXPECT_FALSE(proven_by(json::array(), "palisade-gateway"));
}

}  // namespace
}  // namespace palisade::gateway
