#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include <spdlog/spdlog.h>

#include <kube/reflector.h>

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;

// Watches that fail this often in a row, though the server answers, are given up for a fresh list.
constexpr int kFailuresBeforeRelist = 3;
// A watch that ends sooner than this and tells nothing new is a failure: else it would be asked for
// again without end.
constexpr auto kShortWatch = std::chrono::seconds(1);

// A server that fails at streaming lists this often is asked for ordinary ones.
constexpr int kFailuresBeforeOrdinaryLists = 3;

std::string metadata_text(const Json& object, const char* key) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return {};
  const auto found = metadata->find(key);
  return found != metadata->end() && found->is_string() ? found->get<std::string>() : std::string();
}

// https://kubernetes.io/docs/reference/using-api/api-concepts/#unavailable-resource-versions
bool is_version_too_large(const Error& error) {
  return error.code == 504 &&
         (error.message.find("Too large resource version") != std::string::npos ||
          std::ranges::any_of(error.causes, [](const StatusCause& cause) {
            return cause.reason == "ResourceVersionTooLarge";
          }));
}

// The version watched from is still good and a list would only add to the load.
bool wants_same_watch(const Error& error) {
  if (error.code == 0)
    return error.reason != kTransportReasonProtocol && error.reason != kTransportReasonTooLarge;
  return error.code == 429 || error.code == 502 || error.code == 503 || error.code == 504;
}

bool ends_initial_events(const Json& bookmark) {
  const auto metadata = bookmark.find("metadata");
  if (metadata == bookmark.end() || !metadata->is_object()) return false;
  const auto annotations = metadata->find("annotations");
  return annotations != metadata->end() && annotations->is_object() &&
         annotations->value("k8s.io/initial-events-end", Json()) == "true";
}

Error malformed(std::string what) {
  return {0, kTransportReasonProtocol, std::move(what), {}, {}};
}

}  // namespace

struct Reflector::Impl {
  std::shared_ptr<const Client> client;
  Resource resource;
  ReflectorOptions options;
  EventHandler handler;

  Cache cache;
  mutable std::mutex mutex;
  mutable std::condition_variable_any changed;
  bool synced = false;
  std::string error;
  std::atomic<Clock::time_point> heard{Clock::now()};
  std::jthread thread;

  // Only the reflector's thread touches what follows.
  std::string last_version;
  std::chrono::milliseconds backoff{0};
  std::optional<Clock::time_point> last_failure;
  bool unhealthy = false;  // `error` is not empty
  bool paged = true;
  bool streams = false;
  int stream_failures = 0;  // in a row
  std::minstd_rand random{std::random_device{}()};

  void note(std::string text) {
    unhealthy = !text.empty();
    const std::scoped_lock lock(mutex);
    error = std::move(text);
  }

  void note_synced() {
    note({});
    const std::scoped_lock lock(mutex);
    synced = true;
    changed.notify_all();
  }

