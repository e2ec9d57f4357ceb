#include "evidence.h"

#include <algorithm>
#include <array>
#include <span>

#include <kube/rfc3339.h>
#include <policy/guards.h>
#include <policy/policy.h>

#include "json_at.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using Time = EvidenceInput::Time;

// What a framework asks for, and where this document answers it. The ids of controls come from the
// control table's own references where it names the clause.
struct Clause {
  const char* framework;
  const char* clause;
  const char* title;
  const char* reference;  // how the control table names it; "" where it does not
  const char* evidence;
};
constexpr std::array kClauses{
    Clause{"SOC 2", "CC6.1", "Logical access is restricted", "SOC 2: CC6.1",
           "Sessions: who created each, which repository and branch it may write. Tokens: each is "
           "one session's."},
    Clause{
        "SOC 2", "CC6.3", "Access follows role and least privilege", "SOC 2: CC6.3",
        "Sessions: access, programs and egress beyond the defaults. Exceptions: approver and end."},
    Clause{"SOC 2", "CC6.6", "Boundaries keep outsiders out", "SOC 2: CC6.6",
           "Sessions: condition Isolated and egress rules. Findings: deny-all-network."},
    Clause{"SOC 2", "CC6.8", "Unauthorized software is kept out", "SOC 2: CC6.8",
           "Sessions: programs that were refused, and mode of guard."},
    Clause{"SOC 2", "CC7.2", "The system is monitored for anomalies", "SOC 2: CC7.2",
           "Sessions: what guard counted. Findings and events."},
    Clause{"SOC 2", "CC7.3", "Security events are evaluated", "SOC 2: CC7.3",
           "Findings, events, and sessions with refusals."},
    Clause{"SOC 2", "CC8.1", "Changes are authorized", "SOC 2: CC8.1",
           "Sessions: the one branch and the merge request. Exceptions: reason, ticket, approver."},
    Clause{"ISO/IEC 27001:2022", "A.5.15", "Access control", "",
           "Sessions: creator, repository, branch, access."},
    Clause{"ISO/IEC 27001:2022", "A.5.17", "Authentication information", "",
           "Tokens: minted or copied, and what was not revoked."},
    Clause{"ISO/IEC 27001:2022", "A.8.2", "Privileged access rights", "",
           "Exceptions and findings."},
    Clause{"ISO/IEC 27001:2022", "A.8.9", "Configuration management", "",
           "Sessions: their hardening. Findings: where a pod differs."},
    Clause{"ISO/IEC 27001:2022", "A.8.15", "Logging", "",
           "Sessions: what guard counted, and events that are not on record."},
    Clause{"ISO/IEC 27001:2022", "A.8.16", "Monitoring activities", "", "Findings and events."},
    Clause{"ISO/IEC 27001:2022", "A.8.22", "Segregation of networks", "",
           "Sessions: condition Isolated and egress rules."},
    Clause{"ISO/IEC 27001:2022", "A.8.32", "Change management", "",
           "Sessions: branch and merge request. Exceptions."},
    Clause{"OWASP Top 10 for LLM Applications", "LLM01", "Prompt Injection", "",
           "Sessions: what an agent that was talked into something was refused."},
    Clause{"OWASP Top 10 for LLM Applications", "LLM02", "Sensitive Information Disclosure",
           "OWASP Top 10 for LLM Applications: Sensitive Information Disclosure",
           "Tokens: none is in the agent's container. Sessions: egress."},
    Clause{"OWASP Top 10 for LLM Applications", "LLM03", "Supply Chain", "",
           "Sessions: image and runtime."},
    Clause{"OWASP Top 10 for LLM Applications", "LLM06", "Excessive Agency", "",
           "Sessions: access, programs, egress, deadline; refusals."},
    Clause{"OWASP Top 10 for LLM Applications", "LLM10", "Unbounded Consumption", "",
           "Sessions: budget and deadline."},
};

