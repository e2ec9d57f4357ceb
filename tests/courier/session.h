// One agent's pod as the courier sees it, without the pod: the git host, the volumes as
// directories, courier.json, a running `palisade-courier serve`, and the workspace that
// `palisade-courier checkout` made.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "git_host.h"
#include "process.h"

namespace palisade::courier::testing {

inline constexpr const char* kBranch = "palisade/fix-login";
inline constexpr const char* kBranchRef = "refs/heads/palisade/fix-login";
// The kubelet keeps 12 KiB of a pod's termination messages, shared out among seven containers.
inline constexpr std::size_t kMaxTerminationLog = 12UL * 1024 / 7;

class Session {
 public:
  Session();

  Directory base;
  GitHost host{base.path() / "host"};
  const std::filesystem::path private_volume = base.path() / "private";
  const std::filesystem::path seed = base.path() / "seed";
  const std::filesystem::path workspace = base.path() / "workspace";
  const std::filesystem::path repo = workspace / "repo";
  const std::filesystem::path dot_git = repo / ".git";
  const std::filesystem::path token_file = base.path() / "secret" / "token";
  const std::filesystem::path termination_log = base.path() / "termination-log";
  const std::filesystem::path config_file = base.path() / "config" / "courier.json";
  // Whatever a hostile file would have run creates this.
  const std::filesystem::path canary = base.path() / "canary" / "executed";
  std::filesystem::path out = base.path() / "courier.out", err = base.path() / "courier.err";
  nlohmann::json config;
  Environment environment = plain_environment();

  // palisade-courier VERB --config FILE with the configuration as it stands.
  Outcome courier(const std::string& verb, Process::Options options = {}) const;
  void serve();
  // serve once more with what an earlier one fetched; returns when it is at work.
  void serve_again();
  [[nodiscard]] bool ready() const;
  // serve, wait for ready, checkout; throws with the courier's words when that fails.
  void start();

  // A commit in the workspace on the branch, as Aider makes it.
  std::string commit(std::string_view file, std::string_view content) const;
  // The same without moving the branch: on top of `parent`, its objects loose in the workspace.
  std::string prepare(std::string_view parent, std::string_view file,
                      std::string_view content) const;
  // Writes the branch's ref as a file, without git.
  void set_tip(std::string_view text) const;
  // The object's loose file in the workspace.
  [[nodiscard]] std::filesystem::path loose(std::string_view object) const;

  [[nodiscard]] std::string remote() const { return host.ref(kBranchRef); }
  [[nodiscard]] bool arrives(std::string_view commit, milliseconds limit = seconds(60)) const;
  // Long enough for some looks at the workspace.
  void some_polls() const;

  struct End {
    int code = -1;
    nlohmann::json report;  // null when the termination log holds no JSON
    std::string log;        // the termination log as it is
  };
  // SIGTERM, then the end. Throws when the courier does not end within `limit`.
  End stop(milliseconds limit = seconds(60));
  // The end of a serve that gives up by itself.
  End end(milliseconds limit = seconds(60));
  [[nodiscard]] Process& process() { return *process_; }

  // Everything the courier said or wrote, and everything below `base`, looked through for the
  // token. The answer is the first place that has it, "" when none has.
  [[nodiscard]] std::string token_found_in(std::string_view token = kToken) const;
  [[nodiscard]] bool canary_touched() const { return std::filesystem::exists(canary); }
  // An executable that touches the canary.
  [[nodiscard]] std::filesystem::path payload() const { return base.path() / "canary" / "payload"; }
  // All that the courier wrote on its outputs.
  [[nodiscard]] std::string said() const { return read_file(out) + read_file(err); }

 private:
  std::unique_ptr<Process> process_;
};

// A session whose programs run as the pod's users, which only root can do: the courier 1002, the
// agent and the checkout 1001, one group; the token for the courier alone.
class PodUsers {
 public:
  // Gives the volumes to them as fsGroup does, serves and checks out. Throws with the courier's
  // words when that fails.
  explicit PodUsers(const Session& session);

  // A program as the agent, in the workspace.
  [[nodiscard]] Outcome as_agent(const Arguments& arguments) const;
  // A commit of the agent's; its id, or "" with what git said in `err`.
  struct Commit {
    std::string id, err;
  };
  [[nodiscard]] Commit commit(const std::string& file) const;
  // SIGTERM to the courier; its exit code, -1 when it does not end.
  int stop();

 private:
  Process::Options agent_;
  std::unique_ptr<Process> serve_;
};

}  // namespace palisade::courier::testing
