// What the courier is told: one JSON file from the workspace's ConfigMap.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>

namespace palisade::courier {

namespace fs = std::filesystem;

// spec.repository.mount: what the agent has of the project.
enum class Mount : std::uint8_t {
  kReadWrite,   // a clone of its own
  kGitDirOnly,  // a scratch checkout that stands on the objects of a repository it can only read
  kReadOnly,    // a checkout that it can only read, but for one directory, which is collected
};

struct Config {
  fs::path file;    // where this was read from
  std::string url;  // https://..., or http://127.0.0.1:PORT/... of the pod's relay
  bool through_relay = false;
  std::string ref;         // branch or tag to start from
  std::string branch;      // the only one that is pushed
  bool read_only = false;  // access: ReadOnly
  std::string username;    // goes with the token
  fs::path token_file;     // empty: none
  fs::path ca_file;        // empty: the system's authorities alone
  fs::path repository;     // the courier's own bare repository
  Mount mount = Mount::kReadWrite;
  // What the checkout works from: a bundle or, with another mount than ReadWrite, a bare repository
  // that the agent's container mounts read-only at the same path.
  fs::path bundle;
  fs::path workspace;  // the agent's clone: data
  // With mount ReadOnly alone:
  fs::path git_dir;        // the agent's own, on another volume than its checkout
  std::string output_dir;  // the writable directory, as a path in the repository
  fs::path output;         // the volume that lies there: data
  fs::path home;           // the agent's HOME, made by the checkout
  fs::path termination_log;
  int poll_seconds = 2;
  // A tip is pushed while the session goes on once it has stood for this long, so that a commit
  // that is undone at once is not out already. The last delivery waits for nothing.
  int settle_seconds = 10;
  // All of the last delivery, below the pod's terminationGracePeriodSeconds: whatever hangs, the
  // report is written.
  int final_seconds = 50;
  std::int64_t max_pack_bytes = 512LL * 1024 * 1024;
};

// Unknown fields are ignored (an older courier beside a newer operator); a missing or wrong one is
// an error that names it.
[[nodiscard]] std::expected<Config, std::string> load_config(const fs::path& file);

}  // namespace palisade::courier
