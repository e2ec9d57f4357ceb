// The table: which controls there are, in the order in which they are reported.
#include "controls.h"

#include <algorithm>
#include <array>

#include <policy/guards.h>

namespace palisade::policy {

std::span<const Control> controls() {
  namespace c = table;
  static const std::array kTable{
      c::run_as_non_root::control,
      c::non_zero_ids::control,
      c::not_privileged::control,
      c::no_privilege_escalation::control,
      c::drop_all_capabilities::control,
      c::seccomp_profile::control,
      c::read_only_root_filesystem::control,
      c::user_namespace::control,
      c::no_host_namespaces::control,
      c::host_ports::control,
      c::no_probe_host::control,
      c::proc_mount::control,
      c::apparmor::control,
      c::selinux::control,
      c::no_sysctls::control,
      c::no_windows_host_process::control,
      c::linux_only::control,
      c::no_runtime_annotations::control,
      c::volume_types::control,
      c::sized_empty_dirs::control,
      c::no_block_devices::control,
      c::no_device_claims::control,
      c::no_mount_propagation::control,
      c::no_service_account_token::control,
      c::no_secret_in_env::control,
      c::no_llm_key_by_value::control,
      c::resource_limits::control,
      c::bounded_lifetime::control,
      c::image_source::control,
      c::image_signature::control,
      c::runtime_class::control,
      c::no_node_name::control,
      c::fair_scheduling::control,
      c::known_fields::control,
      c::deny_all_network::control,
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
