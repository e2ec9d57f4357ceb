// The archive in a bucket of a real server: the same promises as on a volume, among replicas too.
#include <thread>
#include <utility>

#include <gateway/archive/s3.h>
#include <gmock/gmock.h>

#include "gateway_archive/fixture.h"
#include "gateway_archive/s3_server.h"
#include "gateway_serve/coroutines.h"
#include "refusal.h"

namespace palisade::gateway::archive::testing {
namespace {

using gateway::testing::result_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string code_of(const Outcome<Held>& answer) {
  return answer ? std::string() : answer.error().code;
}

// Other bytes everywhere.
std::string text_of(std::size_t size, const std::string& seed = "line ") {
  std::string out;
  while (out.size() < size)
    out += seed + std::to_string(out.size()) + "\n";
  out.resize(size);
  return out;
}

class S3Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<S3Server>();
    server_->start();
  }
  static void TearDownTestSuite() { server_.reset(); }

  // Each test's session is another.
  static std::string pod() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  static std::unique_ptr<S3Store> replica(std::uint64_t bytes = 16UL << 20) {
    return std::make_unique<S3Store>(server_->config(bytes), [](const std::string&) {});
  }
  static Outcome<Held> append_to(S3Store& to, std::uint64_t offset, std::string_view bytes,
                                 Stream stream = Stream::kRecord) {
    return result_of(to.append(place(pod()), stream, offset, bytes));
  }
  static Outcome<Held> held(S3Store& by, Stream stream = Stream::kRecord) {
    return result_of(by.held(place(pod()), stream));
  }
  static Outcome<void> close(S3Store& to, const Ends& ends) {
    return result_of(to.close(place(pod()), ends));
  }
  static fs::path session() { return server_->session(place(pod()).path()); }
  static std::vector<fs::path> pieces() { return S3Server::pieces(session(), "record"); }
  static std::string whole(const std::string& stream = "record") {
    return S3Server::whole(session(), stream);
  }

  static inline std::unique_ptr<S3Server> server_;
  std::unique_ptr<S3Store> store = replica();
};

TEST_F(S3Test, APieceIsAnObject) {
  EXPECT_EQ(held(*store)->bytes, 0U);
  const auto first = append_to(*store, 0, "one\n");
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->bytes, 4U);
  const auto second = append_to(*store, 4, "two\n");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->bytes, 8U);
  EXPECT_EQ(second->added, 4U);
  EXPECT_EQ(append_to(*store, 0, "hello", Stream::kOutput)->bytes, 5U);
  const auto all = pieces();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].filename(), "0000000000000000");
  EXPECT_EQ(all[1].filename(), "0000000000000004");
  EXPECT_EQ(whole(), "one\ntwo\n");
  EXPECT_EQ(whole("output"), "hello");
  // Another replica knows it by the bucket alone.
  EXPECT_EQ(held(*replica())->bytes, 8U);
  EXPECT_FALSE(held(*replica())->closed);
}

