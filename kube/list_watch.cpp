#include "list_watch.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "status_error.h"

namespace kube {

namespace {

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

}  // namespace

void ListWatch::note(std::string text) {
  unhealthy_ = !text.empty();
  const std::scoped_lock lock(mutex_);
  error_ = std::move(text);
}

void ListWatch::note_synced() {
  note({});
  const std::scoped_lock lock(mutex_);
  synced_ = true;
  changed_.notify_all();
}

void ListWatch::wait(std::chrono::milliseconds time, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, time, [] { return false; });
}

// Pauses after a failure: doubling with jitter, never shorter than the server asked for.
void ListWatch::pause(const Error& why, const std::stop_token& stop) {
  if (stop.stop_requested()) return;
  const auto now = Clock::now();
  if (!last_failure_ || now - *last_failure_ > all_.options.healthy_reset)
    backoff_ = std::chrono::milliseconds(0);
  backoff_ = backoff_.count() == 0 ? all_.options.backoff_initial
                                   : std::min(all_.options.backoff_max, backoff_ * 2);
  auto time = backoff_ + backoff_ * std::uniform_int_distribution<int>(0, 100)(random_) / 100;
  if (why.retry_after)
    time = std::max(time, std::chrono::duration_cast<std::chrono::milliseconds>(*why.retry_after));
  last_failure_ = now + time;  // the pause is no healthy time
  const std::string text = explained(why);
  note(text);
  spdlog::warn("{}: {}; trying again in {} ms", all_.resource.plural, text, time.count());
  wait(time, stop);
}

// With the namespace, and what is to be done there, where it is one of several.
std::string ListWatch::explained(const Error& why) const {
  std::string out = ns_.empty() ? why.text() : fmt::format("namespace {}: {}", ns_, why.text());
  // A list of objects is never not found.
  if (why.is_not_found() && !polls_) {
    out += fmt::format("; the API server does not serve {} of {}: bring its definition up",
                       all_.resource.plural, all_.resource.api_version());
  }
  if (ns_.empty()) return out;
  if (why.is_forbidden()) {
    out += fmt::format(
        "; either there is no namespace {}, or no RoleBinding in it lets this account {} {}: "
        "create what is missing",
        ns_, polls_ ? "get" : "list and watch", all_.resource.plural);
  } else if (polls_ && why.is_not_found()) {
    out += fmt::format("; create namespace {}, or watch it no more", ns_);
  }
  return out;
}

ListWatch::ListWatch(Reflected& all, std::string ns)
    : all_(all),
      ns_(std::move(ns)),
      polls_(!all.resource.namespaced && !ns_.empty()),
      streams_(all.options.streaming_list) {}

void ListWatch::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    if (polls_) {
      poll(stop);
    } else {
      run(stop);
    }
  });
  pthread_setname_np(thread_.native_handle(),
                     ("watch " + all_.resource.plural).substr(0, 15).c_str());
}

void ListWatch::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

bool ListWatch::has_synced() const {
  const std::scoped_lock lock(mutex_);
  return synced_;
}

bool ListWatch::wait_for_sync(Clock::time_point until, std::stop_token stop) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, std::move(stop), until, [this] { return synced_; });
}

std::string ListWatch::last_error() const {
  const std::scoped_lock lock(mutex_);
  return error_;
}

std::chrono::milliseconds ListWatch::silence() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - heard_.load());
}

// Namespaces themselves.
void ListWatch::poll(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto object = all_.client->get(all_.resource, "", ns_, stop);
    heard_ = Clock::now();
    if (object) {
      Listed all = nothing_listed();
      note_listed(all, kept(std::move(*object)));
      replace(std::move(all));
      note_synced();
      wait(all_.options.poll, stop);
      continue;
    }
    if (object.error().is_not_found()) replace(nothing_listed());
    pause(object.error(), stop);
  }
}

void ListWatch::run(const std::stop_token& stop) {
  std::string version = "0";
  while (!stop.stop_requested()) {
    auto page = streams_ ? stream_list(version, stop) : list(version, stop);
    heard_ = Clock::now();
    if (page) {
      stream_failures_ = 0;
      replace(std::move(*page));
      note_synced();
      version = watch_until_relist(stop) ? last_version_ : std::string();
      continue;
    }
    const Error& why = page.error();
    if ((why.is_gone() || is_version_too_large(why)) && !version.empty()) {
      note(explained(why));
      version.clear();  // at once: the next list asks for something else
      continue;
    }
    if (streams_ && !why.is_cancelled() && !may_stream_again(why)) {
      spdlog::info("{}: no streaming lists from here on: {}", all_.resource.plural, why.text());
      streams_ = false;
      continue;
    }
    // A list that outlives its own snapshot page by page is asked for in one piece.
    if (why.is_gone()) paged_ = false;
    pause(why, stop);
  }
}

