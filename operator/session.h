// What a pod's status says of its session. The courier's report and every message from inside the
// pod are data of bounded size.
#pragma once

#include <optional>
#include <string>

#include <operator/decide.h>

namespace palisade::op {

struct Report {
  int commits = 0;
  std::string head;
  bool pushed = false;
  std::string error;
};

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
  std::string started_at;  // status.startTime as it stands
};

[[nodiscard]] Session read_session(const Json& pod, const Workspace& workspace);

// Text from inside the pod, fit for a condition: printable, one paragraph, at most `most` bytes.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most = 600);

}  // namespace palisade::op
