#include <algorithm>

#include <operator/executor.h>
#include <operator/pool.h>

#include "cached.h"
#include "compare.h"

namespace palisade::op {

namespace {

// Somebody has changed it since it was looked at: the next look has it as it is now, whatever the
// cache still holds.
void look_anew(const kube::Client& client, const kube::Resource& resource, const std::string& ns,
               const std::string& name, Known& known, const std::stop_token& stop) {
  // That nothing was made for it yet no longer goes without saying.
  if (resource == workspaces()) known.forget_secrets(kube::object_key(ns, name));
  auto live = client.get(resource, ns, name, stop);
  if (live) known.learn(resource, std::make_shared<const Json>(lean(resource, std::move(*live))));
}

// What plans are about.
struct Subject {
  const kube::Resource& resource;
  const char* finalizer;
};

Subject subject_of(const Json& object) {
  return object.value("kind", "") == kPoolApiKind ? Subject{pools(), kPoolFinalizer}
                                                  : Subject{workspaces(), kFinalizer};
}

class Executor {
 public:
  Executor(const kube::Client& client, const Json& workspace, Known& known, std::stop_token stop)
      : client_(client),
        workspace_(workspace),
        ns_(workspace["metadata"]["namespace"]),
        key_(kube::object_key(workspace)),
        known_(known),
        stop_(std::move(stop)) {}

  kube::Result<void> one(const Action& action) {
    const std::string& ns = action.ns.empty() ? ns_ : action.ns;
    switch (action.kind) {
      case ActionKind::kAddFinalizer:
        return set_finalizer(true);
      case ActionKind::kRemoveFinalizer:
        return set_finalizer(false);
      case ActionKind::kApply: {
        if (action.uid.empty()) return create(*action.resource, ns, action);
        Json object = action.object;
        object["metadata"]["uid"] = action.uid;
        if (!action.version.empty()) object["metadata"]["resourceVersion"] = action.version;
        known_.writing(*action.resource, ns, action.name);
        return outcome(*action.resource, ns, action.name,
                       client_.apply(*action.resource, ns, action.name, object,
                                     {kFieldManager, true, "", false}, stop_));
      }
      case ActionKind::kStrip: {
        Json change = action.object;
        change["metadata"]["uid"] = action.uid;
        return patch(*action.resource, ns, action.name, change);
      }
      case ActionKind::kFence:
      case ActionKind::kTake: {
        Json change = action.object;
        change["metadata"]["uid"] = action.uid;
        if (!action.version.empty()) change["metadata"]["resourceVersion"] = action.version;
        return patch(*action.resource, ns, action.name, change);
      }
      case ActionKind::kCreatePod:
        return create(*action.resource, ns, action);
      case ActionKind::kLiftGate:
        return patch(
            *action.resource, ns, action.name,
            {{"metadata", {{"uid", action.uid}}}, {"spec", {{"schedulingGates", nullptr}}}});
      case ActionKind::kDelete: {
        kube::DeleteOptions options;
        options.uid = action.uid;
        options.resource_version = action.version;
        options.propagation = "Background";
        auto gone = client_.remove(*action.resource, ns, action.name, options, stop_);
        forget(*action.resource, ns, action.name);
        if (!gone && gone.error().is_conflict() && *action.resource != kube::resources::kSecrets)
          look_anew(client_, *action.resource, ns, action.name, known_, stop_);
        if (gone) known_.ending(*action.resource, ns, action.name, action.uid);
        if (!gone && !gone.error().is_not_found()) return gone;
        return {};
      }
      case ActionKind::kStatus: {
        auto written = write_status(client_, workspace_, action.object, known_, stop_);
        if (!written) return std::unexpected(std::move(written.error()));
        return {};
      }
    }
    return {};
  }

 private:
  // The workspace's finalizers with or without ours, written only if nobody has changed the object
  // meanwhile.
  kube::Result<void> set_finalizer(bool wanted) {
    const Json& metadata = workspace_["metadata"];
    Json finalizers = metadata.value("finalizers", Json::array());
    const Subject subject = subject_of(workspace_);
    const auto ours = std::ranges::find(finalizers, Json(subject.finalizer));
    if (wanted == (ours != finalizers.end())) return {};
    if (wanted) {
      finalizers.push_back(subject.finalizer);
    } else {
      finalizers.erase(ours);
    }
    const Json change{{"metadata",
                       {{"uid", metadata["uid"]},
                        {"resourceVersion", metadata["resourceVersion"]},
                        {"finalizers", finalizers}}}};
    auto done = patch(subject.resource, ns_, metadata["name"], change);
    if (!done && done.error().is_not_found() && !wanted) return {};
    return done;
  }