// Whether a streaming list that failed is worth another try.
bool ListWatch::may_stream_again(const Error& why) {
  return why.is_retriable() && why.reason != kTransportReasonProtocol &&
         ++stream_failures_ < kFailuresBeforeOrdinaryLists;
}

// Packed as in the cache, so that no list is ever held whole.
ListWatch::Listed ListWatch::nothing_listed() const {
  return {{}, {}, {}, std::make_unique<Cache>(all_.options.whole)};
}

// Most of a list that is not the first is what the cache holds already.
void ListWatch::note_listed(Listed& all, Json object) const {
  std::string key = object_key(object);
  const ObjectPtr known = all_.cache.get(key);
  if (!known || metadata_text(*known, "uid") != metadata_text(object, "uid") ||
      metadata_text(*known, "resourceVersion") != metadata_text(object, "resourceVersion")) {
    all.order.push_back(key);
    all.changed->put(std::make_shared<const Json>(std::move(object)));
  }
  all.keys.insert(std::move(key));
}

// It was deleted while the list came.
void ListWatch::forget_listed(Listed& all, const Json& object) const {
  const std::string key = object_key(object);
  ObjectPtr known = all.changed->get(key);
  const bool is_new = known != nullptr;
  if (!is_new && all.keys.contains(key)) known = all_.cache.get(key);
  if (!known || metadata_text(*known, "uid") != metadata_text(object, "uid")) return;
  if (is_new) all.changed->remove(key);
  all.keys.erase(key);
}

// What list() returns, by a watch that begins with all there is and says when that was all.
Result<ListWatch::Listed> ListWatch::stream_list(const std::string& version,
                                                 const std::stop_token& stop) {
  WatchOptions query = next_watch();
  query.resource_version = version;
  query.send_initial_events = true;
  Listed all = nothing_listed();
  bool nameless = false;
  const auto result = all_.client->watch(
      all_.resource, query,
      [&](WatchEvent event) {
        heard_ = Clock::now();
        if (event.type == WatchEventType::kBookmark) {
          if (!ends_initial_events(event.object)) return true;
          all.resource_version = metadata_text(event.object, "resourceVersion");
          return false;
        }
        if (metadata_text(event.object, "name").empty()) {
          nameless = true;
          return false;
        }
        if (event.type == WatchEventType::kDeleted) {
          forget_listed(all, event.object);
        } else {
          note_listed(all, kept(std::move(event.object)));
        }
        return true;
      },
      stop);
  if (!result) return std::unexpected(result.error());
  if (nameless) return std::unexpected(malformed("watch: an object has no name"));
  if (all.resource_version.empty())
    return std::unexpected(
        Error{0, kTransportReasonClosed, "a streaming list ended before it was whole", {}, {}});
  return all;
}

Result<ListWatch::Listed> ListWatch::list(const std::string& version, const std::stop_token& stop) {
  ListOptions query;
  query.ns = ns_;
  query.label_selector = all_.options.label_selector;
  query.field_selector = all_.options.field_selector;
  // A list at version 0 comes in one piece, whatever the limit. The most recent one never goes
  // back behind what is known.
  if (!all_.options.transform) query.resource_version = version;
  // A limit beside a version means exactly that version; without one it means that or newer, and
  // the watch cache answers:
  // https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
  if (!paged_ || (!query.resource_version.empty() && version != "0")) query.limit = 0;
  Listed all = nothing_listed();
  while (true) {
    auto page = all_.client->list_page(all_.resource, query, stop);
    if (!page) return std::unexpected(page.error());
    all.resource_version = page->resource_version;
    if (all.resource_version.empty())
      return std::unexpected(malformed("the list has no resourceVersion"));
    for (Json& item : page->items) {
      if (metadata_text(item, "name").empty())
        return std::unexpected(malformed("an item of the list has no name"));
      note_listed(all, kept(std::move(item)));
    }
    if (page->continue_token.empty()) return all;
    if (page->continue_token == query.continue_token)
      return std::unexpected(malformed("the pages of the list do not advance"));
    query.continue_token = page->continue_token;
  }
}

