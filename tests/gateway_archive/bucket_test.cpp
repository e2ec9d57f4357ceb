// What a server answers, and what is made of it: servers that cannot be had here, on loopback.
#include "bucket.h"

#include <utility>

#include <gateway/archive/s3.h>
#include <gmock/gmock.h>

#include "gateway_archive/fixture.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::archive::testing {
namespace {

using namespace std::chrono_literals;
using gateway::testing::result_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct Says {
  int status = 200;
  std::string body;
  Fields fields;
};

std::string error_of(const std::string& code) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" + code +
         "</Code><Message>no &lt;way&gt;</Message></Error>";
}

class BucketTest : public ::testing::Test {
 protected:
  BucketTest() {
    append(folder.path() / "accessKeyID", "AKIDTEST\n");
    append(folder.path() / "secretAccessKey", "secret");
  }

  Task<void> handle(Exchange& exchange) {
    Says now;
    {
      const std::scoped_lock lock(mutex_);
      ++asked_;
      last_ = exchange.request().target;
      now = says_;
    }
    std::ignore = co_await exchange.reply(now.status, std::move(now.fields), now.body);
  }
  ArchiveConfig config() {
    ArchiveConfig out;
    out.s3 = S3Config{"http://127.0.0.1:" + std::to_string(server.port()),
                      "eu-central-1",
                      "kept",
                      "palisade/one",
                      folder.path(),
                      ""};
    return out;
  }
  static Patience patience(std::chrono::milliseconds within = 20s) {
    return {std::chrono::steady_clock::now() + within, {}};
  }
  std::string refusal_of(int status, const std::string& body, Fields fields = {}) {
    say({status, body, std::move(fields)});
    const auto made = Bucket(*config().s3).put_new("palisade/one/x", "piece", patience());
    return made ? "none" : made.error().code + ": " + made.error().message;
  }

  void say(Says what) {
    const std::scoped_lock lock(mutex_);
    says_ = std::move(what);
  }
  int asked() {
    const std::scoped_lock lock(mutex_);
    return asked_;
  }
  std::string last() {
    const std::scoped_lock lock(mutex_);
    return last_;
  }

  Folder folder;

 private:
  std::mutex mutex_;
  Says says_;
  int asked_ = 0;
  std::string last_;

 protected:
  TestServer server{[this](Exchange& exchange) { return handle(exchange); }};
};

TEST_F(BucketTest, ARefusalSaysWhatToDo) {
  EXPECT_THAT(refusal_of(503, error_of("SlowDown")), HasSubstr("archive_busy: "));
  EXPECT_THAT(refusal_of(429, ""), HasSubstr("archive_busy: "));
  EXPECT_THAT(refusal_of(409, error_of("ConditionalRequestConflict")), HasSubstr("archive_busy: "));
  EXPECT_THAT(refusal_of(507, error_of("XMinioStorageFull")), HasSubstr("archive_full: "));
  EXPECT_THAT(refusal_of(403, error_of("QuotaExceeded")), HasSubstr("archive_full: "));
  EXPECT_THAT(refusal_of(500, error_of("InternalError")),
              AllOf(HasSubstr("archive_unavailable: "), HasSubstr("500 InternalError")));
  EXPECT_THAT(refusal_of(403, error_of("SignatureDoesNotMatch")),
              AllOf(HasSubstr("archive_unavailable: "), HasSubstr("s3.credentialsSecret")));
  EXPECT_THAT(refusal_of(403, error_of("AccessDenied")), HasSubstr("s3:PutObject"));
  EXPECT_THAT(refusal_of(403, error_of("RequestTimeTooSkewed")), HasSubstr("clock"));
  EXPECT_THAT(refusal_of(404, error_of("NoSuchBucket")), HasSubstr("no bucket kept"));
  EXPECT_THAT(refusal_of(501, error_of("NotImplemented")), HasSubstr("If-None-Match"));
  Fields where;
  where.add("x-amz-bucket-region", "eu-west-3");
  EXPECT_THAT(refusal_of(301, error_of("PermanentRedirect"), where),
              AllOf(HasSubstr("not of region eu-central-1"), HasSubstr("but of eu-west-3")));
  // Nothing of a body that is no error of S3's is told on.
  EXPECT_THAT(refusal_of(502, "<Code>\r\nnobody's</Code>"),
              AllOf(HasSubstr("502"), ::testing::Not(HasSubstr("nobody"))));
}

