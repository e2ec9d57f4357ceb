// Whether the guard does what it is there for: requests that the API server answers without keeping
// anything.
#include <string>

#include "doctor.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

constexpr const char* kTried = "palisade-doctor";
constexpr const char* kCreatedBy = "palisade.dev/created-by";

kube::Result<Json> dry_run(const Live& live, const kube::Resource& resource, const std::string& ns,
                           Json object) {
  object["apiVersion"] = resource.api_version();
  object["kind"] = resource.kind;
  object["metadata"] = {{"name", kTried}, {"namespace", ns}};
  kube::ApplyOptions options;
  options.field_manager = kTried;
  options.dry_run = true;
  return live.client().apply(resource, ns, kTried, object, options);
}

bool refused(const kube::Error& error) {
  return error.code == 403 || error.code == 422;
}

bool by_palisade(const kube::Error& error) {
  return refused(error) && error.text().find("Palisade") != std::string::npos;
}

// Passes the Pod Security Standard's level `restricted`, so that nobody else has a say.
Json container(const char* image) {
  return {{"name", "main"},
          {"image", image},
          {"resources",
           {{"requests", {{"cpu", "10m"}, {"memory", "16Mi"}}},
            {"limits", {{"cpu", "10m"}, {"memory", "16Mi"}}}}},
          {"securityContext",
           {{"allowPrivilegeEscalation", false},
            {"runAsNonRoot", true},
            {"runAsUser", 65532},
            {"seccompProfile", {{"type", "RuntimeDefault"}}},
            {"capabilities", {{"drop", {"ALL"}}}}}}};
}

void try_workspace(const Live& live, const std::string& ns, Diagnoses& out) {
  const auto made = dry_run(
      live, kinds::kAgentWorkspaces, ns,
      {{"spec", {{"repository", {{"url", "https://git.example.com/palisade/doctor.git"}}}}}});
  if (!made) {
    if (by_palisade(made.error())) {
      out.ok("an AgentWorkspace in " + ns +
             " is judged, and refused there: " + made.error().text());
    } else {
      out.problem("an AgentWorkspace cannot be made in " + ns + ": " + made.error().text(),
                  "see the checks `definitions` and `service`, and whether you may create "
                  "AgentWorkspaces there");
    }
    return;
  }
  const std::string creator =
      text_at(*made, std::string("/metadata/annotations/") + "palisade.dev~1created-by");
  if (creator.empty()) {
    out.problem(std::string("nobody wrote down who creates an AgentWorkspace in ") + ns +
                    " (the annotation " + kCreatedBy + "): anybody may enter its session",
                "install the chart again: its MutatingWebhookConfiguration is not in force");
    return;
  }
  out.ok("an AgentWorkspace can be made in " + ns + ", by " + printable(creator));
}

void try_weak_pod(const Live& live, const std::string& ns, Diagnoses& out) {
  const auto made = dry_run(live, known::kPods, ns,
                            {{"spec", {{"containers", {container("example.com/aider:1")}}}}});
  if (made) {
    out.problem(
        "an Aider pod without the hardening would be let in to " + ns,
        "see the check `admission`, and the labels of the namespace: kubectl get namespace " + ns +
            " --show-labels");
  } else if (by_palisade(made.error())) {
    out.ok("an Aider pod without the hardening is refused in " + ns);
  } else if (refused(made.error())) {
    out.problem("an Aider pod without the hardening is refused in " + ns +
                    ", but not by Palisade: " + made.error().text(),
                "try another namespace, in which you may create pods");
  } else {
    out.problem("nobody judges an Aider pod in " + ns + ": " + made.error().text(),
                "see the check `service`");
  }
}

void try_plain_pod(const Live& live, const std::string& ns, Diagnoses& out) {
  const auto made = dry_run(live, known::kPods, ns,
                            {{"spec", {{"containers", {container("example.com/web:1")}}}}});
  if (made) {
    out.ok("an ordinary pod passes in " + ns);
  } else if (by_palisade(made.error())) {
    out.warning("an ordinary pod is refused in " + ns + ": " + made.error().text(),
                "if nobody means it: kubectl label namespace " + ns + " palisade.dev/enforce-");
  } else {
    out.problem("an ordinary pod does not pass in " + ns + ": " + made.error().text(),
                "the API server's message says why");
  }
}

}  // namespace

void try_guard(const Live& live, const std::string& ns, Diagnoses& out) {
  out.begin("try");
  try_workspace(live, ns, out);
  try_weak_pod(live, ns, out);
  try_plain_pod(live, ns, out);
}

}  // namespace palisade::cli
