#include "ui/timeline.h"

#include <algorithm>
#include <map>
#include <set>

#include <policy/policy.h>

#include "json_at.h"
#include "text.h"

namespace palisade::cli::ui {

namespace {

using nlohmann::json;

constexpr std::size_t kMostOffenders = 3000;

json condition(const json& workspace, const char* type) {
  const json& conditions = json_at(workspace, {"status", "conditions"});
  if (conditions.is_array()) {
    for (const json& one : conditions) {
      if (raw_text_at(one, {"type"}) == type) return one;
    }
  }
  return json::object();
}

json number_or_null(const json& workspace, std::initializer_list<const char*> path) {
  const json& found = json_at(workspace, path);
  return found.is_number_integer() ? found : json();
}

json summary(const json& workspace) {
  const json ready = condition(workspace, "Ready");
  const json isolated = condition(workspace, "Isolated");
  const std::string phase = text_at(workspace, {"status", "phase"});
  const std::string known = text_at(isolated, {"status"});
  json out{{"namespace", text_at(workspace, {"metadata", "namespace"})},
           {"name", text_at(workspace, {"metadata", "name"})},
           {"phase", phase.empty() ? "Pending" : phase},
           {"reason", text_at(ready, {"reason"})},
           {"message", text_at(ready, {"message"})},
           {"isolated", known.empty() ? "Unknown" : known},
           {"isolation", text_at(isolated, {"message"})},
           {"repository", text_at(workspace, {"spec", "repository", "url"})},
           {"branch", text_at(workspace, {"status", "branch"})},
           {"model", text_at(workspace, {"spec", "agent", "model"})},
           {"task", text_at(workspace, {"spec", "task", "message"})},
           {"created", text_at(workspace, {"metadata", "creationTimestamp"})}};
  out["commits"] = number_or_null(workspace, {"status", "commits"});
  out["refusals"] = number_or_null(workspace, {"status", "audit", "refusals"});
  out["requests"] = number_or_null(workspace, {"status", "llm", "requests"});
  return out;
}

// Times are all of RFC 3339 in UTC, of which the order is that of the texts.
class Timeline {
 public:
  void add(const std::string& time, const char* kind, const char* tone, const std::string& text) {
    if (time.empty()) return;
    entries_.push_back({{"time", time}, {"kind", kind}, {"tone", tone}, {"text", printable(text)}});
  }
  [[nodiscard]] json in_order() {
    std::ranges::stable_sort(entries_, {},
                             [](const json& one) { return one["time"].get<std::string>(); });
    return entries_;
  }

