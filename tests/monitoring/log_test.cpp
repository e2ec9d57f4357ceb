// Lines of the log: one JSON object each, whatever a message or a field contains.
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include <kube/log.h>

namespace kube {
namespace {

using nlohmann::json;

// What `log` writes to standard error.
template <class Log>
std::vector<json> lines_of(Log log) {
  init_json_logs("info");
  ::testing::internal::CaptureStderr();
  log();
  std::istringstream in(::testing::internal::GetCapturedStderr());
  std::vector<json> out;
  for (std::string line; std::getline(in, line);)
    out.push_back(json::parse(line));
  return out;
}

TEST(Log, ALineIsOneObjectWhateverItSays) {
  const std::string hostile = "a\"}\n{\"level\":\"error\",\"x\":\"\x1b[2J\xff\\";
  const auto lines = lines_of([&] {
    const LogFields fields{{"workspace", hostile}};
    spdlog::info("{}", hostile);
  });
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["level"], "info");
  EXPECT_EQ(lines[0].size(), 4U);
  EXPECT_EQ(lines[0]["message"], lines[0]["workspace"]);
  EXPECT_TRUE(lines[0]["message"].get<std::string>().starts_with("a\"}\n{"));
}

TEST(Log, FieldsAreOfTheirScopeAndTheirThread) {
  const auto lines = lines_of([] {
    spdlog::info("before");
    {
      const LogFields outer{{"namespace", "team-a"}, {"workspace", "fix"}};
      {
        const LogFields inner{{"look", "7"}, {"nothing", ""}};
        spdlog::info("inner");
      }
      spdlog::info("outer");
      std::jthread([] { spdlog::info("elsewhere"); });
    }
    spdlog::info("after");
  });
  ASSERT_EQ(lines.size(), 5U);
  const auto fields = [](json line) {
    for (const char* own : {"time", "level", "message"})
      line.erase(own);
    return line;
  };
  EXPECT_EQ(fields(lines[0]), json::object());
  EXPECT_EQ(fields(lines[1]), json({{"namespace", "team-a"}, {"workspace", "fix"}, {"look", "7"}}));
  EXPECT_EQ(fields(lines[2]), json({{"namespace", "team-a"}, {"workspace", "fix"}}));
  EXPECT_EQ(fields(lines[3]), json::object());
  EXPECT_EQ(fields(lines[4]), json::object());
}

}  // namespace
}  // namespace kube
