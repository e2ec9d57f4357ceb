#include <algorithm>
#include <array>
#include <ctime>
#include <ostream>

#include "audit.h"
#include "text.h"

namespace palisade::cli {
namespace {

constexpr std::size_t kDeepest = 24;  // of what is indented

std::string digits(std::int64_t value, std::size_t width) {
  std::string out = std::to_string(value);
  if (out.size() < width) out.insert(0, width - out.size(), '0');
  return out;
}

std::string exit_text(const AuditEvent& end) {
  std::string out;
  if (end.exit_code) out += "exit " + std::to_string(*end.exit_code);
  if (end.duration_us) out += (out.empty() ? "" : ", ") + audit_duration(*end.duration_us);
  return out;
}

std::string cell(std::string text) {
  text = printable(text);
  // A spreadsheet takes these for the beginning of a formula.
  if (!text.empty() && std::string_view("=+-@").find(text[0]) != std::string_view::npos)
    text.insert(0, "'");
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string with_parenthesis(const std::string& text) {
  return text.empty() ? std::string() : " (" + text + ")";
}

}  // namespace

std::string audit_time(std::int64_t milliseconds) {
  const std::time_t seconds = milliseconds / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return digits(parts.tm_year + 1900, 4) + "-" + digits(parts.tm_mon + 1, 2) + "-" +
         digits(parts.tm_mday, 2) + "T" + digits(parts.tm_hour, 2) + ":" + digits(parts.tm_min, 2) +
         ":" + digits(parts.tm_sec, 2) + "." + digits(milliseconds % 1000, 3) + "Z";
}

std::string audit_duration(std::int64_t microseconds) {
  constexpr std::int64_t kSecond = 1'000'000;
  constexpr std::int64_t kMinute = 60 * kSecond;
  constexpr std::int64_t kHour = 60 * kMinute;
  if (microseconds < 1000) return std::to_string(microseconds) + "us";
  if (microseconds < kSecond) return std::to_string(microseconds / 1000) + "ms";
  if (microseconds < kMinute)
    return std::to_string(microseconds / kSecond) + "." +
           std::to_string(microseconds % kSecond / (kSecond / 10)) + "s";
  if (microseconds < kHour)
    return std::to_string(microseconds / kMinute) + "m" +
           std::to_string(microseconds % kMinute / kSecond) + "s";
  return std::to_string(microseconds / kHour) + "h" +
         std::to_string(microseconds % kHour / kMinute) + "m";
}

std::string audit_text(const AuditEvent& event) {
  const auto or_program = [&](const std::string& text) {
    return printable(text.empty() ? event.program : text);
  };
  switch (event.kind) {
    case AuditKind::exec_started:
      return or_program(event.command) + "  " + printable(event.program);
    case AuditKind::exec_ended:
      return "ended" + with_parenthesis(exit_text(event));
    case AuditKind::refused: {
      std::string out = event.enforced ? "REFUSED " : "WOULD BE REFUSED ";
      out += printable(event.rule) + ": " + printable(event.call) + " " + printable(event.target);
      if (!event.command.empty()) out += "  " + printable(event.command);
      if (event.count > 1) out += "  " + std::to_string(event.count) + " times";
      return out + with_parenthesis(event.enforced ? printable(event.error) : std::string());
    }
    case AuditKind::connected:
      return (event.error.empty() ? "connected to " : "did not connect to ") +
             printable(event.target) + with_parenthesis(printable(event.error));
    case AuditKind::script_run: {
      std::string how;
      if (event.changed > 0) how = "written " + audit_time(event.changed);
      if (!event.written_by.empty())
        how += (how.empty() ? "written" : "") + (" while there ran: " + event.written_by);
      if (!event.sha256.empty()) how += (how.empty() ? "" : "; ") + ("SHA-256 " + event.sha256);
      return "runs a file of this session: " + printable(event.target) +
             with_parenthesis(printable(how));
    }
    case AuditKind::finding:
      return "FINDING " + printable(event.rule) + ": " + printable(event.message);
    case AuditKind::session_started: {
      std::string out = "session " + printable(event.workspace) + ": " + printable(event.command);
      if (!event.enforced) out += "  (nothing is enforced)";
      std::string lacks;
      for (const std::string& name : event.degraded)
        lacks += (lacks.empty() ? "" : ", ") + printable(name);
      return lacks.empty() ? out : out + "  (this kernel lacks " + lacks + ")";
    }
    case AuditKind::session_ended: {
      std::string out = "the session ended: " + printable(event.message);
      if (event.exit_code) out += ", exit " + std::to_string(*event.exit_code);
      if (event.killed > 0)
        out += ", " + counted(static_cast<std::size_t>(event.killed), "process") +
               (event.killed == 1 ? " was" : "es were") + " still there";
      return out;
    }
  }
  return {};
}

std::string audit_csv_header() {
  return "sequence,time,event,pid,parent,program,command,sha256,rule,call,target,error,enforced,"
         "exit_code,duration_us,message,dropped,count\n";
}

std::string audit_csv(const AuditEvent& event) {
  const auto optional = [](const std::optional<std::int64_t>& value) {
    return value ? std::to_string(*value) : std::string();
  };
  std::string out = std::to_string(event.sequence) + "," + audit_time(event.time) + "," +
                    std::string(audit_kind_name(event.kind)) + "," + std::to_string(event.pid) +
                    "," + std::to_string(event.parent);
  for (const std::string* text : {&event.program, &event.command, &event.sha256, &event.rule,
                                  &event.call, &event.target, &event.error})
    out += "," + cell(*text);
  out += event.kind == AuditKind::refused ? (event.enforced ? ",true" : ",false") : ",";
  out += "," + optional(event.exit_code) + "," + optional(event.duration_us) + "," +
         cell(event.message) + "," + std::to_string(event.dropped) + "," +
         std::to_string(event.count) + "\n";
  return out;
}

std::optional<std::size_t> AuditTree::owner(const AuditEvent& event) const {
  for (const std::int64_t pid : {event.pid, event.parent}) {
    if (const auto found = running_.find(pid); pid != 0 && found != running_.end())
      return found->second;
  }
  return std::nullopt;
}

std::size_t AuditTree::attach(AuditEvent event, std::optional<std::size_t> under) {
  const std::size_t index = nodes_.size();
  Node node;
  node.event = std::move(event);
  node.depth = under ? nodes_[*under].depth + 1 : 0;
  nodes_.push_back(std::move(node));
  (under ? nodes_[*under].children : roots_).push_back(index);
  return index;
}

std::size_t AuditTree::add(AuditEvent event) {
  totals_.dropped += event.dropped;
  last_time_ = std::max(last_time_, event.time);
  std::optional<std::size_t> under;
  switch (event.kind) {
    case AuditKind::exec_started: {
      ++totals_.execs;
      under = owner(event);
      // The number of a process that has gone, without its end on record, may be another's now.
      if (const auto found = running_.find(event.pid); found != running_.end()) {
        const AuditEvent& before = nodes_[found->second].event;
        if (before.parent != event.parent) {
          running_.erase(found);
          under = owner(event);
        }
      }
      const std::int64_t pid = event.pid;
      const std::size_t index = attach(std::move(event), under);
      running_[pid] = index;
      return nodes_[index].depth;
    }
    case AuditKind::exec_ended: {
      const auto found = running_.find(event.pid);
      if (found == running_.end()) return 0;  // its start is not on record
      Node& node = nodes_[found->second];
      const std::size_t depth = node.depth;
      node.end = std::move(event);
      running_.erase(found);
      return depth;
    }
    case AuditKind::session_started:
      began_ = event;
      break;
    case AuditKind::session_ended:
      ended_ = event;
      break;
    case AuditKind::refused:
      (event.enforced ? totals_.refusals : totals_.would_refuse) += event.count;
      under = owner(event);
      break;
    case AuditKind::connected:
      ++totals_.connections;
      under = owner(event);
      break;
    case AuditKind::script_run:
      ++totals_.scripts;
      under = owner(event);
      break;
    case AuditKind::finding:
      ++totals_.findings;
      under = owner(event);
      break;
  }
  return nodes_[attach(std::move(event), under)].depth;
}

void AuditTree::print(std::ostream& out) const {
  // Not by recursion: how deep processes go is the agent's to say.
  std::vector<std::size_t> left(roots_.rbegin(), roots_.rend());
  while (!left.empty()) {
    const Node& node = nodes_[left.back()];
    left.pop_back();
    left.insert(left.end(), node.children.rbegin(), node.children.rend());
    out << audit_time(node.event.time) << "  "
        << std::string(2 * std::min(node.depth, kDeepest), ' ');
    if (node.event.kind == AuditKind::exec_started) out << "[" << node.event.pid << "] ";
    out << audit_text(node.event);
    if (node.end) out << with_parenthesis(exit_text(*node.end));
    out << '\n';
  }
}

void AuditTree::print_totals(std::ostream& out) const {
  out << counted(totals_.execs, "program") << ", " << counted(totals_.refusals, "refusal") << ", "
      << counted(totals_.connections, "connection") << ", " << counted(totals_.findings, "finding")
      << ", " << counted(totals_.scripts, "file") << " of the session run";
  if (totals_.would_refuse > 0) out << ", " << totals_.would_refuse << " that would be refused";
  if (totals_.dropped > 0) out << ", " << totals_.dropped << " not recorded one by one";
  out << '\n';
  if (!ended_) {
    out << "the session's end is not on record (yet)\n";
  } else if (began_ && ended_->time >= began_->time) {
    out << "the session took " << audit_duration((ended_->time - began_->time) * 1000) << '\n';
  }
}

}  // namespace palisade::cli
