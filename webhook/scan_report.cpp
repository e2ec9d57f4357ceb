#include "scan_report.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace palisade::webhook {

namespace {

using Json = nlohmann::json;

// What breaks out by itself is high; what is missing as a second line is medium; what only spends
// resources is low. Older schemas know no other values.
constexpr std::array kMedium{std::string_view("read-only-root-filesystem"),
                             std::string_view("seccomp-profile"),
                             std::string_view("apparmor"),
                             std::string_view("selinux"),
                             std::string_view("image-source"),
                             std::string_view("runtime-class"),
                             std::string_view("no-node-name"),
                             std::string_view("known-fields"),
                             std::string_view("bounded-lifetime")};
constexpr std::array kLow{std::string_view("resource-limits"), std::string_view("sized-empty-dirs"),
                          std::string_view("fair-scheduling")};

std::string_view severity_of(std::string_view control) {
  if (std::ranges::find(kLow, control) != kLow.end()) return "low";
  return std::ranges::find(kMedium, control) != kMedium.end() ? "medium" : "high";
}

struct Row {
  const ReportPod* pod = nullptr;
  std::string_view control;  // "": the pod as a whole
  ReportResult result = ReportResult::kPass;
  std::string message;
  std::string exception;  // name of the one that lets it pass
};

ReportResult result_of(Action action) {
  return action == Action::kEnforce ? ReportResult::kFail : ReportResult::kWarn;
}

void append(std::string& message, std::string_view field, std::string_view found,
            std::string_view what) {
  if (message.size() >= kMaxResultMessage) return;
  if (!message.empty()) message += "; ";
  message.append(field).append(" is ").append(found).append(": ").append(what);
}

// One row for each control that the pod breaks.
std::vector<Row> rows_of(const ReportPod& pod, const NamespaceRules& rules, std::int64_t now) {
  std::vector<Row> out;
  const auto row_of = [&](std::string_view control) -> Row& {
    const auto known = std::ranges::find(out, control, &Row::control);
    if (known != out.end()) return *known;
    Row& row = out.emplace_back();
    row.pod = &pod;
    row.control = control;
    row.result = result_of(rules.action_of(control));
    for (const auto& exception : rules.exceptions) {
      if (!exception->covers(control, pod.record.pod.ns, pod.record.pod.labels, now)) continue;
      row.result = ReportResult::kSkip;
      row.exception = exception->name;
      break;
    }
    return row;
  };
  for (const ScanFinding& finding : pod.record.findings)
    append(row_of(finding.control).message, finding.field, finding.found, finding.message);
  for (const policy::Finding& finding : pod.network) {
    append(row_of(finding.control).message, tidy(finding.field, kMaxScanField),
           tidy(finding.found, kMaxScanFound), tidy(finding.message, kMaxScanMessage));
  }
  if (pod.record.left_out > 0 && !out.empty())
    append(out.front().message, "further findings", std::to_string(pod.record.left_out),
           "they are not listed here");
  if (!pod.unsure.empty()) {
    Row& row = out.emplace_back();
    row.pod = &pod;
    row.result = ReportResult::kError;
    row.message = pod.unsure;
  } else if (out.empty()) {
    Row& row = out.emplace_back();
    row.pod = &pod;
    row.message = "breaks no control";
  }
  return out;
}

Json result_of(const Row& row) {
  const AgentPod& pod = row.pod->record.pod;
  Json out{{"source", "palisade"},
           {"policy", "palisade"},
           {"category", "agent hardening"},
           {"result", result_name(row.result)},
           {"scored", row.result == ReportResult::kFail || row.result == ReportResult::kPass},
           {"message", tidy(row.message, kMaxResultMessage)},
           {"resources",
            {{{"apiVersion", "v1"},
              {"kind", "Pod"},
              {"namespace", pod.ns},
              {"name", pod.name},
              {"uid", pod.uid}}}},
           {"properties",
            {{"reason", pod.reason.empty() ? "the namespace enforces all pods"
                                           : tidy(pod.reason, kMaxScanMessage)}}}};
  if (!row.control.empty()) {
    out["rule"] = row.control;
    out["severity"] = severity_of(row.control);
  }
  if (!row.exception.empty()) out["properties"]["exception"] = row.exception;
  return out;
}

// What makes two results the same but for their time.
std::string identity(const Json& result) {
  std::string out;
  for (const char* key : {"rule", "result", "message"}) {
    const auto found = result.find(key);
    if (found != result.end() && found->is_string()) out += found->get<std::string>();
    out += '\n';
  }
  const Json::json_pointer uid("/resources/0/uid");
  if (result.contains(uid) && result[uid].is_string()) out += result[uid].get<std::string>();
  return out;
}

std::unordered_map<std::string, std::int64_t> times_of(const Json& results) {
  std::unordered_map<std::string, std::int64_t> out;
  if (!results.is_array()) return out;
  const Json::json_pointer seconds("/timestamp/seconds");
  for (const Json& result : results) {
    if (result.is_object() && result.contains(seconds) && result[seconds].is_number_integer())
      out.emplace(identity(result), result[seconds].get<std::int64_t>());
  }
  return out;
}

}  // namespace

std::string_view result_name(ReportResult result) {
  switch (result) {
    case ReportResult::kFail:
      return "fail";
    case ReportResult::kError:
      return "error";
    case ReportResult::kWarn:
      return "warn";
    case ReportResult::kSkip:
      return "skip";
    case ReportResult::kPass:
      return "pass";
  }
  return "error";
}

Report make_report(std::span<const ReportPod> pods, const NamespaceRules& rules, std::int64_t now,
                   const Json& before) {
  Report out;
  std::vector<Row> rows;
  std::map<ReportResult, std::size_t> counts;
  for (const ReportPod& pod : pods) {
    auto worst = ReportResult::kPass;
    for (Row& row : rows_of(pod, rules, now)) {
      worst = std::min(worst, row.result);
      ++counts[row.result];
      if (row.result == ReportResult::kFail || row.result == ReportResult::kWarn) {
        if (!row.control.empty()) ++out.controls[row.control];
      }
      rows.push_back(std::move(row));
    }
    ++out.pods[worst];
  }
  // Worst first, so that what does not fit is what matters least; then in an order that does not
  // change from one report to the next.
  std::ranges::sort(rows, [](const Row& a, const Row& b) {
    return std::tie(a.result, a.pod->record.pod.name, a.control) <
           std::tie(b.result, b.pod->record.pod.name, b.control);
  });
  const auto times = times_of(before);
  std::size_t bytes = 0;
  for (const Row& row : rows) {
    if (out.results.size() >= kMaxReportResults) break;
    Json result = result_of(row);
    const auto known = times.find(identity(result));
    result["timestamp"] = {{"seconds", known == times.end() ? now : known->second}, {"nanos", 0}};
    bytes += result.dump(-1, ' ', false, Json::error_handler_t::replace).size();
    if (bytes > kMaxReportBytes) break;
    out.results.push_back(std::move(result));
  }
  out.left_out = rows.size() - out.results.size();
  out.summary = Json::object();
  for (const auto result : {ReportResult::kFail, ReportResult::kError, ReportResult::kWarn,
                            ReportResult::kSkip, ReportResult::kPass})
    out.summary[std::string(result_name(result))] = counts[result];
  return out;
}

}  // namespace palisade::webhook