std::vector<std::string> controls_of(std::string_view reference) {
  std::vector<std::string> out;
  if (reference.empty()) return out;
  for (const std::span<const policy::Control> table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      if (std::ranges::any_of(control.references, [&](std::string_view one) {
            return one.starts_with(reference) &&
                   (one.size() == reference.size() ||
                    std::string_view("0123456789.").find(one[reference.size()]) ==
                        std::string_view::npos);
          }))
        out.emplace_back(control.id);
    }
  }
  return out;
}

bool is_safe_time(const std::optional<Time>& time, Time since, Time until) {
  return time && *time >= since && *time <= until;
}

// The kind of spec.repository.credentials: "githubApp", ...; "none".
std::string credentials_kind(const json& workspace) {
  const json& credentials = json_at(workspace, {"spec", "repository", "credentials"});
  for (const char* kind : {"githubApp", "gitlab", "gitea", "secretRef"}) {
    if (!json_at(credentials, {kind}).is_null()) return kind;
  }
  return "none";
}

const json& condition_of(const json& workspace, std::string_view type) {
  static const json kNone;
  const json& conditions = json_at(workspace, {"status", "conditions"});
  if (!conditions.is_array()) return kNone;
  const auto found = std::ranges::find_if(
      conditions, [&](const json& one) { return raw_text_at(one, {"type"}) == type; });
  return found == conditions.end() ? kNone : *found;
}

json hardening_of(const json& w) {
  json out;
  out["userNamespace"] = json_at(w, {"spec", "isolation", "userNamespace"}) != json(false);
  out["runtimeClass"] = raw_text_at(w, {"spec", "isolation", "runtimeClassName"});
  const std::string mode = raw_text_at(w, {"spec", "isolation", "exec", "mode"});
  out["guardMode"] = mode.empty() ? "Enforce" : mode;
  const json& allow = json_at(w, {"spec", "isolation", "exec", "allow"});
  out["morePrograms"] = allow.is_array() ? allow : json::array();
  const json& egress = json_at(w, {"spec", "isolation", "egress"});
  out["egressRules"] = egress.is_array() ? egress.size() : 0;
  const std::string access = raw_text_at(w, {"spec", "repository", "access"});
  out["access"] = access.empty() ? "ReadWrite" : access;
  out["deadline"] = raw_text_at(w, {"spec", "lifecycle", "deadline"});
  const json& budget = json_at(w, {"spec", "llm", "budget"});
  out["budget"] = budget.is_object() ? budget : json::object();
  const json& isolated = condition_of(w, "Isolated");
  out["isolated"] = raw_text_at(isolated, {"status"});
  out["isolatedReason"] = raw_text_at(isolated, {"reason"});
  const json& degraded = json_at(w, {"status", "audit", "degraded"});
  out["degraded"] = degraded.is_array() ? degraded : json::array();
  std::string image = raw_text_at(w, {"spec", "agent", "image"});
  if (image.empty()) image = raw_text_at(w, {"status", "madeWith", "agentImage"});
  out["image"] = std::move(image);
  return out;
}

json session_of(const json& w) {
  json out;
  out["namespace"] = raw_text_at(w, {"metadata", "namespace"});
  out["name"] = raw_text_at(w, {"metadata", "name"});
  out["uid"] = raw_text_at(w, {"metadata", "uid"});
  out["createdBy"] = raw_text_at(w, {"metadata", "annotations", "palisade.dev/created-by"});
  out["created"] = raw_text_at(w, {"metadata", "creationTimestamp"});
  out["started"] = raw_text_at(w, {"status", "startedAt"});
  out["finished"] = raw_text_at(w, {"status", "finishedAt"});
  out["phase"] = raw_text_at(w, {"status", "phase"});
  out["repository"] = raw_text_at(w, {"spec", "repository", "url"});
  out["branch"] = raw_text_at(w, {"status", "branch"});
  out["commits"] = number_at(w, {"status", "commits"});
  out["head"] = raw_text_at(w, {"status", "head"});
  out["mergeRequest"] = raw_text_at(w, {"status", "mergeRequest", "url"});
  out["model"] = raw_text_at(w, {"spec", "agent", "model"});
  out["hardening"] = hardening_of(w);
  const json& audit = json_at(w, {"status", "audit"});
  out["audit"] = json::object();
  for (const char* count :
       {"execs", "deniedExecs", "deniedConnects", "refusals", "findings", "dropped"})
    out["audit"][count] = audit.is_object() ? json(number_at(audit, {count})) : json(nullptr);
  return out;
}

