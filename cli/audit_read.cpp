#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "audit.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, AuditKind>, 8> kKinds{{
    {"ExecStarted", AuditKind::exec_started},
    {"ExecEnded", AuditKind::exec_ended},
    {"Refused", AuditKind::refused},
    {"Connected", AuditKind::connected},
    {"ScriptRun", AuditKind::script_run},
    {"Finding", AuditKind::finding},
    {"SessionStarted", AuditKind::session_started},
    {"SessionEnded", AuditKind::session_ended},
}};
constexpr std::int64_t kLatest = 4'102'444'800'000;  // the year 2100
constexpr std::size_t kProblems = 10;
constexpr std::uint64_t kMostAlike = 1'000'000'000'000;

struct Wrong {
  std::string what;
};

// A value by its way through objects; null where it is not there.
const json& at(const json& object, std::initializer_list<const char*> way) {
  static const json kNone;
  const json* here = &object;
  for (const char* name : way) {
    if (!here->is_object()) throw Wrong{std::string(name) + " has no object around it"};
    const auto found = here->find(name);
    if (found == here->end()) return kNone;
    here = &*found;
  }
  return *here;
}

std::string text(const json& object, std::initializer_list<const char*> way, bool needed = false) {
  const json& value = at(object, way);
  if (value.is_string()) return value.get<std::string>();
  if (needed || !value.is_null()) throw Wrong{std::string(*(way.end() - 1)) + " is no text"};
  return {};
}

std::optional<std::int64_t> number(const json& object, std::initializer_list<const char*> way,
                                   bool needed = false) {
  const json& value = at(object, way);
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<std::uint64_t>() <= 1ULL << 62U);
  if (fits) return value.get<std::int64_t>();
  if (needed || !value.is_null()) throw Wrong{std::string(*(way.end() - 1)) + " is no number"};
  return std::nullopt;
}

std::int64_t count(const json& object, std::initializer_list<const char*> way,
                   bool needed = false) {
  const std::int64_t value = number(object, way, needed).value_or(0);
  if (value < 0) throw Wrong{std::string(*(way.end() - 1)) + " is negative"};
  return value;
}

std::string first_hash(const json& file) {
  const json& hashes = at(file, {"hashes"});
  if (!hashes.is_array() || hashes.empty()) return {};
  return text(hashes[0], {"value"});
}

void process_fields(const json& line, AuditEvent& out) {
  out.pid = count(line, {"process", "pid"}, true);
  out.parent = count(line, {"process", "parent_process", "pid"});
  out.program = text(line, {"process", "file", "path"});
  if (out.program.empty()) out.program = text(line, {"process", "name"});
  out.command = text(line, {"process", "cmd_line"});
  out.sha256 = first_hash(at(line, {"process", "file"}).is_object() ? at(line, {"process", "file"})
                                                                    : json::object());
}

void actor_fields(const json& line, AuditEvent& out) {
  out.pid = count(line, {"actor", "process", "pid"}, true);
  out.parent = count(line, {"actor", "process", "parent_process", "pid"});
  out.program = text(line, {"actor", "process", "file", "path"});
}

bool flag(const json& object, const char* name) {
  const json& value = at(object, {name});
  if (!value.is_boolean()) throw Wrong{std::string(name) + " is neither true nor false"};
  return value.get<bool>();
}

