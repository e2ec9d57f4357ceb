// The signatures that AWS's documents give for their examples:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Examples"; and
// get-vanilla of the Signature Version 4 test suite.
#include "sigv4.h"

#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::gateway::archive::sigv4 {
namespace {

using ::testing::EndsWith;
using ::testing::Eq;

constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::chrono::system_clock::time_point at(std::int64_t seconds) {
  return std::chrono::system_clock::time_point(std::chrono::seconds(seconds));
}

// 24 May 2013, the examples' key and bucket.
std::string of_s3(Signable request) {
  request.headers.emplace_back("host", "examplebucket.s3.amazonaws.com");
  request.headers.emplace_back("x-amz-content-sha256", request.sha256);
  request.headers.emplace_back("x-amz-date", "20130524T000000Z");
  return authorization(request,
                       {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
                       "us-east-1", "s3", at(1369353600));
}

TEST(Sigv4Test, AnObjectIsRead) {
  EXPECT_THAT(of_s3({"GET", "/test.txt", {}, {{"range", "bytes=0-9"}}, kEmpty}),
              Eq("AWS4-HMAC-SHA256 "
                 "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
                 "Signature="
                 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
}

TEST(Sigv4Test, AnObjectIsPut) {
  EXPECT_THAT(of_s3({"PUT",
                     "/test%24file.text",
                     {},
                     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                     hex(sha256("Welcome to Amazon S3."))}),
              EndsWith("Signature="
                       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(Sigv4Test, AQueryIsSigned) {
  EXPECT_THAT(of_s3({"GET", "/", {{"lifecycle", ""}}, {}, kEmpty}),
              EndsWith("Signature="
                       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
  EXPECT_THAT(of_s3({"GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, kEmpty}),
              EndsWith("Signature="
                       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(Sigv4Test, AnotherServicesRequest) {
  EXPECT_THAT(
      authorization({"GET",
                     "/",
                     {},
                     {{"x-amz-date", "20150830T123600Z"}, {"host", "example.amazonaws.com"}},
                     kEmpty},
                    {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}, "us-east-1",
                    "service", at(1440938160)),
      EndsWith("Signature="
               "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
}

TEST(Sigv4Test, ItsParts) {
  EXPECT_EQ(hex(sha256("")), kEmpty);
  EXPECT_EQ(timestamp(at(1440938160)), "20150830T123600Z");
  EXPECT_EQ(canonical_query({{"prefix", "a/b-c_d.e~f"}, {"list-type", "2"}, {"a", "b c"}}),
            "a=b%20c&list-type=2&prefix=a%2Fb-c_d.e~f");
}

}  // namespace
}  // namespace palisade::gateway::archive::sigv4
