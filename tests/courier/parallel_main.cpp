// The main of test programs whose cases mostly wait: without arguments every test runs in a process
// of its own, a few at a time; with arguments (a filter, say) it is GoogleTest's usual main.
#include <algorithm>
#include <deque>
#include <iostream>
#include <list>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "process.h"

namespace {

using namespace palisade::courier::testing;

constexpr std::size_t kAtATime = 6;
constexpr auto kLongest = std::chrono::minutes(4);

struct Running {
  std::string name;
  Directory directory;
  std::unique_ptr<Process> process;
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();

  Running(const std::string& test, const std::string& program) : name(test) {
    Process::Options options;
    options.out = options.err = directory.path() / "output";
    process = std::make_unique<Process>(Arguments{program, "--gtest_filter=" + test}, options);
  }
  // Whether it passed; prints what it said if it did not.
  [[nodiscard]] bool passed() const {
    const auto took =
        std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - since);
    const std::string said = read_file(directory.path() / "output");
    const bool ran = said.find("Running 1 test from 1 test suite") != std::string::npos;
    const bool good = ran && process->wait(milliseconds(0)) && process->code() == 0;
    const bool skipped = said.find("[  SKIPPED ]") != std::string::npos;
    if (!good || skipped) std::cout << said;
    std::cout << (good ? skipped ? "[  SKIPPED ] " : "[       OK ] " : "[  FAILED  ] ") << name
              << " (" << took.count() << " ms)" << std::endl;
    return good;
  }
};

int run_apart(const std::string& program) {
  std::deque<std::string> waiting;
  const auto& unit = *testing::UnitTest::GetInstance();
  for (int i = 0; i < unit.total_test_suite_count(); ++i) {
    const auto& suite = *unit.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j)
      waiting.push_back(std::string(suite.name()) + "." + suite.GetTestInfo(j)->name());
  }
  const std::size_t all = waiting.size();
  std::size_t passed = 0;
  std::list<Running> running;
  while (!waiting.empty() || !running.empty()) {
    while (!waiting.empty() && running.size() < kAtATime) {
      running.emplace_back(waiting.front(), program);
      waiting.pop_front();
    }
    (void)eventually(
        [&] {
          return std::ranges::any_of(
              running, [](Running& test) { return test.process->wait(milliseconds(0)); });
        },
        seconds(1));
    std::erase_if(running, [&](Running& test) {
      const bool over = test.process->wait(milliseconds(0)) ||
                        std::chrono::steady_clock::now() - test.since > kLongest;
      if (over && test.passed()) ++passed;
      return over;
    });
  }
  std::cout << passed << " of " << all << " tests passed" << std::endl;
  return passed == all && all > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool apart = argc == 1;
  testing::InitGoogleTest(&argc, argv);
  return apart ? run_apart(std::filesystem::read_symlink("/proc/self/exe")) : RUN_ALL_TESTS();
}
