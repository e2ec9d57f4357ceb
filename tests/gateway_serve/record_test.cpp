#include <array>
#include <thread>

#include <fcntl.h>
#include <gateway/serve/record.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

namespace palisade::gateway {
namespace {

using nlohmann::json;

class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  }
  ~Pipe() {
    close_reader();
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  [[nodiscard]] int writer() const { return ends_[1]; }
  void close_reader() {
    if (ends_[0] >= 0) ::close(std::exchange(ends_[0], -1));
  }
  // What comes until nothing has for `silence`.
  std::string read(int silence = 300) {
    std::string out;
    std::array<char, 65536> piece{};
    pollfd ready{ends_[0], POLLIN, 0};
    while (::poll(&ready, 1, silence) > 0) {
      const ssize_t got = ::read(ends_[0], piece.data(), piece.size());
      if (got <= 0) break;
      out.append(piece.data(), static_cast<std::size_t>(got));
    }
    return out;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> out;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = text.find('\n', at);
    EXPECT_NE(end, std::string::npos) << "a line is not whole";
    if (end == std::string::npos) break;
    out.push_back(json::parse(text.substr(at, end - at), nullptr, false));
    EXPECT_TRUE(out.back().is_object()) << text.substr(at, end - at);
    at = end + 1;
  }
  return out;
}

TEST(Record, EachLineIsJsonWithATime) {
  Pipe pipe;
  {
    JsonRecord record({pipe.writer(), 1 << 20});
    record.write({{"kind", "llm"}, {"model", "a\nb\"c"}});
    record.write({{"kind", "git"}, {"ref", "bad \xff utf-8 \xc3"}});
    record.write({{"kind", "llm"}, {"time", "forged"}});
  }
  const auto lines = lines_of(pipe.read());
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["model"], "a\nb\"c");
  EXPECT_EQ(lines[1]["kind"], "git");
  for (const json& line : lines)
    EXPECT_THAT(line["time"].get<std::string>(),
                ::testing::MatchesRegex("20[0-9-]{8}T[0-9:]{8}\\.[0-9]{6}Z"));
}

TEST(Record, WhoeverReadsSlowlyHoldsNobodyUpAndWhatIsDroppedIsSaid) {
  Pipe pipe;
  JsonRecord record({pipe.writer(), 256 * 1024});
  const std::string large(1000, 'x');
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 5000; ++i)
    record.write({{"kind", "llm"}, {"n", i}, {"text", large}});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  const std::uint64_t dropped = record.dropped();
  EXPECT_GT(dropped, 1000U);
  const auto before = lines_of(pipe.read());
  record.write({{"kind", "llm"}, {"n", -1}});
  const auto after = lines_of(pipe.read());
  ASSERT_EQ(after.size(), 2U);
  EXPECT_EQ(after[0]["kind"], "record");
  EXPECT_EQ(after[0]["dropped"], dropped);
  EXPECT_EQ(after[1]["n"], -1);
  EXPECT_EQ(before.size() + dropped, 5000U) << "none is lost unsaid";
  for (std::size_t i = 0; i < before.size(); ++i)
    EXPECT_EQ(before[i]["n"], i) << "in order";
}

TEST(Record, AReaderThatIsGoneStopsNothing) {
  std::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.close_reader();
  JsonRecord record({pipe.writer(), 4096});
  for (int i = 0; i < 1000; ++i)
    record.write({{"kind", "llm"}, {"n", i}});
  EXPECT_GT(record.dropped(), 0U);
}

TEST(Record, ManyThreadsWriteWholeLines) {
  Pipe pipe;
  std::string read;
  std::jthread reader([&] { read = pipe.read(2000); });
  {
    JsonRecord record({pipe.writer(), 64 << 20});
    std::vector<std::jthread> writers;
    for (int writer = 0; writer < 4; ++writer) {
      writers.emplace_back([&, writer] {
        for (int i = 0; i < 500; ++i)
          record.write({{"writer", writer}, {"n", i}});
      });
    }
    writers.clear();
  }
  reader.join();
  EXPECT_EQ(lines_of(read).size(), 2000U);
}

}  // namespace
}  // namespace palisade::gateway
