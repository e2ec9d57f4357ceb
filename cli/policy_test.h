// `palisade test`: a team's own verdicts, written down and held to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "yaml_json.h"

namespace palisade::cli {

// One case of a PolicyTest, run.
struct CaseResult {
  std::string file;  // of the PolicyTest
  std::size_t line = 0;
  std::string name;
  bool passed = false;
  std::string expected;  // "allowed", "denied", "denied by no-sysctls"
  std::string got;       // the same
  std::string detail;    // why it was denied, for people
};

struct TestRun {
  std::vector<CaseResult> cases;
  std::vector<std::string> errors;  // each "FILE:LINE:COLUMN: what is wrong"
  std::size_t tests = 0;            // documents of kind PolicyTest
};

// Whether a document is a PolicyTest. The others of a directory are what tests are about.
[[nodiscard]] bool is_policy_test(const Document& document);

// Runs every case of a PolicyTest. Files that it names are relative to its own. `now` (seconds
// since 1970) is what HardeningExceptions expire by, unless the test says another.
void run_policy_test(const std::string& file, const Document& document, std::int64_t now,
                     TestRun& out);

}  // namespace palisade::cli
