// The archive on a volume: what is there stays as it is, and nothing leaves its place.
#include <thread>

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "gateway_archive/fixture.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::archive::testing {
namespace {

using gateway::testing::result_of;
using ::testing::HasSubstr;

class DirectoryTest : public ::testing::Test {
 protected:
  std::expected<Held, Refusal> append_to(DirectoryStore& to, std::uint64_t offset,
                                         std::string_view bytes, Stream stream = Stream::kRecord,
                                         const std::string& pod = "pod-1") {
    return result_of(to.append(place(pod), stream, offset, bytes));
  }
  std::string code_of(const std::expected<Held, Refusal>& answer) {
    return answer ? "" : answer.error().code;
  }
  fs::path session(const std::string& pod = "pod-1") const {
    return folder.path() / "team-a/fix-login/uid-1" / pod;
  }

  Folder folder;
  DirectoryStore store{config_in(folder.path())};
};

TEST_F(DirectoryTest, PiecesBecomeOneFile) {
  EXPECT_EQ(result_of(store.held(place(), Stream::kRecord))->bytes, 0U);
  EXPECT_EQ(append_to(store, 0, "one\n")->bytes, 4U);
  const auto second = append_to(store, 4, "two\n");
  ASSERT_TRUE(second);
  EXPECT_EQ(second->bytes, 8U);
  EXPECT_EQ(second->added, 4U);
  EXPECT_EQ(append_to(store, 0, "hello", Stream::kOutput)->bytes, 5U);
  EXPECT_EQ(read(session() / "record.jsonl"), "one\ntwo\n");
  EXPECT_EQ(read(session() / "output.log"), "hello");
  EXPECT_EQ(result_of(store.held(place(), Stream::kRecord))->bytes, 8U);
  struct stat found {};
  ASSERT_EQ(::stat((session() / "record.jsonl").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777U, 0640U);
}

TEST_F(DirectoryTest, APieceThatComesAgainIsThereOnce) {
  ASSERT_TRUE(append_to(store, 0, "one\ntwo\n"));
  const auto again = append_to(store, 0, "one\ntwo\n");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->added, 0U);
  // Also where it has grown meanwhile, or a part of it was written before the gateway died.
  EXPECT_EQ(append_to(store, 4, "two\nthree\n")->bytes, 14U);
  fs::resize_file(session() / "record.jsonl", 11);
  EXPECT_EQ(append_to(store, 8, "three\n")->added, 3U);
  EXPECT_EQ(read(session() / "record.jsonl"), "one\ntwo\nthree\n");
}

TEST_F(DirectoryTest, NothingThatIsThereIsChanged) {
  ASSERT_TRUE(append_to(store, 0, "refused\n"));
  EXPECT_EQ(code_of(append_to(store, 0, "allowed\n")), "rewrite");
  EXPECT_EQ(code_of(append_to(store, 4, "sed\nand more")), "");
  EXPECT_EQ(code_of(append_to(store, 0, "x")), "rewrite");
  EXPECT_EQ(code_of(append_to(store, 100, "later")), "gap");
  EXPECT_EQ(append_to(store, 100, "later").error().status, 409);
  EXPECT_EQ(read(session() / "record.jsonl"), "refused\nand more");
}

TEST_F(DirectoryTest, SessionsAreApart) {
  ASSERT_TRUE(append_to(store, 0, "mine"));
  EXPECT_EQ(code_of(append_to(store, 4, "yours", Stream::kRecord, "pod-2")), "gap");
  EXPECT_EQ(append_to(store, 0, "yours", Stream::kRecord, "pod-2")->bytes, 5U);
  EXPECT_EQ(read(session() / "record.jsonl"), "mine");
  EXPECT_EQ(read(session("pod-2") / "record.jsonl"), "yours");
}

TEST_F(DirectoryTest, AClosedSessionTakesNothingMore) {
  ASSERT_TRUE(append_to(store, 0, "record"));
  EXPECT_EQ(result_of(store.close(place(), {6, 1})).error().code, "gap");
  EXPECT_EQ(result_of(store.close(place(), {5, 0})).error().code, "rewrite");
  EXPECT_FALSE(fs::exists(session() / "complete.json"));
  ASSERT_TRUE(result_of(store.close(place(), {6, 0})));
  EXPECT_TRUE(result_of(store.close(place(), {6, 0})));
  EXPECT_EQ(json::parse(read(session() / "complete.json")), json({{"record", 6}, {"output", 0}}));
  EXPECT_EQ(code_of(append_to(store, 6, "more")), "closed");
  EXPECT_EQ(code_of(append_to(store, 0, "forged", Stream::kOutput)), "closed");
  EXPECT_EQ(code_of(append_to(store, 0, "record")), "");  // it has that already
  EXPECT_TRUE(result_of(store.held(place(), Stream::kRecord))->closed);
  EXPECT_EQ(read(session() / "record.jsonl"), "record");
}

TEST_F(DirectoryTest, ASessionHasItsShareAndNoMore) {
  DirectoryStore small(config_in(folder.path(), 10));
  ASSERT_TRUE(append_to(small, 0, "123456"));
  const auto refused = append_to(small, 0, "12345", Stream::kOutput);
  EXPECT_EQ(code_of(refused), "quota");
  EXPECT_EQ(refused.error().status, 413);
  EXPECT_THAT(refused.error().message, HasSubstr("archive.sessionBytes"));
  EXPECT_TRUE(append_to(small, 0, "1234", Stream::kOutput));
  EXPECT_EQ(code_of(append_to(small, 6, "x")), "quota");
  EXPECT_TRUE(append_to(small, 0, "123456"));
  EXPECT_TRUE(append_to(small, 0, "123456", Stream::kRecord, "pod-2"));
}

TEST_F(DirectoryTest, NoLinkIsFollowed) {
  Folder elsewhere;
  append(elsewhere.path() / "record.jsonl", "another's");
  fs::create_directories(session().parent_path());
  fs::create_directory_symlink(elsewhere.path(), session());
  EXPECT_EQ(code_of(append_to(store, 9, "more")), "archive_unavailable");
  fs::remove(session());
  fs::create_directories(session());
  fs::create_symlink(elsewhere.path() / "record.jsonl", session() / "record.jsonl");
  EXPECT_EQ(code_of(append_to(store, 0, "more")), "archive_unavailable");
  EXPECT_EQ(read(elsewhere.path() / "record.jsonl"), "another's");
}

TEST_F(DirectoryTest, NamesThatLeadElsewhereAreNone) {
  for (const std::string& bad :
       {std::string(""), std::string("."), std::string(".."), std::string("a/b"),
        std::string("../x"), std::string("a..b"), std::string(".lock"), std::string("a\0b", 3),
        std::string("a b"), std::string("ü"), std::string(254, 'a')}) {
    EXPECT_FALSE(is_plain_name(bad)) << bad;
    EXPECT_EQ(place_of(caller(bad)).error().status, 403) << bad;
  }
  EXPECT_TRUE(is_plain_name("fix-login.v2"));
}

TEST_F(DirectoryTest, AFullVolumeIsSaidAndLosesNothing) {
  Folder volume;
  if (::mount("tmpfs", volume.path().c_str(), "tmpfs", 0, "size=128k") != 0)
    GTEST_SKIP() << "mounting needs root";
  {
    DirectoryStore full(config_in(volume.path()));
    const std::string piece(32 * 1024, 'x');
    std::uint64_t end = 0;
    std::expected<Held, Refusal> answer;
    while ((answer = append_to(full, end, piece)))
      end = answer->bytes;
    EXPECT_EQ(answer.error().code, "archive_full");
    EXPECT_EQ(answer.error().status, 503);
    EXPECT_THAT(answer.error().message, HasSubstr("No space left on device"));
    // What was acknowledged is whole, nothing else is there, and it goes on once there is room.
    const fs::path file = volume.path() / "team-a/fix-login/uid-1/pod-1/record.jsonl";
    EXPECT_EQ(fs::file_size(file), end);
    ASSERT_EQ(::mount("tmpfs", volume.path().c_str(), "tmpfs", MS_REMOUNT, "size=1m"), 0);
    EXPECT_EQ(append_to(full, end, piece)->bytes, end + piece.size());
  }
  ::umount(volume.path().c_str());
}

TEST_F(DirectoryTest, TwoReplicasNeitherLoseNorDouble) {
  DirectoryStore other(config_in(folder.path()));
  std::string whole;
  for (int i = 0; i < 200; ++i)
    whole += "line " + std::to_string(i) + "\n";
  // Both send all of it, in pieces of their own, as a relay whose answers were lost would.
  const auto send = [&](DirectoryStore& to, std::size_t size) {
    for (std::size_t at = 0; at < whole.size();) {
      const auto answer = append_to(to, at, std::string_view(whole).substr(at, size));
      ASSERT_TRUE(answer) << answer.error().message;
      at = std::min(whole.size(), at + size);
    }
  };
  std::thread one([&] { send(store, 97); });
  std::thread two([&] { send(other, 61); });
  one.join();
  two.join();
  EXPECT_EQ(read(session() / "record.jsonl"), whole);
}

TEST_F(DirectoryTest, WhatIsOldGoesAndNothingElse) {
  ASSERT_TRUE(append_to(store, 0, "old"));
  ASSERT_TRUE(append_to(store, 0, "new", Stream::kRecord, "pod-2"));
  ASSERT_TRUE(result_of(store.close(place(), {3, 0})));
  append(folder.path() / "lost+found", "");
  fs::create_directories(folder.path() / "team-b/else/uid-9/pod-9");
  append(folder.path() / "team-b/else/uid-9/pod-9/somebody.txt", "not ours");
  const auto never = [] { return false; };
  const auto day = std::chrono::hours(24);
  const auto now = std::chrono::system_clock::now();
  for (const auto& entry : fs::directory_iterator(session()))
    fs::last_write_time(entry, fs::file_time_type::clock::now() - 2 * day);
  EXPECT_EQ(remove_older(folder.path(), now - 3 * day, never), 0U);
  EXPECT_EQ(remove_older(folder.path(), now - day, [] { return true; }), 0U);
  EXPECT_EQ(remove_older(folder.path(), now - day, never), 1U);
  EXPECT_FALSE(fs::exists(session()));
  EXPECT_EQ(read(session("pod-2") / "record.jsonl"), "new");
  EXPECT_TRUE(fs::exists(folder.path() / "team-b/else/uid-9/pod-9/somebody.txt"));
  // A workspace whose last session went leaves no folder.
  for (const auto& entry : fs::directory_iterator(session("pod-2")))
    fs::last_write_time(entry, fs::file_time_type::clock::now() - 2 * day);
  EXPECT_EQ(remove_older(folder.path(), now - day, never), 1U);
  EXPECT_FALSE(fs::exists(folder.path() / "team-a"));
  EXPECT_THROW(static_cast<void>(remove_older(folder.path() / "none", now, never)),
               std::system_error);
}

TEST(ArchiveConfig, NamesWhatIsWrong) {
  const auto error = [](const json& value) {
    const auto parsed = parse_archive_config(value);
    return parsed ? std::string() : parsed.error();
  };
  const auto whole = parse_archive_config(
      {{"directory", "/archive"}, {"sessionBytes", 1048576}, {"retentionDays", 30}});
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->directory, "/archive");
  EXPECT_EQ(whole->session_bytes, 1048576U);
  EXPECT_EQ(whole->retention_days, 30);
  EXPECT_EQ(error(json::array()), "must be an object");
  EXPECT_THAT(error(json::object()), HasSubstr("directory: is missing"));
  EXPECT_THAT(error({{"directory", "archive"}}), HasSubstr("directory: must be an absolute path"));
  EXPECT_THAT(error({{"directory", "/a"}, {"sessionBytes", 5}}), HasSubstr("sessionBytes: "));
  EXPECT_THAT(error({{"directory", "/a"}, {"retentionDays", -1}}), HasSubstr("retentionDays: "));
  EXPECT_THAT(error({{"directory", "/a"}, {"other", 1}}), HasSubstr("other: no such field"));
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
