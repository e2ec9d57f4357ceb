// One event as one line: OCSF 1.4.0's names (record.h has the table).
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <guard/digest.h>
#include <guard/mask.h>
#include <guard/paths.h>
#include <guard/record.h>
#include <sys/wait.h>

#include "json_text.h"

namespace palisade::guard {
namespace {

// Bytes in the line. Together with all keys they stay below kLongestLine; record_test.cpp holds the
// worst event to it.
constexpr std::size_t kCommandLine = 5120;
constexpr std::size_t kPath = 1024;
constexpr std::size_t kName = 128;
constexpr std::size_t kMessage = 1024;
constexpr std::size_t kRule = 64;
// Of a text that is longer, this much is looked through and the rest is not written anyway.
constexpr std::size_t kLookedThrough = 16UL * 1024;
constexpr std::size_t kLookedThroughPath = 4UL * 1024;

constexpr int kSystemActivity = 1;
constexpr int kFindings = 2;
constexpr int kNetworkActivity = 4;
constexpr int kApplicationActivity = 6;

struct Class {
  int category;
  int uid;
  std::string_view name;
};
constexpr Class kFileActivity{kSystemActivity, 1001, "File System Activity"};
constexpr Class kProcessActivity{kSystemActivity, 1007, "Process Activity"};
constexpr Class kDetection{kFindings, 2004, "Detection Finding"};
constexpr Class kNetwork{kNetworkActivity, 4001, "Network Activity"};
constexpr Class kApplication{kApplicationActivity, 6002, "Application Lifecycle"};

struct Activity {
  int id;
  std::string_view name;
};

enum class Severity : std::uint8_t { kInformational = 1, kLow = 2, kMedium = 3, kHigh = 4 };
enum class Answered : std::uint8_t { kAllowed, kBlocked, kLogged };

std::int64_t milliseconds_of(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::string safe(std::string_view text) {
  return mask(text.substr(0, kLookedThroughPath));
}

// As a shell would take it back, so that arguments cannot run into one another.
std::string command_line(const std::vector<std::string>& argv) {
  std::vector<std::string> first;
  std::size_t bytes = 0;
  for (const std::string& argument : argv) {
    if (bytes >= kLookedThrough) break;
    first.push_back(argument.substr(0, kLookedThrough - bytes));
    bytes += first.back().size() + 1;
  }
  std::string out;
  for (const std::string& argument : mask_arguments(first)) {
    if (!out.empty()) out += ' ';
    const bool plain = !argument.empty() && std::ranges::all_of(argument, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             std::strchr("_-./=:,+@%^[]", c) != nullptr;
    });
    if (plain) {
      out += argument;
      continue;
    }
    out += '\'';
    for (const char c : argument) {
      if (c == '\'') {
        out += "'\\''";
      } else {
        out += c;
      }
    }
    out += '\'';
  }
  return out;
}

struct WholeArguments {
  std::size_t bytes = 0;
  std::string sha256;
};

// Length and hash of the whole, one NUL after each argument.
WholeArguments whole(const std::vector<std::string>& argv, std::size_t bytes,
                     const std::string& known) {
  std::size_t here = 0;
  for (const std::string& argument : argv)
    here += argument.size() + 1;
  if (bytes > here) return {bytes, known};  // the reader cut it
  Sha256 digest;
  for (const std::string& argument : argv) {
    digest.add(argument);
    digest.add({"\0", 1});
  }
  return {here, digest.hex()};
}

std::string_view error_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name == nullptr ? "" : name;
}

class Line {
 public:
  Line(const LineContext& context, std::string_view event, const Class& kind,
       const Activity& activity, Severity severity, std::string_view message)
      : context_(context), event_(event) {
    json_.open()
        .open("metadata")
        .text("version", "1.4.0", kName)
        .open("product")
        .text("name", "palisade-guard", kName)
        .text("vendor_name", "Palisade", kName)
        .text("version", PALISADE_VERSION, kName)
        .close()
        .list("profiles")
        .text("", "host", kName)
        .text("", "security_control", kName)
        .end_list()
        .number("sequence", static_cast<std::int64_t>(context.sequence))
        .close()
        .number("time", milliseconds_of(context.now))
        .number("category_uid", kind.category)
        .number("class_uid", kind.uid)
        .text("class_name", kind.name, kName)
        .number("activity_id", activity.id)
        .text("activity_name", activity.name, kName)
        .number("type_uid", static_cast<std::int64_t>(kind.uid) * 100 + activity.id)
        .number("severity_id", static_cast<std::int64_t>(severity))
        .text("message", message, kMessage)
        .open("device")
        .number("type_id", 99)
        .text("type", "Container", kName)
        .some("hostname", context.host, kName)
        .close();
  }

