// AgentWorkspaces and their pools for people: tables of them, and one workspace with what belongs
// to it. Pure: objects and the time come in, text goes out, safe for a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace palisade::cli {

using WallClock = std::chrono::system_clock;

// As kubectl tells ages: "45s", "12m", "3h5m", "2d"; "<unknown>" without a time.
[[nodiscard]] std::string age_text(std::optional<WallClock::time_point> then,
                                   WallClock::time_point now);

struct TableOptions {
  bool namespaces = false;  // a column for them
  bool wide = false;
};
// Columns padded with spaces, the header first; no line ends in one. Sorted by namespace and name.
[[nodiscard]] std::string workspace_table(std::vector<nlohmann::json> workspaces,
                                          const TableOptions& options, WallClock::time_point now);

// The same of AgentWorkspacePools.
[[nodiscard]] std::string pool_table(std::vector<nlohmann::json> pools, const TableOptions& options,
                                     WallClock::time_point now);

// One object that the session should have.
struct Part {
  std::string kind;
  std::string name;
  bool there = false;
  std::string note;  // "of somebody else", "the Secret cannot be read"; may be empty
};

struct WorkspaceView {
  nlohmann::json workspace;
  std::vector<Part> parts;             // beside the pod
  std::optional<nlohmann::json> pod;   // nullopt: there is none
  std::vector<nlohmann::json> events;  // events.k8s.io/v1, of the workspace and of its pod
};
// A tree of the workspace, its conditions, its objects and its containers, the last events, and,
// where it is not ready, why and what to do. `wide`: every event, images, and nothing is cut.
[[nodiscard]] std::string workspace_tree(const WorkspaceView& view, WallClock::time_point now,
                                         bool wide = false);

// Whether it goes on or has ended well: running as it should, or Succeeded.
[[nodiscard]] bool in_order(const nlohmann::json& workspace);

// The palisade command that helps with a condition's reason, or "".
[[nodiscard]] std::string next_step(const nlohmann::json& workspace);

}  // namespace palisade::cli
