#include "session.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "json_access.h"
#include "waiting.h"

namespace palisade::op {

namespace {

constexpr std::size_t kMaxReport = 4096;
constexpr std::uint64_t kMostEvents = 1'000'000'000;
constexpr std::uint64_t kMostBytes = 1ULL << 50;
constexpr std::size_t kMaxDegraded = 8;
constexpr std::int64_t kMostRounds = 1000;
constexpr std::size_t kMostFailure = 1024;
constexpr std::size_t kMaxLines = 20;
constexpr std::size_t kLongestLine = 200;
constexpr int kKilled = 137;      // by SIGKILL
constexpr int kTerminated = 143;  // by SIGTERM

const Json& container_status(const Json& status, const char* list, const char* name) {
  const Json& statuses = child(status, list);
  if (statuses.is_array()) {
    for (const Json& entry : statuses) {
      if (text_at(entry, "name") == name) return entry;
    }
  }
  return kNothing;
}

std::optional<Report> parse_report(const std::string& text) {
  if (text.empty() || text.size() > kMaxReport) return std::nullopt;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  Report report;
  const Json& commits = child(json, "commits");
  if (commits.is_number_integer())
    report.commits =
        static_cast<int>(std::clamp<std::int64_t>(commits.get<std::int64_t>(), 0, 1'000'000));
  const std::string head = text_at(json, "head");
  if (head.size() == 40 && head.find_first_not_of("0123456789abcdef") == std::string::npos)
    report.head = head;
  report.pushed = child(json, "pushed").is_boolean() && child(json, "pushed").get<bool>();
  report.error = printable(text_at(json, "error"));
  report.note = printable(text_at(json, "note"));
  return report;
}

std::int64_t count_at(const Json& object, const char* key) {
  const Json& value = child(object, key);
  if (!value.is_number_unsigned()) return 0;
  return static_cast<std::int64_t>(
      std::min<std::uint64_t>(value.get<std::uint64_t>(), kMostEvents));
}

// The courier's last word, whether it has ended for good or been restarted.
std::string courier_message(const Json& courier) {
  std::string message = text_at(child(child(courier, "state"), "terminated"), "message");
  if (message.empty())
    message = text_at(child(child(courier, "lastState"), "terminated"), "message");
  const auto report = parse_report(message);
  return report && !report->error.empty() ? report->error : std::string();
}

// Why a container cannot start, or "": what the kubelet says while it waits.
std::string waiting_problem(const Json& status, std::string& reason) {
  const auto waiting = waiting_container(status);
  if (!waiting) return {};
  reason = waiting->reason;
  const bool pull = reason == "ErrImagePull" || reason == "ImagePullBackOff" ||
                    reason == "InvalidImageName" || reason == "ErrImageNeverPull";
  std::string out =
      fmt::format("container {}: {}", waiting->container, printable(waiting->message));
  if (pull)
    out += fmt::format(
        " (image {}: check spec.agent.image, the registry and its pull secret; it is tried "
        "again by itself)",
        waiting->image);
  return out;
}

// How guard ends a session itself: its exit code and its word for it.
struct GuardEnd {
  int code;
  const char* ended;
  const char* phase;
  const char* reason;
  bool unsafe;  // the agent did not run, or not as it should have
  const char* message;
};
constexpr GuardEnd kGuardEnds[] = {
    {120, "policy", "Failed", "GuardPolicyInvalid", true,
     "guard cannot read its policy, so Aider was not started; the images of operator and guard "
     "must "
     "be of one version"},
    {121, "kernel", "Failed", "KernelUnsupported", true,
     "the node's kernel lacks what guard requires, so Aider was not started; choose other nodes "
     "or another RuntimeClass (docs/guard.md)"},
    {122, "preflight", "Failed", "PreflightFailed", true,
     "the network is open where it must be closed, so Aider was not started; the cluster's network "
     "plugin must enforce NetworkPolicies"},
    {123, "program", "Failed", "ProgramNotStarted", false,
     "guard could not start Aider; the image needs aider, python3 and git on its PATH"},
    {124, "deadline", "Expired", "DeadlineExceeded", false,
     "the deadline is over. A longer spec.lifecycle.deadline gives it more time"},
    {124, "idle", "Expired", "IdleTimeout", false,
     "nothing happened for spec.lifecycle.idleTimeout"},
    {125, "record", "Failed", "RecordFailed", true,
     "what the agent does could not be put on record any more, so it was ended"},
    {126, "internal", "Failed", "GuardFailed", true, "guard failed, so Aider was ended"},
};

// Which of them ended the session; nullptr where the agent ended by itself. The agent may end with
// such a code too: then guard's word says so. Without a word the code counts.
const GuardEnd* guard_end(const std::optional<Guarded>& guarded, const Json& code) {
  for (const GuardEnd& end : kGuardEnds) {
    if (guarded ? guarded->ended == end.ended : code == end.code) return &end;
  }
  return nullptr;
}

// Eviction, preemption, a drained, stopped or vanished node.
bool disrupted(const Json& status) {
  return text_at(condition_of(status, "DisruptionTarget"), "status") == "True";
}

// Whether the pod was ended, or not taken at all, by its node or the cluster. What the kubelet does
// to a pod that exceeds its own limits is the agent's doing.
bool by_surroundings(const Json& status) {
  if (disrupted(status)) return true;
  static constexpr std::string_view kReasons[] = {
      "NodeLost",   "NodeShutdown", "NodeAffinity", "Preempted",
      "Preempting", "Shutdown",     "Terminated",   "UnexpectedAdmissionError"};
  const std::string reason = text_at(status, "reason");
  return std::ranges::find(kReasons, reason) != std::end(kReasons) || reason.starts_with("OutOf") ||
         (reason == "Evicted" && (text_at(status, "message").starts_with("The node ") ||
                                  text_at(status, "message").starts_with("Pod was rejected")));
}

// Whether the agent's container ended of itself, and was not stopped or lost with its pod.
bool by_itself(const Json& status, const Json& end, const std::optional<Guarded>& guarded) {
  if (text_at(status, "phase") == "Succeeded" || text_at(status, "reason") == "DeadlineExceeded")
    return true;
  if (guarded) return guarded->ended != "terminated";
  const Json& code = child(end, "exitCode");
  const std::string reason = text_at(end, "reason");
  if (!code.is_number_integer() || reason == "ContainerStatusUnknown") return false;
  return reason == "OOMKilled" || (code != kKilled && code != kTerminated);
}

void read_end(const Json& status, const Workspace& w, Session& session) {
  session.state = Session::State::kEnded;
  const Json& courier = container_status(status, "initContainerStatuses", "courier");
  const Json& courier_end = child(child(courier, "state"), "terminated");
  session.report = parse_report(text_at(courier_end, "message"));
  const Json& end =
      child(child(container_status(status, "containerStatuses", "aider"), "state"), "terminated");
  session.guarded = parse_guarded(text_at(end, "message"));
  if (const Json& code = child(end, "exitCode"); code.is_number_integer())
    session.exit_code = static_cast<int>(
        std::clamp<std::int64_t>(code.get<std::int64_t>(), 0, std::numeric_limits<int>::max()));
  session.by_itself = by_itself(status, end, session.guarded);
  session.lost = by_surroundings(status) && !session.by_itself;
  const Json& relay = container_status(status, "initContainerStatuses", "relay");
  session.relayed = parse_relayed(text_at(child(child(relay, "state"), "terminated"), "message"));
  std::string pushed =
      session.report && session.report->commits > 0
          ? fmt::format("{} commit(s) pushed to {}", session.report->commits, w.branch)
          : "nothing was pushed";
  if (session.report && !session.report->note.empty()) pushed += "; " + session.report->note;
  if (text_at(status, "phase") == "Succeeded") {
    const bool delivered = session.report && session.report->error.empty() &&
                           (session.report->pushed || session.report->commits == 0);
    if (delivered) {
      session.phase = "Succeeded";
      session.reason = "Succeeded";
      session.message = "Aider has ended; " + pushed;
      return;
    }
    session.phase = "Failed";
    session.reason = session.report ? "PushFailed" : "NoReport";
    session.message =
        session.report
            ? "Aider has ended, but its work was not pushed: " + session.report->error
            : "Aider has ended, but the courier left no report of what it pushed; see its log";
    return;
  }
  if (text_at(status, "reason") == "DeadlineExceeded") {
    session.phase = "Expired";
    session.reason = "DeadlineExceeded";
    session.message = fmt::format(
        "the deadline of {} s is over; {}. A longer spec.lifecycle.deadline gives it more time",
        w.deadline.count(), pushed);
    return;
  }
  session.phase = "Failed";
  const Json& code = child(end, "exitCode");
  const std::string why = text_at(end, "reason");
  if (!text_at(status, "reason").empty()) {
    session.reason = text_at(status, "reason");
    session.message = printable(text_at(status, "message"));
  } else if (const GuardEnd* ended = guard_end(session.guarded, code)) {
    session.phase = ended->phase;
    session.reason = ended->reason;
    session.message = ended->message;
    if (session.guarded && !session.guarded->message.empty())
      session.message += ": " + session.guarded->message;
    if (ended->unsafe) {
      session.unsafe_reason = session.reason;
      session.unsafe_message = session.message;
    }
  } else if (why == "OOMKilled") {
    session.reason = "OOMKilled";
    session.message = "Aider ran out of memory; raise spec.agent.resources.limits.memory";
  } else {
    session.reason = "AiderFailed";
    session.message =
        fmt::format("Aider ended with exit code {}; see kubectl logs {} -c aider",
                    code.is_number_integer() ? code.get<int>() : -1, w.agent_object());
    const std::string trouble = courier_message(courier);
    if (!trouble.empty()) session.message += "; the courier says: " + trouble;
  }
  session.message += "; " + pushed;
}

}  // namespace

std::string printable(std::string_view text, std::size_t most) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t' || c == '\r') {
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += '?';
    }
    if (out.size() >= most) {
      out += "...";
      break;
    }
  }
  while (!out.empty() && out.back() == ' ')
    out.pop_back();
  return out;
}