  kube::Result<void> create(const kube::Resource& resource, const std::string& ns,
                            const Action& action) {
    auto made = client_.create(resource, ns, action.object, stop_, kFieldManager);
    // Ours from a moment ago, or somebody else's: the next look is at the API server itself.
    if (!made && made.error().is_already_exists()) known_.suspect(key_);
    return outcome(resource, ns, action.name, std::move(made));
  }

  kube::Result<void> patch(const kube::Resource& resource, const std::string& ns,
                           const std::string& name, const Json& change) {
    known_.writing(resource, ns, name);
    return outcome(resource, ns, name,
                   client_.patch(resource, ns, name, kube::PatchType::kMerge, change, "", stop_));
  }

  kube::Result<void> outcome(const kube::Resource& resource, const std::string& ns,
                             const std::string& name, kube::Result<Json> answer) {
    if (!answer) {
      // A server in trouble says nothing of the object.
      if (!answer.error().is_retriable()) forget(resource, ns, name);
      if (answer.error().is_conflict() && resource != kube::resources::kSecrets)
        look_anew(client_, resource, ns, name, known_, stop_);
      return std::unexpected(std::move(answer.error()));
    }
    auto object = std::make_shared<const Json>(lean(resource, std::move(*answer)));
    if (resource == kube::resources::kSecrets) {
      known_.learn_secret(key_, name, std::move(object));
    } else {
      known_.wrote(resource, std::move(object));
    }
    return {};
  }

  void forget(const kube::Resource& resource, const std::string& ns, const std::string& name) {
    if (resource == kube::resources::kSecrets) {
      known_.forget_secrets(key_);
    } else {
      known_.forget(resource, ns, name);
    }
  }

  const kube::Client& client_;
  const Json& workspace_;
  const std::string ns_;
  const std::string key_;
  Known& known_;
  const std::stop_token stop_;
};

}  // namespace

const char* action_name(ActionKind kind) {
  static constexpr const char* kNames[] = {"add finalizer",
                                           "remove finalizer",
                                           "apply",
                                           "strip foreign fields of",
                                           "fence",
                                           "create",
                                           "lift the gate of",
                                           "delete",
                                           "status",
                                           "take"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string CreateErrors::of(const std::string& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = errors_.find(key);
  return found == errors_.end() ? std::string() : found->second;
}

void CreateErrors::learn(const std::string& key, const std::string& error) {
  const std::scoped_lock lock(mutex_);
  if (error.empty()) {
    errors_.erase(key);
  } else {
    errors_[key] = error;
  }
}

std::optional<Json> take_status(Plan& plan) {
  std::optional<Json> out;
  std::erase_if(plan.actions, [&](Action& action) {
    if (action.kind != ActionKind::kStatus) return false;
    out = std::move(action.object);
    return true;
  });
  return out;
}

kube::ObjectPtr with_status(const Json& object, const Json& status) {
  Json out = object;
  out["status"] = status;
  return std::make_shared<const Json>(std::move(out));
}

kube::Result<kube::ObjectPtr> write_status(const kube::Client& client, const Json& workspace,
                                           const Json& status, Known& known,
                                           const std::stop_token& stop) {
  const std::string ns = workspace["metadata"]["namespace"];
  const std::string name = workspace["metadata"]["name"];
  const kube::Resource& resource = subject_of(workspace).resource;
  Json object{
      {"apiVersion", kApiVersion},
      {"kind", resource.kind},
      {"metadata", {{"name", name}, {"namespace", ns}, {"uid", workspace["metadata"]["uid"]}}},
      {"status", status}};
  if (const std::string seen = version_of(workspace); !seen.empty())
    object["metadata"]["resourceVersion"] = seen;
  auto written =
      client.apply(resource, ns, name, object, {kFieldManager, true, "status", false}, stop);
  if (!written) {
    if (!written.error().is_retriable()) known.forget(resource, ns, name);
    if (written.error().is_conflict()) look_anew(client, resource, ns, name, known, stop);
    if (written.error().is_not_found()) return kube::ObjectPtr();
    return std::unexpected(std::move(written.error()));
  }
  auto out = std::make_shared<const Json>(std::move(*written));
  known.wrote(resource, out);
  return out;
}

kube::Result<void> execute(const kube::Client& client, const Json& workspace, const Plan& plan,
                           Known& known, std::string& create_error, std::stop_token stop) {
  Executor executor(client, workspace, known, std::move(stop));
  kube::Result<void> failed;
  create_error.clear();
  for (const Action& action : plan.actions) {
    // After a failure nothing more is changed, but the status is still told.
    if (!failed && action.kind != ActionKind::kStatus) continue;
    auto done = executor.one(action);
    if (done || !failed) continue;
    if (action.kind == ActionKind::kApply || action.kind == ActionKind::kCreatePod)
      create_error = done.error().message.empty() ? done.error().text() : done.error().message;
    failed = std::move(done);
  }
  return failed;
}

}  // namespace palisade::op