  JsonText& json() { return json_; }

  void outcome(Answered outcome, bool success) {
    constexpr std::array<int, 3> kDisposition{1, 2, 17};
    constexpr std::array<std::string_view, 3> kDispositionName{"Allowed", "Blocked", "Logged"};
    const auto index = static_cast<std::size_t>(outcome);
    json_.number("action_id", outcome == Answered::kBlocked ? 2 : 1)
        .number("disposition_id", kDisposition.at(index))
        .text("disposition", kDispositionName.at(index), kName)
        .number("status_id", success ? 1 : 2);
  }

  void file(std::string_view key, std::string_view path, std::string_view sha256) {
    json_.open(key)
        .text("name", safe(last_component(path)), kName)
        .text("path", safe(path), kPath)
        .number("type_id", 1);
    if (!sha256.empty()) {
      json_.list("hashes")
          .open()
          .number("algorithm_id", 3)
          .text("algorithm", "SHA-256", kName)
          .text("value", sha256, kName)
          .close()
          .end_list();
    }
    json_.close();
  }

  void actor(const Process& by) {
    json_.open("actor").open("process").number("pid", by.pid);
    if (!by.program.empty()) {
      json_.text("name", safe(last_component(by.program)), kName);
      file("file", by.program, "");
    }
    if (by.parent != 0) json_.open("parent_process").number("pid", by.parent).close();
    json_.close().close();
  }

  // Opens `unmapped.palisade`; finish() closes it.
  JsonText& own() {
    json_.open("unmapped")
        .open("palisade")
        .text("event", event_, kName)
        .some("workspace", context_.workspace, 2 * kName);
    if (context_.dropped != 0) json_.number("dropped", static_cast<std::int64_t>(context_.dropped));
    return json_;
  }

  std::string finish() {
    json_.close().close().close();
    return json_.str();
  }

