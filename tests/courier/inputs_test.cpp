// What a setup is shown: files of one commit of the trusted ref, and no other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Taken {
  int code = -1;
  nlohmann::json said;
  fs::path into;
};

Taken take(Session& session, const Arguments& more) {
  write_file(session.config_file, session.config.dump(2));
  fs::remove(session.termination_log);
  Taken out;
  out.into = session.base.path() / "inputs";
  fs::remove_all(out.into);
  fs::create_directory(out.into);
  Arguments words{PALISADE_COURIER, "inputs",         "--config", session.config_file.string(),
                  "--into",         out.into.string()};
  words.insert(words.end(), more.begin(), more.end());
  Process::Options options;
  options.environment = session.environment;
  out.code = run(words, options).code;
  out.said = nlohmann::json::parse(read_file(session.termination_log), nullptr, false);
  EXPECT_TRUE(out.said.is_object()) << read_file(session.termination_log);
  EXPECT_EQ(session.token_found_in(), "");
  return out;
}

TEST(Inputs, AreTheFilesOfTheRefAndNothingElse) {
  Session session;
  const std::string first =
      session.host.commit("refs/heads/main", "requirements.txt", "tinyhelper==1.0\n");
  const std::string tip = session.host.commit("refs/heads/main", "deps/lock.json", "{}\n");
  // What an agent has pushed is not what a setup is shown.
  static_cast<void>(git_text(session.host.repository(), {"update-ref", kBranchRef, tip}));
  static_cast<void>(session.host.commit(kBranchRef, "requirements.txt", "evil\n"));
  const Taken taken = take(session, {"--input=requirements.txt", "--input=deps/lock.json"});
  ASSERT_EQ(taken.code, 0) << taken.said;
  EXPECT_EQ(taken.said["commit"], tip);
  EXPECT_EQ(read_file(taken.into / "requirements.txt"), "tinyhelper==1.0\n");
  EXPECT_EQ(read_file(taken.into / "deps/lock.json"), "{}\n");
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(taken.into))
    files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 2U);
  // The same files by another commit: the same digest; other contents, names or modes: another.
  static_cast<void>(session.host.commit("refs/heads/main", "README.md", "else\n"));
  const Taken later = take(session, {"--input=requirements.txt", "--input=deps/lock.json"});
  EXPECT_NE(later.said["commit"], tip);
  EXPECT_EQ(later.said["digest"], taken.said["digest"]);
  static_cast<void>(session.host.commit("refs/heads/main", "requirements.txt", "other\n"));
  EXPECT_NE(take(session, {"--input=requirements.txt", "--input=deps/lock.json"}).said["digest"],
            taken.said["digest"]);
  // A commit that the ref holds.
  const Taken old = take(session, {"--commit=" + first, "--input=requirements.txt"});
  EXPECT_EQ(old.code, 0);
  EXPECT_EQ(old.said["commit"], first);
  EXPECT_EQ(read_file(old.into / "requirements.txt"), "tinyhelper==1.0\n");
}

TEST(Inputs, AreNeitherLinksNorFoldersNorOfAnotherBranch) {
  Session session;
  const auto refused = [&](const Arguments& words, const char* says) {
    SCOPED_TRACE(words.back());
    const Taken taken = take(session, words);
    EXPECT_NE(taken.code, 0);
    EXPECT_THAT(taken.said.value("error", ""), HasSubstr(says));
    EXPECT_FALSE(taken.said.contains("commit"));
    EXPECT_TRUE(fs::is_empty(taken.into));
  };
  const fs::path repository = session.host.repository();
  const std::string tip = session.host.commit("refs/heads/main", "deps/lock.json", "{}\n");
  refused({"--input=missing.txt"}, "missing.txt is no file");
  refused({"--input=deps"}, "deps is no file");
  refused({"--input=../x"}, "no paths below");
  refused({"--input=/etc/passwd"}, "no paths below");
  refused({"--commit=" + std::string(40, '1')}, "is not part of main");
  refused({"--commit=HEAD"}, "HEAD is no commit");
  static_cast<void>(git_text(repository, {"update-ref", "refs/heads/other", tip}));
  const std::string other = session.host.commit("refs/heads/other", "x", "y\n");
  refused({"--commit=" + other, "--input=x"}, "is not part of main");
  session.config["ref"] = "nowhere";
  refused({"--input=deps/lock.json"}, "no branch or tag named nowhere");
}

}  // namespace
}  // namespace palisade::courier::testing
