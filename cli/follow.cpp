#include "follow.h"

#include <thread>

#include <operator/workspace.h>

#include "json_at.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLook = 1s;

const kube::Json* ready_of(const kube::Json& workspace) {
  const kube::Json& conditions = json_at(workspace, {"status", "conditions"});
  if (!conditions.is_array()) return nullptr;
  for (const kube::Json& one : conditions) {
    if (raw_text_at(one, {"type"}) == "Ready") return &one;
  }
  return nullptr;
}

}  // namespace

void add_one_options(CLI::App& app, OneOptions& options) {
  app.add_option("WORKSPACE", options.workspace, "Name of the AgentWorkspace")
      ->required()
      ->check(CLI::Validator(
          [](const std::string& name) {
            return name.empty() ? std::string("an empty name") : std::string();
          },
          ""));
  app.add_option("-n,--namespace", options.ns, "Namespace; else the context's")->type_name("NAME");
  add_cluster_options(app, options.cluster);
}

std::string namespace_of(const Live& live, const OneOptions& options) {
  return live.scope({.ns = options.ns, .all_namespaces = false, .selector = ""});
}

std::string workspace_trouble(std::string_view verb, const std::string& ns, const std::string& name,
                              const kube::Error& error) {
  if (error.is_not_found() && error.reason != "NotFound") {
    return "this cluster does not know AgentWorkspaces: Palisade is not installed there, or its "
           "definitions (CRDs) are; check --context, or install the chart";
  }
  if (error.is_not_found() && !name.empty()) {
    return printable("there is no AgentWorkspace " + name + " in namespace " + ns +
                     "; palisade list -A lists them");
  }
  return trouble(verb, kinds::kAgentWorkspaces, ns, name, error);
}

std::expected<kube::Json, std::string> find_workspace(const Live& live, const std::string& ns,
                                                      const std::string& name) {
  auto found = live.client().get(kinds::kAgentWorkspaces, ns, name);
  if (!found) return std::unexpected(workspace_trouble("get", ns, name, found.error()));
  return std::move(*found);
}

std::string standing(const kube::Json& workspace) {
  if (!json_at(workspace, {"metadata", "deletionTimestamp"}).is_null()) return "being deleted";
  std::string phase = text_at(workspace, {"status", "phase"});
  if (phase.empty()) return "not seen by the operator yet";
  const kube::Json* ready = ready_of(workspace);
  if (ready == nullptr) return phase;
  const std::string reason = text_at(*ready, {"reason"});
  const std::string message = text_at(*ready, {"message"});
  if (!reason.empty() && reason != phase) phase += ": " + reason;
  if (!message.empty() && text_at(*ready, {"status"}) != "True") phase += ": " + message;
  return phase;
}

bool has_ended(const kube::Json& workspace) {
  return op::is_final_phase(raw_text_at(workspace, {"status", "phase"}));
}

bool is_observed(const kube::Json& workspace) {
  return number_at(workspace, {"status", "observedGeneration"}, -1) ==
         number_at(workspace, {"metadata", "generation"});
}

std::expected<Followed, std::string> follow_workspace(
    const Live& live, const kube::Json& first, Clock::time_point deadline,
    const std::function<bool(const kube::Json&)>& look) {
  const std::string ns = raw_text_at(first, {"metadata", "namespace"});
  const std::string name = raw_text_at(first, {"metadata", "name"});
  const std::string uid = raw_text_at(first, {"metadata", "uid"});
  // A watch would tell a moment sooner, and would need a right more.
  kube::Json now = first;
  for (;;) {
    if (look(now)) return Followed::kThere;
    const auto left = deadline - Clock::now();
    if (left <= 0s) return Followed::kLate;
    std::this_thread::sleep_for(std::min<Clock::duration>(left, kLook));
    auto next = live.client().get(kinds::kAgentWorkspaces, ns, name);
    if (next) {
      if (raw_text_at(*next, {"metadata", "uid"}) != uid) return Followed::kGone;
      now = std::move(*next);
    } else if (next.error().is_not_found()) {
      return Followed::kGone;
    } else if (!next.error().is_retriable()) {
      return std::unexpected(workspace_trouble("get", ns, name, next.error()));
    }
  }
}

}  // namespace palisade::cli
