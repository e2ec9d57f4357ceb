// gateway.json's archive.
#include <gateway/archive/config.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::gateway::archive::testing {
namespace {

using nlohmann::json;
using ::testing::StartsWith;

json bucket() {
  return {{"endpoint", "https://s3.example.com:9000"},
          {"region", "eu-central-1"},
          {"bucket", "agent-records"},
          {"credentials", "/etc/palisade-s3"}};
}

std::string error_of(const json& archive) {
  const auto parsed = parse_archive_config(archive);
  return parsed ? "" : parsed.error();
}

TEST(ArchiveConfigTest, ABucketInsteadOfADirectory) {
  json s3 = bucket();
  const auto plain = parse_archive_config({{"s3", s3}, {"sessionBytes", 2097152}});
  ASSERT_TRUE(plain) << plain.error();
  EXPECT_EQ(plain->s3->endpoint, "https://s3.example.com:9000");
  EXPECT_EQ(plain->s3->key("team-a/x"), "team-a/x");
  EXPECT_EQ(plain->session_bytes, 2097152U);
  EXPECT_TRUE(plain->directory.empty());
  s3["prefix"] = "clusters/one";
  s3["authorities"] = "PEM";
  const auto more = parse_archive_config({{"s3", s3}});
  ASSERT_TRUE(more) << more.error();
  EXPECT_EQ(more->s3->key("team-a/x"), "clusters/one/team-a/x");
  EXPECT_EQ(more->s3->authorities, "PEM");
  EXPECT_FALSE(*plain == *more);
}

TEST(ArchiveConfigTest, OneOfBoth) {
  EXPECT_THAT(error_of({{"s3", bucket()}, {"directory", "/archive"}}), StartsWith("s3: "));
  EXPECT_THAT(error_of({{"s3", bucket()}, {"retentionDays", 7}}), StartsWith("retentionDays: "));
  EXPECT_EQ(error_of({{"s3", bucket()}, {"retentionDays", 0}}), "");
  EXPECT_THAT(error_of(json::object()), StartsWith("directory: is missing"));
}

TEST(ArchiveConfigTest, AFieldThatIsWrongIsNamed) {
  EXPECT_THAT(error_of({{"s3", "bucket"}}), StartsWith("s3: "));
  for (const char* const field : {"endpoint", "region", "bucket", "credentials"}) {
    json s3 = bucket();
    s3.erase(field);
    EXPECT_THAT(error_of({{"s3", s3}}), StartsWith("s3." + std::string(field) + ": is missing"));
    s3[field] = 7;
    EXPECT_THAT(error_of({{"s3", s3}}), StartsWith("s3." + std::string(field) + ": "));
  }
  for (const auto& [field, text] : std::vector<std::pair<std::string, std::string>>{
           {"endpoint", ""},
           {"endpoint", "s3.example.com"},
           {"endpoint", "http://s3.example.com"},
           {"endpoint", "https://s3.example.com/"},
           {"endpoint", "https://s3.example.com/path"},
           {"endpoint", "https://S3.example.com"},
           {"endpoint", "https://user@s3.example.com"},
           {"endpoint", "https://s3.example.com:"},
           {"endpoint", "https://s3.example.com:port"},
           {"endpoint", "https://s3.example.com\r\nX: y"},
           {"region", ""},
           {"region", "eu/central"},
           {"bucket", "ab"},
           {"bucket", "Records"},
           {"bucket", "a/b/c"},
           {"bucket", "..."},
           {"prefix", "/a"},
           {"prefix", "a/"},
           {"prefix", "a//b"},
           {"prefix", "../b"},
           {"prefix", "a/../b"},
           {"prefix", "a b"},
           {"prefix", "a%2fb"},
           {"credentials", "relative"},
           {"proxy", "x"}}) {
    json s3 = bucket();
    s3[field] = text;
    EXPECT_THAT(error_of({{"s3", s3}}), StartsWith("s3." + field + ": ")) << text;
  }
  for (const char* const good : {"https://[2001:db8::1]:9000", "https://10.0.0.1",
                                 "http://127.0.0.1:9000", "http://localhost"}) {
    json s3 = bucket();
    s3["endpoint"] = good;
    EXPECT_EQ(error_of({{"s3", s3}}), "") << good;
  }
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
