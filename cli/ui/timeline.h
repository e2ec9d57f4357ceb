// What the page shows of workspaces, as JSON. Pure: objects and a record come in.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "audit.h"
#include "live_pods.h"

namespace palisade::cli::ui {

// {workspaces: [{namespace, name, phase, reason, ...}]}, the newest first.
[[nodiscard]] nlohmann::json sessions_json(const std::vector<nlohmann::json>& workspaces);

// {workspace, totals, timeline: [{time, kind, tone, text}], notes}: what the status, the Events and
// guard's record tell, in the order of time.
[[nodiscard]] nlohmann::json session_json(const nlohmann::json& workspace,
                                          const std::vector<nlohmann::json>& events,
                                          const std::vector<AuditReader::Line>& record,
                                          std::vector<std::string> notes);

// {judged, rejected, tolerated, controls: [{id, title, objects}], offenders, notes}.
[[nodiscard]] nlohmann::json findings_json(const LivePods& read);

}  // namespace palisade::cli::ui
