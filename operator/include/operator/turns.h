// Who may run where AgentPolicies bound how many workspaces of a namespace run at a time: in the
// order of their creation, then of their names. What each of them is at is read from the caches;
// what was allowed a moment ago, and no cache can know yet, is remembered.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <operator/decide.h>

namespace palisade::op {

// A workspace as the others of its namespace see it.
struct Peer {
  std::string key;
  std::string created;  // metadata.creationTimestamp
  bool active = false;  // not finished, not suspended, not being deleted
  bool holds = false;   // it runs, has begun to, or its pod is still there
  bool wants = false;   // it waits, or is about to; what is refused holds nobody up
  bool operator==(const Peer&) const = default;
};
[[nodiscard]] Peer peer_of(const Json& workspace, bool has_pod);

// Thread-safe. One for all workers: of two that ask at once the second sees the first's turn.
class Turns {
 public:
  // The workspaces of a namespace, as new as they are known.
  using Peers = std::function<std::vector<Peer>(const std::string& ns)>;
  // Those that have a pod by the API server itself; nullopt where it does not answer. Asked once
  // for a namespace (at first maybe by several at once), since first lists may be old. It may take
  // long: nothing is locked meanwhile.
  using Living = std::function<std::optional<std::vector<std::string>>(
      const std::string& ns, const std::stop_token& stop)>;

  Turns(Peers peers, Living living) : peers_(std::move(peers)), living_(std::move(living)) {}

  // Whether the workspace may run where at most `most` do; a turn stands until it is given back.
  [[nodiscard]] Turn ask(const std::string& key, std::int64_t most,
                         const std::stop_token& stop = {});
  // It needs none (any more). True: others may have been waiting for it.
  bool give_back(const std::string& key);
  // Those that were told to wait, in order; at most `most`.
  [[nodiscard]] std::vector<std::string> waiting(const std::string& ns, std::size_t most) const;

 private:
  using Place = std::pair<std::string, std::string>;  // created, key
  // Lists of a namespace's pods that are under way, and what was given back since the first began:
  // they may still tell of it.
  struct Looks {
    int under_way = 0;
    std::set<std::string> returned;
  };
  // Learns, once, who has a pod in the namespace. False: nobody can tell.
  [[nodiscard]] bool look_at(const std::string& ns, const std::stop_token& stop);

  const Peers peers_;
  const Living living_;
  mutable std::mutex mutex_;
  std::set<std::string> granted_;
  std::map<std::string, std::set<Place>> waiting_;  // by namespace
  std::set<std::string> looked_at_;                 // namespaces
  std::map<std::string, Looks> looks_;              // by namespace
};

}  // namespace palisade::op
