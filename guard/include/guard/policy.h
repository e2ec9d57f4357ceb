// What guard enforces: one JSON file, read once before the agent starts. docs/guard.md is its
// reference. Everything is refused that it does not allow, and a file with a field that guard does
// not know is broken: an older guard must not run a newer promise as if it were kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::guard {

inline constexpr std::string_view kPolicyVersion = "palisade.dev/guard/v1";

enum class Mode {
  kEnforce,
  kAudit,  // records what kEnforce would have refused, and lets it through
};

struct ExecPolicy {
  // "aider": python3, git with its core helpers, and the program that guard starts, as they are
  // found in the image. "build": those, and what `allow` or `commands` must then name. "none": only
  // `allow` and `commands`.
  std::string profile = "aider";
  std::vector<std::string> allow;     // absolute paths of programs, on top of the profile
  std::vector<std::string> commands;  // names of programs, looked for on PATH; one that the image
                                      // does not hold is left out
  // Of these, every program that the agent cannot change; they come after all else on PATH. One
  // that is not there is empty.
  std::vector<std::string> folders;
  // Below these, shared libraries may be mapped executable; always on mounts that are read-only
  // here.
  std::vector<std::string> libraries{"/usr/lib", "/usr/lib64",     "/lib",
                                     "/lib64",   "/usr/local/lib", "/opt"};
  bool jit = false;  // whether memory may become executable that was not (compilers at run time)
};

struct FilePolicy {
  std::vector<std::string> read{
      "/usr", "/lib",  "/lib64", "/bin", "/sbin",      "/etc", "/opt",
      "/dev", "/proc", "/sys",   "/var", "/workspace", "/tmp", "/palisade/policy"};
  std::vector<std::string> write{"/workspace", "/tmp"};
};

// An address range and ports that the agent may connect to.
struct Peer {
  std::string cidr;            // "127.0.0.1/32", "fd00::/8"
  std::uint16_t port = 0;      // 0: every port
  std::uint16_t end_port = 0;  // 0: `port` alone
};

struct NetworkPolicy {
  std::vector<Peer> connect;
  bool own_listeners = false;  // may listen on loopback, and connect to what it listens on itself
};

// What must not be reachable when the agent starts: tried with TCP, or UDP for `udp`.
struct Unreachable {
  std::string name;  // "the API server", as a message says it
  std::string address;
  std::uint16_t port = 0;
  bool udp = false;
};

struct PreflightPolicy {
  std::vector<Unreachable> unreachable;
  std::chrono::milliseconds timeout{500};  // of one attempt
  std::chrono::milliseconds within{
      10'000};  // network plugins enforce a moment after the pod's start
};

struct LimitPolicy {  // zero: none
  std::chrono::milliseconds deadline{0};
  std::chrono::milliseconds idle{0};
  std::chrono::milliseconds command{0};  // a program that Aider starts, with all that it starts
  // Processes and threads of the agent's user that there are at a time, guard's own included. The
  // kernel counts them for each user namespace: so only in one of the pod's own ("process-limit").
  unsigned processes = 0;
};

struct RecordPolicy {
  std::string path = "/palisade/record/record.jsonl";
  std::uint64_t max_bytes = 64ULL << 20;
  unsigned events_per_second = 200;  // beyond: counted, not written; a refusal is always written
  // Of what the agent prints, kept in output.log beside the record; 0: not kept.
  std::uint64_t output_bytes = 0;
};

struct Policy {
  Mode mode = Mode::kEnforce;
  ExecPolicy exec;
  FilePolicy files;
  NetworkPolicy network;
  PreflightPolicy preflight;
  LimitPolicy limits;
  RecordPolicy record;
  // Of "landlock-network" (ABI 4), "landlock-ioctl" (5), "landlock-scope" (6), "mdwe", "exit-info"
  // (exit codes on record, 6.15), "process-limit" (a user namespace for `limits.processes`): what
  // this kernel may lack. Anything else that is missing, or missing and not named here, stops the
  // pod.
  std::vector<std::string> may_degrade;
  std::optional<std::string> workspace;  // NAMESPACE/NAME, for the record
};

// The JSON object of the file: camelCase keys named as the members above (`ownListeners`,
// `maxBytes`, `mayDegrade`, `endPort`...), durations as "500ms", "30m", "2h", `version` required.
// Strict: unknown or repeated fields, wrong types, relative paths, unreadable CIDRs are errors that
// name the field.
[[nodiscard]] std::expected<Policy, std::string> read_policy(std::string_view json);

}  // namespace palisade::guard
