// How a registry is asked: its challenges, its redirects, and where it must not send the webhook.
#include "signatures/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

const std::string kImage = digest('a');
const std::string kManifest = "/v2/palisade/aider/manifests/" + signature_tag(kImage);

TEST(Challenge, OfBothKinds) {
  const auto bearer = read_challenge(
      R"(Bearer realm="https://auth.example.com/token",service="registry, \"x\"",scope="a:b:pull")");
  ASSERT_TRUE(bearer);
  EXPECT_TRUE(bearer->is_bearer);
  EXPECT_EQ(bearer->realm, "https://auth.example.com/token");
  EXPECT_EQ(bearer->service, R"(registry, "x")");
  const auto bare = read_challenge("bearer  realm=https://a/b , service=c");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->realm, "https://a/b");
  EXPECT_EQ(bare->service, "c");
  const auto basic = read_challenge(R"(Basic realm="x")");
  ASSERT_TRUE(basic);
  EXPECT_FALSE(basic->is_bearer);
  for (const char* odd : {"", "Bearer", "Bearer ", "Bearer realm", R"(Bearer realm="https://a)",
                          "Bearer service=x", "Negotiate abc", "=", "Bearer ==="}) {
    EXPECT_FALSE(read_challenge(odd)) << odd;
  }
}

TEST(Credentials, TheLongestEntryThatNamesTheRepository) {
  const policy::ImageName image{"registry.example.com", "team/aider", kImage};
  const auto b64 = [](const char* text) { return kube::encode_base64(text); };
  const json auths{{"https://registry.example.com/", {{"auth", b64("all:1")}}},
                   {"registry.example.com/team", {{"username", "team"}, {"password", "2"}}},
                   {"registry.example.com/team/ai", {{"auth", b64("not:3")}}},
                   {"registry.example.co", {{"auth", b64("not:4")}}},
                   {"https://index.docker.io/v1/", {{"auth", b64("hub:5:with")}}}};
  const std::string config = json{{"auths", auths}}.dump();
  EXPECT_EQ(credential_for(config, image), "team:2");
  EXPECT_EQ(credential_for(config, {"registry.example.com", "other/x", kImage}), "all:1");
  EXPECT_EQ(credential_for(config, {"registry.example.com:5000", "team/aider", kImage}), "");
  EXPECT_EQ(credential_for(config, {"docker.io", "team/aider", kImage}), "hub:5:with");
  for (const char* odd : {"", "[]", "{}", R"({"auths":[]})"})
    EXPECT_FALSE(credential_for(odd, image)) << odd;
  for (const json& entry : {json(7), json{{"auth", "!"}}, json{{"auth", b64("nothing")}},
                            json{{"identitytoken", "x"}}, json::object()}) {
    const auto read =
        credential_for(json{{"auths", {{"registry.example.com", entry}}}}.dump(), image);
    ASSERT_FALSE(read) << entry;
    EXPECT_THAT(read.error(), HasSubstr("registry.example.com"));
  }
}

class RegistryReading : public ::testing::Test {
 protected:
  RegistryReading() { options_.ca_file = registry_.ca_file(); }

  [[nodiscard]] policy::ImageName image() const {
    return {registry_.host(), "palisade/aider", kImage};
  }
  RegistryReader reader(std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    return {options_, image(), std::chrono::steady_clock::now() + patience};
  }
  void credentials(const std::string& user_and_password) {
    options_.credentials_file = registry_.write(
        "config.json",
        json{{"auths", {{registry_.host(), {{"auth", kube::encode_base64(user_and_password)}}}}}}
            .dump());
  }
  // Lets in who shows this header.
  void only_with(const std::string& authorization, const std::string& challenge) {
    registry_.guard([=](const TestRegistry::Call& call) -> std::optional<TestRegistry::Reply> {
      if (!call.target.starts_with("/v2/") || call.authorization == authorization)
        return std::nullopt;
      return TestRegistry::Reply{"", "401 Unauthorized", "WWW-Authenticate: " + challenge + "\r\n"};
    });
  }

  TestRegistry registry_;
  RegistryOptions options_;
};

TEST_F(RegistryReading, ManifestsAndBlobs) {
  registry_.put(kManifest, {"the manifest"});
  registry_.put_blob("palisade/aider", "the payload");
  auto asking = reader();
  const auto manifest = asking.manifest(signature_tag(kImage));
  ASSERT_TRUE(manifest) << manifest.error();
  EXPECT_EQ(*manifest, "the manifest");
  EXPECT_EQ(asking.blob(digest_of("the payload")), "the payload");
  const auto none = asking.manifest("other");
  ASSERT_TRUE(none) << none.error();
  EXPECT_FALSE(*none);
  EXPECT_FALSE(asking.blob(digest_of("nothing")));
}

