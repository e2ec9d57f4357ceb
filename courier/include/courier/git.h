// Running git without anything of the surroundings: a fixed environment, no system or user
// configuration, no shell, a deadline, bounded output.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include <courier/config.h>

namespace palisade::courier {

// GitRun::max_memory of one that reads what the agent wrote: below the container's limit, so that
// the courier lives to report it.
inline constexpr std::int64_t kMaxGitMemory = 384LL * 1024 * 1024;

struct GitRun {
  std::vector<std::string> arguments;  // after `git` and the fixed -c options
  std::string input;                   // standard input
  fs::path input_file;                 // or this file is standard input
  fs::path output_file;  // standard output goes there instead of `GitResult::output`, up to
                         // max_output_bytes
  std::int64_t max_output_bytes = 1 << 20;  // more ends the run with an error
  std::vector<std::string> environment;     // NAME=VALUE beside the fixed ones
  std::chrono::seconds deadline{300};
  std::vector<int> inherit;     // descriptors that git may use (/proc/self/fd/N)
  std::int64_t max_memory = 0;  // bytes of its own memory; 0: no limit
  bool end_on_term = true;      // a pending SIGTERM ends it
};

struct GitResult {
  int code = 0;
  std::string output;
  std::string error;  // standard error, the last 4 KiB
};

class Git {
 public:
  // `protocols`: GIT_ALLOW_PROTOCOL, e.g. "https" or "file". `self`: this program, as GIT_ASKPASS;
  // empty: no credentials.
  Git(const Config& config, const std::string& protocols, const fs::path& self,
      const fs::path& ca_bundle);

  // An error where git could not be run, was ended or exited non-zero; its text is git's own, free
  // of the token.
  [[nodiscard]] std::expected<GitResult, std::string> run(const GitRun& run) const;
  // Makes Config::repository anew, bare, and fetches into it, as `into`, the first of `candidates`
  // (whole references of Config::url) that is there. Which one that was.
  [[nodiscard]] std::expected<std::string, std::string> fetch_first(
      const std::vector<std::string>& candidates, const std::string& into) const;

 private:
  const Config& config_;
  std::vector<std::string> environment_;
};

// The token as it is now (it rotates); "" where none is set or it cannot be read.
[[nodiscard]] std::string read_token(const Config& config);

// `palisade-courier "Username for 'https://host': "` as git asks: prints the answer. Exit code.
[[nodiscard]] int answer_askpass(const Config& config, const std::string& prompt);

}  // namespace palisade::courier