  // Pauses after a failure: doubling with jitter, never shorter than the server asked for.
  void pause(const Error& why, const std::stop_token& stop) {
    if (stop.stop_requested()) return;
    const auto now = Clock::now();
    if (!last_failure || now - *last_failure > options.healthy_reset)
      backoff = std::chrono::milliseconds(0);
    backoff =
        backoff.count() == 0 ? options.backoff_initial : std::min(options.backoff_max, backoff * 2);
    auto wait = backoff + backoff * std::uniform_int_distribution<int>(0, 100)(random) / 100;
    if (why.retry_after)
      wait =
          std::max(wait, std::chrono::duration_cast<std::chrono::milliseconds>(*why.retry_after));
    last_failure = now + wait;  // the pause is no healthy time
    note(why.text());
    spdlog::warn("{}: {}; trying again in {} ms", resource.plural, why.text(), wait.count());
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, wait, [] { return false; });
  }

  void run(const std::stop_token& stop) {
    std::string version = "0";
    while (!stop.stop_requested()) {
      auto page = streams ? stream_list(version, stop) : list(version, stop);
      heard = Clock::now();
      if (page) {
        stream_failures = 0;
        replace(std::move(*page));
        note_synced();
        version = watch_until_relist(stop) ? last_version : std::string();
        continue;
      }
      const Error& why = page.error();
      if ((why.is_gone() || is_version_too_large(why)) && !version.empty()) {
        note(why.text());
        version.clear();  // at once: the next list asks for something else
        continue;
      }
      if (streams && !why.is_cancelled() && !may_stream_again(why)) {
        spdlog::info("{}: no streaming lists from here on: {}", resource.plural, why.text());
        streams = false;
        continue;
      }
      // A list that outlives its own snapshot page by page is asked for in one piece.
      if (why.is_gone()) paged = false;
      pause(why, stop);
    }
  }

  // Whether a streaming list that failed is worth another try.
  bool may_stream_again(const Error& why) {
    return why.is_retriable() && why.reason != kTransportReasonProtocol &&
           ++stream_failures < kFailuresBeforeOrdinaryLists;
  }

  // What list() returns, by a watch that begins with all there is and says when that was all.
  Result<ListPage> stream_list(const std::string& version, const std::stop_token& stop) {
    WatchOptions query = next_watch();
    query.resource_version = version;
    query.send_initial_events = true;
    std::map<std::string, Json> objects;
    ListPage all;
    bool nameless = false;
    const auto result = client->watch(
        resource, query,
        [&](WatchEvent event) {
          heard = Clock::now();
          if (event.type == WatchEventType::kBookmark) {
            if (!ends_initial_events(event.object)) return true;
            all.resource_version = metadata_text(event.object, "resourceVersion");
            return false;
          }
          if (metadata_text(event.object, "name").empty()) {
            nameless = true;
            return false;
          }
          std::string key = object_key(event.object);
          if (event.type != WatchEventType::kDeleted) {
            objects.insert_or_assign(std::move(key), kept(std::move(event.object)));
          } else if (const auto known = objects.find(key);
                     known != objects.end() &&
                     metadata_text(known->second, "uid") == metadata_text(event.object, "uid")) {
            objects.erase(known);
          }
          return true;
        },
        stop);
    if (!result) return std::unexpected(result.error());
    if (nameless) return std::unexpected(malformed("watch: an object has no name"));
    if (all.resource_version.empty())
      return std::unexpected(
          Error{0, kTransportReasonClosed, "a streaming list ended before it was whole", {}, {}});
    all.items.reserve(objects.size());
    for (auto& [key, object] : objects)
      all.items.push_back(std::move(object));
    return all;
  }

  Result<ListPage> list(const std::string& version, const std::stop_token& stop) {
    ListOptions query;
    query.ns = options.ns;
    query.label_selector = options.label_selector;
    query.field_selector = options.field_selector;
    // A list at version 0 comes in one piece, whatever the limit. The most recent one never goes
    // back behind what is known.
    if (!options.transform) query.resource_version = version;
    // A limit beside a version means exactly that version; without one it means that or newer, and
    // the watch cache answers:
    // https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
    if (!paged || (!query.resource_version.empty() && version != "0")) query.limit = 0;
    ListPage all;
    while (true) {
      auto page = client->list_page(resource, query, stop);
      if (!page) return page;
      all.resource_version = page->resource_version;
      if (all.resource_version.empty())
        return std::unexpected(malformed("the list has no resourceVersion"));
      for (Json& item : page->items) {
        if (metadata_text(item, "name").empty())
          return std::unexpected(malformed("an item of the list has no name"));
        all.items.push_back(kept(std::move(item)));
      }
      if (page->continue_token.empty()) return all;
      if (page->continue_token == query.continue_token)
        return std::unexpected(malformed("the pages of the list do not advance"));
      query.continue_token = page->continue_token;
    }
  }

  // What of an object goes into the cache.
  Json kept(Json object) const {
    if (!options.transform) return object;
    std::array<std::pair<const char*, std::string>, 4> identity{
        {{"namespace", ""}, {"name", ""}, {"uid", ""}, {"resourceVersion", ""}}};
    for (auto& [key, value] : identity)
      value = metadata_text(object, key);
    Json out = options.transform(std::move(object));
    if (!out.is_object()) out = Json::object();
    Json& metadata = out["metadata"];
    if (!metadata.is_object()) metadata = Json::object();
    for (auto& [key, value] : identity) {
      if (value.empty()) {
        metadata.erase(key);
      } else {
        metadata[key] = std::move(value);
      }
    }
    return out;
  }

  // Watches again and again until only a fresh list helps. True: at the last known version; false:
  // at the most recent one.
  bool watch_until_relist(const std::stop_token& stop) {
    int failures = 0;
    while (!stop.stop_requested()) {
      const auto begun = Clock::now();
      const std::string from = last_version;
      bool nameless = false;
      auto result = client->watch(
          resource, next_watch(),
          [&](WatchEvent event) {
            heard = Clock::now();
            if (event.type != WatchEventType::kBookmark &&
                metadata_text(event.object, "name").empty()) {
              nameless = true;
              return false;
            }
            failures = 0;
            if (unhealthy) note({});
            take(std::move(event));
            return true;
          },
          stop);
      heard = Clock::now();
      if (stop.stop_requested()) return true;
      if (nameless) result = std::unexpected(malformed("watch: an object has no name"));
      const bool useful = last_version != from || Clock::now() - begun >= kShortWatch;
      if (result) {
        if (useful) {
          note({});
          continue;
        }
        result = std::unexpected(
            Error{0, kTransportReasonClosed, "the watch ended at once and told nothing", {}, {}});
      } else if (result.error().is_gone() || is_version_too_large(result.error())) {
        note(result.error().text());
        return false;
      } else if (useful && result.error().reason == kTransportReasonClosed) {
        // A cut stream is ordinary (the API server restarts, a proxy gives up): go on where it
        // stopped.
        continue;
      }
      const Error& why = result.error();
      pause(why, stop);
      if (wants_same_watch(why)) continue;
      // Overloaded or broken, the server gets another chance; a forbidden or vanished kind needs a
      // list to tell.
      if (!why.is_retriable() || ++failures >= kFailuresBeforeRelist) return true;
    }
    return true;
  }

  WatchOptions next_watch() {
    WatchOptions query;
    query.ns = options.ns;
    query.label_selector = options.label_selector;
    query.field_selector = options.field_selector;
    query.resource_version = last_version;
    const auto spread =
        std::uniform_int_distribution<std::int64_t>(0, options.watch_timeout_min.count())(random);
    query.server_timeout = options.watch_timeout_min + std::chrono::seconds(spread);
    return query;
  }

  void take(WatchEvent event) {
    std::string version = metadata_text(event.object, "resourceVersion");
    if (event.type != WatchEventType::kBookmark) {
      const auto object = std::make_shared<const Json>(kept(std::move(event.object)));
      if (event.type == WatchEventType::kDeleted) {
        drop(object);
      } else {
        upsert(object);
      }
    }
    last_version = std::move(version);
  }

  void drop(const ObjectPtr& object) {
    const std::string key = object_key(*object);
    const ObjectPtr before = cache.get(key);
    // The end of an earlier holder of the name says nothing of the one that holds it now.
    if (!before || metadata_text(*before, "uid") != metadata_text(*object, "uid")) return;
    cache.remove(key);
    if (handler.on_delete) handler.on_delete(object);
  }

  void upsert(const ObjectPtr& object) {
    const ObjectPtr before = cache.get(object_key(*object));
    if (!before) {
      cache.put(object);
      if (handler.on_add) handler.on_add(object);
      return;
    }
    if (metadata_text(*before, "uid") != metadata_text(*object, "uid")) {
      cache.remove(object_key(*object));
      if (handler.on_delete) handler.on_delete(before);
      cache.put(object);
      if (handler.on_add) handler.on_add(object);
      return;
    }
    if (metadata_text(*before, "resourceVersion") == metadata_text(*object, "resourceVersion"))
      return;
    cache.put(object);
    if (handler.on_update) handler.on_update(before, object);
  }

  // Makes the cache equal to a list: what is gone first, so that a handler never sees an old and a
  // new owner of one name together.
  void replace(ListPage page) {
    std::unordered_set<std::string> listed;
    for (const Json& item : page.items)
      listed.insert(object_key(item));
    for (const ObjectPtr& known : cache.all()) {
      if (listed.contains(object_key(*known))) continue;
      cache.remove(object_key(*known));
      if (!handler.on_delete) continue;
      Json last = *known;
      last["metadata"]["resourceVersion"] = page.resource_version;
      handler.on_delete(std::make_shared<const Json>(std::move(last)));
    }
    for (Json& item : page.items)
      upsert(std::make_shared<const Json>(std::move(item)));
    last_version = page.resource_version;
  }
};

