#include "permissions_host.h"

#include <tuple>
#include <utility>

#include "permissions_give.h"
#include "permissions_reader.h"

namespace palisade::policy {

using simdjson::dom::element;

void environment_grants(element container, const std::string& where, Actor& actor) {
  each_at(container, "/env", [&](element variable, const std::string& here) {
    simdjson::dom::object source;
    if (variable.at_pointer("/valueFrom").get(source) != simdjson::SUCCESS) return;
    const std::string detail = "as variable " + text_at(variable, "/name");
    for (const auto [kind, value] : source) {
      if (value.is_null()) continue;
      const std::string from = where + here + "/valueFrom/" + std::string(kind);
      const std::string key = " key " + text_at(value, "/key");
      if (kind == "secretKeyRef") {
        give(actor, "secret.read", {"Secret " + text_at(value, "/name") + key, detail, from});
      } else if (kind == "configMapKeyRef") {
        give(actor, "config.read", {"ConfigMap " + text_at(value, "/name") + key, detail, from});
      } else {
        give(actor, "config.read", {std::string(kind), detail, from});
      }
    }
  });
  each_at(container, "/envFrom", [&](element source, const std::string& here) {
    for (const auto& [kind, capability, object] :
         {std::tuple{"secretRef", "secret.read", "Secret "},
          std::tuple{"configMapRef", "config.read", "ConfigMap "}}) {
      element reference;
      if (source.at_pointer(std::string("/") + kind).get(reference) == simdjson::SUCCESS)
        give(actor, capability,
             {object + text_at(reference, "/name"), "as variables", where + here + "/" + kind});
    }
  });
}

void kernel_grants(element pod, element container, const std::string& where, Actor& actor) {
  const std::string context = where + "/securityContext";
  if (bool_at(container, "/securityContext/privileged").value_or(false))
    give(actor, "host.privileged", {"everything", "", context + "/privileged"});
  if (bool_at(container, "/securityContext/allowPrivilegeEscalation").value_or(true))
    give(actor, "kernel.escalation", {"set-user-ID programs", "", where});
  bool dropped = false;
  each_at(container, "/securityContext/capabilities/drop",
          [&](element dropping, const std::string&) { dropped |= is_text(dropping, "ALL"); });
  if (!dropped) give(actor, "kernel.capabilities", {"the runtime's default ones", "", where});
  each_at(container, "/securityContext/capabilities/add",
          [&](element added, const std::string& here) {
            give(actor, "kernel.capabilities", {text_of(added), "", where + here});
          });
  std::string seccomp = text_at(container, "/securityContext/seccompProfile/type");
  if (seccomp.empty()) seccomp = text_at(pod, "/spec/securityContext/seccompProfile/type");
  if (seccomp.empty() || seccomp == "Unconfined")
    give(actor, "kernel.syscalls", {"all of them", "", where});
  if (text_at(container, "/securityContext/procMount") == "Unmasked")
    give(actor, "kernel.proc", {"unmasked", "", context + "/procMount"});
}

void host_grants(element pod, element container, const std::string& pod_name,
                 const std::string& where, Actor& actor) {
  for (const auto& [field, what] :
       {std::pair{"hostNetwork", "network"}, std::pair{"hostPID", "processes"},
        std::pair{"hostIPC", "IPC"}}) {
    if (bool_at(pod, std::string("/spec/") + field).value_or(false))
      give(actor, "host.namespaces", {what, "", pod_name + " /spec/" + field});
  }
  if (bool_at(pod, "/spec/hostUsers").value_or(true))
    give(actor, "host.users", {"user IDs are the node's own", "", pod_name + " /spec"});
  if (bool_at(pod, "/spec/shareProcessNamespace").value_or(false))
    give(actor, "process.others",
         {"all containers of the pod", "", pod_name + " /spec/shareProcessNamespace"});
  each_at(container, "/ports", [&](element port, const std::string& here) {
    const auto number = int_at(port, "/hostPort");
    if (number && *number != 0)
      give(actor, "host.ports", {std::to_string(*number), "", where + here + "/hostPort"});
  });
}

}  // namespace palisade::policy
