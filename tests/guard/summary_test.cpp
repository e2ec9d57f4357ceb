#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <guard/summary.h>
#include <nlohmann/json.hpp>

namespace palisade::guard {
namespace {

using nlohmann::json;

TEST(Summary, TheTerminationMessage) {
  const json written = json::parse(termination_json({.ended = "deadline",
                                                     .message = "the deadline of 2h was over",
                                                     .counts = {.execs = 1,
                                                                .denied_execs = 2,
                                                                .denied_connects = 3,
                                                                .refusals = 4,
                                                                .findings = 5,
                                                                .dropped = 6},
                                                     .degraded = {"mdwe"}}));
  EXPECT_EQ(written, json::parse(R"({"guard": "palisade.dev/guard/v1", "ended": "deadline",
      "message": "the deadline of 2h was over", "execs": 1, "deniedExecs": 2, "deniedConnects": 3,
      "refusals": 4, "findings": 5, "dropped": 6, "degraded": ["mdwe"]})"));
}

TEST(Summary, IsBoundedAsciiWhateverItHolds) {
  for (const std::string& piece :
       {std::string("\x01"), std::string("\xFF"), std::string("\xC3\xA4"),
        std::string("\xF0\x9F\x98\x80"), std::string("\"")}) {
    std::string text;
    while (text.size() < 50'000)
      text += piece;
    const std::string out = termination_json({.ended = text,
                                              .message = text,
                                              .counts = {.execs = ~0ULL >> 1U,
                                                         .denied_execs = ~0ULL >> 1U,
                                                         .denied_connects = ~0ULL >> 1U,
                                                         .refusals = ~0ULL >> 1U,
                                                         .findings = ~0ULL >> 1U,
                                                         .dropped = ~0ULL >> 1U},
                                              .degraded = std::vector<std::string>(100, text)});
    EXPECT_LT(out.size(), kLongestTermination);
    EXPECT_TRUE(json::accept(out));
    EXPECT_TRUE(std::ranges::all_of(out, [](char c) { return c >= 0x20 && c < 0x7F; }));
  }
}

TEST(Summary, CountsByRule) {
  Counts counts;
  for (const char* rule : {"exec.allow", "exec.mapping", "network.connect", "syscall.ptrace"})
    count(counts, Refused{.by = {}, .rule = rule, .call = "", .target = "", .argv = {}});
  count(counts, ExecStarted{});
  count(counts, Finding{});
  count(counts, SessionStarted{});
  EXPECT_EQ(counts, (Counts{.execs = 1,
                            .denied_execs = 2,
                            .denied_connects = 1,
                            .refusals = 4,
                            .findings = 1,
                            .dropped = 0}));
}

TEST(Summary, IsWrittenOverWhatWasThere) {
  const auto path =
      std::filesystem::temp_directory_path() / ("guard-summary-" + std::to_string(::getpid()));
  std::ofstream(path) << std::string(5'000, 'x');
  EXPECT_TRUE(
      write_termination(path, {.ended = "exited", .message = "", .counts = {}, .degraded = {}}));
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(json::parse(text)["ended"], "exited");
  std::filesystem::remove(path);
  EXPECT_FALSE(write_termination("/proc/self/nothing", {}));
  EXPECT_FALSE(write_termination("/dev/full", {}));
}

}  // namespace
}  // namespace palisade::guard
