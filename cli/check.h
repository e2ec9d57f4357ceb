// `palisade check`: the policy on manifests, offline.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace palisade::cli {

struct CheckOptions {
  std::vector<std::string> files;  // "-" is standard input
  std::string settings_file;       // "" means the defaults
  std::vector<std::string> skip;   // controls that are left out
  bool all = false;                // also pods that are no Aider pods
  bool as_json = false;
};

// Exit codes are cli.h's. Findings go to `out`, what cannot be read to `err`; a file that cannot be
// read does not keep the others from being checked.
[[nodiscard]] int check(const CheckOptions& options, std::istream& in, std::ostream& out,
                        std::ostream& err);

}  // namespace palisade::cli
