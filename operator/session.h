// What a pod's status says of its session. The courier's report and every message from inside the
// pod are data of bounded size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <operator/decide.h>

namespace palisade::op {

struct Report {
  int commits = 0;
  std::string head;
  bool pushed = false;
  std::string error;
  std::string note;  // what of it was left out
};

// The last word of guard, the first process of the agent's container. Only guard can write it, but
// it counts what the agent did.
struct Guarded {
  std::string ended;  // one of the words of docs/guard.md
  std::string message;
  std::int64_t execs = 0;
  std::int64_t denied_execs = 0;
  std::int64_t denied_connects = 0;
  std::int64_t refusals = 0;
  std::int64_t findings = 0;
  std::int64_t dropped = 0;
  std::vector<std::string> degraded;
  std::vector<std::string> last_lines;  // what was printed last
  // How the rounds of a task with commands went.
  struct Feedback {
    std::int64_t rounds = 0;
    std::string stopped;
    std::string last_failure;
  };
  std::optional<Feedback> feedback;
};
// nullopt for anything but the one object that guard writes.
[[nodiscard]] std::optional<Guarded> parse_guarded(const std::string& text);

// The last word of the relay: what it passed on.
struct Relayed {
  std::int64_t requests = 0;
  std::int64_t failures = 0;
  // Where it sent what guard wrote to an archive.
  struct Archived {
    std::int64_t bytes = 0;
    bool complete = false;
    std::string trouble;  // why not
  };
  std::optional<Archived> archived{};
};
// nullopt for anything but the object that the relay writes.
[[nodiscard]] std::optional<Relayed> parse_relayed(const std::string& text);

struct Session {
  enum class State { kGated, kStarting, kRunning, kEnded };
  State state = State::kStarting;
  bool ready = false;  // Aider's container runs
  bool courier_failing = false;
  // For kEnded: Succeeded, Failed or Expired. Else empty.
  std::string phase;
  // Why it is where it is, as a condition says it.
  std::string reason;
  std::string message;
  std::optional<Report> report;
  std::optional<Guarded> guarded;
  std::optional<Relayed> relayed;
  // Where guard did not let the agent start, or could not go on: why it was not isolated, as a
  // condition's reason and message.
  std::string unsafe_reason;
  std::string unsafe_message;
  std::string started_at;  // status.startTime as it stands
  // For kEnded: the pod was taken from an agent that had not ended, by what is no fault of its own.
  bool lost = false;
  // kEnded: the agent's container ended of itself, and was not stopped with its pod.
  bool by_itself = false;
  std::optional<int> exit_code;  // of the agent's container
};

[[nodiscard]] Session read_session(const Json& pod, const Workspace& workspace);

// Why a pod is lost that is ending or has ended without its agent having done so: a condition's
// reason and message.
struct Loss {
  std::string reason;
  std::string message;
};
[[nodiscard]] Loss read_loss(const Json& pod);

// Text from inside the pod, fit for a condition: printable, one paragraph, at most `most` bytes.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most = 600);

}  // namespace palisade::op
