#include "operator/simulation_api.h"

#include <algorithm>

#include <operator/pool.h>

#include "json_access.h"

namespace palisade::op::testing {

namespace {

kube::Response status(int code, const std::string& reason, const std::string& message) {
  return {code,
          {},
          Json{{"kind", "Status"},
               {"apiVersion", "v1"},
               {"status", "Failure"},
               {"code", code},
               {"reason", reason},
               {"message", message}}
              .dump()};
}

bool selected(const std::string& plural, const kube::ObjectPtr& object) {
  if (!object) return false;
  if (plural.starts_with("agentworkspace")) return true;
  const Json& metadata = (*object)["metadata"];
  return metadata.contains("labels") && metadata["labels"].value(kManagedByLabel, "") == kManagedBy;
}

// Goes once nobody holds it back any more.
bool has_finalizers(const std::string& plural) {
  return plural == workspaces().plural || plural == pools().plural;
}

bool is_apply(const kube::Request& request) {
  return kube::header(request.headers, "Content-Type") == "application/apply-patch+yaml";
}

}  // namespace

int Choices::pick(int below) {
  const auto most = static_cast<std::uint32_t>(below);
  if (replayed_) {
    const std::uint32_t value = at_ < tape_.size() ? tape_[at_] % most : 0;
    ++at_;
    return static_cast<int>(value);
  }
  tape_.push_back(static_cast<std::uint32_t>(random_() % most));
  return static_cast<int>(tape_.back());
}

bool is_final(const Json& pod) {
  const auto found = pod.find("status");
  if (found == pod.end()) return false;
  const std::string phase = found->value("phase", "");
  return phase == "Succeeded" || phase == "Failed";
}

bool is_gated(const Json& pod) {
  return pod["spec"].contains("schedulingGates");
}

const Json& owner_of(const Json& object) {
  const Json& owners = child(child(object, "metadata"), "ownerReferences");
  if (owners.is_array()) {
    for (const Json& owner : owners) {
      if (owner.value("controller", false)) return owner;
    }
  }
  return kNothing;
}

std::string owner_uid(const Json& object) {
  if (const Json& owner = owner_of(object); !owner.empty()) return text_at(owner, "uid");
  const std::string name = object["metadata"]["name"];
  return name.starts_with("git-") ? name.substr(4) : std::string();
}

bool is_a_pools(const Json& object) {
  return text_at(owner_of(object), "kind") == kPoolApiKind;
}

std::string policy_of(const Json& pod) {
  if (is_a_setups(pod)) return kube::object_key(pod);
  const std::string owner = text_at(owner_of(pod), "name");
  return kube::object_key(text_at(child(pod, "metadata"), "namespace"),
                          is_a_pools(pod) ? pool_network_name(owner) : agent_object(owner));
}

bool is_a_setups(const Json& pod) {
  return text_at(child(pod, "metadata"), "name").ends_with("-setup");
}

std::string setup_claim_of(const Json& pod) {
  for (const Json& volume : child(pod["spec"], "volumes")) {
    const std::string name = text_at(child(volume, "persistentVolumeClaim"), "claimName");
    if (is_setup_claim_name(name)) return name;
  }
  return {};
}

kube::ObjectPtr ModelApi::find(const std::string& plural, const std::string& key) const {
  const auto kind = objects_.find(plural);
  if (kind == objects_.end()) return nullptr;
  const auto found = kind->second.find(key);
  return found == kind->second.end() ? nullptr : found->second;
}

std::vector<kube::ObjectPtr> ModelApi::all(const std::string& plural) const {
  std::vector<kube::ObjectPtr> out;
  const auto kind = objects_.find(plural);
  if (kind == objects_.end()) return out;
  for (const auto& [key, object] : kind->second)
    out.push_back(object);
  return out;
}

std::vector<kube::ObjectPtr> ModelApi::list(const std::string& plural) const {
  std::vector<kube::ObjectPtr> out = all(plural);
  std::erase_if(out, [&](const kube::ObjectPtr& object) { return !selected(plural, object); });
  return out;
}

// A selector's watch: what begins to match is added, what no longer does is deleted, as it is now.
void ModelApi::tell(const std::string& plural, const kube::ObjectPtr& before,
                    const kube::ObjectPtr& after) {
  const bool was = selected(plural, before);
  const bool is = selected(plural, after);
  if (is) {
    logs_[plural].push_back({false, after});
  } else if (was) {
    Json last = after ? *after : *before;
    last["metadata"]["resourceVersion"] = std::to_string(version_);
    logs_[plural].push_back({true, std::make_shared<const Json>(std::move(last))});
  }
}

void ModelApi::store(const std::string& plural, Json object) {
  Json& metadata = object["metadata"];
  const std::string key = kube::object_key(object);
  const kube::ObjectPtr before = find(plural, key);
  if (!metadata.contains("uid")) metadata["uid"] = "uid-" + std::to_string(++uids_);
  if (!metadata.contains("generation")) metadata["generation"] = 1;
  if (before && before->value("spec", Json()) != object.value("spec", Json()))
    metadata["generation"] = metadata["generation"].get<int>() + 1;
  metadata["resourceVersion"] = std::to_string(++version_);
  const bool ends = metadata.contains("deletionTimestamp") && has_finalizers(plural) &&
                    metadata.value("finalizers", Json::array()).empty();
  auto made = std::make_shared<const Json>(std::move(object));
  objects_[plural][key] = made;
  tell(plural, before, made);
  if (ends) drop(plural, key);
}

void ModelApi::drop(const std::string& plural, const std::string& key) {
  const kube::ObjectPtr last = find(plural, key);
  if (!last) return;
  objects_[plural].erase(key);
  ++version_;
  tell(plural, last, nullptr);
}

void ModelApi::put(const std::string& plural, Json object) {
  store(plural, std::move(object));
}

void ModelApi::edit(const std::string& plural, const std::string& key, const Json& merge_patch) {
  const auto found = find(plural, key);
  if (!found) return;
  Json changed = *found;
  changed.merge_patch(merge_patch);
  if (changed == *found) return;
  if (plural == "networkpolicies") was_touched(key);
  store(plural, std::move(changed));
}

void ModelApi::remove(const std::string& plural, const std::string& key, bool at_once) {
  const auto found = find(plural, key);
  if (!found) return;
  if (plural == "networkpolicies") was_touched(key);
  if (at_once) {
    drop(plural, key);
  } else {
    const auto [ns, name] = kube::split_key(key);
    erase({plural, ns, name}, Json::object());
  }
}

void ModelApi::collect() {
  std::vector<std::string> owners;
  for (const char* plural : {"agentworkspaces", "agentworkspacepools"}) {
    for (const auto& object : all(plural))
      owners.push_back((*object)["metadata"]["uid"]);
  }
  for (auto& [plural, kind] : objects_) {
    std::vector<std::string> orphans;
    for (const auto& [key, object] : kind) {
      if (!(*object)["metadata"].contains("ownerReferences")) continue;
      if (std::ranges::find(owners, owner_uid(*object)) == owners.end()) orphans.push_back(key);
    }
    for (const std::string& key : orphans)
      remove(plural, key);
  }
}

Place ModelApi::place_of(const kube::Request& request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  std::vector<std::string> parts;
  for (std::size_t at = 1; at <= path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    parts.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  const auto ns = std::ranges::find(parts, "namespaces");
  if (ns == parts.end() || parts.end() - ns < 3) throw std::logic_error("what is " + path);
  Place place{*(ns + 2), *(ns + 1), ""};
  if (parts.end() - ns > 3) place.name = *(ns + 3);
  if (parts.end() - ns > 4) place.subresource = *(ns + 4);
  return place;
}

kube::Response ModelApi::answer(const kube::Request& request, const Place& place, int process) {
  if (request.method == "GET") {
    if (place.name.empty()) {
      const Json none{{"metadata", {{"resourceVersion", "1"}}}, {"items", Json::array()}};
      return {200, {}, none.dump()};
    }
    const auto found = find(place.plural, place.key());
    if (place.plural == "networkpolicies") was_read(place.key(), found, process);
    if (!found) return status(404, "NotFound", place.plural + " " + place.name + " not found");
    return {200, {}, found->dump()};
  }
  const Json body = request.body.empty() ? Json::object() : Json::parse(request.body);
  if (place.plural != volume_claims().plural) ++writes;
  kube::Response out;
  Place at = place;
  if (request.method == "POST") at.name = body["metadata"]["name"];
  const auto before = find(at.plural, at.key());
  if (request.method == "POST") {
    if (before) {
      out = status(409, "AlreadyExists", at.plural + " " + at.name + " already exists");
    } else {
      Json object = body;
      object["metadata"]["namespace"] = at.ns;
      object["metadata"]["creationTimestamp"] = format_time(now);
      store(at.plural, std::move(object));
      out = {201, {}, find(at.plural, at.key())->dump()};
    }
  } else if (!before) {
    out = status(404, "NotFound", place.plural + " " + place.name + " not found");
  } else if (request.method == "PATCH") {
    out = patch(request, place, body);
  } else {
    out = erase(place, body);
  }
  const auto after = find(at.plural, at.key());
  if (note)
    note("operator " + std::to_string(process) + ": " + request.method + " " + at.plural + " " +
         at.name + (at.subresource.empty() ? "" : "/" + at.subresource) + " -> " +
         std::to_string(out.status) + (after == before ? " (as it was)" : "") +
         (at.plural == "networkpolicies" && after ? " " + (*after)["spec"].dump() : ""));
  if (after != before) look(at, before, after, process);
  // A write's answer shows what is stored now.
  if (at.plural == "networkpolicies" && out.status < 300 && after)
    was_read(at.key(), after, process);
  return out;
}

kube::Response ModelApi::patch(const kube::Request& request, const Place& place, Json body) {
  const auto found = find(place.plural, place.key());
  const Json wanted = body.value("metadata", Json::object());
  for (const char* field : {"uid", "resourceVersion"}) {
    if (wanted.contains(field) && wanted[field] != (*found)["metadata"][field])
      return status(409, "Conflict", std::string(field) + " mismatch");
  }
  Json next = *found;
  if (place.subresource == "status") {
    next["status"] = body["status"];
  } else {
    if (is_apply(request)) {  // selectors and rules are replaced as a whole
      const Json spec = body.value("spec", Json::object());
      for (const auto& [key, value] : spec.items())
        next["spec"][key] = value;
      body.erase("spec");
    }
    next.merge_patch(body);
    const bool deleting = next["metadata"].contains("deletionTimestamp");
    if (deleting && next["metadata"].value("finalizers", Json::array()).size() >
                        (*found)["metadata"].value("finalizers", Json::array()).size())
      return status(422, "Invalid", "no new finalizers may be added to what is being deleted");
  }
  const std::string before = found->dump();
  // What changes nothing gets no new version.
  if (next != *found) store(place.plural, std::move(next));
  const auto now_there = find(place.plural, place.key());
  return {200, {}, now_there ? now_there->dump() : before};
}

kube::Response ModelApi::erase(const Place& place, const Json& options) {
  const auto found = find(place.plural, place.key());
  const Json preconditions = options.value("preconditions", Json::object());
  for (const char* field : {"uid", "resourceVersion"}) {
    if (preconditions.contains(field) && preconditions[field] != (*found)["metadata"][field])
      return status(409, "Conflict", std::string(field) + " mismatch");
  }
  const bool lingers =
      has_finalizers(place.plural) ||
      (place.plural == volume_claims().plural && is_mounted(place.key())) ||
      (place.plural == "pods" && (*found)["spec"].contains("nodeName") && !is_final(*found));
  if (!lingers) {
    drop(place.plural, place.key());
  } else if (!(*found)["metadata"].contains("deletionTimestamp")) {
    Json ending = *found;
    ending["metadata"]["deletionTimestamp"] = format_time(now);
    store(place.plural, std::move(ending));
  }
  return {200, {}, "{}"};
}

}  // namespace palisade::op::testing