std::optional<Guarded> parse_guarded(const std::string& text) {
  if (text.empty() || text.size() > kMaxReport) return std::nullopt;
  const Json json = Json::parse(text, nullptr, false);
  if (text_at(json, "guard") != "palisade.dev/guard/v1") return std::nullopt;
  static constexpr std::string_view kWords[] = {"exited",  "deadline",  "idle",   "terminated",
                                                "policy",  "preflight", "kernel", "record",
                                                "program", "internal"};
  Guarded out;
  out.ended = text_at(json, "ended");
  if (std::ranges::find(kWords, out.ended) == std::end(kWords)) return std::nullopt;
  out.message = printable(text_at(json, "message"));
  out.execs = count_at(json, "execs");
  out.denied_execs = count_at(json, "deniedExecs");
  out.denied_connects = count_at(json, "deniedConnects");
  out.refusals = count_at(json, "refusals");
  out.findings = count_at(json, "findings");
  out.dropped = count_at(json, "dropped");
  if (const Json& feedback = child(json, "feedback"); !feedback.empty()) {
    static constexpr std::string_view kStopped[] = {"Passed",   "RoundsSpent",     "BudgetSpent",
                                                    "TimedOut", "CommandUnusable", "AgentFailed"};
    const std::string stopped = text_at(feedback, "stopped");
    if (std::ranges::find(kStopped, stopped) == std::end(kStopped)) return std::nullopt;
    out.feedback = {std::min(count_at(feedback, "rounds"), kMostRounds), stopped,
                    printable(text_at(feedback, "lastFailure"), kMostFailure)};
  }
  if (const Json& lines = child(json, "lastLines"); lines.is_array()) {
    for (const Json& line : lines) {
      if (out.last_lines.size() == kMaxLines) break;
      if (line.is_string())
        out.last_lines.push_back(printable(line.get_ref<const std::string&>(), kLongestLine));
    }
  }
  const Json& degraded = child(json, "degraded");
  if (degraded.is_array()) {
    for (const Json& name : degraded) {
      if (out.degraded.size() == kMaxDegraded) break;
      if (name.is_string()) out.degraded.push_back(printable(name.get<std::string>(), 40));
    }
  }
  return out;
}