// What of an object goes into the cache.
Json ListWatch::kept(Json object) const {
  if (!all_.options.transform) return object;
  std::array<std::pair<const char*, std::string>, 4> identity{
      {{"namespace", ""}, {"name", ""}, {"uid", ""}, {"resourceVersion", ""}}};
  for (auto& [key, value] : identity)
    value = metadata_text(object, key);
  Json out = all_.options.transform(std::move(object));
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
bool ListWatch::watch_until_relist(const std::stop_token& stop) {
  int failures = 0;
  while (!stop.stop_requested()) {
    const auto begun = Clock::now();
    const std::string from = last_version_;
    bool nameless = false;
    auto result = all_.client->watch(
        all_.resource, next_watch(),
        [&](WatchEvent event) {
          heard_ = Clock::now();
          if (event.type != WatchEventType::kBookmark &&
              metadata_text(event.object, "name").empty()) {
            nameless = true;
            return false;
          }
          failures = 0;
          if (unhealthy_) note({});
          take(std::move(event));
          return true;
        },
        stop);
    heard_ = Clock::now();
    if (stop.stop_requested()) return true;
    if (nameless) result = std::unexpected(malformed("watch: an object has no name"));
    const bool useful = last_version_ != from || Clock::now() - begun >= kShortWatch;
    if (result) {
      if (useful) {
        note({});
        continue;
      }
      result = std::unexpected(
          Error{0, kTransportReasonClosed, "the watch ended at once and told nothing", {}, {}});
    } else if (result.error().is_gone() || is_version_too_large(result.error())) {
      note(explained(result.error()));
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

WatchOptions ListWatch::next_watch() {
  WatchOptions query;
  query.ns = ns_;
  query.label_selector = all_.options.label_selector;
  query.field_selector = all_.options.field_selector;
  query.resource_version = last_version_;
  const auto spread = std::uniform_int_distribution<std::int64_t>(
      0, all_.options.watch_timeout_min.count())(random_);
  query.server_timeout = all_.options.watch_timeout_min + std::chrono::seconds(spread);
  return query;
}

void ListWatch::take(WatchEvent event) {
  std::string version = metadata_text(event.object, "resourceVersion");
  if (event.type != WatchEventType::kBookmark) {
    const auto object = std::make_shared<const Json>(kept(std::move(event.object)));
    if (event.type == WatchEventType::kDeleted) {
      drop(object);
    } else {
      upsert(object);
    }
  }
  last_version_ = std::move(version);
}

void ListWatch::drop(const ObjectPtr& object) {
  const std::scoped_lock lock(all_.telling);
  const std::string key = object_key(*object);
  const ObjectPtr before = all_.cache.get(key);
  // The end of an earlier holder of the name says nothing of the one that holds it now.
  if (!before || metadata_text(*before, "uid") != metadata_text(*object, "uid")) return;
  all_.cache.remove(key);
  if (all_.handler.on_delete) all_.handler.on_delete(object);
}

void ListWatch::upsert(const ObjectPtr& object) {
  const std::scoped_lock lock(all_.telling);
  const ObjectPtr before = all_.cache.get(object_key(*object));
  if (!before) {
    all_.cache.put(object);
    if (all_.handler.on_add) all_.handler.on_add(object);
    return;
  }
  if (metadata_text(*before, "uid") != metadata_text(*object, "uid")) {
    all_.cache.remove(object_key(*object));
    if (all_.handler.on_delete) all_.handler.on_delete(before);
    all_.cache.put(object);
    if (all_.handler.on_add) all_.handler.on_add(object);
    return;
  }
  if (metadata_text(*before, "resourceVersion") == metadata_text(*object, "resourceVersion"))
    return;
  all_.cache.put(object);
  if (all_.handler.on_update) all_.handler.on_update(before, object);
}

// What another part put into the cache no list of this one tells of.
bool ListWatch::is_ours(std::string_view key) const {
  if (ns_.empty()) return true;
  const auto [ns, name] = split_key(key);
  return (polls_ ? name : ns) == ns_;
}

// Makes the cache equal to a list: what is gone first, so that a handler never sees an old and a
// new owner of one name together.
void ListWatch::replace(Listed all) {
  for (const std::string& key : all_.cache.keys()) {
    if (!is_ours(key) || all.keys.contains(key)) continue;
    const std::scoped_lock lock(all_.telling);
    const ObjectPtr known = all_.cache.remove(key);
    if (!known || !all_.handler.on_delete) continue;
    Json last = *known;
    if (!all.resource_version.empty()) last["metadata"]["resourceVersion"] = all.resource_version;
    all_.handler.on_delete(std::make_shared<const Json>(std::move(last)));
  }
  for (const std::string& key : all.order) {
    if (const ObjectPtr object = all.changed->remove(key)) upsert(object);
  }
  last_version_ = all.resource_version;
}

}  // namespace kube