 private:
  const LineContext& context_;
  std::string_view event_;
  JsonText json_;
};

// "10.0.0.1:443/tcp", "[fd00::1]:443/tcp", "unix:/tmp/x"
void endpoint(JsonText& members, std::string_view target) {
  members.open("dst_endpoint");
  const std::size_t slash = target.rfind('/');
  const std::size_t colon = target.substr(0, slash).rfind(':');
  std::uint16_t port = 0;
  const bool unix_path = target.starts_with("unix:");
  if (!unix_path && colon != std::string_view::npos) {
    const char* first = target.data() + colon + 1;
    const char* last = target.data() + std::min(slash, target.size());
    std::string_view address = target.substr(0, colon);
    if (address.starts_with('[') && address.ends_with(']'))
      address = address.substr(1, address.size() - 2);
    const auto [end, error] = std::from_chars(first, last, port);
    if (error == std::errc() && end == last && !address.empty()) {
      members.text("ip", address, kName).number("port", port).close();
      return;
    }
  }
  members.text("name", target, kPath).close();
}

std::string line(const ExecStarted& event, const LineContext& context) {
  const std::string_view file =
      event.resolved.empty() ? std::string_view(event.requested) : event.resolved;
  Line out(context, "ExecStarted", kProcessActivity, {1, "Launch"}, Severity::kInformational,
           safe("ran " + std::string(file.substr(0, kPath))));
  out.outcome(Answered::kAllowed, true);
  out.actor(event.by);
  JsonText& members = out.json();
  const WholeArguments arguments = whole(event.argv, event.argv_bytes, event.argv_sha256);
  members.open("process")
      .number("pid", event.by.pid)
      .number("created_time", milliseconds_of(context.now))
      .text("name", safe(last_component(file)), kName)
      .text("cmd_line", command_line(event.argv), kCommandLine)
      .some("working_directory", safe(event.cwd), kPath);
  out.file("file", file, event.sha256);
  if (event.by.parent != 0) members.open("parent_process").number("pid", event.by.parent).close();
  members.close();
  out.own()
      .some("requested", safe(event.requested), kPath)
      .number("argc", static_cast<std::int64_t>(event.argv.size()))
      .number("argv_bytes", static_cast<std::int64_t>(arguments.bytes))
      .some("argv_sha256", arguments.sha256, kName);
  return out.finish();
}

std::string line(const ExecEnded& event, const LineContext& context) {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  Line out(context, "ExecEnded", kProcessActivity, {2, "Terminate"}, Severity::kInformational,
           safe("ended: " + event.program.substr(0, kPath)));
  const bool exited = event.status && WIFEXITED(*event.status);
  const bool signalled = event.status && WIFSIGNALED(*event.status);
  out.outcome(Answered::kAllowed, !event.status || (exited && WEXITSTATUS(*event.status) == 0));
  out.actor({.pid = event.pid, .parent = 0, .program = event.program});
  out.json()
      .open("process")
      .number("pid", event.pid)
      .number("terminated_time", milliseconds_of(context.now))
      .some("name", safe(last_component(event.program)), kName)
      .close()
      .number("duration", duration_cast<std::chrono::milliseconds>(event.took).count());
  if (exited) out.json().number("exit_code", WEXITSTATUS(*event.status));
  if (signalled) out.json().number("exit_code", 128 + WTERMSIG(*event.status));
  out.own().number("took_us", duration_cast<microseconds>(event.took).count());
  if (signalled) out.json().number("signal", WTERMSIG(*event.status));
  return out.finish();
}

std::string line(const Refused& event, const LineContext& context) {
  const bool network = event.rule.starts_with("network.");
  const bool exec = event.rule.starts_with("exec.");
  const Class& kind = network ? kNetwork : kProcessActivity;
  const Activity activity = network ? Activity{5, "Refuse"}
                            : exec  ? Activity{1, "Launch"}
                                    : Activity{99, event.call};
  Line out(context, "Refused", kind, activity, event.enforced ? Severity::kMedium : Severity::kLow,
           safe((event.enforced ? "refused: " : "would be refused: ") +
                event.call.substr(0, kName) + " " + event.target.substr(0, kPath)) +
               (event.count > 1 ? " (" + std::to_string(event.count) + " times)" : ""));
  if (event.count > 1) {
    out.json()
        .number("count", static_cast<std::int64_t>(event.count))
        .number("start_time", milliseconds_of(context.now - event.within))
        .number("end_time", milliseconds_of(context.now));
  }
  out.outcome(event.enforced ? Answered::kBlocked : Answered::kLogged, !event.enforced);
  out.json()
      .boolean("is_alert", true)
      .open("policy")
      .text("name", kPolicyVersion, kName)
      .text("uid", event.rule, kRule)
      .close();
  if (event.error != 0) out.json().some("status_code", error_name(event.error), kName);
  out.actor(event.by);
  if (network) {
    endpoint(out.json(), safe(event.target));
    out.json().open("connection_info").number("direction_id", 2).close();
  } else {
    out.json().open("process").number("pid", event.by.pid);
    if (!event.argv.empty()) out.json().text("cmd_line", command_line(event.argv), kCommandLine);
    if (exec && !event.target.empty()) out.file("file", event.target, "");
    out.json().close();
  }
  out.own()
      .text("rule", event.rule, kRule)
      .text("call", event.call, kName)
      .some("target", safe(event.target), kPath)
      .number("errno", event.error)
      .boolean("enforced", event.enforced);
  return out.finish();
}

std::string line(const Connected& event, const LineContext& context) {
  const bool unix_path = event.address.starts_with("unix:");
  const bool failed = event.error != 0 && event.error != EINPROGRESS;
  const std::string where =
      safe(unix_path ? event.address
                     : (event.address.find(':') == std::string::npos ? event.address
                                                                     : "[" + event.address + "]") +
                           ":" + std::to_string(event.port));
  Line out(context, "Connected", kNetwork, failed ? Activity{4, "Fail"} : Activity{1, "Open"},
           Severity::kInformational, (failed ? "not connected: " : "connected: ") + where);
  out.outcome(Answered::kAllowed, !failed);
  if (failed) out.json().some("status_code", error_name(event.error), kName);
  out.actor(event.by);
  endpoint(out.json(), where);
  out.json()
      .open("connection_info")
      .number("direction_id", 2)
      .text("protocol_name", unix_path ? "unix" : "tcp", kName)
      .close();
  out.own();
  return out.finish();
}

std::string line(const ScriptRun& event, const LineContext& context) {
  Line out(context, "ScriptRun", kFileActivity, {2, "Read"}, Severity::kLow,
           safe("a file of this session is run: " + event.path.substr(0, kPath)));
  out.outcome(Answered::kAllowed, true);
  out.actor(event.by);
  JsonText& members = out.json();
  members.open("file")
      .text("name", safe(last_component(event.path)), kName)
      .text("path", safe(event.path), kPath)
      .number("type_id", 1)
      .number("modified_time", milliseconds_of(event.written));
  if (!event.sha256.empty()) {
    members.list("hashes")
        .open()
        .number("algorithm_id", 3)
        .text("algorithm", "SHA-256", kName)
        .text("value", event.sha256, kName)
        .close()
        .end_list();
  }
  members.close();
  out.own()
      .number("changed_time", milliseconds_of(event.changed))
      .some("written_by", safe(event.written_by), kPath);
  return out.finish();
}

std::string line(const Finding& event, const LineContext& context) {
  Line out(context, "Finding", kDetection, {1, "Create"}, Severity::kHigh, safe(event.message));
  out.outcome(Answered::kAllowed, true);
  out.json().boolean("is_alert", true);
  out.actor(event.by);
  out.json()
      .open("finding_info")
      .text("uid", std::to_string(context.sequence), kName)
      .text("title", event.id, kName)
      .text("desc", safe(event.message), kMessage)
      .close();
  out.own().text("id", event.id, kName);
  return out.finish();
}

void application(Line& out) {
  out.json()
      .open("app")
      .text("name", "palisade-guard", kName)
      .text("vendor_name", "Palisade", kName)
      .text("version", PALISADE_VERSION, kName)
      .close();
}

std::string line(const SessionStarted& event, const LineContext& context) {
  constexpr std::size_t kNames = 16;
  Line out(context, "SessionStarted", kApplication, {3, "Start"}, Severity::kInformational,
           event.enforcing ? "the session begins" : "the session begins; nothing is enforced");
  out.outcome(Answered::kAllowed, true);
  application(out);
  JsonText& members = out.own();
  members.text("cmd_line", command_line(event.argv), kCommandLine)
      .boolean("enforcing", event.enforcing)
      .list("degraded");
  for (std::size_t i = 0; i < event.degraded.size() && i < kNames; ++i)
    members.text("", event.degraded[i], kRule);
  members.end_list();
  return out.finish();
}

std::string line(const SessionEnded& event, const LineContext& context) {
  Line out(context, "SessionEnded", kApplication, {4, "Stop"}, Severity::kInformational,
           "the session ended: " + safe(event.why));
  const bool exited = event.status && WIFEXITED(*event.status);
  out.outcome(Answered::kAllowed, exited && WEXITSTATUS(*event.status) == 0);
  application(out);
  JsonText& members = out.own();
  members.text("why", event.why, kName).number("killed", static_cast<std::int64_t>(event.killed));
  if (exited) members.number("exit_code", WEXITSTATUS(*event.status));
  if (event.status && WIFSIGNALED(*event.status))
    members.number("exit_code", 128 + WTERMSIG(*event.status));
  return out.finish();
}

}  // namespace

std::string line_of(const Event& event, const LineContext& context) {
  return std::visit([&](const auto& one) { return line(one, context); }, event);
}

}  // namespace palisade::guard
