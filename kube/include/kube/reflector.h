// List, then watch: keeps a Cache equal to what the API server holds and tells a handler of each
// difference.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stop_token>
#include <string>

#include <kube/cache.h>
#include <kube/client.h>

namespace kube {

// Called on the reflector's thread, one at a time, after the cache has changed. Must not block for
// long.
struct EventHandler {
  std::function<void(const ObjectPtr& object)> on_add;
  std::function<void(const ObjectPtr& before, const ObjectPtr& after)> on_update;
  // As it was last, but for its resourceVersion: the one of its deletion, or of the list that no
  // longer had it. Another UID under the key: as it was last.
  std::function<void(const ObjectPtr& last_known)> on_delete;
};

struct ReflectorOptions {
  std::string ns;  // empty: all namespaces
  std::string label_selector;
  std::string field_selector;
  std::chrono::milliseconds backoff_initial{800};
  std::chrono::milliseconds backoff_max{30'000};
  std::chrono::milliseconds healthy_reset{
      120'000};  // back-off starts over after this long without an error
  std::chrono::seconds watch_timeout_min{300};  // timeoutSeconds is drawn between min and 2*min
  // What is kept of an object, and all that handlers see: applied on the reflector's thread to each
  // one as it comes. metadata's namespace, name, uid and resourceVersion stay whatever it returns.
  // With a transform lists are always asked for in pages and each page is transformed before the
  // next is asked for, so that no more than a page is held whole. It must not throw.
  std::function<Json(Json object)> transform;
  // The first state and each relist come as a watch that begins with them (sendInitialEvents),
  // which costs the API server and this side less memory than a list; a list where the server does
  // not offer it or fails at it. Source:
  // https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
  bool streaming_list = false;
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

  void start();  // starts the owned thread; once
  void stop();   // idempotent; joins
  [[nodiscard]] const Cache& cache() const;
  [[nodiscard]] const Resource& resource() const;
  [[nodiscard]] bool has_synced() const;  // the first list has been delivered in full
  [[nodiscard]] bool wait_for_sync(std::chrono::milliseconds timeout,
                                   std::stop_token stop = {}) const;
  [[nodiscard]] std::string last_error() const;  // "" while healthy
  // Since the server last answered anything, be it the end of a watch; since start() at first.
  [[nodiscard]] std::chrono::milliseconds silence() const;
  // No watch lasts this long unless it is stuck.
  [[nodiscard]] std::chrono::milliseconds longest_silence() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
