// Whether nodes can hold an agent, and whether they did: what they say of themselves, and what
// guard found on them when it tried. Pure.
#include <algorithm>
#include <charconv>
#include <optional>

#include "doctor.h"

namespace palisade::cli {
namespace {

using kube::Json;

struct Number {
  int major = 0;
  int minor = 0;
  auto operator<=>(const Number&) const = default;
};

// Of "v1.36.3", "6.1.0-13-amd64", "2.0.4~ds1"; nullopt for anything else.
std::optional<Number> number_of(std::string_view text) {
  if (text.starts_with('v')) text.remove_prefix(1);
  Number out;
  const char* end = text.data() + text.size();
  const auto major = std::from_chars(text.data(), end, out.major);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, out.minor);
  if (minor.ec != std::errc()) return std::nullopt;
  return out;
}

bool older(std::string_view text, Number least) {
  const auto number = number_of(text);
  return number && *number < least;
}

// Why guard could not run there, by the kernel; "" where nothing speaks against it.
std::string kernel_fault(const Json& node) {
  const std::string architecture = text_at(node, "/status/nodeInfo/architecture");
  if (!architecture.empty() && architecture != "amd64")
    return "is of " + architecture + ", and guard is made for amd64";
  const std::string kernel = text_at(node, "/status/nodeInfo/kernelVersion");
  if (older(kernel, {6, 2}))
    return "runs Linux " + kernel +
           ", without the Landlock and the seccomp notifications that guard needs (6.2)";
  return {};
}

// Why no pod there has a user namespace of its own.
std::string users_fault(const Json& node) {
  const std::string kubelet = text_at(node, "/status/nodeInfo/kubeletVersion");
  if (older(kubelet, {1, 33})) return "has kubelet " + kubelet + ", before 1.33";
  const std::string runtime = text_at(node, "/status/nodeInfo/containerRuntimeVersion");
  for (const auto& [name, least] : {std::pair<std::string_view, Number>{"containerd://", {2, 0}},
                                    std::pair<std::string_view, Number>{"cri-o://", {1, 25}}}) {
    if (runtime.starts_with(name) && older(runtime.substr(name.size()), least))
      return "has " + runtime + ", before " + std::to_string(least.major) + "." +
             std::to_string(least.minor);
  }
  return {};
}

const Json& isolated_of(const Json& workspace) {
  static const Json kNone;
  for (const Json& condition : at(workspace, "/status/conditions")) {
    if (text_at(condition, "/type") == "Isolated") return condition;
  }
  return kNone;
}

// Guard lets no program start before every door that must be shut was, and the kernel had what it
// takes.
bool held(const Json& workspace) {
  const Json& execs = at(workspace, "/status/audit/execs");
  return text_at(isolated_of(workspace), "/status") == "True" &&
         (text_at(workspace, "/status/phase") == "Succeeded" ||
          (execs.is_number_integer() && execs.get<std::int64_t>() > 0));
}

struct Trouble {
  const char* reason;  // of the condition Isolated
  const char* what;
  const char* fix;
};
constexpr Trouble kTroubles[] = {
    {"PreflightFailed", "found its network open, so NetworkPolicies are not enforced where it ran",
     "install a network plugin that enforces NetworkPolicies on every node, egress included; then "
     "run the session again"},
    {"KernelUnsupported", "found no Landlock, or no seccomp notifications, where it ran",
     "Linux 6.2 or later with landlock among /sys/kernel/security/lsm, and no gVisor; keep "
     "sessions to such nodes by a RuntimeClass with scheduling.nodeSelector"},
};

void check_node(const Json& node, std::size_t& fit, Diagnoses& out) {
  const std::string name = "node " + text_at(node, "/metadata/name") + " ";
  const std::string kernel = kernel_fault(node);
  if (!kernel.empty()) {
    out.warning(name + kernel + ": no session starts there",
                "a newer kernel there; or keep sessions to other nodes by a RuntimeClass with "
                "scheduling.nodeSelector (spec.isolation.runtimeClassName)");
    return;
  }
  ++fit;
  if (const std::string users = users_fault(node); !users.empty()) {
    out.warning(name + users + ": pods have no user namespace of their own there",
                "upgrade it; or do without, and know the difference: userNamespace: false of the "
                "chart");
  }
}

}  // namespace

void check_isolation(const std::vector<Json>& nodes, const std::vector<Json>& workspaces,
                     Diagnoses& out) {
  out.begin("isolation");
  std::size_t fit = 0;
  for (const Json& node : nodes)
    check_node(node, fit, out);
  if (fit == 0 && !nodes.empty())
    out.problem("no node can run guard", "see the lines on each node above");
  if (fit > 0 && fit == nodes.size())
    out.ok("nothing that " + std::to_string(fit) + " nodes say of themselves speaks against guard");

  std::string proof;  // the last that held
  std::string proof_time;
  for (const Json& workspace : workspaces) {
    const std::string time = text_at(workspace, "/status/startedAt");
    if (!held(workspace) || time < proof_time) continue;
    proof_time = time;
    proof = text_at(workspace, "/metadata/namespace") + "/" + text_at(workspace, "/metadata/name");
  }
  bool failed = false;
  for (const Json& workspace : workspaces) {
    const Json& isolated = isolated_of(workspace);
    for (const Trouble& trouble : kTroubles) {
      if (text_at(isolated, "/reason") != trouble.reason) continue;
      failed = true;
      const std::string what = "session " + text_at(workspace, "/metadata/namespace") + "/" +
                               text_at(workspace, "/metadata/name") + " " + trouble.what + ": " +
                               text_at(isolated, "/message");
      // RFC 3339 in UTC sorts as text.
      if (text_at(workspace, "/status/startedAt") < proof_time) {
        out.warning(what + " (since then " + proof + " was held)", trouble.fix);
      } else {
        out.problem(what, trouble.fix);
      }
    }
  }
  if (!proof.empty()) {
    out.ok("NetworkPolicies, Landlock and seccomp held where session " + proof +
           " ran: guard tried them before the agent started");
  } else if (!failed) {
    out.warning(
        "nobody knows whether NetworkPolicies, Landlock and seccomp hold here: no session that "
        "is still there has tried",
        "run one: palisade create --repo URL -m TASK --wait=finished. Guard tries every door "
        "before "
        "the agent starts, and starts nothing where one is open");
  }
}

void check_isolation(const Live& live, Progress& progress, Diagnoses& out) {
  out.begin("isolation");
  auto nodes = live.all(kube::resources::kNodes, "", progress);
  if (!nodes) out.unread(nodes.error());
  const auto workspaces = live.all(kinds::kAgentWorkspaces, "", progress);
  if (!workspaces) return out.unread(workspaces.error());
  check_isolation(nodes ? *nodes : std::vector<Json>(), *workspaces, out);
}

}  // namespace palisade::cli