Reflector::Reflector(std::shared_ptr<const Client> client, Resource resource,
                     ReflectorOptions options, EventHandler handler)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = std::move(client);
  impl_->resource = std::move(resource);
  impl_->options = std::move(options);
  impl_->handler = std::move(handler);
  impl_->streams = impl_->options.streaming_list;
  for (const auto& [name, function] : impl_->options.indexes)
    impl_->cache.add_index(name, function);
}

Reflector::~Reflector() {
  stop();
}

void Reflector::start() {
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
  pthread_setname_np(impl_->thread.native_handle(),
                     ("watch " + impl_->resource.plural).substr(0, 15).c_str());
}

void Reflector::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->thread.request_stop();
  impl_->thread.join();
}

const Resource& Reflector::resource() const {
  return impl_->resource;
}

const Cache& Reflector::cache() const {
  return impl_->cache;
}

bool Reflector::has_synced() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->synced;
}

bool Reflector::wait_for_sync(std::chrono::milliseconds timeout, std::stop_token stop) const {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, std::move(stop), timeout, [this] { return impl_->synced; });
}

std::chrono::milliseconds Reflector::silence() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - impl_->heard.load());
}

// A watch of at most twice the least, ended by the client a little later, and a pause.
std::chrono::milliseconds Reflector::longest_silence() const {
  return 2 * impl_->options.watch_timeout_min + impl_->options.backoff_max * 2 +
         std::chrono::minutes(2);
}

std::string Reflector::last_error() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->error;
}

}  // namespace kube
