// Every control, one in each file of controls/ and in a namespace of the file's name. Their order
// is controls.cpp's. In the tables at the top of those files CONTAINER is each of
// spec.containers[*], spec.initContainers[*] (sidecars among them) and spec.ephemeralContainers[*].
#pragma once

#include <policy/policy.h>

namespace palisade::policy::table {

// clang-format off
namespace run_as_non_root { extern const Control control; }
namespace non_zero_ids { extern const Control control; }
namespace read_only_root_filesystem { extern const Control control; }
namespace no_privilege_escalation { extern const Control control; }
namespace drop_all_capabilities { extern const Control control; }
namespace seccomp_profile { extern const Control control; }
namespace not_privileged { extern const Control control; }
namespace no_host_namespaces { extern const Control control; }
namespace user_namespace { extern const Control control; }
namespace volume_types { extern const Control control; }
namespace no_block_devices { extern const Control control; }
namespace host_ports { extern const Control control; }
namespace proc_mount { extern const Control control; }
namespace apparmor { extern const Control control; }
namespace selinux { extern const Control control; }
namespace no_sysctls { extern const Control control; }
namespace no_windows_host_process { extern const Control control; }
namespace no_probe_host { extern const Control control; }
namespace no_service_account_token { extern const Control control; }
namespace resource_limits { extern const Control control; }
namespace bounded_lifetime { extern const Control control; }
namespace sized_empty_dirs { extern const Control control; }
namespace no_secret_in_env { extern const Control control; }
namespace no_llm_key_by_value { extern const Control control; }
namespace no_node_name { extern const Control control; }
namespace image_signature { extern const Control control; }
namespace image_source { extern const Control control; }
namespace runtime_class { extern const Control control; }
namespace deny_all_network { extern const Control control; }
namespace known_fields { extern const Control control; }
namespace fair_scheduling { extern const Control control; }
namespace no_device_claims { extern const Control control; }
namespace no_mount_propagation { extern const Control control; }
namespace linux_only { extern const Control control; }
namespace no_runtime_annotations { extern const Control control; }
// clang-format on

}  // namespace palisade::policy::table
