// What is there against what should be.
#pragma once

#include <string>

#include <operator/decide.h>

namespace palisade::op {

[[nodiscard]] std::string uid_of(const Json& object);
[[nodiscard]] std::string version_of(const Json& object);  // metadata.resourceVersion
[[nodiscard]] bool terminating(const Json& object);
[[nodiscard]] std::string annotation(const Json& object, const char* name);

// By a controller reference, or, in another namespace than the workspace's (the gateway's, where no
// reference reaches), by the annotation that names it.
[[nodiscard]] bool owned_by(const Json& object, const Workspace& workspace);
// The same of the workspace's volume, which may have no owner (desired.h).
[[nodiscard]] bool is_volume_of(const Json& claim, const Workspace& workspace);

// Puts one object right: applies it where it is missing or differs, and takes away what others have
// put into `section` (spec or data). A section is ours alone: one label more in a selector, or an
// endPort in a rule, changes what a policy means.
void repair(Plan& plan, const kube::Resource& resource, const kube::ObjectPtr& found,
            const Json& wanted, const char* section);

[[nodiscard]] bool same_network(const kube::ObjectPtr& found, const Json& wanted);

// Whether `wanted` allows nothing that `found` does not: its rules are all there already. A policy
// that selects other pods protects nothing.
[[nodiscard]] bool narrows(const kube::ObjectPtr& found, const Json& wanted);

// The mutable fields of a pod that somebody may have changed under us. Its labels are what the
// NetworkPolicy and the webhook know it by.
[[nodiscard]] bool altered(const Json& pod, const Json& wanted);
// The same but for its deadline.
[[nodiscard]] bool tampered(const Json& pod, const Json& wanted);

}  // namespace palisade::op