TEST_F(BucketTest, ItIsThereOnceTheServerSaysSo) {
  const Bucket bucket(*config().s3);
  say({412, "", {}});
  EXPECT_EQ(bucket.put_new("palisade/one/x", "piece", patience()), false);
  say({202, "", {}});
  EXPECT_FALSE(bucket.put_new("palisade/one/x", "piece", patience()));
  say({200, "", {}});
  EXPECT_EQ(bucket.put_new("palisade/one/x", "piece", patience()), true);
  EXPECT_EQ(last(), "/kept/palisade/one/x");
  const int before = asked();
  EXPECT_EQ(bucket.put_new("palisade/one/x", "piece", patience(-1ms)).error().code, "archive_busy");
  EXPECT_EQ(asked(), before);
}

TEST_F(BucketTest, AListIsOneOrNone) {
  const Bucket bucket(*config().s3);
  const auto list = [&](const std::string& body) {
    say({200, body, {}});
    return bucket.list("a/", "", patience());
  };
  const auto good = list(
      "<ListBucketResult><Name>kept</Name><IsTruncated>true</IsTruncated>"
      "<Contents><Key>a/b</Key><Size>7</Size></Contents>"
      "<Contents><Size>0</Size><Key>a/c</Key></Contents></ListBucketResult>");
  ASSERT_TRUE(good) << good.error().message;
  ASSERT_EQ(good->objects.size(), 2U);
  EXPECT_TRUE(good->more);
  EXPECT_EQ(good->objects[0].key, "a/b");
  EXPECT_EQ(good->objects[0].size, 7U);
  EXPECT_EQ(good->objects[1].key, "a/c");
  EXPECT_EQ(last(), "/kept?list-type=2&max-keys=1000&prefix=a%2F");
  for (const char* const bad :
       {"", "<html>", "<IsTruncated>perhaps</IsTruncated>", "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>false</IsTruncated><Contents><Key>a/b</Key><Size>-1</Size></Contents>",
        "<IsTruncated>false</IsTruncated><Contents><Key>a/b</Key></Contents>",
        "<IsTruncated>false</IsTruncated><Contents><Key>z/b</Key><Size>1</Size></Contents>"}) {
    EXPECT_FALSE(list(bad)) << bad;
  }
}

TEST_F(BucketTest, AServerThatOverwritesIsGivenNothing) {
  std::string said;
  std::mutex mutex;
  S3Store store(config(), [&](const std::string& what) {
    const std::scoped_lock lock(mutex);
    said = what;
  });
  const auto kept = result_of(store.append(place(), Stream::kRecord, 0, "secret of the session"));
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code, "archive_unavailable");
  EXPECT_THAT(kept.error().message, HasSubstr("overwrites"));
  EXPECT_EQ(last(), "/kept/palisade/one/palisade-probe");
  EXPECT_EQ(asked(), 2);
  EXPECT_FALSE(result_of(store.held(place(), Stream::kRecord)));
  EXPECT_EQ(asked(), 2) << "it was asked again at once";
  EXPECT_TRUE(eventually([&] {
    const std::scoped_lock lock(mutex);
    return said == kept.error().message;
  }));
}

TEST_F(BucketTest, CredentialsThatAreNone) {
  for (const char* const bad : {"", "two\nlines", "\xc3\xa4"}) {
    std::ofstream(folder.path() / "accessKeyID", std::ios::trunc) << bad;
    EXPECT_THAT(refusal_of(200, ""), HasSubstr("credentials")) << bad;
  }
  fs::remove(folder.path() / "accessKeyID");
  EXPECT_THAT(refusal_of(200, ""), HasSubstr("accessKeyID"));
  EXPECT_EQ(asked(), 0);
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