Loss read_loss(const Json& pod) {
  const Json& status = child(pod, "status");
  if (disrupted(status)) {
    const Json& target = condition_of(status, "DisruptionTarget");
    return {text_at(target, "reason"), printable(text_at(target, "message"))};
  }
  if (by_surroundings(status))
    return {text_at(status, "reason"), printable(text_at(status, "message"))};
  return {"PodDeleted", "somebody deleted it"};
}

std::optional<Relayed> parse_relayed(const std::string& text) {
  if (text.empty() || text.size() > kMaxReport) return std::nullopt;
  const Json json = Json::parse(text, nullptr, false);
  if (!child(json, "requests").is_number_unsigned()) return std::nullopt;
  Relayed out{count_at(json, "requests"), count_at(json, "failures"), {}};
  if (const Json& archive = child(json, "archive"); archive.is_object() && !archive.empty()) {
    const Json& bytes = child(archive, "bytes");
    const Json& complete = child(archive, "complete");
    out.archived = {bytes.is_number_unsigned() ? static_cast<std::int64_t>(std::min<std::uint64_t>(
                                                     bytes.get<std::uint64_t>(), kMostBytes))
                                               : 0,
                    complete.is_boolean() && complete.get<bool>(),
                    printable(text_at(archive, "trouble"))};
  }
  return out;
}

