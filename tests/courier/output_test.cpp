// Reading an output directory as an agent that means harm could leave it.
#include <map>

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <courier/output.h>

#include "hostile_cases.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(OutputNames, PlainOnesAreTaken) {
  for (const char* name : {"report.md", "a b", "we\"ird", "it's", "-rf", "~", "git", ".gitkeep",
                           ".gitignore", "gitignore~", "Überblick.md", "\xe6\x97\xa5.txt",
                           "\xf0\x9f\x98\x80", "a.git", ".github", "...", "100%", "$HOME", "*"}) {
    EXPECT_EQ(name_problem(name), "") << name;
  }
}

TEST(OutputNames, OnesThatMeanSomethingAreNot) {
  struct Row {
    std::string name;
    const char* says;
  };
  const char* git = "means something to git";
  const char* unseen = "control or invisible";
  const Row rows[] = {{"", "no name"},
                      {".", "no name"},
                      {"..", "no name"},
                      {".git", git},
                      {".GIT", git},
                      {".git.", git},
                      {".git ", git},
                      {".git . .", git},
                      {".git:stream", git},
                      {".git::$INDEX_ALLOCATION", git},
                      {"git~1", git},
                      {"GIT~2", git},
                      {".gitmodules", git},
                      {".GitModules ", git},
                      {"gitmod~1", git},
                      {"gi7eba~1", git},
                      {".gitattributes", git},
                      {"a\\b", "backslash"},
                      {"a\nb", unseen},
                      {"a\tb", unseen},
                      {"a\x1b[2J", unseen},
                      {"a\x7f", unseen},
                      {"a\xc2\x85", unseen},
                      {".g\xe2\x80\x8cit", unseen},
                      {"\xe2\x80\xaetxt.exe", unseen},
                      {"\xef\xbb\xbf.git", unseen},
                      {"a\xf3\xa0\x81\x81", unseen},
                      {"\xff", "not UTF-8"},
                      {"\xc0\xae", "not UTF-8"},
                      {"\xed\xa0\x80", "not UTF-8"},
                      {"\xe2\x80", "not UTF-8"},
                      {"\xf4\x90\x80\x80", "not UTF-8"}};
  for (const Row& row : rows)
    EXPECT_THAT(name_problem(row.name), HasSubstr(row.says)) << row.name;
}

class Output : public ::testing::Test {
 protected:
  std::expected<LeftOut, std::string> read(const OutputLimits& limits = {}) {
    taken.clear();
    return read_output(directory.path(), limits,
                       std::chrono::steady_clock::now() + std::chrono::seconds(30),
                       [this](const std::string& path,
                              const std::string& bytes) -> std::expected<void, std::string> {
                         taken[path] = bytes;
                         return {};
                       });
  }
  void expect_left_out(const std::string& says) {
    const auto left_out = read();
    ASSERT_TRUE(left_out) << left_out.error();
    EXPECT_EQ(left_out->count, 1U);
    EXPECT_THAT(left_out->first, HasSubstr(says));
    EXPECT_EQ(taken, (std::map<std::string, std::string>{{"good.md", "good"}}));
  }
  void expect_error(const OutputLimits& limits, const std::string& says) {
    const auto left_out = read(limits);
    ASSERT_FALSE(left_out) << says;
    EXPECT_THAT(left_out.error(), HasSubstr(says));
  }
  [[nodiscard]] fs::path at(const std::string& name) const { return directory.path() / name; }

  const Directory directory;
  std::map<std::string, std::string> taken;
};

TEST_F(Output, FilesAreTakenByteForByte) {
  const std::string bytes("\0\n\r\xff\"\\", 6);
  make_text(at("a"), bytes);
  make_text(at("b/c/d.md"), "");
  fs::create_directories(at("empty"));
  const auto left_out = read();
  ASSERT_TRUE(left_out) << left_out.error();
  EXPECT_EQ(left_out->count, 0U);
  EXPECT_EQ(taken, (std::map<std::string, std::string>{{"a", bytes}, {"b/c/d.md", ""}}));
}

TEST_F(Output, LinksAreNotFollowed) {
  make_text(at("good.md"), "good");
  const Directory elsewhere;
  make_text(elsewhere.path() / "secret", "secret");
  make_link(at("link"), elsewhere.path() / "secret");
  expect_left_out("link is a symbolic link");
  make_link(at("link"), elsewhere.path());
  expect_left_out("link is a symbolic link");
  make_link(at("link"), "good.md");
  expect_left_out("link is a symbolic link");
  make_link(at("link"), "nowhere");
  expect_left_out("link is a symbolic link");
  make_link(at("link"), "/proc/self/environ");
  expect_left_out("link is a symbolic link");
}