TEST_F(S3Test, APieceThatComesAgainIsThereOnce) {
  const std::string all = text_of(600'000);
  const std::string_view text = all;
  std::uint64_t end = 0;
  for (const std::size_t size : {100'000UL, 1UL, kMostPiece, 99'999UL})
    end = append_to(*store, end, text.substr(end, size))->bytes;
  ASSERT_EQ(end, 462'144U);
  const auto again = replica();
  for (S3Store* one : {store.get(), again.get()}) {
    // The same piece; one that is cut elsewhere; one that goes on.
    for (const auto& [offset, size] : {std::pair{100'001UL, kMostPiece},
                                       {100'000UL, 1UL},
                                       {end - kMostPiece, kMostPiece},
                                       {99'999UL, 3UL},
                                       {end, 0UL}}) {
      const auto same = append_to(*one, offset, text.substr(offset, size));
      ASSERT_TRUE(same) << offset << ": " << same.error().message;
      EXPECT_EQ(same->bytes, end);
      EXPECT_EQ(same->added, 0U);
    }
  }
  const auto more = append_to(*again, end - 1000, text.substr(end - 1000, 51'000));
  ASSERT_TRUE(more) << more.error().message;
  EXPECT_EQ(more->added, 50'000U);
  // The other one has not heard of it.
  EXPECT_EQ(append_to(*store, end, text.substr(end, 60'000))->added, 10'000U);
  EXPECT_EQ(whole(), all.substr(0, end + 60'000));
}

TEST_F(S3Test, NothingThatIsThereIsChanged) {
  ASSERT_TRUE(append_to(*store, 0, "refused\n"));
  const auto other = replica();
  for (S3Store* one : {store.get(), other.get()}) {
    EXPECT_EQ(code_of(append_to(*one, 0, "allowed\n")), "rewrite");
    EXPECT_EQ(code_of(append_to(*one, 0, "x")), "rewrite");
    EXPECT_EQ(code_of(append_to(*one, 3, "XXX")), "rewrite");
    EXPECT_EQ(code_of(append_to(*one, 100, "later")), "gap");
    EXPECT_EQ(append_to(*one, 100, "later").error().status, 409);
  }
  EXPECT_EQ(code_of(append_to(*store, 4, "sed\nand more")), "");
  // What another added meanwhile.
  EXPECT_EQ(code_of(append_to(*other, 8, "but less")), "rewrite");
  EXPECT_EQ(whole(), "refused\nand more");
}

TEST_F(S3Test, AClosedSessionTakesNothingMore) {
  const auto other = replica();
  ASSERT_TRUE(append_to(*store, 0, "record"));
  ASSERT_EQ(held(*other)->bytes, 6U);
  EXPECT_EQ(close(*store, {6, 1}).error().code, "gap");
  EXPECT_EQ(close(*store, {5, 0}).error().code, "rewrite");
  EXPECT_FALSE(fs::exists(session() / "complete.json"));
  const auto closed = close(*store, {6, 0});
  ASSERT_TRUE(closed) << closed.error().message;
  EXPECT_TRUE(close(*store, {6, 0}));
  EXPECT_EQ(json::parse(read(session() / "complete.json")), json({{"record", 6}, {"output", 0}}));
  // The other has known it as it was before.
  for (S3Store* one : {other.get(), store.get()}) {
    EXPECT_EQ(code_of(append_to(*one, 6, "more")), "closed");
    EXPECT_EQ(code_of(append_to(*one, 0, "forged", Stream::kOutput)), "closed");
    EXPECT_EQ(code_of(append_to(*one, 0, "record")), "");
    EXPECT_TRUE(held(*one)->closed);
    EXPECT_TRUE(close(*one, {6, 0}));
    EXPECT_EQ(close(*one, {7, 0}).error().code, "gap");
  }
  EXPECT_TRUE(held(*replica(), Stream::kOutput)->closed);
  EXPECT_EQ(whole(), "record");
  EXPECT_EQ(whole("output"), "");
}

TEST_F(S3Test, ASessionHasItsShareAndNoMore) {
  const auto small = replica(10);
  ASSERT_TRUE(append_to(*small, 0, "123456"));
  const auto refused = append_to(*small, 0, "12345", Stream::kOutput);
  EXPECT_EQ(code_of(refused), "quota");
  EXPECT_EQ(refused.error().status, 413);
  EXPECT_THAT(refused.error().message, HasSubstr("archive.sessionBytes"));
  EXPECT_EQ(code_of(append_to(*replica(10), 0, "12345", Stream::kOutput)), "quota");
  EXPECT_TRUE(append_to(*small, 0, "1234", Stream::kOutput));
  EXPECT_EQ(code_of(append_to(*small, 6, "x")), "quota");
  EXPECT_TRUE(append_to(*small, 0, "123456"));
}

TEST_F(S3Test, OfManyWhoAddAtATimeOneDoes) {
  constexpr int kWriters = 8;
  const auto other = replica();
  for (std::uint64_t end = 0; end < 50; end += 5) {
    std::vector<Outcome<Held>> answers(kWriters);
    std::vector<std::jthread> writers;
    for (int i = 0; i < kWriters; ++i)
      writers.emplace_back([&, i] {
        answers[static_cast<std::size_t>(i)] =
            append_to(i % 2 == 0 ? *store : *other, end, "by " + std::to_string(i) + "\n");
      });
    writers.clear();
    int taken = 0;
    for (const auto& answer : answers) {
      if (answer)
        ++taken;
      else
        EXPECT_EQ(answer.error().code, "rewrite") << answer.error().message;
    }
    EXPECT_EQ(taken, 1);
  }
  EXPECT_EQ(whole().size(), 50U);
}

TEST_F(S3Test, TwoRelaysOfOneSessionMakeOneStream) {
  // As where a relay is started anew while its first one's requests are still under way.
  const std::string all = text_of(400'000);
  const auto other = replica();
  const auto send = [&](S3Store& to, std::size_t piece) {
    for (std::uint64_t end = 0; end < all.size();) {
      const auto answer = append_to(to, end, std::string_view(all).substr(end, piece));
      ASSERT_TRUE(answer) << answer.error().message;
      end += std::min<std::uint64_t>(piece, all.size() - end);
    }
  };
  {
    const std::jthread one([&] { send(*store, 17'000); });
    const std::jthread two([&] { send(*other, 23'000); });
  }
  EXPECT_EQ(whole(), all);
  EXPECT_TRUE(close(*store, {all.size(), 0}));
}

TEST_F(S3Test, AThousandPiecesAndMore) {
  constexpr std::uint64_t kPieces = 1'005;
  for (std::uint64_t i = 0; i < kPieces; ++i)
    ASSERT_TRUE(append_to(*store, 2 * i, "x\n"));
  const auto other = replica();
  EXPECT_EQ(held(*other)->bytes, 2 * kPieces);
  EXPECT_TRUE(append_to(*other, 2 * kPieces - 3, "\nx\nmore"));
  EXPECT_EQ(code_of(append_to(*other, 2 * kPieces - 3, "\nX\nmore")), "rewrite");
  // Of what comes in one piece all are compared.
  std::string all = whole();
  const std::uint64_t from = all.size() - 401;
  EXPECT_EQ(append_to(*other, from, std::string_view(all).substr(from))->added, 0U);
  all[from + 200] = '?';
  EXPECT_EQ(code_of(append_to(*other, from, std::string_view(all).substr(from))), "rewrite");
}

TEST_F(S3Test, APieceThatIsMissingIsFoundOut) {
  for (std::uint64_t i = 0; i < 3; ++i)
    ASSERT_TRUE(append_to(*store, 4 * i, "line"));
  ASSERT_TRUE(fs::remove(pieces()[1]));
  const auto lost = held(*replica());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, "archive_unavailable");
  EXPECT_THAT(lost.error().message, AllOf(HasSubstr("missing"), HasSubstr("byte 4")));
}

TEST_F(S3Test, WrongCredentialsAreSaidAndRightOnesTakenUp) {
  server_->write_credentials("AKIDTEST", "not-the-secret");
  std::promise<std::string> said;
  S3Store fresh(server_->config(), [&](const std::string& what) { said.set_value(what); });
  const auto refused = append_to(fresh, 0, "piece");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "archive_unavailable");
  EXPECT_EQ(refused.error().status, 503);
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("SignatureDoesNotMatch"),
                                             HasSubstr("gateway.archive.s3.credentialsSecret")));
  EXPECT_EQ(said.get_future().get(), refused.error().message);
  EXPECT_EQ(code_of(append_to(*store, 0, "piece")), "archive_unavailable");
  server_->write_credentials("AKIDTEST", "a-secret/of+the=test");
  EXPECT_TRUE(append_to(fresh, 0, "piece"));
  EXPECT_TRUE(append_to(*store, 0, "piece"));
  EXPECT_EQ(whole(), "piece");
}

TEST_F(S3Test, AServerThatCannotBeUsedIsNamed) {
  const auto refusal_with = [&](auto change) {
    ArchiveConfig config = server_->config();
    change(*config.s3);
    S3Store other(config, [](const std::string&) {});
    const auto answer = append_to(other, 0, "piece");
    return answer ? std::string() : answer.error().code + ": " + answer.error().message;
  };
  EXPECT_THAT(refusal_with([](S3Config& s3) { s3.bucket = "no-such-bucket"; }),
              AllOf(HasSubstr("archive_unavailable"), HasSubstr("no bucket no-such-bucket")));
  EXPECT_THAT(refusal_with([](S3Config& s3) { s3.region = "us-east-1"; }),
              AllOf(HasSubstr("archive_unavailable"), HasSubstr("not of region us-east-1")));
  // A certificate of an authority that is not the one.
  EXPECT_THAT(refusal_with([](S3Config& s3) { s3.authorities.clear(); }),
              AllOf(HasSubstr("archive_unavailable"), HasSubstr("does not answer")));
  EXPECT_TRUE(pieces().empty());
}

TEST_F(S3Test, AServerThatIsAwayAndBack) {
  ASSERT_TRUE(append_to(*store, 0, "before\n"));
  server_->stop();
  const auto away = append_to(*store, 7, "meanwhile\n");
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, "archive_unavailable");
  EXPECT_THAT(away.error().message, HasSubstr("does not answer"));
  EXPECT_FALSE(held(*replica()));
  EXPECT_FALSE(close(*store, {7, 0}));
  server_->start();
  const auto back = append_to(*store, 7, "meanwhile\n");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->added, 10U);
  EXPECT_EQ(whole(), "before\nmeanwhile\n");
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
