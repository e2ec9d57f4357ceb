// The promises about pods that wait in a pool: they know of no session and hold nothing of one,
// each is one workspace's at most and never the pool's again, its network is the workspace's own by
// then; and no session is in two pods.
#include <algorithm>

#include <operator/pool.h>

#include "json_access.h"
#include "operator/simulation_api.h"

namespace palisade::op::testing {

namespace {

constexpr const char* kRepository = "team/app.git";  // of every workspace here

const Json& data_of(const Json& config_map) {
  return child(config_map, "data");
}

}  // namespace

void ModelApi::look_at_warm_pod(const Place& place, const Json& pod) {
  const Json& metadata = pod["metadata"];
  const std::string text = pod.dump();
  if (metadata["labels"].contains(kWorkspaceLabel) || text.find(kRepository) != std::string::npos)
    fail("a pod that waits knows of a session", place);
  for (const char* credential : {"\"secret\"", "\"secretKeyRef\"", "\"secretRef\"", "git-token"}) {
    if (text.find(credential) != std::string::npos)
      fail("a pod that waits has a credential", place);
  }
  const auto config = find("configmaps", place.key());
  if (!config || owner_uid(*config) != owner_uid(pod))
    fail("a pod waits without a ConfigMap of its own", place);
}

void ModelApi::look_at_taken_pod(const Place& place, const Json& before, const Json& after,
                                 int process) {
  const std::string uid = after["metadata"]["uid"];
  ++taken;
  if (!is_a_pools(before)) return fail("a pod that is a session's was given away", place);
  if (is_a_pools(after)) return fail("a pod changed its pool", place);
  if (!is_warm(before)) fail("a pod was taken that does not wait", place);
  let_run("a pod was taken whose new network was not closed", place, after, process);
  if (lenient) return;
  const auto workspace = of_uid("agentworkspaces", owner_uid(after));
  if (!workspace || is_final(*workspace)) return fail("a pod was taken for what has ended", place);
  if (text_at(child(child(*workspace, "status"), "warmPod"), "uid") != uid)
    fail("a pod was taken that the status does not name", place);
  for (const auto& pod : all("pods")) {
    if (owner_uid(*pod) == owner_uid(after) && (*pod)["metadata"]["uid"] != uid)
      fail("a pod was taken for a workspace that has one", place);
  }
}

void ModelApi::look_at_config_map(const Place& place, const kube::ObjectPtr& before,
                                  const Json& after) {
  if (is_a_pools(after)) {
    const Json& data = data_of(after);
    if (before && !is_a_pools(*before)) fail("what a session was told went back to a pool", place);
    if (!before &&
        (data.size() != 2 || !data.contains("guard.json") || !data.contains("gitconfig") ||
         data.dump().find(kRepository) != std::string::npos))
      fail("a ConfigMap holds more than a pod that waits may know", place);
    return;
  }
  const std::string owner = owner_uid(after);
  const auto pod = find("pods", place.key());
  // Of a pod that has gone since it was taken nobody reads it, and its name does not come again.
  if (before && is_a_pools(*before) && pod && owner_uid(*pod) != owner)
    fail("a session is told to a pod that is not its own", place);
  look_at_sessions(place, owner);
}

void ModelApi::look_at_sessions(const Place& place, const std::string& workspace) {
  int sessions = 0;
  for (const auto& pod : all("pods")) {
    if (owner_uid(*pod) != workspace || is_a_pools(*pod) || is_a_setups(*pod) || is_gated(*pod) ||
        is_final(*pod))
      continue;
    const auto config = find("configmaps", kube::object_key(*pod));
    if (config && owner_uid(*config) == workspace) ++sessions;
  }
  if (sessions > 1) fail("a session is in two pods", place);
}

}  // namespace palisade::op::testing
