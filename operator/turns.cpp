#include <algorithm>

#include <kube/cache.h>
#include <operator/turns.h>

#include "json_access.h"

namespace palisade::op {

namespace {

// It cannot start until somebody does something about it.
bool refused(const Json& status) {
  const Json& credentials = condition_of(status, "CredentialsReady");
  const Json& ready = condition_of(status, "Ready");
  return text_at(condition_of(status, "Accepted"), "status") == "False" ||
         (text_at(ready, "status") == "False" && text_at(ready, "reason") == kVolumeLostReason) ||
         (text_at(credentials, "status") == "False" &&
          text_at(credentials, "reason") != kMintingReason);
}

}  // namespace

Peer peer_of(const Json& workspace, bool has_pod) {
  const Json& metadata = child(workspace, "metadata");
  const Json& status = child(workspace, "status");
  const Json& suspend = child(child(child(workspace, "spec"), "lifecycle"), "suspend");
  const bool finished = is_final_phase(text_at(status, "phase"));
  Peer out{kube::object_key(workspace), text_at(metadata, "creationTimestamp")};
  out.active = !finished && child(metadata, "deletionTimestamp").empty() &&
               !(suspend.is_boolean() && suspend.get<bool>());
  const bool begun = !text_at(status, "podName").empty() && !refused(status);
  out.holds = !finished && (has_pod || (out.active && begun));
  out.wants = out.active && !out.holds && !refused(status);
  return out;
}

bool Turns::look_at(const std::string& ns, const std::stop_token& stop) {
  {
    const std::scoped_lock lock(mutex_);
    if (looked_at_.contains(ns)) return true;
    ++looks_[ns].under_way;
  }
  const auto living = living_(ns, stop);
  const std::scoped_lock lock(mutex_);
  const auto look = looks_.find(ns);
  if (living && looked_at_.insert(ns).second) {
    for (const std::string& key : *living) {
      if (!look->second.returned.contains(key)) granted_.insert(key);
    }
  }
  if (--look->second.under_way == 0) looks_.erase(look);
  return living.has_value();
}

Turn Turns::ask(const std::string& key, std::int64_t most, const std::stop_token& stop) {
  const std::string ns = kube::split_key(key).first;
  if (!look_at(ns, stop)) return {};
  const std::scoped_lock lock(mutex_);
  std::int64_t running = 0;
  std::set<Place> line;
  std::optional<Place> own;
  bool holds = false;
  for (const Peer& peer : peers_(ns)) {
    const bool has = peer.holds || (peer.active && granted_.contains(peer.key));
    if (peer.key == key) {
      own = Place{peer.created, peer.key};
      holds = has;
    } else if (has) {
      ++running;
    } else if (peer.wants) {
      line.insert({peer.created, peer.key});
    }
  }
  if (!own) return {};  // it is gone
  auto& waiting = waiting_[ns];
  line.insert(*own);
  Turn turn;
  turn.position = static_cast<std::size_t>(std::distance(line.begin(), line.find(*own))) + 1;
  turn.of = line.size();
  turn.granted = holds || running + static_cast<std::int64_t>(turn.position) <= most;
  if (turn.granted) {
    granted_.insert(key);
    waiting.erase(*own);
  } else {
    waiting.insert(*own);
  }
  return turn;
}

bool Turns::give_back(const std::string& key) {
  const std::string ns = kube::split_key(key).first;
  const std::scoped_lock lock(mutex_);
  if (const auto look = looks_.find(ns); look != looks_.end()) look->second.returned.insert(key);
  if (const auto found = waiting_.find(ns); found != waiting_.end()) {
    std::erase_if(found->second, [&](const Place& place) { return place.second == key; });
    if (found->second.empty()) waiting_.erase(found);
  }
  return granted_.erase(key) > 0;
}

std::vector<std::string> Turns::waiting(const std::string& ns, std::size_t most) const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> out;
  const auto found = waiting_.find(ns);
  if (found == waiting_.end()) return out;
  for (const Place& place : found->second) {
    if (out.size() == most) break;
    out.push_back(place.second);
  }
  return out;
}

}  // namespace palisade::op
