// List, then watch: keeps a Cache equal to what the API server holds, in all namespaces or in given
// ones, and tells a handler of each difference.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <kube/cache.h>
#include <kube/client.h>

namespace kube {

// Called on a thread of the reflector's, one at a time, after the cache has changed. Must not block
// for long.
struct EventHandler {
  std::function<void(const ObjectPtr& object)> on_add;
  std::function<void(const ObjectPtr& before, const ObjectPtr& after)> on_update;
  // As it was last, but for its resourceVersion: the one of its deletion, or of the list that no
  // longer had it. Another UID under the key: as it was last.
  std::function<void(const ObjectPtr& last_known)> on_delete;
};

struct ReflectorOptions {
  // Empty: all, by one list and one watch. Otherwise one of each in every namespace given, on a
  // thread of its own, so that Roles there are all that it takes and one that fails holds up no
  // other. Where the resource is namespaces, these are the names of those that are kept: a Role
  // lets nobody list or watch the namespace that it is in, but get it, so each is read every
  // `poll`.
  std::vector<std::string> namespaces;
  std::chrono::milliseconds poll{10'000};
  std::string label_selector;
  std::string field_selector;
  std::chrono::milliseconds backoff_initial{800};
  std::chrono::milliseconds backoff_max{30'000};
  std::chrono::milliseconds healthy_reset{
      120'000};  // back-off starts over after this long without an error
  std::chrono::seconds watch_timeout_min{300};  // timeoutSeconds is drawn between min and 2*min
  // What is kept of an object, and all that handlers see: applied on a thread of the reflector's,
  // with several namespaces on several at once, to each one as it comes. metadata's namespace,
  // name, uid and resourceVersion stay whatever it returns. With a transform lists are always asked
  // for in pages and each page is transformed before the next is asked for, so that no more than a
  // page is held whole. It must not throw.
  std::function<Json(Json object)> transform;
  // The first state and each relist come as a watch that begins with them (sendInitialEvents),
  // which costs the API server and this side less memory than a list; a list where the server does
  // not offer it or fails at it. Source:
  // https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
  bool streaming_list = false;
  // How many of the cache's objects are kept whole (Cache::Cache). Handlers see them whole.
  std::size_t whole = Cache::kAll;
  // Of the cache, by name: Cache::by_index.
  std::map<std::string, Cache::IndexFunction> indexes;
};

// First list at resourceVersion 0, relist at the last one; 410 (as a status, as an ERROR event in a
// 200, or on a continue page) or "too large resource version" relists from "". After a relist
// deletions are emitted; the same key under a new UID is a delete and an add. No event is lost or
// repeated: an event whose resourceVersion the cache already holds is dropped.
class Reflector {
 public:
  Reflector(std::shared_ptr<const Client> client, Resource resource, ReflectorOptions options,
            EventHandler handler);
  ~Reflector();  // stops and joins
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

  void start();  // starts the owned threads; once
  void stop();   // idempotent; joins
  [[nodiscard]] const Cache& cache() const;
  [[nodiscard]] const Resource& resource() const;
  // The first list has been delivered in full: of every namespace, or of this one.
  [[nodiscard]] bool has_synced() const;
  [[nodiscard]] bool has_synced(std::string_view ns) const;
  [[nodiscard]] bool wait_for_sync(std::chrono::milliseconds timeout,
                                   std::stop_token stop = {}) const;
  // "" while healthy. Of given namespaces each error says which one it is of, and what it lacks.
  [[nodiscard]] std::string last_error() const;
  [[nodiscard]] std::string last_error(std::string_view ns) const;  // of this one alone
  // Since the server last answered anything, be it the end of a watch, and to whichever namespace
  // it has been silent longest; since start() at first.
  [[nodiscard]] std::chrono::milliseconds silence() const;
  // No watch lasts this long unless it is stuck.
  [[nodiscard]] std::chrono::milliseconds longest_silence() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
