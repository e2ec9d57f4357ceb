#include "session.h"

#include <algorithm>

#include <fmt/format.h>

#include "json_access.h"

namespace palisade::op {

namespace {

constexpr std::size_t kMaxReport = 4096;

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
  return report;
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
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    const Json& statuses = child(status, list);
    if (!statuses.is_array()) continue;
    for (const Json& entry : statuses) {
      const Json& waiting = child(child(entry, "state"), "waiting");
      const std::string why = text_at(waiting, "reason");
      if (why.empty() || why == "PodInitializing" || why == "ContainerCreating") continue;
      reason = why;
      const std::string image = text_at(entry, "image");
      const bool pull = why == "ErrImagePull" || why == "ImagePullBackOff" ||
                        why == "InvalidImageName" || why == "ErrImageNeverPull";
      std::string out = fmt::format("container {}: {}", text_at(entry, "name"),
                                    printable(text_at(waiting, "message")));
      if (pull)
        out += fmt::format(
            " (image {}: check spec.agent.image, the registry and its pull secret; it is tried "
            "again by itself)",
            image);
      return out;
    }
  }
  return {};
}

void read_end(const Json& status, const Workspace& w, Session& session) {
  session.state = Session::State::kEnded;
  const Json& courier = container_status(status, "initContainerStatuses", "courier");
  const Json& courier_end = child(child(courier, "state"), "terminated");
  session.report = parse_report(text_at(courier_end, "message"));
  const std::string pushed =
      session.report && session.report->commits > 0
          ? fmt::format("{} commit(s) pushed to {}", session.report->commits, w.branch)
          : "nothing was pushed";
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
  const Json& end =
      child(child(container_status(status, "containerStatuses", "aider"), "state"), "terminated");
  const Json& code = child(end, "exitCode");
  const std::string why = text_at(end, "reason");
  if (!text_at(status, "reason").empty()) {
    session.reason = text_at(status, "reason");
    session.message = printable(text_at(status, "message"));
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
