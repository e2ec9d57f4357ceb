// One program run to its end for what it prints, without a shell.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/error.h>

namespace kube {

struct ProgramRun {
  std::string file;                    // a path
  std::vector<std::string> arguments;  // without the program's own name
  std::vector<std::string> environment;
  bool keep_input = false;  // our standard input; else it has none
  std::size_t most_output = 1024UL * 1024;
  std::chrono::milliseconds longest{60'000};
};

struct ProgramEnd {
  std::string output;
  int code = 0;  // 128 + the signal where one ended it
};

// Its standard error is ours. It is killed where it prints or takes more than it may, or `stop` is
// asked for, and what it has started too unless it reads our input. Errors say what it did, without
// its name.
[[nodiscard]] Result<ProgramEnd> run_program(const ProgramRun& run, const std::stop_token& stop);

}  // namespace kube
