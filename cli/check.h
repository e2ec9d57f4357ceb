// `palisade check`: the policy on manifests, offline, and on what a cluster holds.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

#include "commands.h"
#include "judged.h"
#include "live.h"
#include "yaml_json.h"

namespace palisade::cli {

struct CheckOptions {
  std::vector<std::string> files;  // files and directories; "-" is standard input
  std::string settings_file;       // "" means the defaults; live: see LiveOptions
  std::vector<std::string> skip;   // controls that are left out
  bool all = false;                // also pods that are no Aider pods
  std::string format = "text";     // text, json, sarif, junit
  bool live = false;               // what a cluster holds, instead of files
  ClusterOptions cluster;
  ScopeOptions scope;
};

// Exit codes are cli.h's. Findings go to `out`, what cannot be read to `err`; a file that cannot be
// read does not keep the others from being checked.
[[nodiscard]] int check(const CheckOptions& options, const Streams& streams);

// Every pod of the documents of a file, judged. The error has its place.
[[nodiscard]] std::expected<void, std::string> check_documents(
    const std::string& file, bool from_directory, const std::vector<Document>& documents,
    const policy::Settings& settings, const CheckOptions& options, Outcome& outcome);

// Prints in a format of CheckOptions.
void print(const Outcome& outcome, std::string_view format, std::ostream& out);

}  // namespace palisade::cli
