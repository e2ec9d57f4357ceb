// One AgentWorkspace: looked up, and followed until it is where somebody waits for it to be.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "live.h"
#include "status_line.h"

namespace palisade::cli {

// What commands on one workspace take.
struct OneOptions {
  ClusterOptions cluster;
  std::string ns;  // "" is the context's
  std::string workspace;
};
// WORKSPACE, -n and those of the cluster.
void add_one_options(CLI::App& app, OneOptions& options);

// The namespace that is meant.
[[nodiscard]] std::string namespace_of(const Live& live, const OneOptions& options);

// The error says that there is none, or that the cluster does not know the kind, and what to do.
[[nodiscard]] std::expected<kube::Json, std::string> find_workspace(const Live& live,
                                                                    const std::string& ns,
                                                                    const std::string& name);
// The same for an error of a call that was made on it.
[[nodiscard]] std::string workspace_trouble(std::string_view verb, const std::string& ns,
                                            const std::string& name, const kube::Error& error);

// Where the session is: "Running", "Pending: Starting", ...
[[nodiscard]] std::string standing(const kube::Json& workspace);
// Whether the session is over: Succeeded, Failed or Expired.
[[nodiscard]] bool has_ended(const kube::Json& workspace);
// Whether the status speaks of the spec as it is now.
[[nodiscard]] bool is_observed(const kube::Json& workspace);

enum class Followed { kThere, kGone, kLate };

// Calls `look` with each state of the object, from `first` on, until it returns true (kThere), the
// object is gone, another one has its name (kGone), or the time is over (kLate). It asks once a
// second, for which the right to get is enough; what a moment later may be well again (no answer,
// 429, 5xx) is asked again until `deadline`.
[[nodiscard]] std::expected<Followed, std::string> follow_workspace(
    const Live& live, const kube::Json& first, std::chrono::steady_clock::time_point deadline,
    const std::function<bool(const kube::Json&)>& look);

}  // namespace palisade::cli
