#include <algorithm>

#include <operator/executor.h>

namespace palisade::op {

namespace {

// The workspace's finalizers with or without ours, written only if nobody has changed the object
// meanwhile.
kube::Result<void> set_finalizer(const kube::Client& client, const Json& workspace, bool wanted,
                                 const std::stop_token& stop) {
  const Json& metadata = workspace["metadata"];
  Json finalizers = metadata.value("finalizers", Json::array());
  const auto ours = std::ranges::find(finalizers, Json(kFinalizer));
  if (wanted == (ours != finalizers.end())) return {};
  if (wanted) {
    finalizers.push_back(kFinalizer);
  } else {
    finalizers.erase(ours);
  }
  const Json patch{{"metadata",
                    {{"uid", metadata["uid"]},
                     {"resourceVersion", metadata["resourceVersion"]},
                     {"finalizers", finalizers}}}};
  auto done =
      client.patch(workspaces(), metadata["namespace"].get<std::string>(),
                   metadata["name"].get<std::string>(), kube::PatchType::kMerge, patch, "", stop);
  if (!done && !(done.error().is_not_found() && !wanted))
    return std::unexpected(std::move(done.error()));
  return {};
}

kube::Result<void> one(const kube::Client& client, const Json& workspace, const std::string& ns,
                       const Action& action, const std::stop_token& stop) {
  const auto outcome = [](const kube::Result<Json>& result) -> kube::Result<void> {
    if (!result) return std::unexpected(result.error());
    return {};
  };
  switch (action.kind) {
    case ActionKind::kAddFinalizer:
      return set_finalizer(client, workspace, true, stop);
    case ActionKind::kRemoveFinalizer:
      return set_finalizer(client, workspace, false, stop);
    case ActionKind::kApply:
      return outcome(client.apply(*action.resource, ns, action.name, action.object,
                                  {kFieldManager, true, "", false}, stop));
    case ActionKind::kStrip: {
      Json patch = action.object;
      patch["metadata"]["uid"] = action.uid;
      return outcome(client.patch(*action.resource, ns, action.name, kube::PatchType::kMerge, patch,
                                  "", stop));
    }
    case ActionKind::kCreatePod: {
      auto made = client.create(*action.resource, ns, action.object, stop);
      if (!made && made.error().is_already_exists()) return {};
      return outcome(made);
    }
    case ActionKind::kLiftGate: {
      const Json patch{{"metadata", {{"uid", action.uid}}},
                       {"spec", {{"schedulingGates", nullptr}}}};
      return outcome(client.patch(*action.resource, ns, action.name, kube::PatchType::kMerge, patch,
                                  "", stop));
    }
    case ActionKind::kDelete: {
      kube::DeleteOptions options;
      options.uid = action.uid;
      options.propagation = "Background";
      auto gone = client.remove(*action.resource, ns, action.name, options, stop);
      if (!gone && !gone.error().is_not_found()) return gone;
      return {};
    }
    case ActionKind::kStatus: {
      const Json object{{"apiVersion", kApiVersion},
                        {"kind", kKind},
                        {"metadata",
                         {{"name", workspace["metadata"]["name"]},
                          {"namespace", ns},
                          {"uid", workspace["metadata"]["uid"]}}},
                        {"status", action.object}};
      auto written =
          client.apply(workspaces(), ns, workspace["metadata"]["name"].get<std::string>(), object,
                       {kFieldManager, true, "status", false}, stop);
      if (!written && written.error().is_not_found()) return {};
      return outcome(written);
    }
  }
  return {};
}

}  // namespace

kube::Result<void> execute(const kube::Client& client, const Json& workspace, const Plan& plan,
                           std::string& create_error, std::stop_token stop) {
  const std::string ns = workspace["metadata"]["namespace"];
  kube::Result<void> failed;
  create_error.clear();
  for (const Action& action : plan.actions) {
    // After a failure nothing more is changed, but the status is still told.
    if (!failed && action.kind != ActionKind::kStatus) continue;
    auto done = one(client, workspace, ns, action, stop);
    if (done || !failed) continue;
    if (action.kind == ActionKind::kApply || action.kind == ActionKind::kCreatePod)
      create_error = done.error().message.empty() ? done.error().text() : done.error().message;
    failed = std::move(done);
  }
  return failed;
}

}  // namespace palisade::op
