#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_set>

#include <spdlog/spdlog.h>

#include <kube/reflector.h>

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;

// Watches that break on malformed data this often in a row are given up for a fresh list.
constexpr int kMalformedBeforeRelist = 3;

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
  std::jthread thread;

  // Only the reflector's thread touches what follows.
  std::string last_version;
  std::chrono::milliseconds backoff{0};
  Clock::time_point last_failure;
  std::minstd_rand random{std::random_device{}()};

  void note(std::string text) {
    const std::scoped_lock lock(mutex);
    error = std::move(text);
  }

  void note_synced() {
    const std::scoped_lock lock(mutex);
    synced = true;
    error.clear();
    changed.notify_all();
  }

  // Pauses after a failure: doubling with jitter, never shorter than the server asked for.
  void pause(const Error& why, const std::stop_token& stop) {
    const auto now = Clock::now();
    if (now - last_failure > options.healthy_reset) backoff = std::chrono::milliseconds(0);
    last_failure = now;
    backoff =
        backoff.count() == 0 ? options.backoff_initial : std::min(options.backoff_max, backoff * 2);
    auto wait = backoff + backoff * std::uniform_int_distribution<int>(0, 100)(random) / 100;
    if (why.retry_after)
      wait =
          std::max(wait, std::chrono::duration_cast<std::chrono::milliseconds>(*why.retry_after));
    note(why.text());
    if (!stop.stop_requested()) {
      spdlog::warn("{}: {}; trying again in {} ms", resource.plural, why.text(), wait.count());
    }
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, wait, [] { return false; });
  }

  void run(const std::stop_token& stop) {
    std::string version = "0";
    while (!stop.stop_requested()) {
      auto page = list(version, stop);
      if (!page) {
        const Error& why = page.error();
        if (why.is_cancelled()) return;
        if (why.is_gone() || is_version_too_large(why)) version.clear();
        pause(why, stop);
        continue;
      }
      replace(std::move(*page));
      note_synced();
      version = watch_until_relist(stop) ? last_version : std::string();
    }
  }

  Result<ListPage> list(const std::string& version, const std::stop_token& stop) {
    ListOptions query;
    query.ns = options.ns;
    query.label_selector = options.label_selector;
    query.field_selector = options.field_selector;
    query.resource_version = version;
    return client->list(resource, query, stop);
  }

  // Watches again and again until only a fresh list helps. True: at the last known version; false:
  // at the most recent one.
  bool watch_until_relist(const std::stop_token& stop) {
    int malformed = 0;
    while (!stop.stop_requested()) {
      WatchOptions query;
      query.ns = options.ns;
      query.label_selector = options.label_selector;
      query.field_selector = options.field_selector;
      query.resource_version = last_version;
      const auto spread =
          std::uniform_int_distribution<std::int64_t>(0, options.watch_timeout_min.count())(random);
      query.server_timeout = options.watch_timeout_min + std::chrono::seconds(spread);
      const auto result = client->watch(
          resource, query,
          [this, &malformed](WatchEvent event) {
            malformed = 0;
            take(std::move(event));
            return true;
          },
          stop);
      if (result) {
        note({});
        continue;
      }
      const Error& why = result.error();
      if (why.is_cancelled()) return true;
      if (why.is_gone()) {
        note(why.text());
        return false;
      }
      if (why.code == 0 && why.reason == kTransportReasonClosed) {
        // A cut stream is ordinary (the API server restarts, a proxy gives up): go on where it
        // stopped, at once the first time.
        if (Clock::now() - last_failure > options.backoff_initial) {
          last_failure = Clock::now();
          continue;
        }
      }
      if (why.code == 0 && why.reason == kTransportReasonProtocol &&
          ++malformed >= kMalformedBeforeRelist) {
        pause(why, stop);
        return true;
      }
      pause(why, stop);
      // Refused, late or overloaded: the version is still good. Anything else (a forbidden or
      // vanished kind) needs a list to tell.
      if (!why.is_retriable()) return true;
    }
    return true;
  }

  void take(WatchEvent event) {
    const std::string version = metadata_text(event.object, "resourceVersion");
    if (event.type == WatchEventType::kBookmark) {
      last_version = version;
      return;
    }
    auto object = std::make_shared<const Json>(std::move(event.object));
    if (event.type == WatchEventType::kDeleted) {
      last_version = version;
      if (cache.remove(object_key(*object)) && handler.on_delete) handler.on_delete(object);
      return;
    }
    upsert(object);
    last_version = version;
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
      if (handler.on_delete) handler.on_delete(known);
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
}

Reflector::~Reflector() {
  stop();
}

void Reflector::start() {
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
}

void Reflector::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->thread.request_stop();
  impl_->thread.join();
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
  return impl_->changed.wait_for(lock, stop, timeout, [this] { return impl_->synced; });
}

std::string Reflector::last_error() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->error;
}

}  // namespace kube
