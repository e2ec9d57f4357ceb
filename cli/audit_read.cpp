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

struct WrongLine {
  std::string what;
};

// A value by its way through objects; null where it is not there.
const json& member_at(const json& object, std::initializer_list<const char*> way) {
  static const json kNone;
  const json* here = &object;
  for (const char* name : way) {
    if (!here->is_object()) throw WrongLine{std::string(name) + " has no object around it"};
    const auto found = here->find(name);
    if (found == here->end()) return kNone;
    here = &*found;
  }
  return *here;
}

std::string text_of(const json& object, std::initializer_list<const char*> way,
                    bool needed = false) {
  const json& value = member_at(object, way);
  if (value.is_string()) return value.get<std::string>();
  if (needed || !value.is_null()) throw WrongLine{std::string(*(way.end() - 1)) + " is no text"};
  return {};
}

std::optional<std::int64_t> number_of(const json& object, std::initializer_list<const char*> way,
                                      bool needed = false) {
  const json& value = member_at(object, way);
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<std::uint64_t>() <= 1ULL << 62U);
  if (fits) return value.get<std::int64_t>();
  if (needed || !value.is_null()) throw WrongLine{std::string(*(way.end() - 1)) + " is no number"};
  return std::nullopt;
}

std::int64_t count_at(const json& object, std::initializer_list<const char*> way,
                      bool needed = false) {
  const std::int64_t value = number_of(object, way, needed).value_or(0);
  if (value < 0) throw WrongLine{std::string(*(way.end() - 1)) + " is negative"};
  return value;
}

std::string first_hash(const json& file) {
  const json& hashes = member_at(file, {"hashes"});
  if (!hashes.is_array() || hashes.empty()) return {};
  return text_of(hashes[0], {"value"});
}

void process_fields(const json& line, AuditEvent& out) {
  out.pid = count_at(line, {"process", "pid"}, true);
  out.parent = count_at(line, {"process", "parent_process", "pid"});
  out.program = text_of(line, {"process", "file", "path"});
  if (out.program.empty()) out.program = text_of(line, {"process", "name"});
  out.command = text_of(line, {"process", "cmd_line"});
  out.sha256 = first_hash(member_at(line, {"process", "file"}).is_object()
                              ? member_at(line, {"process", "file"})
                              : json::object());
}

void actor_fields(const json& line, AuditEvent& out) {
  out.pid = count_at(line, {"actor", "process", "pid"}, true);
  out.parent = count_at(line, {"actor", "process", "parent_process", "pid"});
  out.program = text_of(line, {"actor", "process", "file", "path"});
}

bool flag_of(const json& object, const char* name) {
  const json& value = member_at(object, {name});
  if (!value.is_boolean()) throw WrongLine{std::string(name) + " is neither true nor false"};
  return value.get<bool>();
}

AuditEvent read(const json& line) {
  if (!line.is_object()) throw WrongLine{"it is no JSON object"};
  AuditEvent out;
  if (text_of(line, {"metadata", "product", "name"}, true) != "palisade-guard")
    throw WrongLine{"another product wrote it"};
  out.sequence = static_cast<std::uint64_t>(count_at(line, {"metadata", "sequence"}, true));
  out.time = count_at(line, {"time"}, true);
  if (out.sequence == 0 || out.time > kLatest) throw WrongLine{"its number or its time cannot be"};
  const json& own = member_at(line, {"unmapped", "palisade"});
  const std::string kind = text_of(own, {"event"}, true);
  const auto* found = std::ranges::find(kKinds, kind, [](const auto& one) { return one.first; });
  if (found == kKinds.end()) throw WrongLine{"its event is not known to this version"};
  out.kind = found->second;
  out.dropped = static_cast<std::uint64_t>(count_at(own, {"dropped"}));
  out.workspace = text_of(own, {"workspace"});
  switch (out.kind) {
    case AuditKind::exec_started:
      process_fields(line, out);
      break;
    case AuditKind::exec_ended:
      process_fields(line, out);
      out.exit_code = number_of(line, {"exit_code"});
      out.duration_us = count_at(own, {"took_us"}, true);
      break;
    case AuditKind::refused:
      actor_fields(line, out);
      out.command = text_of(line, {"process", "cmd_line"});
      out.rule = text_of(own, {"rule"}, true);
      out.call = text_of(own, {"call"}, true);
      out.target = text_of(own, {"target"});
      out.error = text_of(line, {"status_code"});
      out.enforced = flag_of(own, "enforced");
      out.count = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(count_at(line, {"count"})),
                                            1, kMostAlike);
      break;
    case AuditKind::connected: {
      actor_fields(line, out);
      out.error = text_of(line, {"status_code"});
      const std::string ip = text_of(line, {"dst_endpoint", "ip"});
      out.target = ip.empty() ? text_of(line, {"dst_endpoint", "name"}, true)
                              : (ip.find(':') == std::string::npos ? ip : "[" + ip + "]") + ":" +
                                    std::to_string(count_at(line, {"dst_endpoint", "port"}, true));
      break;
    }
    case AuditKind::script_run:
      actor_fields(line, out);
      out.target = text_of(line, {"file", "path"}, true);
      out.sha256 = first_hash(member_at(line, {"file"}));
      out.written_by = text_of(own, {"written_by"});
      out.changed = count_at(own, {"changed_time"});
      break;
    case AuditKind::finding:
      actor_fields(line, out);
      out.rule = text_of(own, {"id"}, true);
      out.message = text_of(line, {"finding_info", "desc"}, true);
      break;
    case AuditKind::session_started: {
      out.command = text_of(own, {"cmd_line"});
      out.enforced = flag_of(own, "enforcing");
      const json& degraded = member_at(own, {"degraded"});
      if (!degraded.is_array()) throw WrongLine{"degraded is no list"};
      for (const json& name : degraded) {
        if (!name.is_string()) throw WrongLine{"degraded holds what is no text"};
        out.degraded.push_back(name.get<std::string>());
      }
      break;
    }
    case AuditKind::session_ended:
      out.message = text_of(own, {"why"}, true);
      out.killed = count_at(own, {"killed"});
      out.exit_code = number_of(own, {"exit_code"});
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
  } catch (const WrongLine& wrong) {
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