TEST_F(RegistryReading, WhatIsNoAnswerIsAnError) {
  for (const char* status : {"500 Internal Server Error", "403 Forbidden", "204 No Content",
                             "302 Found", "429 Too Many Requests"}) {
    registry_.put(kManifest, {"", status});
    const auto got = reader().manifest(signature_tag(kImage));
    ASSERT_FALSE(got) << status;
    EXPECT_THAT(got.error(), HasSubstr(std::string(status, 3)));
  }
  registry_.put(kManifest, {std::string(10 << 20, 'x')});
  const auto large = reader().manifest(signature_tag(kImage));
  ASSERT_FALSE(large);
  EXPECT_THAT(large.error(), HasSubstr("ResponseTooLarge"));
}

TEST_F(RegistryReading, ASlowOneIsNotWaitedForBeyondTheDeadline) {
  registry_.put(kManifest, {"the manifest"});
  registry_.delay(std::chrono::seconds(60));
  const auto got = reader(std::chrono::milliseconds(300)).manifest(signature_tag(kImage));
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error(), HasSubstr("DeadlineExceeded"));
  const auto late = reader(std::chrono::milliseconds(-1)).manifest(signature_tag(kImage));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error(), HasSubstr("no time"));
}

TEST_F(RegistryReading, TrustsItsOwnAuthorityAlone) {
  registry_.put(kManifest, {"the manifest"});
  for (const auto& file :
       {registry_.write("stranger.pem", test_pki::make_ca().certificate),
        registry_.ca_file().parent_path() / "gone.pem", std::filesystem::path()}) {
    options_.ca_file = file;
    const auto got = reader().manifest(signature_tag(kImage));
    ASSERT_FALSE(got) << file;
  }
  EXPECT_THAT(registry_.calls(), SizeIs(0));
}

TEST_F(RegistryReading, BasicAuthentication) {
  registry_.put(kManifest, {"the manifest"});
  only_with("Basic " + kube::encode_base64("robot:secret"), R"(Basic realm="registry")");
  const auto without = reader().manifest(signature_tag(kImage));
  ASSERT_FALSE(without);
  EXPECT_THAT(without.error(), HasSubstr("credentialsSecret"));
  credentials("robot:secret");
  const auto with = reader().manifest(signature_tag(kImage));
  ASSERT_TRUE(with) << with.error();
  EXPECT_EQ(*with, "the manifest");
  credentials("robot:wrong");
  const auto wrong = reader().manifest(signature_tag(kImage));
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error(), HasSubstr("401"));
  EXPECT_THAT(wrong.error(), Not(HasSubstr("wrong")));
  options_.credentials_file = registry_.write("broken.json", "{}");
  EXPECT_FALSE(reader().manifest(signature_tag(kImage)));
}

TEST_F(RegistryReading, TokensAreOfThisRepositoryAlone) {
  registry_.put(kManifest, {"the manifest"});
  const std::string token =
      "/token?x=1&service=the%20registry&scope=repository%3Apalisade%2Faider%3Apull";
  registry_.put(token, {R"({"token": "abc.def"})"});
  only_with("Bearer abc.def", "Bearer realm=\"https://" + registry_.host() +
                                  "/token?x=1\",service=\"the registry\","
                                  "scope=\"registry:catalog:*\"");
  credentials("robot:secret");
  auto asking = reader();
  const auto got = asking.manifest(signature_tag(kImage));
  ASSERT_TRUE(got) << got.error();
  EXPECT_EQ(*got, "the manifest");
  const std::string basic = "Basic " + kube::encode_base64("robot:secret");
  EXPECT_THAT(registry_.calls(),
              ElementsAre(TestRegistry::Call{kManifest, ""}, TestRegistry::Call{token, basic},
                          TestRegistry::Call{kManifest, "Bearer abc.def"}));
  // Once for all that is asked.
  registry_.put_blob("palisade/aider", "the payload");
  EXPECT_EQ(asking.blob(digest_of("the payload")), "the payload");
  EXPECT_THAT(registry_.calls(), SizeIs(4));
}