Session read_session(const Json& pod, const Workspace& w) {
  Session session;
  const Json& status = child(pod, "status");
  session.started_at = text_at(status, "startTime");
  const std::string phase = text_at(status, "phase");
  if (phase == "Succeeded" || phase == "Failed") {
    read_end(status, w, session);
    return session;
  }
  const Json& gates = child(child(pod, "spec"), "schedulingGates");
  if (gates.is_array() && !gates.empty()) {
    session.state = Session::State::kGated;
    session.reason = "WaitingForNetworkPolicy";
    session.message = "the pod waits until its NetworkPolicy has been read back";
    return session;
  }
  const Json& courier = container_status(status, "initContainerStatuses", "courier");
  const Json& restarts = child(courier, "restartCount");
  const std::string trouble = courier_message(courier);
  session.courier_failing =
      restarts.is_number_integer() && restarts.get<int>() > 0 &&
      !(child(courier, "started").is_boolean() && child(courier, "started").get<bool>());
  const Json& aider = container_status(status, "containerStatuses", "aider");
  if (!child(child(aider, "state"), "running").empty()) {
    session.state = Session::State::kRunning;
    // The kubelet itself takes the one back with the other.
    if (text_at(condition_of(status, "Ready"), "status") == "False" &&
        text_at(condition_of(status, "ContainersReady"), "status") == "True") {
      session.reason = "NodeNotReady";
      session.message = fmt::format(
          "node {} does not answer, so what the agent does is not known. It goes on once the node "
          "is back; where the pod is deleted with its node, a new one is made",
          printable(text_at(child(pod, "spec"), "nodeName"), 253));
      return session;
    }
    session.ready = true;
    session.reason = w.task ? "Working" : "WaitingForTerminal";
    session.message =
        w.task ? "Aider is at work"
               : fmt::format("Aider waits for a terminal: kubectl attach -it {} -c aider",
                             w.agent_object());
    return session;
  }
  if (!child(child(aider, "state"), "terminated").empty()) {
    session.state = Session::State::kRunning;
    session.reason = "Pushing";
    session.message = "Aider has ended; the courier pushes what is left";
    return session;
  }
  session.state = Session::State::kStarting;
  if (session.courier_failing && !trouble.empty()) {
    session.reason = "RepositoryUnavailable";
    session.message = "the repository could not be fetched: " + trouble +
                      ". Check spec.repository and the token; it is tried again by itself";
    return session;
  }
  if (std::string problem = waiting_problem(status, session.reason); !problem.empty()) {
    session.message = std::move(problem);
    return session;
  }
  const Json& conditions = child(status, "conditions");
  if (conditions.is_array()) {
    for (const Json& condition : conditions) {
      if (text_at(condition, "type") == "PodScheduled" && text_at(condition, "status") == "False" &&
          text_at(condition, "reason") == "Unschedulable") {
        session.reason = "Unschedulable";
        session.message = "no node takes the pod: " + printable(text_at(condition, "message")) +
                          ". It starts once there is room";
        return session;
      }
    }
  }
  session.reason = "Starting";
  session.message = "the repository is being fetched and checked out";
  return session;
}

}  // namespace palisade::op
