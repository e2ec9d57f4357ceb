// Which images must be signed by whom: how an AgentPolicy says it, and what it means for names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/agent_policy.h>
#include <policy/signatures.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kPem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

std::expected<AgentPolicy, std::string> read(const json& rules, const std::string& name = "p") {
  return parsed(
      json{{"metadata", {{"name", name}}}, {"spec", {{"requireSignatures", rules}}}}.dump(),
      parse_agent_policy);
}

json rule(const json& repositories,
          const json& keys = json::array({{{"name", "k"}, {"publicKey", kPem}}})) {
  return {{"repositories", repositories}, {"keys", keys}};
}

TEST(ImageNames, AreTakenApart) {
  const auto whole = parse_image("registry.example.com:5000/team/aider:1.2@" + kDigest);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->registry, "registry.example.com:5000");
  EXPECT_EQ(whole->repository, "team/aider");
  EXPECT_EQ(whole->digest, kDigest);
  for (const char* const name : {"localhost/a", "a.b/c", "a:1/c", "10.0.0.1:80/a/b_c.d-e"}) {
    const auto image = parse_image(name);
    ASSERT_TRUE(image) << name;
    EXPECT_EQ(image->digest, "");
  }
  for (const char* const digest : {"sha256:ABC", "sha512:aa", "", "sha256:"}) {
    const auto image = parse_image("a.b/c@" + std::string(digest));
    ASSERT_TRUE(image) << digest;
    EXPECT_EQ(image->digest, "") << digest;
  }
}

// Each would be a request to somewhere else than it looks.
TEST(ImageNames, WhatIsNoneIsNotGuessedAt) {
  for (const char* name : {"",          "aider",    "team/aider",   "/aider",       "a.b/",
                           "a.b//c",    "a.b/../c", "a.b/./c",      "a.b/c/",       "A.b/c",
                           "a.b/C",     "a.b:/c",   "a.b:123456/c", "a.b:8x/c",     "a.b@c/d",
                           "u:p@a.b/c", "a.b/c?d",  "a.b/c#d",      "a.b/c%2e",     "a.b/c d",
                           "-a.b/c",    "a.b-/c",   ".a.b/c",       "[::1]:5000/c", "https://a.b/c",
                           "a.b/c\n"}) {
    EXPECT_FALSE(parse_image(name)) << name;
  }
}

TEST(SignatureRules, AreRead) {
  const auto policy = read(
      json::array({rule({"registry.example.com/palisade", "localhost:5000"},
                        json::array({{{"name", "old"}, {"publicKey", kPem}},
                                     {{"name", "new"}, {"publicKey", "\n" + kPem + "\n"}}}))}));
  ASSERT_TRUE(policy) << policy.error();
  ASSERT_THAT(policy->signatures, SizeIs(1));
  EXPECT_THAT(policy->signatures[0].repositories,
              ElementsAre("registry.example.com/palisade", "localhost:5000"));
  ASSERT_THAT(policy->signatures[0].keys, SizeIs(2));
  EXPECT_EQ(policy->signatures[0].keys[1].name, "new");
}