AuditEvent read(const json& line) {
  if (!line.is_object()) throw Wrong{"it is no JSON object"};
  AuditEvent out;
  if (text(line, {"metadata", "product", "name"}, true) != "palisade-guard")
    throw Wrong{"another product wrote it"};
  out.sequence = static_cast<std::uint64_t>(count(line, {"metadata", "sequence"}, true));
  out.time = count(line, {"time"}, true);
  if (out.sequence == 0 || out.time > kLatest) throw Wrong{"its number or its time cannot be"};
  const json& own = at(line, {"unmapped", "palisade"});
  const std::string kind = text(own, {"event"}, true);
  const auto* found = std::ranges::find(kKinds, kind, [](const auto& one) { return one.first; });
  if (found == kKinds.end()) throw Wrong{"its event is not known to this version"};
  out.kind = found->second;
  out.dropped = static_cast<std::uint64_t>(count(own, {"dropped"}));
  out.workspace = text(own, {"workspace"});
  switch (out.kind) {
    case AuditKind::exec_started:
      process_fields(line, out);
      break;
    case AuditKind::exec_ended:
      process_fields(line, out);
      out.exit_code = number(line, {"exit_code"});
      out.duration_us = count(own, {"took_us"}, true);
      break;
    case AuditKind::refused:
      actor_fields(line, out);
      out.command = text(line, {"process", "cmd_line"});
      out.rule = text(own, {"rule"}, true);
      out.call = text(own, {"call"}, true);
      out.target = text(own, {"target"});
      out.error = text(line, {"status_code"});
      out.enforced = flag(own, "enforced");
      out.count = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(count(line, {"count"})), 1,
                                            kMostAlike);
      break;
    case AuditKind::connected: {
      actor_fields(line, out);
      out.error = text(line, {"status_code"});
      const std::string ip = text(line, {"dst_endpoint", "ip"});
      out.target = ip.empty() ? text(line, {"dst_endpoint", "name"}, true)
                              : (ip.find(':') == std::string::npos ? ip : "[" + ip + "]") + ":" +
                                    std::to_string(count(line, {"dst_endpoint", "port"}, true));
      break;
    }
    case AuditKind::script_run:
      actor_fields(line, out);
      out.target = text(line, {"file", "path"}, true);
      out.sha256 = first_hash(at(line, {"file"}));
      out.written_by = text(own, {"written_by"});
      out.changed = count(own, {"changed_time"});
      break;
    case AuditKind::finding:
      actor_fields(line, out);
      out.rule = text(own, {"id"}, true);
      out.message = text(line, {"finding_info", "desc"}, true);
      break;
    case AuditKind::session_started: {
      out.command = text(own, {"cmd_line"});
      out.enforced = flag(own, "enforcing");
      const json& degraded = at(own, {"degraded"});
      if (!degraded.is_array()) throw Wrong{"degraded is no list"};
      for (const json& name : degraded) {
        if (!name.is_string()) throw Wrong{"degraded holds what is no text"};
        out.degraded.push_back(name.get<std::string>());
      }
      break;
    }
    case AuditKind::session_ended:
      out.message = text(own, {"why"}, true);
      out.killed = count(own, {"killed"});
      out.exit_code = number(own, {"exit_code"});
      break;
  }
  return out;
}

}  // namespace

std::string_view audit_kind_name(AuditKind kind) {
  return std::ranges::find(kKinds, kind, [](const auto& one) { return one.second; })->first;
}

std::expected<AuditEvent, std::string> read_audit_line(std::string_view line) {
  if (line.size() > kLongestAuditLine) return std::unexpected("it is longer than 64 KiB");
  const json parsed = json::parse(line, nullptr, false);
  if (parsed.is_discarded()) return std::unexpected("it is no JSON");
  try {
    return read(parsed);
  } catch (const Wrong& wrong) {
    return std::unexpected(wrong.what);
  }
}

std::vector<AuditReader::Line> AuditReader::feed(std::string_view bytes) {
  std::vector<Line> out;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    if (pending_.size() + part.size() > kLongestAuditLine) {
      too_long_ = true;
      pending_.clear();
    }
    if (!too_long_) pending_ += part;
    if (end == std::string_view::npos) break;
    bytes.remove_prefix(end + 1);
    ++number_;
    if (too_long_) {
      problem("line " + std::to_string(number_) + ": it is longer than 64 KiB");
    } else {
      take(pending_, out);
    }
    pending_.clear();
    too_long_ = false;
  }
  return out;
}

std::vector<AuditReader::Line> AuditReader::finish() {
  return pending_.empty() && !too_long_ ? std::vector<Line>() : feed("\n");
}

void AuditReader::again() {
  pending_.clear();
  too_long_ = false;
  number_ = 0;
  repeating_ = true;
}

void AuditReader::take(std::string_view line, std::vector<Line>& out) {
  if (line.empty()) return;
  auto event = read_audit_line(line);
  if (!event) {
    // What was complained of the first time is not said again.
    if (!repeating_) problem("line " + std::to_string(number_) + ": " + event.error());
    return;
  }
  if (event->sequence <= last_) return;  // printed again after the recorder's restart
  repeating_ = false;
  if (last_ == 0) {
    missing_ = event->sequence - 1;
  } else if (event->sequence != last_ + 1) {
    problem("line " + std::to_string(number_) + ": " +
            counted(event->sequence - last_ - 1, "line") +
            " before it are missing: somebody took them away, or the log was cut");
  }
  last_ = event->sequence;
  ++read_;
  out.push_back({std::string(line), std::move(*event)});
}

void AuditReader::problem(const std::string& text) {
  if (problems_.size() < kProblems) {
    problems_.push_back(text);
  } else {
    ++more_problems_;
  }
}

std::vector<std::string> AuditReader::problems() const {
  std::vector<std::string> out = problems_;
  if (more_problems_ > 0) out.push_back(counted(more_problems_, "more line") + " with problems");
  return out;
}

}  // namespace palisade::cli