TEST_F(Output, TheDirectoryItselfIsNoLink) {
  const Directory elsewhere;
  make_link(elsewhere.path() / "output", directory.path());
  const auto read = read_output(elsewhere.path() / "output", {},
                                std::chrono::steady_clock::now() + std::chrono::seconds(30),
                                [](const std::string&, const std::string&) {
                                  ADD_FAILURE() << "something was taken";
                                  return std::expected<void, std::string>();
                                });
  EXPECT_FALSE(read);
}

TEST_F(Output, WhatIsNoFileIsNeitherOpenedNorWaitedFor) {
  make_text(at("good.md"), "good");
  make_pipe(at("pipe"));
  expect_left_out("pipe is a pipe");
  fs::remove(at("pipe"));
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = at("socket");
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::ranges::copy(path, address.sun_path);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  expect_left_out("socket is a socket");
  close(listener);
  fs::remove(at("socket"));
  if (mknod(at("device").c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0)
    expect_left_out("device is a device");
}

TEST_F(Output, NamesOfGitsAreLeftOutWithAllThatIsBelow) {
  make_text(at("good.md"), "good");
  make_text(at(".git/hooks/pre-commit"), "#!/bin/sh\n");
  make_text(at(".git/config"), "[core]\n");
  expect_left_out(".git has a name that means something to git");
  fs::remove_all(at(".git"));
  make_text(at("line\nbreak"), "x");
  expect_left_out("control or invisible character");
}

TEST_F(Output, MoreThanOneIsCounted) {
  make_text(at("good.md"), "good");
  for (const char* name : {"z", "a", "m"})
    make_link(at(name), "good.md");
  const auto left_out = read();
  ASSERT_TRUE(left_out);
  EXPECT_EQ(left_out->count, 3U);
  EXPECT_THAT(left_out->first, HasSubstr("a is a symbolic link"));
}

TEST_F(Output, EveryLimitEndsTheReading) {
  OutputLimits limits;
  limits.files = 3;
  limits.entries = 6;
  limits.file_bytes = 1 << 20;
  constexpr std::uintmax_t kFull = 1 << 20;
  limits.all_bytes = 2 << 20;
  for (const char* name : {"a", "b", "c"})
    make_text(at(name), "x");
  EXPECT_TRUE(read(limits));
  make_text(at("d"), "x");
  expect_error(limits, "more than 3 files");
  fs::remove(at("d"));
  for (const char* name : {"e", "f", "g", "h"})
    fs::create_directories(at(name));
  expect_error(limits, "more than 6 entries");
  for (const char* name : {"e", "f", "g", "h"})
    fs::remove(at(name));
  make_sparse(at("a"), kFull);
  EXPECT_TRUE(read(limits));
  make_sparse(at("a"), kFull + 1);
  expect_error(limits, "a is larger than 1 MiB");
  make_sparse(at("a"), kFull);
  make_sparse(at("b"), kFull);
  expect_error(limits, "more than 2 MiB in all");
  make_sparse(at("a"), 1ULL << 40);  // takes no room, and no time
  expect_error(OutputLimits(), "a is larger than 16 MiB");
}

TEST_F(Output, DepthAndLengthAreBounded) {
  make_text(at("good.md"), "good");
  std::string deep;
  for (int i = 0; i < 40; ++i)
    deep += "d/";
  make_text(at(deep + "x"), "x");
  expect_left_out("lies deeper than 32 directories");
  fs::remove_all(at("d"));
  OutputLimits limits;
  limits.path_bytes = 10;
  make_text(at("long/name.md"), "x");
  const auto left_out = read(limits);
  ASSERT_TRUE(left_out);
  EXPECT_EQ(left_out->first, "long/name.md has a path of more than 10 bytes");
}

TEST_F(Output, WhatTheTakerCannotTakeEndsIt) {
  make_text(at("a"), "x");
  const auto read =
      read_output(directory.path(), {}, std::chrono::steady_clock::now() + std::chrono::seconds(30),
                  [](const std::string&, const std::string&) -> std::expected<void, std::string> {
                    return std::unexpected("full");
                  });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error(), "full");
  EXPECT_THAT(read_output(directory.path(), {}, std::chrono::steady_clock::now(),
                          [](const std::string&, const std::string&) {
                            return std::expected<void, std::string>();
                          })
                  .error(),
              HasSubstr("takes too long"));
}

}  // namespace
}  // namespace palisade::courier::testing
