// What every object of a workspace carries.
#pragma once

#include <operator/desired.h>

namespace palisade::op {

// Where courier, checkout and agent have the fetched repository, with another mount than ReadWrite.
inline constexpr const char* kProjectMount = "/palisade/project";
inline constexpr const char* kProjectRepository = "/palisade/project/repo.git";
// The output directory's volume as checkout and courier have it, with mount ReadOnly.
inline constexpr const char* kOutputMount = "/palisade/output";
// What guard writes: its record and, for an archive, what the agent prints.
inline constexpr const char* kRecordMount = "/palisade/record";
inline constexpr const char* kRecordFile = "/palisade/record/record.jsonl";
inline constexpr const char* kOutputFile = "/palisade/record/output.log";
inline constexpr const char* kCheckout = "/workspace/repo";
inline constexpr const char* kHome = "/workspace/.home";

// Where the agent has it.
[[nodiscard]] inline std::string output_path(const Workspace& w) {
  return std::string(kCheckout) + "/" + w.output_dir;
}

[[nodiscard]] inline Json base_object(const Workspace& w, const kube::Resource& resource,
                                      const std::string& name) {
  return {{"apiVersion", resource.api_version()},
          {"kind", resource.kind},
          {"metadata",
           {{"name", name},
            {"namespace", w.ns},
            {"labels", {{kWorkspaceLabel, w.name}, {kManagedByLabel, kManagedBy}}},
            {"ownerReferences",
             {{{"apiVersion", kApiVersion},
               {"kind", kKind},
               {"name", w.name},
               {"uid", w.uid},
               {"controller", true},
               {"blockOwnerDeletion", true}}}}}}};
}

// What every object of a pool carries until it is taken.
[[nodiscard]] inline Json pool_object(const PoolPlace& place, const kube::Resource& resource,
                                      const std::string& name) {
  return {{"apiVersion", resource.api_version()},
          {"kind", resource.kind},
          {"metadata",
           {{"name", name},
            {"namespace", place.ns},
            {"labels", {{kPoolLabel, place.pool}, {kManagedByLabel, kManagedBy}}},
            {"ownerReferences",
             {{{"apiVersion", kApiVersion},
               {"kind", kPoolApiKind},
               {"name", place.pool},
               {"uid", place.pool_uid},
               {"controller", true},
               {"blockOwnerDeletion", true}}}}}}};
}

// What guard starts in a session's pod: a list of words.
[[nodiscard]] Json agent_command(const Workspace& w);

}  // namespace palisade::op
