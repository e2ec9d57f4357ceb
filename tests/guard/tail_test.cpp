#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <guard/proc.h>
#include <guard/tail.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = 20s;

class Tailing : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "guard-tail-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "record.jsonl";
  }
  void TearDown() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  void append(const std::string& text, std::ios::openmode mode = std::ios::app) const {
    std::ofstream(path_, mode | std::ios::binary) << text;
  }

  // A process of its own, as tail() wants one.
  void start(std::chrono::milliseconds last = 10s) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      ::_exit(tail({.path = path_, .out = ends[1], .poll = 20ms, .last = last}));
    }
    out_ = Fd(ends[0]);
    ::close(ends[1]);
  }

  std::string read(const std::string& until) const {
    const auto deadline = std::chrono::steady_clock::now() + kLong;
    std::string out;
    std::array<char, 65536> piece{};
    while (std::chrono::steady_clock::now() < deadline) {
      if (!until.empty() && out.ends_with(until)) return out;
      pollfd polled{out_.get(), POLLIN, 0};
      if (::poll(&polled, 1, 100) <= 0) continue;
      const ssize_t got = ::read(out_.get(), piece.data(), piece.size());
      if (got <= 0) return out;
      out.append(piece.data(), static_cast<std::size_t>(got));
    }
    ADD_FAILURE() << "waited in vain for " << until;
    return out;
  }
  [[nodiscard]] bool quiet() const {
    pollfd polled{out_.get(), POLLIN, 0};
    return ::poll(&polled, 1, 200) == 0;
  }

  int stop(int signal = SIGTERM) {
    ::kill(pid_, signal);
    return ended();
  }
  int ended() {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::filesystem::path folder_;
  std::string path_;
  Fd out_;
  pid_t pid_ = -1;
};

TEST_F(Tailing, PrintsWhatIsThereAndWhatComes) {
  append("one\ntwo\n");
  start();
  EXPECT_EQ(read("two\n"), "one\ntwo\n");
  append("three\nfo");
  EXPECT_EQ(read("three\n"), "three\n");
  EXPECT_TRUE(quiet());  // half a line is none
  append("ur\n");
  EXPECT_EQ(read("four\n"), "four\n");
  EXPECT_EQ(stop(), 0);
}

TEST_F(Tailing, WaitsForTheFile) {
  start();
  EXPECT_TRUE(quiet());
  append("one\n");
  EXPECT_EQ(read("one\n"), "one\n");
  EXPECT_EQ(stop(SIGINT), 0);
}

TEST_F(Tailing, AfterARestartItBeginsAgain) {
  append("one\n");
  start();
  EXPECT_EQ(read("one\n"), "one\n");
  EXPECT_EQ(stop(), 0);
  append("two\n");
  start();
  EXPECT_EQ(read("two\n"), "one\ntwo\n");
  EXPECT_EQ(stop(), 0);
}

TEST_F(Tailing, AFileThatWasCutOrReplaced) {
  append("one one one\n");
  start();
  EXPECT_EQ(read("one\n"), "one one one\n");
  append("two\n", std::ios::trunc);
  EXPECT_EQ(read("two\n"), "two\n");
  std::ofstream(folder_ / "next") << "three\n";
  std::filesystem::rename(folder_ / "next", path_);
  EXPECT_EQ(read("three\n"), "three\n");
  std::filesystem::remove(path_);
  EXPECT_TRUE(quiet());
  append("four\n");
  EXPECT_EQ(read("four\n"), "four\n");
  EXPECT_EQ(stop(), 0);
}

TEST_F(Tailing, PrintsAllThatIsThereBeforeItEnds) {
  std::string text;
  for (int i = 0; i < 50'000; ++i)
    text += "line " + std::to_string(i) + "\n";
  append(text);
  start();
  pollfd polled{out_.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&polled, 1, 20'000), 1);
  ::kill(pid_, SIGTERM);  // before anybody has read
  EXPECT_EQ(read("line 49999\n"), text);
  EXPECT_EQ(ended(), 0);
}

TEST_F(Tailing, AStandardOutputThatTakesNothingDoesNotHoldUpTheEnd) {
  std::string text;
  for (int i = 0; i < 50'000; ++i)
    text += "line " + std::to_string(i) + "\n";
  append(text);
  start(300ms);
  std::this_thread::sleep_for(100ms);  // the pipe is full by now
  EXPECT_EQ(stop(), 126);
}

TEST_F(Tailing, AClosedStandardOutputIsAFailure) {
  start();
  out_ = Fd();
  append("one\n");
  EXPECT_EQ(ended(), 126);
}

TEST_F(Tailing, ALineThatIsTooLongIsLeftOut) {
  append("one\n" + std::string(200'000, 'x') + "\ntwo\n");
  start();
  EXPECT_EQ(read("two\n"), "one\ntwo\n");
  EXPECT_EQ(stop(), 0);
}

TEST_F(Tailing, NothingButARegularFileIsRead) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  start();
  EXPECT_TRUE(quiet());
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("/etc/passwd", path_);
  EXPECT_TRUE(quiet());
  EXPECT_EQ(stop(), 0);
}

}  // namespace
}  // namespace palisade::guard