TEST(SignatureRules, ErrorsNameTheField) {
  const auto keys = [](const json& key) { return json::array({key}); };
  const auto one = [](const json& item) { return json::array({item}); };
  const struct {
    json rules;
    const char* says;
  } cases[] = {
      {json::array(), "spec.requireSignatures must be a list of 1 to 16"},
      {json::object(), "spec.requireSignatures must be a list of 1 to 16"},
      {json(17, rule(json::array({"a.b"}))), "spec.requireSignatures must be a list of 1 to 16"},
      {one(7), "spec.requireSignatures[0] must be an object"},
      {json::array({rule(json::array({"a.b"})), json::object()}),
       "spec.requireSignatures[1].repositories is missing"},
      {one({{"repositories", json::array({"a.b"})}}), "spec.requireSignatures[0].keys is missing"},
      {one(rule(json::array())), "[0].repositories must be a list of 1 to 64"},
      {one(rule({"a.b", 7})), "[0].repositories[1] must be a text"},
      {one(rule(json::array({"a.b"}), json::array())), "[0].keys must be a list of 1 to 16"},
      {one(rule(json::array({"a.b"}), keys({{"publicKey", kPem}}))),
       "[0].keys[0].name must be a text"},
      {one(rule(json::array({"a.b"}), keys({{"name", "k"}}))), "[0].keys[0].publicKey is missing"},
      {one(rule(json::array({"a.b"}), keys({{"name", "k"}, {"publicKey", kPem}, {"issuer", "x"}}))),
       "[0].keys[0] has no field \"issuer\""},
      {one(rule(json::array({"a.b"}), keys({{"name", "k"}, {"publicKey", kPem + kPem}}))),
       "[0].keys[0].publicKey must be one public key"},
      {one(rule(json::array({"a.b"}),
                keys({{"name", "k"}, {"publicKey", std::string(5000, 'x')}}))),
       "[0].keys[0].publicKey must be one public key"},
      {one(rule(
           json::array({"a.b"}),
           keys({{"name", "k"}, {"publicKey", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"}}))),
       "[0].keys[0].publicKey must be the public key; what stands here is a private one"},
  };
  for (const auto& c : cases) {
    const auto policy = read(c.rules);
    ASSERT_FALSE(policy) << c.rules;
    EXPECT_THAT(policy.error(), HasSubstr(c.says));
  }
  for (const char* repository : {"example", "palisade/aider", "https://a.b", "a.b/", "a.b/c:1",
                                 "a.b/c@x", "a.b/*", "*.b/c", "A.b", "a.b//c", "a.b/../c"}) {
    const auto policy = read(json::array({rule(json::array({repository}))}));
    ASSERT_FALSE(policy) << repository;
    EXPECT_THAT(policy.error(),
                HasSubstr("spec.requireSignatures[0].repositories[0] must be a registry"));
  }
}

class SignatureNeeded : public ::testing::Test {
 protected:
  static Settings of(const std::vector<AgentPolicy>& policies) {
    std::vector<const AgentPolicy*> pointers;
    for (const AgentPolicy& policy : policies)
      pointers.push_back(&policy);
    return tightened({}, pointers);
  }
  static AgentPolicy policy(const std::string& name, const json& rules) {
    auto out = read(rules, name);
    if (!out) throw std::runtime_error(out.error());
    return std::move(*out);
  }
  static json pod(const std::string& image) {
    return {{"spec", {{"containers", {{{"name", "a"}, {"image", image}}}}}}};
  }
  static SignatureNeeds needs(const json& pod, const Settings& settings) {
    simdjson::dom::parser parser;
    const simdjson::padded_string text(pod.dump());
    return signature_needs(parser.parse(text), settings);
  }
};

TEST_F(SignatureNeeded, NothingWhereNobodyDemandsIt) {
  const auto nothing = needs(pod("whatever"), of({}));
  EXPECT_THAT(nothing.findings, IsEmpty());
  EXPECT_THAT(nothing.images, IsEmpty());
}

TEST_F(SignatureNeeded, EveryRuleThatNamesTheRepositoryMustBeMet) {
  const Settings settings =
      of({policy("one", json::array({rule(json::array({"a.b/team"})), rule(json::array({"a.b"})),
                                     rule({"a.b/team/aiderx", "c.d"})})),
          policy("two", json::array({rule(json::array({"a.b/team/aider"}))}))});
  const auto found = needs(pod("a.b/team/aider@" + kDigest), settings);
  EXPECT_THAT(found.findings, IsEmpty());
  ASSERT_THAT(found.images, SizeIs(1));
  EXPECT_EQ(found.images[0].field, "spec.containers[0].image");
  EXPECT_THAT(found.images[0].rules,
              ElementsAre(&settings.signatures[0].rules[0], &settings.signatures[0].rules[1],
                          &settings.signatures[1].rules[0]));
}

TEST_F(SignatureNeeded, WhatAPolicyDoesNotNameItRefuses) {
  const Settings settings = of({policy("one", json::array({rule(json::array({"a.b"}))})),
                                policy("two", json::array({rule({"a.b/team", "c.d"})}))});
  const auto found = needs(pod("a.b/other@" + kDigest), settings);
  ASSERT_THAT(found.findings, SizeIs(1));
  EXPECT_EQ(found.findings[0].control, kImageSignature);
  EXPECT_THAT(found.findings[0].message,
              HasSubstr("requireSignatures of AgentPolicy two has keys (a.b/team, c.d)"));
}

TEST_F(SignatureNeeded, ImagesThatAreNoTextAreFindings) {
  const Settings settings = of({policy("one", json::array({rule(json::array({"a.b"}))}))});
  for (const json& odd :
       {json{{"spec", {{"containers", {{{"name", "a"}}}}}}},
        json{{"spec", {{"containers", {{{"name", "a"}, {"image", 7}}}}}}},
        json{{"spec", {{"containers", "x"}}}}, json{{"spec", {{"volumes", {{{"image", 7}}}}}}},
        json{{"spec", {{"volumes", {{{"image", json::object()}}}}}}}}) {
    EXPECT_THAT(needs(odd, settings).findings, SizeIs(1)) << odd;
  }
}

// The same policy twice is one; the order of two is of no matter to what is refused.
TEST_F(SignatureNeeded, DemandsAddUp) {
  const AgentPolicy one = policy("one", json::array({rule(json::array({"a.b"}))}));
  EXPECT_THAT(of({one, one}).signatures, SizeIs(1));
  EXPECT_THAT(of({one, policy("two", json::array({rule(json::array({"c.d"}))}))}).signatures,
              SizeIs(2));
}

}  // namespace
}  // namespace palisade::policy::testing
