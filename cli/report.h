// The forms in which findings are printed.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

#include "judged.h"

namespace palisade::cli {

void print_text(const Outcome& outcome, std::ostream& out);
void print_json(const Outcome& outcome, std::ostream& out);
// SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
void print_sarif(const Outcome& outcome, std::ostream& out);
// JUnit's XML as CI systems read it: one testcase for each pod.
void print_junit(const Outcome& outcome, std::ostream& out);

// One testcase of a JUnit document; `failure` is "" where it passed, `skipped` is "" where it ran.
struct JunitCase {
  std::string suite;  // classname: what CI systems group by
  std::string name;
  std::string file;
  std::string failure_type;
  std::string failure_message;  // one line
  std::string failure;          // the whole text
  std::string error;            // what kept it from being judged
  std::string skipped;
  std::string output;
};
void print_junit(std::string_view name, const std::vector<JunitCase>& cases, std::ostream& out);

}  // namespace palisade::cli
