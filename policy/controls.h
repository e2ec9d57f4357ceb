// Every control, one in each file of controls/. Their order is controls.cpp's. In the tables at the
// top of those files CONTAINER is each of spec.containers[*], spec.initContainers[*] (sidecars
// among them) and spec.ephemeralContainers[*].
#pragma once

#include <policy/policy.h>

namespace palisade::policy::table {

extern const Control run_as_non_root;
extern const Control non_zero_ids;
extern const Control read_only_root_filesystem;
extern const Control no_privilege_escalation;
extern const Control drop_all_capabilities;
extern const Control seccomp_profile;
extern const Control not_privileged;
extern const Control no_host_namespaces;
extern const Control user_namespace;
extern const Control volume_types;
extern const Control no_block_devices;
extern const Control host_ports;
extern const Control proc_mount;
extern const Control apparmor;
extern const Control selinux;
extern const Control no_sysctls;
extern const Control no_windows_host_process;
extern const Control no_probe_host;
extern const Control no_service_account_token;
extern const Control resource_limits;
extern const Control bounded_lifetime;
extern const Control sized_empty_dirs;
extern const Control no_secret_in_env;
extern const Control no_llm_key_by_value;
extern const Control no_node_name;
extern const Control image_signature;
extern const Control image_source;
extern const Control runtime_class;
extern const Control deny_all_network;
extern const Control known_fields;
extern const Control fair_scheduling;
extern const Control no_device_claims;
extern const Control no_mount_propagation;
extern const Control linux_only;
extern const Control no_runtime_annotations;

}  // namespace palisade::policy::table
