// The `palisade` command line.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace palisade::cli {

// What the process exits with.
inline constexpr int kCompliant = 0;   // everything checked is in order
inline constexpr int kFindings = 1;    // at least one pod breaks a control
inline constexpr int kUnreadable = 2;  // input or command line that cannot be read

// Runs one command. `arguments` are without the program's name; `in` is what `-f -` reads.
[[nodiscard]] int run(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
                      std::ostream& err);

}  // namespace palisade::cli
