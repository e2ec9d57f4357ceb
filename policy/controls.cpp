// The table: which controls there are, in the order in which they are reported.
#include "controls.h"

#include <algorithm>
#include <array>

#include <policy/guards.h>

namespace palisade::policy {

std::span<const Control> controls() {
  namespace c = table;
  static const std::array kTable{
      c::run_as_non_root,
      c::non_zero_ids,
      c::not_privileged,
      c::no_privilege_escalation,
      c::drop_all_capabilities,
      c::seccomp_profile,
      c::read_only_root_filesystem,
      c::user_namespace,
      c::no_host_namespaces,
      c::host_ports,
      c::no_probe_host,
      c::proc_mount,
      c::apparmor,
      c::selinux,
      c::no_sysctls,
      c::no_windows_host_process,
      c::linux_only,
      c::no_runtime_annotations,
      c::volume_types,
      c::sized_empty_dirs,
      c::no_block_devices,
      c::no_device_claims,
      c::no_mount_propagation,
      c::no_service_account_token,
      c::no_secret_in_env,
      c::no_llm_key_by_value,
      c::resource_limits,
      c::bounded_lifetime,
      c::image_source,
      c::image_signature,
      c::runtime_class,
      c::no_node_name,
      c::fair_scheduling,
      c::known_fields,
      c::deny_all_network,
  };
  return kTable;
}

const Control* find_control(std::string_view id) {
  for (const auto table : {controls(), guards()}) {
    const auto found = std::ranges::find(table, id, &Control::id);
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace palisade::policy
