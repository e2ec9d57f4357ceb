// The courier's commands: serve (fetch, hand out, push), checkout, ready.
#pragma once

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include <courier/config.h>
#include <courier/git.h>

namespace palisade::courier {

struct Report {
  int commits = 0;      // pushed in this session
  std::string head;     // last pushed commit
  bool pushed = false;  // nothing that the agent committed is left behind
  std::string error;    // why the last work is not pushed; "" where it is
  std::string note;     // what of it was left out; "" where nothing was
};

// The repository between the git host and the agent. One thread.
class Courier {
 public:
  Courier(const Config& config, fs::path self);

  // Fetches the start commit and hands it out, unless that was done before a restart.
  [[nodiscard]] std::expected<void, std::string> prepare();
  // Takes over what the agent has committed and pushes it. `final`: SIGTERM no longer ends git,
  // Config::final_seconds do.
  void deliver(bool final);
  // The branch's tip in the agent's clone now; "" where there is none, or where it cannot be read:
  // the log has that once, and the last delivery's report if it lasts.
  [[nodiscard]] std::string tip();
  [[nodiscard]] const Report& report() const { return report_; }

 private:
  [[nodiscard]] std::expected<void, std::string> fetch();
  // Puts what has been fetched where the checkout finds it.
  [[nodiscard]] std::expected<void, std::string> hand_out(const std::string& branch) const;
  [[nodiscard]] std::expected<void, std::string> gather(const std::string& tip,
                                                        const fs::path& pack) const;
  [[nodiscard]] std::expected<void, std::string> import(const std::string& tip) const;
  // Whether it may be pushed: a commit, after the start and after what was pushed.
  [[nodiscard]] std::expected<void, std::string> follows(const std::string& tip);
  [[nodiscard]] bool is_ancestor(const std::string& commit, const std::string& of) const;
  [[nodiscard]] std::expected<void, std::string> push(const std::string& tip);
  [[nodiscard]] std::expected<std::string, std::string> in_repository(
      std::vector<std::string> arguments, bool end_on_term = true) const;
  // mount: ReadOnly. What the output directory has in the repository must be what could be
  // collected.
  [[nodiscard]] std::expected<void, std::string> check_output_dir() const;
  // For git fast-import: a commit on top of what was pushed, whose output directory is what the
  // agent left there.
  [[nodiscard]] std::expected<void, std::string> write_collected(const fs::path& stream);
  [[nodiscard]] std::expected<void, std::string> deliver_output();
  struct TreeEntry {
    std::string mode;  // 100644, ...
    std::string path;
    std::int64_t size = 0;
  };
  // git ls-tree with these arguments.
  [[nodiscard]] std::expected<std::vector<TreeEntry>, std::string> listed(
      std::vector<std::string> arguments) const;
  // git within what is left of the last delivery, where that is under way.
  [[nodiscard]] std::expected<GitResult, std::string> timed(GitRun run) const;
  [[nodiscard]] std::expected<int, std::string> count(
      const std::string& tip) const;  // from the start
  // Those of the names that the repository does not have yet.
  [[nodiscard]] std::expected<std::vector<std::string>, std::string> missing(
      const std::vector<std::string>& names) const;

  const Config& config_;
  const fs::path ca_bundle_;
  const Git git_;
  std::string start_;   // where the session began
  std::string pushed_;  // the remote branch's tip as we know it; start_ if nothing was pushed
  // The workspace was there before this pod, and the branch's host did not have the branch then:
  // what was begun may have begun at an earlier commit than start_.
  bool kept_ = false;
  bool loose_ = false;
  std::string unreadable_;  // why tip() could not read the branch the last time
  std::optional<std::chrono::steady_clock::time_point> end_by_;  // of the last delivery
  Report report_;
};

// Until SIGTERM: prepare (again and again for `patience` where that fails), then deliver whatever
// the agent commits, then the last delivery and the report. Exit code.
[[nodiscard]] int serve(const Config& config, const fs::path& self,
                        std::chrono::seconds patience = std::chrono::seconds(0));
// Until the file is there; false: SIGTERM, which the caller has blocked, came first.
[[nodiscard]] bool wait_for_file(const fs::path& file);
// Makes the agent's clone of what was handed out. Exit code.
[[nodiscard]] int checkout(const Config& config);

// What a setup is shown of the repository.
struct InputsOrder {
  std::string commit;              // of Config::ref; "": its tip
  std::vector<std::string> files;  // paths in the repository
  fs::path into;                   // an empty directory
};
struct InputsReport {
  std::string commit;
  std::string digest;  // of the files' names, modes and contents
};
// Fetches Config::ref, never the agent's branch, and writes the files. The termination log gets
// {"commit", "digest"}, or {"error"}. Exit code.
[[nodiscard]] int take_inputs(const Config& config, const fs::path& self, const InputsOrder& order);

// The system's authorities and the administrator's in one file, as git wants it; "" where the
// system's will do.
[[nodiscard]] fs::path make_ca_bundle(const Config& config);

// One JSON line on standard output.
void log(const char* level, const std::string& message);
void write_report(const Config& config, const Report& report);

}  // namespace palisade::courier
