// Where packs lie until they are checked, and where repositories are.
#include "spool.h"

#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "repository.h"

namespace palisade::gateway::git {
namespace {

namespace fs = std::filesystem;

class SpoolTest : public ::testing::Test {
 protected:
  SpoolTest() {
    std::string name = (fs::temp_directory_path() / "palisade-spool-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) folder = name;
  }
  ~SpoolTest() override { fs::remove_all(folder); }
  SpoolTest(const SpoolTest&) = delete;
  SpoolTest& operator=(const SpoolTest&) = delete;

  fs::path folder;
  std::shared_ptr<SpoolRoom> room = std::make_shared<SpoolRoom>(10'000);
};

TEST_F(SpoolTest, KeepsWhatItIsGivenUnderNoName) {
  {
    auto spool = Spool::open(folder, room);
    ASSERT_TRUE(spool) << spool.error().message;
    ASSERT_TRUE((*spool)->append("hello "));
    ASSERT_TRUE((*spool)->append(""));
    ASSERT_TRUE((*spool)->append("there"));
    EXPECT_EQ((*spool)->size(), 11U);
    EXPECT_EQ(room->used(), 11U);
    EXPECT_TRUE(fs::is_empty(folder));
    char text[8];
    EXPECT_EQ((*spool)->read(6, text), 5U);
    EXPECT_EQ(std::string_view(text, 5), "there");
    EXPECT_EQ((*spool)->read(11, text), 0U);
    EXPECT_EQ((*spool)->read(100, text), 0U);
  }
  EXPECT_EQ(room->used(), 0U);
}

TEST_F(SpoolTest, AllTogetherHaveSoMuchRoom) {
  auto one = Spool::open(folder, room);
  auto two = Spool::open(folder, room);
  ASSERT_TRUE(one && two);
  ASSERT_TRUE((*one)->append(std::string(6000, 'x')));
  const auto full = (*two)->append(std::string(6000, 'x'));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().fault, SpoolFault::kNoRoom);
  EXPECT_EQ(room->used(), 6000U);
  one->reset();
  EXPECT_TRUE((*two)->append(std::string(10'000, 'x')));
  EXPECT_FALSE((*two)->append("x"));
}

TEST_F(SpoolTest, ADiskThatTakesNoMoreIsNoRoom) {
  auto spool = Spool::open(folder, std::make_shared<SpoolRoom>(1U << 30U));
  ASSERT_TRUE(spool);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{100'000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto first = (*spool)->append(std::string(90'000, 'x'));
  const auto second = (*spool)->append(std::string(90'000, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(first);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().fault, SpoolFault::kNoRoom);
  EXPECT_EQ(second.error().message, "File too large");
}

TEST_F(SpoolTest, AFolderThatIsNoneIsSaid) {
  const auto spool = Spool::open(folder / "none", room);
  ASSERT_FALSE(spool);
  EXPECT_EQ(spool.error().fault, SpoolFault::kDisk);
  EXPECT_EQ(spool.error().message, "No such file or directory");
}

TEST(Repository, IsWhereAnHttpsUrlSays) {
  struct Good {
    const char* url;
    const char* host;
    int port;
    const char* path;
  };
  for (const Good& good : {
           Good{"https://git.example.com/team/app.git", "git.example.com", 443, "/team/app.git"},
           Good{"https://git.example.com:8443/app/", "git.example.com", 8443, "/app"},
           Good{"https://10.0.0.1:1/a", "10.0.0.1", 1, "/a"},
           Good{"https://[2001:db8::1]:444/a", "2001:db8::1", 444, "/a"},
           Good{"https://[::1]/~user/a%20b", "::1", 443, "/~user/a%20b"},
       }) {
    const auto read = parse_repository(good.url);
    ASSERT_TRUE(read) << good.url << ": " << read.error();
    EXPECT_TRUE(read->origin.tls);
    EXPECT_EQ(read->origin.host, good.host);
    EXPECT_EQ(read->origin.port, good.port);
    EXPECT_EQ(read->path, good.path);
  }
  for (const char* bad : {"",
                          "http://git.example.com/a",
                          "HTTPS://git.example.com/a",
                          "ssh://git.example.com/a",
                          "git@git.example.com:a",
                          "https://git.example.com",
                          "https://git.example.com/",
                          "https:///a",
                          "https://:443/a",
                          "https://user@git.example.com/a",
                          "https://user:pw@git.example.com/a",
                          "https://git.example.com:/a",
                          "https://git.example.com:0/a",
                          "https://git.example.com:65536/a",
                          "https://git.example.com:443x/a",
                          "https://git.example.com/a?b",
                          "https://git.example.com/a#b",
                          "https://git.example.com/a b",
                          "https://git.example.com/a/../b",
                          "https://git.example.com//a",
                          "https://git.example.com/a\\b",
                          "https://git.example.com/a\r\nHost: x",
                          "https://[::1/a",
                          "https://[]/a",
                          "https://[::1]x/a",
                          "https://[::1]x443/a",
                          "https://[git.example.com]/a",
                          "https://git_example/a",
                          "https://git.example.com\\@thief.example.com/a"}) {
    EXPECT_FALSE(parse_repository(bad)) << bad;
  }
}

TEST(Repository, HostsThatMayBeShown) {
  EXPECT_EQ(host_of_location("https://other.example.com/a"), "other.example.com");
  EXPECT_EQ(host_of_location("https://other.example.com:8443/a"), "other.example.com");
  EXPECT_EQ(host_of_location("http://other.example.com"), "other.example.com");
  for (const char* none : {"", "/a", "//other.example.com/a", "https://user@other/a",
                           "https://\x1b[2J/", "https://<script>/", "https:///a"}) {
    EXPECT_EQ(host_of_location(none), "") << none;
  }
  EXPECT_EQ(basic_authorization("bot", "secret"), "Basic Ym90OnNlY3JldA==");
  EXPECT_EQ(basic_authorization("", ""), "Basic Og==");
}

}  // namespace
}  // namespace palisade::gateway::git