TEST_F(RegistryReading, WhatIsNoTokenIsNotSent) {
  registry_.put(kManifest, {"the manifest"});
  const std::string token = "/token?scope=repository%3Apalisade%2Faider%3Apull";
  only_with("Bearer abc", "Bearer realm=\"https://" + registry_.host() + "/token\"");
  for (const TestRegistry::Reply& reply : {TestRegistry::Reply{"{}"},
                                           {"[]"},
                                           {R"({"token": ""})"},
                                           {R"({"token": "a\r\nX-Y: z"})"},
                                           {R"({"token": 7})"},
                                           {"", "403 Forbidden"},
                                           {"", "302 Found", "Location: /elsewhere\r\n"}}) {
    registry_.put(token, reply);
    const auto got = reader().manifest(signature_tag(kImage));
    ASSERT_FALSE(got) << reply.body;
    EXPECT_THAT(got.error(), HasSubstr("gives no token"));
  }
  registry_.put(token, {R"({"access_token": "abc"})"});
  EXPECT_TRUE(reader().manifest(signature_tag(kImage)));
}

// Server-side request forgery, and credentials for whoever asks.
TEST_F(RegistryReading, SendsNeitherRequestNorCredentialWhereNobodyNamed) {
  TestRegistry stranger;
  credentials("robot:secret");
  registry_.put(kManifest, {"the manifest"});
  for (const std::string& realm :
       {"https://" + stranger.host() + "/token", "http://" + stranger.host() + "/token",
        "http://" + registry_.host() + "/token", "//" + stranger.host() + "/token",
        "https://" + registry_.host() + "@" + stranger.host() + "/token",
        "https://" + registry_.host() + ".evil.test/token", std::string("file:///etc/passwd"),
        std::string("https://169.254.169.254/latest"), std::string("https://")}) {
    only_with("Bearer abc", "Bearer realm=\"" + realm + "\"");
    const auto got = reader().manifest(signature_tag(kImage));
    ASSERT_FALSE(got) << realm;
    EXPECT_THAT(got.error(), HasSubstr(" sends to " + realm)) << realm;
  }
  EXPECT_THAT(stranger.calls(), SizeIs(0));
}

TEST_F(RegistryReading, AManifestIsTheRegistrysOwn) {
  registry_.put("/elsewhere", {"another manifest"});
  registry_.put(kManifest, {"", "307 Temporary Redirect", "Location: /elsewhere\r\n"});
  const auto got = reader().manifest(signature_tag(kImage));
  ASSERT_FALSE(got);
  EXPECT_THAT(registry_.targets(), ElementsAre(kManifest));
}

TEST_F(RegistryReading, ABlobMayBeElsewhereWhereThatIsNamed) {
  TestRegistry storage;
  // Both under one authority: what is tried here is who is asked.
  std::ofstream(registry_.ca_file(), std::ios::app) << std::ifstream(storage.ca_file()).rdbuf();
  credentials("robot:secret");
  only_with("Basic " + kube::encode_base64("robot:secret"), "Basic");
  const std::string target = "/v2/palisade/aider/blobs/" + digest_of("the payload");
  storage.put("/bucket/x?signed=1", {"the payload"});
  registry_.put(target, {"", "307 Temporary Redirect",
                         "Location: https://" + storage.host() + "/bucket/x?signed=1#part\r\n"});
  const auto refused = reader().blob(digest_of("the payload"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("otherHosts"));
  EXPECT_THAT(storage.calls(), SizeIs(0));
  options_.other_hosts = {storage.host()};
  EXPECT_EQ(reader().blob(digest_of("the payload")), "the payload");
  EXPECT_THAT(storage.calls(), ElementsAre(TestRegistry::Call{"/bucket/x?signed=1", ""}));
  // On the registry itself it goes on as itself.
  registry_.put(target, {"", "302 Found", "Location: /store/x\r\n"});
  registry_.put("/store/x", {"the payload"});
  EXPECT_EQ(reader().blob(digest_of("the payload")), "the payload");
}

TEST_F(RegistryReading, FromPlaceToPlaceItIsNotFollowedForEver) {
  const std::string target = "/v2/palisade/aider/blobs/" + digest_of("x");
  registry_.put(target, {"", "302 Found", "Location: /a\r\n"});
  registry_.put("/a", {"", "302 Found", "Location: /b\r\n"});
  registry_.put("/b", {"", "302 Found", "Location: /a\r\n"});
  const auto got = reader().blob(digest_of("x"));
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error(), HasSubstr("without end"));
  EXPECT_THAT(registry_.calls(), SizeIs(4));
  registry_.put(target, {"", "302 Found"});
  EXPECT_FALSE(reader().blob(digest_of("x")));
}

}  // namespace
}  // namespace palisade::webhook::testing
