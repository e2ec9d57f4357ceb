// What is left of a session when guard ends: counts, and the one JSON object that Kubernetes keeps
// as the container's termination message.
// Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <guard/event.h>
#include <guard/rounds.h>

namespace palisade::guard {

struct Counts {
  std::uint64_t execs = 0;            // let through
  std::uint64_t denied_execs = 0;     // refusals exec.*
  std::uint64_t denied_connects = 0;  // refusals network.*
  std::uint64_t refusals = 0;         // all of them
  std::uint64_t findings = 0;
  std::uint64_t dropped = 0;  // events that are not on record
  bool operator==(const Counts&) const = default;
};

// `dropped` is the recorder's own to count. Refusals count in mode Audit too.
void count(Counts& counts, const Event& event);

struct Ending {
  std::string ended;  // "exited", "deadline", "idle", "terminated", "preflight", "policy",
                      // "kernel", "record", "program", "internal"
  std::string message;
  Counts counts;
  std::vector<std::string> degraded;
  std::optional<Feedback> feedback{};     // of `palisade-guard rounds`
  std::vector<std::string> last_lines{};  // as LastLines gives them; as many as there is room for
};

// The kubelet keeps 4 KiB of it, and 12 KiB of all of a pod's containers together, shared out
// evenly: a session's pod has six, and one more where somebody debugs it. Half a JSON document says
// nothing.
inline constexpr std::size_t kLongestTermination = 12 * 1024 / 7;

// One line of ASCII JSON below that bound, whatever the texts hold; without a newline.
[[nodiscard]] std::string termination_json(const Ending& ending);
// Writes it over what the file holds. False, with errno set, where that fails: the file is only a
// courtesy, so the caller says so on stderr and goes on.
[[nodiscard]] bool write_termination(const std::string& path, const Ending& ending);

}  // namespace palisade::guard