json token_of(const json& w, const std::vector<json>& events) {
  const std::string kind = credentials_kind(w);
  const json& condition = condition_of(w, "CredentialsReady");
  json out{{"namespace", raw_text_at(w, {"metadata", "namespace"})},
           {"workspace", raw_text_at(w, {"metadata", "name"})},
           {"kind", kind},
           {"minted", kind != "secretRef" && kind != "none"},
           {"state", raw_text_at(condition, {"reason"})},
           {"notRevoked", json::array()}};
  const std::string phase = raw_text_at(w, {"status", "phase"});
  const bool live = phase == "Running" || phase == "Pending" || phase.empty();
  for (const json& event : events) {
    if (raw_text_at(event, {"reason"}) == "TokenNotRevoked" &&
        raw_text_at(event, {"regarding", "uid"}) == raw_text_at(w, {"metadata", "uid"}))
      out["notRevoked"].push_back(raw_text_at(event, {"note"}));
  }
  out["held"] = kind == "none"               ? "none"
                : live                       ? "while the session runs"
                : !out["notRevoked"].empty() ? "NOT REVOKED"
                : kind == "secretRef"        ? "copy removed; the token is its owner's"
                                             : "revoked at the end";
  return out;
}

std::string time_of_event(const json& event) {
  std::string out = raw_text_at(event, {"series", "lastObservedTime"});
  if (out.empty()) out = raw_text_at(event, {"eventTime"});
  return out.empty() ? raw_text_at(event, {"metadata", "creationTimestamp"}) : out;
}

bool names_the_namespace(const json& exception, const std::string& ns) {
  const json& named = json_at(exception, {"spec", "namespaces"});
  return ns.empty() || (named.is_array() && std::ranges::find(named, json(ns)) != named.end());
}

json exceptions_of(const EvidenceInput& input) {
  json out = json::array();
  for (const json& one : input.exceptions) {
    const auto begins = kube::parse_rfc3339(raw_text_at(one, {"metadata", "creationTimestamp"}));
    const auto ends = kube::parse_rfc3339(raw_text_at(one, {"spec", "expires"}));
    if (!names_the_namespace(one, input.ns) || (begins && *begins > input.until) ||
        (ends && *ends < input.since))
      continue;
    json entry{{"name", raw_text_at(one, {"metadata", "name"})},
               {"namespaces", json_at(one, {"spec", "namespaces"})},
               {"controls", json_at(one, {"spec", "controls"})},
               {"created", raw_text_at(one, {"metadata", "creationTimestamp"})},
               {"expires", raw_text_at(one, {"spec", "expires"})},
               // Whose end cannot be read counts for nothing.
               {"active", ends && *ends > input.until}};
    for (const char* field : {"reason", "ticket", "approver"})
      entry[field] = raw_text_at(one, {"spec", field});
    out.push_back(std::move(entry));
  }
  return out;
}

json findings_of(const EvidenceInput& input) {
  json out = json::array();
  for (const json& report : input.reports) {
    const json& results = json_at(report, {"results"});
    if (!results.is_array()) continue;
    for (const json& result : results) {
      const std::string verdict = raw_text_at(result, {"result"});
      if (raw_text_at(result, {"source"}) != "palisade" || verdict == "pass") continue;
      const json& resources = json_at(result, {"resources"});
      const json first = resources.is_array() && !resources.empty() ? resources[0] : json::object();
      out.push_back({{"namespace", raw_text_at(report, {"metadata", "namespace"})},
                     {"pod", raw_text_at(first, {"name"})},
                     {"control", raw_text_at(result, {"rule"})},
                     {"result", verdict},
                     {"exception", raw_text_at(result, {"properties", "exception"})},
                     {"message", raw_text_at(result, {"message"})}});
    }
  }
  return out;
}

