#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <kube/rfc3339.h>

#include "json_at.h"
#include "table.h"
#include "text.h"
#include "workspaces.h"

namespace palisade::cli {

namespace {

using nlohmann::json;
using std::chrono::seconds;

constexpr std::size_t kEventsShown = 8;
constexpr std::size_t kColumnMost = 60;

std::string number(const json& object, std::initializer_list<const char*> way) {
  const json& value = json_at(object, way);
  return value.is_number_integer() ? value.dump() : std::string();
}

const json& condition(const json& workspace, std::string_view type) {
  static const json kNone;
  const json& conditions = json_at(workspace, {"status", "conditions"});
  if (conditions.is_array()) {
    for (const json& one : conditions) {
      if (text_at(one, {"type"}) == type) return one;
    }
  }
  return kNone;
}

std::string or_dash(std::string value) {
  return value.empty() ? "-" : value;
}

std::string cut(std::string value) {
  if (width_of(value) <= kColumnMost) return value;
  std::size_t end = 0;
  for (std::size_t points = 0; end < value.size(); ++end) {
    if ((value[end] & 0xc0) != 0x80 && ++points == kColumnMost) break;
  }
  return value.substr(0, end) + "…";
}

std::pair<std::string, std::string> place_of(const json& object) {
  return {text_at(object, {"metadata", "namespace"}), text_at(object, {"metadata", "name"})};
}

// The container's state in a few words.
std::string state_text(const json& status, bool wide, WallClock::time_point now) {
  const json& state = json_at(status, {"state"});
  if (const json& running = json_at(state, {"running"}); running.is_object())
    return "running for " + age_text(kube::parse_rfc3339(text_at(running, {"startedAt"})), now);
  if (const json& ended = json_at(state, {"terminated"}); ended.is_object()) {
    std::string out = "ended";
    if (const std::string code = number(ended, {"exitCode"}); !code.empty())
      out += " with exit code " + code;
    const std::string reason = text_at(ended, {"reason"});
    if (!reason.empty() && reason != "Completed" && reason != "Error") out += " (" + reason + ")";
    return out;
  }
  if (const json& waiting = json_at(state, {"waiting"}); waiting.is_object()) {
    const std::string message = text_at(waiting, {"message"});
    return "waiting: " + or_dash(text_at(waiting, {"reason"})) +
           (message.empty() ? "" : ": " + (wide ? message : cut(message)));
  }
  return "not started";
}

struct Branch {
  std::string text;
  std::vector<Branch> below;
};

void draw(const Branch& branch, const std::string& indent, std::string& out) {
  for (std::size_t i = 0; i < branch.below.size(); ++i) {
    const bool last = i + 1 == branch.below.size();
    out += indent + (last ? "└─ " : "├─ ") + branch.below[i].text + "\n";
    draw(branch.below[i], indent + (last ? "   " : "│  "), out);
  }
}

Branch pod_branch(const json& pod, bool wide, WallClock::time_point now) {
  std::string line = "Pod " + text_at(pod, {"metadata", "name"}) + "  " +
                     or_dash(text_at(pod, {"status", "phase"}));
  if (const std::string node = text_at(pod, {"spec", "nodeName"}); !node.empty())
    line += " on node " + node;
  if (json_at(pod, {"spec", "schedulingGates"}).is_array() &&
      !json_at(pod, {"spec", "schedulingGates"}).empty())
    line += ", waits for its NetworkPolicy";
  if (json_at(pod, {"metadata", "deletionTimestamp"}).is_string()) line += ", ending";
  Branch out{line, {}};
  for (const auto& [specs, statuses] : {std::pair{"initContainers", "initContainerStatuses"},
                                        std::pair{"containers", "containerStatuses"}}) {
    const json& containers = json_at(pod, {"spec", specs});
    if (!containers.is_array()) continue;
    for (const json& container : containers) {
      const std::string name = text_at(container, {"name"});
      const json* status = nullptr;
      if (const json& all = json_at(pod, {"status", statuses}); all.is_array()) {
        for (const json& one : all) {
          if (text_at(one, {"name"}) == name) status = &one;
        }
      }
      out.below.push_back(
          {fmt::format("{:<10}{}", name,
                       status == nullptr ? "not started" : state_text(*status, wide, now)),
           {}});
      if (!wide) continue;
      auto& below = out.below.back().below;
      below.push_back({"image " + or_dash(text_at(container, {"image"})), {}});
      if (status != nullptr) {
        if (const std::string restarts = number(*status, {"restartCount"});
            !restarts.empty() && restarts != "0")
          below.push_back({"restarted " + restarts + " times", {}});
      }
    }
  }
  return out;
}

std::string event_time(const json& event) {
  std::string moment = text_at(event, {"series", "lastObservedTime"});
  if (moment.empty()) moment = text_at(event, {"eventTime"});
  if (moment.empty()) moment = text_at(event, {"deprecatedLastTimestamp"});
  if (moment.empty()) moment = text_at(event, {"metadata", "creationTimestamp"});
  return moment;
}

Branch events_branch(std::vector<json> events, bool wide, WallClock::time_point now) {
  std::ranges::stable_sort(events, {}, [](const json& event) { return event_time(event); });
  const std::size_t left_out = wide ? 0 : events.size() - std::min(events.size(), kEventsShown);
  Branch out{left_out == 0 ? "Events" : fmt::format("Events ({} earlier ones left out)", left_out),
             {}};
  for (std::size_t i = left_out; i < events.size(); ++i) {
    const json& event = events[i];
    out.below.push_back(
        {fmt::format("{} ago  {}{}: {}", age_text(kube::parse_rfc3339(event_time(event)), now),
                     text_at(event, {"type"}) == "Warning" ? "WARNING " : "",
                     or_dash(text_at(event, {"reason"})), text_at(event, {"note"})),
         {}});
  }
  return out;
}

// What to look at when a condition says so.
struct Hint {
  const char* reason;
  const char* step;  // {} is "NAME -n NAMESPACE"
};
constexpr std::array kHints{
    Hint{"PreflightFailed", "palisade doctor  # is NetworkPolicy enforced on this cluster?"},
    Hint{"KernelUnsupported", "palisade doctor  # which nodes have what guard requires?"},
    Hint{"ExceedsPermissions", "palisade permissions {}  # and compare with the AgentPolicy"},
    Hint{"PolicyViolation",
         "kubectl get agentpolicies  # what the agents of the namespace may have"},
    Hint{"SetupFailed", "kubectl describe agentworkspace {}  # what its setup said last"},
    Hint{"AiderFailed", "palisade logs {}  # what Aider said"},
    Hint{"RecordFailed", "palisade audit {}"},
    Hint{"PushFailed", "palisade logs {} -c courier"},
};

}  // namespace

std::string age_text(std::optional<WallClock::time_point> then, WallClock::time_point now) {
  if (!then) return "<unknown>";
  const auto age =
      std::max<std::int64_t>(0, std::chrono::duration_cast<seconds>(now - *then).count());
  if (age < 120) return fmt::format("{}s", age);
  if (age < 3600) return fmt::format("{}m", age / 60);
  if (age < 10 * 3600) {
    return age % 3600 / 60 == 0 ? fmt::format("{}h", age / 3600)
                                : fmt::format("{}h{}m", age / 3600, age % 3600 / 60);
  }
  return age < 48 * 3600 ? fmt::format("{}h", age / 3600) : fmt::format("{}d", age / 86'400);
}

std::string workspace_table(std::vector<json> workspaces, const TableOptions& options,
                            WallClock::time_point now) {
  std::ranges::sort(workspaces, {}, place_of);
  std::vector<std::vector<std::string>> rows;
  std::vector<Column> columns;
  if (options.namespaces) columns.push_back({"NAMESPACE"});
  for (const char* name : {"NAME", "PHASE", "READY", "BRANCH", "COMMITS", "REFUSALS", "AGE"})
    columns.push_back({name});
  if (options.wide) {
    for (const char* name : {"MODEL", "POOL", "REPOSITORY", "EXPIRES IN"})
      columns.push_back({name});
  }
  for (const json& w : workspaces) {
    std::vector<std::string> row;
    if (options.namespaces) row.push_back(text_at(w, {"metadata", "namespace"}));
    const json& ready = condition(w, "Ready");
    row.push_back(text_at(w, {"metadata", "name"}));
    row.push_back(or_dash(text_at(w, {"status", "phase"})));
    row.push_back(or_dash(text_at(ready, {"reason"})));
    row.push_back(or_dash(text_at(w, {"status", "branch"})));
    row.push_back(or_dash(number(w, {"status", "commits"})));
    row.push_back(or_dash(number(w, {"status", "audit", "refusals"})));
    row.push_back(
        age_text(kube::parse_rfc3339(text_at(w, {"metadata", "creationTimestamp"})), now));
    if (options.wide) {
      row.push_back(or_dash(text_at(w, {"spec", "agent", "model"})));
      row.push_back(or_dash(text_at(w, {"status", "warmPod", "pool"})));
      row.push_back(or_dash(text_at(w, {"spec", "repository", "url"})));
      const auto end = kube::parse_rfc3339(text_at(w, {"status", "expiresAt"}));
      const bool live = text_at(w, {"status", "phase"}) == "Running";
      row.push_back(end && live ? age_text(now, *end) : "-");
    }
    for (std::string& cell : row)
      cell = cut(std::move(cell));
    rows.push_back(std::move(row));
  }
  return table(columns, rows, 3);
}

std::string pool_table(std::vector<json> pools, const TableOptions& options,
                       WallClock::time_point now) {
  std::ranges::sort(pools, {}, place_of);
  std::vector<Column> columns;
  if (options.namespaces) columns.push_back({"NAMESPACE"});
  for (const char* name : {"NAME", "TEMPLATE", "WANTED", "WAITING", "COMING", "READY", "AGE"})
    columns.push_back({name});
  if (options.wide) {
    for (const char* name : {"OUTDATED", "WHY"})
      columns.push_back({name});
  }
  const auto count = [](const json& pool, const char* field) {
    const json& value = json_at(pool, {"status", field});
    return value.is_number_integer() ? value.get<std::int64_t>() : 0;
  };
  std::vector<std::vector<std::string>> rows;
  for (const json& pool : pools) {
    std::vector<std::string> row;
    if (options.namespaces) row.push_back(text_at(pool, {"metadata", "namespace"}));
    const json& ready = condition(pool, "Ready");
    const bool seen = json_at(pool, {"status", "replicas"}).is_number_integer();
    const std::int64_t current = count(pool, "updatedReplicas");
    const auto told = [&](std::int64_t pods) {
      return seen ? std::to_string(std::max<std::int64_t>(0, pods)) : "-";
    };
    row.push_back(text_at(pool, {"metadata", "name"}));
    row.push_back(or_dash(text_at(pool, {"spec", "templateRef", "name"})));
    row.push_back(or_dash(number(pool, {"spec", "replicas"})));
    row.push_back(told(count(pool, "readyReplicas")));
    row.push_back(told(current - count(pool, "readyReplicas")));
    row.push_back(or_dash(text_at(ready, {"reason"})));
    row.push_back(
        age_text(kube::parse_rfc3339(text_at(pool, {"metadata", "creationTimestamp"})), now));
    for (std::string& cell : row)
      cell = cut(std::move(cell));
    if (options.wide) {
      row.push_back(told(count(pool, "replicas") - current));
      row.push_back(or_dash(text_at(ready, {"message"})));
    }
    rows.push_back(std::move(row));
  }
  return table(columns, rows, 3);
}

bool in_order(const json& workspace) {
  const std::string phase = text_at(workspace, {"status", "phase"});
  return phase == "Succeeded" || text_at(condition(workspace, "Ready"), {"status"}) == "True";
}

std::string next_step(const json& workspace) {
  const std::string who = text_at(workspace, {"metadata", "name"}) + " -n " +
                          text_at(workspace, {"metadata", "namespace"});
  for (const char* type :
       {"Accepted", "CredentialsReady", "SetupReady", "Isolated", "Archived", "Ready"}) {
    const json& one = condition(workspace, type);
    if (text_at(one, {"status"}) != "False") continue;
    const std::string reason = text_at(one, {"reason"});
    for (const Hint& hint : kHints) {
      if (reason == hint.reason) return fmt::format(fmt::runtime(hint.step), who);
    }
  }
  return {};
}

std::string workspace_tree(const WorkspaceView& view, WallClock::time_point now, bool wide) {
  const json& w = view.workspace;
  const std::string ns = text_at(w, {"metadata", "namespace"});
  std::string head = "AgentWorkspace " + ns + "/" + text_at(w, {"metadata", "name"}) + "  " +
                     or_dash(text_at(w, {"status", "phase"}));
  const json& seen = json_at(w, {"status", "observedGeneration"});
  if (!seen.is_number_integer()) {
    head += "  (the operator has not seen it yet: is it running?)";
  } else if (seen != json_at(w, {"metadata", "generation"})) {
    head += "  (the operator has not seen its last change yet)";
  }
  Branch root{head, {}};
  root.below.push_back(
      {fmt::format("repository  {}, from {} to {}", text_at(w, {"spec", "repository", "url"}),
                   or_dash(text_at(w, {"spec", "repository", "ref"})),
                   or_dash(text_at(w, {"status", "branch"}))),
       {}});
  if (const std::string commits = number(w, {"status", "commits"}); !commits.empty()) {
    const std::string last = text_at(w, {"status", "head"}).substr(0, 12);
    root.below.push_back(
        {"pushed      " + commits + " commit(s)" + (last.empty() ? "" : ", the last is " + last),
         {}});
  }
  if (const auto end = kube::parse_rfc3339(text_at(w, {"status", "expiresAt"}));
      end && text_at(w, {"status", "phase"}) == "Running")
    root.below.push_back({"ends        in " + age_text(now, *end), {}});
  if (const json& audit = json_at(w, {"status", "audit"}); audit.is_object()) {
    root.below.push_back(
        {fmt::format("record      {} programs, {} refusals, {} findings",
                     or_dash(number(audit, {"execs"})), or_dash(number(audit, {"refusals"})),
                     or_dash(number(audit, {"findings"}))),
         {}});
  }
  if (const json& llm = json_at(w, {"status", "llm"}); llm.is_object()) {
    root.below.push_back(
        {fmt::format("relay       {} requests, {} that failed", or_dash(number(llm, {"requests"})),
                     or_dash(number(llm, {"failures"}))),
         {}});
  }
  if (const std::string made = text_at(w, {"status", "setup", "claim"}); !made.empty())
    root.below.push_back(
        {fmt::format("setup       {} of commit {}", made,
                     or_dash(text_at(w, {"status", "setup", "commit"}).substr(0, 12))),
         {}});
  if (const std::string place = text_at(w, {"status", "archive", "location"}); !place.empty())
    root.below.push_back({"archive     " + place, {}});
  if (const std::string url = text_at(w, {"status", "mergeRequest", "url"}); !url.empty())
    root.below.push_back({"request     " + url, {}});
  Branch conditions{"Conditions", {}};
  for (const char* type : {"Accepted", "CredentialsReady", "SetupReady", "Isolated", "Ready"}) {
    const json& one = condition(w, type);
    if (one.is_null()) continue;
    conditions.below.push_back({fmt::format("{:<17}{:<8}{}: {}", type, text_at(one, {"status"}),
                                            text_at(one, {"reason"}), text_at(one, {"message"})),
                                {}});
  }
  if (!conditions.below.empty()) root.below.push_back(std::move(conditions));
  Branch objects{"Objects", {}};
  for (const Part& part : view.parts) {
    objects.below.push_back({part.kind + " " + printable(part.name) +
                                 (part.there ? "" : "  MISSING") +
                                 (part.note.empty() ? "" : "  (" + printable(part.note) + ")"),
                             {}});
  }
  Branch pod = view.pod ? pod_branch(*view.pod, wide, now) : Branch{"Pod: there is none", {}};
  // Where it comes from; the pod alone no longer says it.
  if (const std::string pool = text_at(w, {"status", "warmPod", "pool"}); view.pod && !pool.empty())
    pod.text += ", from pool " + pool;
  objects.below.push_back(std::move(pod));
  root.below.push_back(std::move(objects));
  if (!view.events.empty()) root.below.push_back(events_branch(view.events, wide, now));
  std::string out = root.text + "\n";
  draw(root, "", out);
  if (!in_order(w)) {
    const std::string step = next_step(w);
    if (!step.empty()) out += "\nNext: " + step + "\n";
  }
  return out;
}

}  // namespace palisade::cli
