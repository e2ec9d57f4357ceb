// Namespaces whose labels loosen the guard, and agents that run outside of it.
#include <algorithm>
#include <map>
#include <memory>

#include <policy/guards.h>
#include <policy/network.h>

#include "doctor.h"
#include "explain.h"
#include "guard.h"
#include "parsed.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

bool one_of(const std::string& value, std::initializer_list<std::string_view> values) {
  return std::ranges::find(values, value) != values.end();
}

void check_label(const std::string& ns, const std::string& key, const std::string& value,
                 Diagnoses& out) {
  const std::string at = "namespace " + ns + ": the label " + key + "=" + value;
  const std::string off = "kubectl label namespace " + ns + " " + key + "-";
  if (key == policy::kEnforceLabel) {
    if (value == "off") {
      out.warning(at + " turns the guard off there", "if nobody means it: " + off);
    } else if (!one_of(value, {"agents", "all"})) {
      out.warning(at + " is none of agents, all, off, and counts as all",
                  "write what is meant, or " + off);
    }
  } else if (key == policy::kModeLabel || key.starts_with(policy::kControlLabelPrefix)) {
    const std::string control = key == policy::kModeLabel
                                    ? ""
                                    : key.substr(std::string(policy::kControlLabelPrefix).size());
    if (policy::always_enforced(control) && value != "enforce") {
      out.warning(at + " has no effect: " + control + " is enforced everywhere", off);
    } else if (one_of(value, {"warn", "audit"})) {
      out.warning(at + " lets findings" + (control.empty() ? "" : " of " + control) +
                      " through with a " + (value == "warn" ? "warning" : "note in the audit log"),
                  "if nobody means it: " + off);
    } else if (value != "enforce") {
      out.warning(at + " is none of enforce, warn, audit, and counts as enforce",
                  "write what is meant, or " + off);
    }
    if (!control.empty()) {
      if (const std::string unknown = known_control(control); !unknown.empty())
        out.warning(at + " is of no control: " + unknown, off);
    }
  } else if (key.starts_with("palisade.dev/") || key.find(".palisade.dev/") != std::string::npos) {
    out.warning(at + " means nothing to Palisade",
                "the labels are palisade.dev/enforce, palisade.dev/mode and "
                "control.palisade.dev/CONTROL; " +
                    off);
  }
}

using Networks = std::map<std::string, std::vector<std::shared_ptr<const policy::NetworkPolicy>>>;

std::expected<Networks, std::string> read_networks(const Live& live, Progress& progress) {
  const auto objects = live.all(known::kNetworkPolicies, "", progress);
  if (!objects) return std::unexpected(objects.error());
  Networks out;
  for (const Json& object : *objects) {
    const Parsed parsed(object.dump());
    auto policy = policy::NetworkPolicy::parse(parsed.element());
    if (!policy) return std::unexpected(policy.error());
    const std::string ns = policy->ns();
    out[ns].push_back(std::make_shared<const policy::NetworkPolicy>(std::move(*policy)));
  }
  return out;
}

struct Agent {
  RunningAgent running;
  bool mirror = false;  // of a file on the node
  std::string open;     // why its network is open; "" where it is closed
};

std::optional<Agent> agent_of(const Json& object, const Networks& networks) {
  const std::string phase = text_at(object, "/status/phase");
  if (phase == "Succeeded" || phase == "Failed") return std::nullopt;
  const Parsed parsed(object.dump());
  if (!parsed.good() || policy::agent_reason(parsed.element()).empty()) return std::nullopt;
  Agent out;
  out.running = {text_at(object, "/metadata/namespace"), text_at(object, "/metadata/name"),
                 text_at(object, "/spec/serviceAccountName")};
  if (out.running.account.empty()) out.running.account = "default";
  const Json& annotations = at(object, "/metadata/annotations");
  out.mirror = annotations.is_object() && annotations.contains("kubernetes.io/config.mirror");
  static const std::vector<std::shared_ptr<const policy::NetworkPolicy>> kNone;
  const auto there = networks.find(out.running.ns);
  const auto findings =
      network_findings_of(parsed.element(), there == networks.end() ? kNone : there->second);
  if (!findings.empty()) out.open = findings.front().field + " " + findings.front().message;
  return out;
}

}  // namespace

void check_namespaces(const Live& live, const Installation& installed, Progress& progress,
                      Diagnoses& out) {
  out.begin("namespaces");
  const auto namespaces = live.all(known::kNamespaces, "", progress);
  if (!namespaces) return out.unread(namespaces.error());
  const std::size_t before = out.troubles();
  for (const Json& object : *namespaces) {
    const std::string ns = text_at(object, "/metadata/name");
    const Json& labels = at(object, "/metadata/labels");
    if (!labels.is_object()) continue;
    for (const auto& [key, value] : labels.items())
      check_label(ns, key, value.is_string() ? value.get<std::string>() : "", out);
  }
  for (const std::string& ns : installed.exempt) {
    if (ns == installed.ns || ns == "kube-system") continue;
    out.warning("namespace " + ns + " is exempt: agents there are never judged",
                "if nobody means it, take it out of webhook.exemptNamespaces of the chart");
  }
  if (out.troubles() == before)
    out.ok(counted(namespaces->size(), "namespace") + ", none is labelled to be guarded less");
}

std::vector<RunningAgent> check_pods(const Live& live, const Installation& installed,
                                     Progress& progress, Diagnoses& out) {
  out.begin("network");
  const auto networks = read_networks(live, progress);
  if (!networks) out.unread(networks.error());
  static const Networks kUnknown;
  const Networks& known_networks = networks ? *networks : kUnknown;
  std::vector<Agent> agents;
  const auto done = live.each(
      known::kPods, "", "", progress, [&] { agents.clear(); },
      [&](const Json& object) {
        const std::string ns = text_at(object, "/metadata/namespace");
        if (std::ranges::find(installed.exempt, ns) != installed.exempt.end()) return;
        if (auto agent = agent_of(object, known_networks)) agents.push_back(std::move(*agent));
      });
  std::vector<RunningAgent> running;
  if (!done) {
    for (const char* check : {"static-pods", "network"}) {
      out.begin(check);
      out.unread(done.error());
    }
    return running;
  }
  std::size_t mirrors = 0;
  std::size_t open = 0;
  for (const Agent& agent : agents) {
    const std::string name = agent.running.ns + "/" + agent.running.name;
    if (agent.mirror) {
      ++mirrors;
      out.begin("static-pods");
      out.problem("pod " + name + " runs an agent from a file on a node, past every admission",
                  "remove the file from the kubelet's staticPodPath on node of that pod, and find "
                  "out who may write there");
    }
    if (networks && !agent.open.empty()) {
      ++open;
      out.begin("network");
      out.problem("pod " + name + " runs an agent with an open network: " + agent.open,
                  "kubectl delete pod -n " + agent.running.ns + " " + agent.running.name +
                      ", or close it in: palisade explain deny-all-network");
    }
    running.push_back(agent.running);
  }
  out.begin("static-pods");
  if (mirrors == 0) out.ok("no agent runs as a static pod");
  out.begin("network");
  if (networks && open == 0)
    out.ok("NetworkPolicies close in every agent pod (" + std::to_string(agents.size()) + ")");
  return running;
}

}  // namespace palisade::cli