 private:
  std::vector<json> entries_;
};

void tell_status(const json& workspace, Timeline& timeline) {
  timeline.add(text_at(workspace, {"metadata", "creationTimestamp"}), "workspace", "", "made");
  timeline.add(text_at(workspace, {"status", "startedAt"}), "session", "good",
               "its pod started: " + text_at(workspace, {"status", "podName"}));
  const json& conditions = json_at(workspace, {"status", "conditions"});
  if (conditions.is_array()) {
    for (const json& one : conditions) {
      const bool holds = raw_text_at(one, {"status"}) == "True";
      timeline.add(text_at(one, {"lastTransitionTime"}), "condition", holds ? "good" : "odd",
                   text_at(one, {"type"}) + "=" + text_at(one, {"status"}) + " " +
                       text_at(one, {"reason"}) + ": " + text_at(one, {"message"}));
    }
  }
  const std::string finished = text_at(workspace, {"status", "finishedAt"});
  if (const json& commits = json_at(workspace, {"status", "commits"});
      commits.is_number_integer() && commits.get<std::int64_t>() > 0) {
    const std::string head = text_at(workspace, {"status", "head"});
    timeline.add(finished, "commits", "good",
                 counted(commits.get<std::size_t>(), "commit") + " pushed to " +
                     text_at(workspace, {"status", "branch"}) +
                     (head.empty() ? "" : ", the last is " + head));
  }
  if (const json& requests = json_at(workspace, {"status", "llm", "requests"});
      requests.is_number_integer()) {
    const json& failures = json_at(workspace, {"status", "llm", "failures"});
    timeline.add(finished, "calls", "",
                 counted(requests.get<std::size_t>(), "request") +
                     " to models and the git host through the relay" +
                     (failures.is_number_integer() && failures.get<std::int64_t>() > 0
                          ? ", " + std::to_string(failures.get<std::int64_t>()) + " failed"
                          : ""));
  }
  const std::string phase = text_at(workspace, {"status", "phase"});
  timeline.add(finished, "session", phase == "Succeeded" ? "good" : "bad", "ended: " + phase);
}

std::string event_time(const json& event) {
  std::string time = text_at(event, {"series", "lastObservedTime"});
  if (time.empty()) time = text_at(event, {"eventTime"});
  return time.empty() ? text_at(event, {"deprecatedLastTimestamp"}) : time;
}

const char* tone_of(const AuditEvent& event) {
  switch (event.kind) {
    case AuditKind::refused:
      return "bad";
    case AuditKind::finding:
    case AuditKind::script_run:
      return "odd";
    default:
      return "";
  }
}

}  // namespace

json sessions_json(const std::vector<json>& workspaces) {
  std::vector<json> all;
  all.reserve(workspaces.size());
  for (const json& one : workspaces)
    all.push_back(summary(one));
  std::ranges::stable_sort(all, std::ranges::greater{},
                           [](const json& one) { return one["created"].get<std::string>(); });
  return {{"workspaces", all}};
}

json session_json(const json& workspace, const std::vector<json>& events,
                  const std::vector<AuditReader::Line>& record, std::vector<std::string> notes) {
  Timeline timeline;
  tell_status(workspace, timeline);
  for (const json& event : events) {
    timeline.add(event_time(event), "event", raw_text_at(event, {"type"}) == "Warning" ? "odd" : "",
                 text_at(event, {"reason"}) + ": " + text_at(event, {"note"}));
  }
  std::uint64_t programs = 0, refused = 0, findings = 0;
  for (const AuditReader::Line& line : record) {
    programs += line.event.kind == AuditKind::exec_started ? 1U : 0U;
    refused += line.event.kind == AuditKind::refused ? line.event.count : 0U;
    findings += line.event.kind == AuditKind::finding ? 1U : 0U;
    if (line.event.kind == AuditKind::exec_ended) continue;
    timeline.add(audit_time(line.event.time),
                 line.event.kind == AuditKind::exec_started
                     ? "program"
                     : std::string(audit_kind_name(line.event.kind)).c_str(),
                 tone_of(line.event), audit_text(line.event));
  }
  // Of a session whose record went with its pod, the status has the sums.
  const auto sum = [&](const char* field, std::uint64_t counted_here) {
    const json& kept = json_at(workspace, {"status", "audit", field});
    return record.empty() && kept.is_number_integer() ? kept : json(counted_here);
  };
  for (std::string& note : notes)
    note = printable(note);
  return {{"workspace", summary(workspace)},
          {"totals",
           {{"programs", sum("execs", programs)},
            {"refused", sum("refusals", refused)},
            {"findings", sum("findings", findings)}}},
          {"timeline", timeline.in_order()},
          {"notes", notes}};
}

json findings_json(const LivePods& read) {
  std::map<std::string, std::set<std::string>, std::less<>> objects;  // by control
  std::size_t rejected = 0, tolerated = 0;
  json offenders = json::array();
  for (const Judged& pod : read.outcome.pods) {
    rejected += pod.denied() ? 1U : 0U;
    for (const Found& found : pod.found) {
      tolerated += found.effect == Effect::deny ? 0U : 1U;
      objects[std::string(found.finding.control)].insert(pod.title());
      if (offenders.size() == kMostOffenders) continue;
      offenders.push_back({{"object", pod.title()},
                           {"control", found.finding.control},
                           {"effect", effect_name(found.effect)},
                           {"path", printable(pod.prefix + found.finding.field)},
                           {"message", printable(found.finding.message)}});
    }
  }
  json controls = json::array();
  for (const policy::Control& control : policy::controls()) {
    const auto found = objects.find(control.id);
    controls.push_back({{"id", control.id},
                        {"title", control.title},
                        {"objects", found == objects.end() ? 0U : found->second.size()}});
  }
  json notes = json::array();
  for (const std::vector<std::string>* list : {&read.notes, &read.problems}) {
    for (const std::string& note : *list)
      notes.push_back(printable(note));
  }
  return {{"judged", read.outcome.pods.size()},
          {"rejected", rejected},
          {"tolerated", tolerated},
          {"controls", std::move(controls)},
          {"offenders", std::move(offenders)},
          {"notes", std::move(notes)}};
}

}  // namespace palisade::cli::ui
