#include "scan_record.h"

#include <algorithm>

namespace palisade::webhook {

namespace {

using Json = nlohmann::json;

constexpr char kLabelEnd = '\n';  // in no label
// A parser takes about sixteen times the largest pod that it has read.
constexpr std::size_t kMaxKeptPod = 256 * 1024;

const Json& member(const Json& object, const char* key) {
  static const Json kNone;
  if (!object.is_object()) return kNone;
  const auto found = object.find(key);
  return found == object.end() ? kNone : *found;
}

std::string text_at(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

void own(const Json& metadata, AgentPod& pod) {
  pod.ns = text_at(metadata, "namespace");
  pod.name = text_at(metadata, "name");
  pod.uid = text_at(metadata, "uid");
}

void owners(const Json& metadata, AgentPod& pod) {
  const Json& list = member(metadata, "ownerReferences");
  if (!list.is_array()) return;
  for (const Json& owner : list) {
    const std::string kind = text_at(owner, "kind");
    if ((kind != "AgentWorkspace" && kind != "AgentWorkspacePool") ||
        !text_at(owner, "apiVersion").starts_with("palisade.dev/")) {
      continue;
    }
    (kind == "AgentWorkspace" ? pod.workspace : pod.pool) = text_at(owner, "name");
    pod.workspace_uid = text_at(owner, "uid");
    return;
  }
}

std::string packed_labels(const policy::Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels)
    out.append(key).append("=").append(value) += kLabelEnd;
  return out;
}

policy::Labels unpacked_labels(std::string_view text) {
  policy::Labels out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find(kLabelEnd));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const auto equals = line.find('=');
    if (equals != std::string_view::npos)
      out.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return out;
}

// Each control at least once, however many findings others have.
void keep_findings(const std::vector<policy::Finding>& all, ScanRecord& out) {
  std::vector<const policy::Finding*> order;
  std::vector<const policy::Finding*> more;
  for (const policy::Finding& finding : all) {
    const bool known = std::ranges::any_of(
        order, [&](const policy::Finding* one) { return one->control == finding.control; });
    (known ? more : order).push_back(&finding);
  }
  order.insert(order.end(), more.begin(), more.end());
  out.left_out = order.size() - std::min(order.size(), kMaxScanFindings);
  order.resize(order.size() - out.left_out);
  for (const policy::Finding* finding : order) {
    const policy::Control* control = policy::find_control(finding->control);
    if (control == nullptr) continue;  // the table's own, so never
    out.findings.push_back({control->id, tidy(finding->field, kMaxScanField),
                            tidy(finding->found, kMaxScanFound),
                            tidy(finding->message, kMaxScanMessage)});
  }
}

}  // namespace

std::string tidy(std::string_view text, std::size_t most) {
  const bool whole = text.size() <= most;
  std::size_t end = whole ? text.size() : most - 3;
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  std::string out(text.substr(0, end));
  std::ranges::replace_if(
      out, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return whole ? out : out + "...";
}

bool is_judged(const ScanRecord& record, const NamespaceRules& rules) {
  if (rules.mode == Mode::kOff || record.ended) return false;
  return record.is_agent() || rules.mode == Mode::kAll;
}

ScanRecord scan_pod(Json pod, const NamespaceRules* rules, std::uint64_t basis) {
  ScanRecord out;
  // A good part of a pod's bytes, and nothing that is judged.
  if (const auto found = pod.find("metadata"); found != pod.end() && found->is_object())
    found->erase("managedFields");
  const Json& metadata = member(pod, "metadata");
  own(metadata, out.pod);
  owners(metadata, out.pod);
  const std::string phase = text_at(member(pod, "status"), "phase");
  out.ended = phase == "Succeeded" || phase == "Failed";

  thread_local simdjson::dom::parser parser;
  if (parser.capacity() > kMaxKeptPod) parser = simdjson::dom::parser();
  const simdjson::padded_string text(pod.dump(-1, ' ', false, Json::error_handler_t::replace));
  simdjson::dom::element root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS) {
    out.unreadable = std::string("the pod cannot be read: ") + simdjson::error_message(error);
    out.pod.reason = out.unreadable;
    out.basis = basis;
    return out;
  }
  out.pod.labels = policy::labels_of(root);
  out.pod.reason = policy::agent_reason(root);
  if (rules == nullptr || !rules->problem.empty() || !is_judged(out, *rules)) return out;
  out.basis = basis;
  keep_findings(policy::evaluate(root, rules->settings), out);
  return out;
}

Json pack(const ScanRecord& record) {
  Json out{{"labels", packed_labels(record.pod.labels)}};
  const auto add = [&out](const char* key, const std::string& value) {
    if (!value.empty()) out[key] = value;
  };
  add("reason", record.pod.reason);
  add("workspace", record.pod.workspace);
  add("workspaceUid", record.pod.workspace_uid);
  add("pool", record.pod.pool);
  add("unreadable", record.unreadable);
  if (record.ended) out["ended"] = true;
  if (record.basis == 0) return out;
  out["basis"] = record.basis;
  out["leftOut"] = record.left_out;
  Json& findings = out["findings"] = Json::array();
  for (const ScanFinding& finding : record.findings)
    findings.push_back({finding.control, finding.field, finding.found, finding.message});
  return out;
}

ScanRecord unpack(const Json& packed) {
  ScanRecord out;
  own(member(packed, "metadata"), out.pod);
  out.pod.labels = unpacked_labels(text_at(packed, "labels"));
  out.pod.reason = text_at(packed, "reason");
  out.pod.workspace = text_at(packed, "workspace");
  out.pod.workspace_uid = text_at(packed, "workspaceUid");
  out.pod.pool = text_at(packed, "pool");
  out.unreadable = text_at(packed, "unreadable");
  out.ended = packed.contains("ended");
  if (!packed.contains("basis")) return out;
  out.basis = packed["basis"].get<std::uint64_t>();
  out.left_out = packed["leftOut"].get<std::size_t>();
  const Json& findings = packed["findings"];
  for (const Json& one : findings) {
    const policy::Control* control = policy::find_control(one[0].get<std::string>());
    if (control != nullptr)
      out.findings.push_back({control->id, one[1].get<std::string>(), one[2].get<std::string>(),
                              one[3].get<std::string>()});
  }
  return out;
}

}  // namespace palisade::webhook