json events_of(const EvidenceInput& input) {
  json out = json::array();
  for (const json& event : input.events) {
    const std::string by = raw_text_at(event, {"reportingController"});
    if (!by.starts_with("palisade") || raw_text_at(event, {"type"}) != "Warning") continue;
    const std::string time = time_of_event(event);
    if (!is_safe_time(kube::parse_rfc3339(time), input.since, input.until)) continue;
    out.push_back({{"time", time},
                   {"namespace", raw_text_at(event, {"regarding", "namespace"})},
                   {"about", raw_text_at(event, {"regarding", "kind"}) + " " +
                                 raw_text_at(event, {"regarding", "name"})},
                   {"reason", raw_text_at(event, {"reason"})},
                   {"note", raw_text_at(event, {"note"})},
                   {"by", by}});
  }
  std::ranges::sort(out.get_ref<json::array_t&>(), {},
                    [](const json& one) { return one["time"].get<std::string>(); });
  return out;
}

bool in_period(const json& w, const EvidenceInput& input) {
  const auto began = kube::parse_rfc3339(raw_text_at(w, {"metadata", "creationTimestamp"}));
  const auto ended = kube::parse_rfc3339(raw_text_at(w, {"status", "finishedAt"}));
  return (!began || *began <= input.until) && (!ended || *ended >= input.since);
}

}  // namespace

json evidence_of(const EvidenceInput& input) {
  json out{
      {"period", {{"since", kube::rfc3339(input.since)}, {"until", kube::rfc3339(input.until)}}},
      {"namespace", input.ns},
      {"sessions", json::array()},
      {"tokens", json::array()},
      {"exceptions", exceptions_of(input)},
      {"findings", findings_of(input)},
      {"events", events_of(input)},
      {"frameworks", json::array()},
      {"unread", input.unread}};
  std::int64_t refusals = 0;
  std::int64_t unrevoked = 0;
  for (const json& w : input.workspaces) {
    if (!in_period(w, input)) continue;
    out["sessions"].push_back(session_of(w));
    out["tokens"].push_back(token_of(w, input.events));
    refusals += number_at(w, {"status", "audit", "refusals"});
    unrevoked += static_cast<std::int64_t>(out["tokens"].back()["notRevoked"].size());
  }
  const auto by_name = [](const json& one) {
    return std::pair(one["namespace"].get<std::string>(),
                     one.value("name", one.value("workspace", "")));
  };
  std::ranges::sort(out["sessions"].get_ref<json::array_t&>(), {}, by_name);
  std::ranges::sort(out["tokens"].get_ref<json::array_t&>(), {}, by_name);
  out["summary"] = {{"sessions", out["sessions"].size()},
                    {"refusals", refusals},
                    {"exceptions", out["exceptions"].size()},
                    {"activeExceptions", std::ranges::count_if(out["exceptions"],
                                                               [](const json& one) {
                                                                 return one["active"] == json(true);
                                                               })},
                    {"findings", out["findings"].size()},
                    {"events", out["events"].size()},
                    {"tokensNotRevoked", unrevoked}};
  for (const Clause& clause : kClauses)
    out["frameworks"].push_back({{"framework", clause.framework},
                                 {"clause", clause.clause},
                                 {"title", clause.title},
                                 {"controls", controls_of(clause.reference)},
                                 {"evidence", clause.evidence}});
  out["limits"] = {
      "Workspaces that were deleted, or kept no longer than spec.lifecycle.ttlAfterFinished, are "
      "not in the API server any more, and not here.",
      "Events are kept by the API server for an hour, unless its --event-ttl says otherwise.",
      "Requests that the webhook denied are in the API server's audit log (annotations of "
      "palisade.dev) and in the webhook's metrics.",
      "Single programs, connections and refusals are in the session's record: palisade audit.",
      "Which tokens a host still lists, the host knows. Each request with one is in the gateway's "
      "record."};
  return out;
}

}  // namespace palisade::cli
