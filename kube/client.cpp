#include <algorithm>
#include <random>

#include <kube/client.h>
#include <kube/percent.h>

#include "decode.h"
#include "identity.h"
#include "status_error.h"
#include "url.h"

namespace kube {

namespace {

// One event of a watch is one object; etcd refuses objects over 1.5 MiB by default.
constexpr std::size_t kMaxWatchLine = 16 * 1024 * 1024;

class Query {
 public:
  explicit Query(std::string path) : text_(std::move(path)) {}
  Query& add(std::string_view name, std::string_view value) {
    if (value.empty()) return *this;
    text_ += first_ ? '?' : '&';
    first_ = false;
    text_ += name;
    text_ += '=';
    text_ += percent_encoded(value);
    return *this;
  }
  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  std::string text_;
  bool first_ = true;
};

// Bytes that are no UTF-8 become U+FFFD: the API server takes UTF-8 alone, and they may come from
// anywhere.
std::string dump(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Json> parse_object(const std::string& text, Shape shape, std::string_view what) {
  auto object = decode(text, shape);
  if (!object || !object->is_object())
    return std::unexpected(malformed(std::string(what) + ": the answer is not a JSON object"));
  return std::move(*object);
}

// Without a name a path is the collection's: a delete would delete them all.
Result<void> check_names(const Resource& resource, std::string_view ns, std::string_view name,
                         bool wants_name = true) {
  const auto bad = [&](const std::string& what) {
    return std::unexpected(Error{400, "BadRequest", resource.plural + ": " + what, {}, {}});
  };
  if (wants_name && (name.empty() || name == "." || name == "..")) return bad("no name is given");
  if (resource.namespaced && (ns.empty() || ns == "." || ns == ".."))
    return bad("no namespace is given");
  return {};
}

std::string resource_version_of(const Json& object) {
  const auto metadata = object.find("metadata");
  return metadata != object.end() && metadata->is_object() ? text_at(*metadata, "resourceVersion")
                                                           : std::string();
}

// A line of a watch as an event, or the error that it is.
Result<WatchEvent> parse_event(std::string_view line) {
  auto event = decode(line, Shape::kEvent);
  if (!event || !event->is_object())
    return std::unexpected(malformed("watch: a line is not a JSON object"));
  const std::string type = text_at(*event, "type");
  const auto object = event->find("object");
  if (object == event->end() || !object->is_object())
    return std::unexpected(malformed("watch: an event has no object"));
  if (type == "ERROR") {
    const auto code = object->find("code");
    const std::int64_t status =
        code != object->end() && code->is_number_integer() ? code->get<std::int64_t>() : 500;
    // Anything else would be read as a transport failure or a success.
    return std::unexpected(
        error_of_status(status >= 400 && status <= 599 ? static_cast<int>(status) : 500, *object));
  }
  WatchEvent out{WatchEventType::kAdded, std::move(*object)};
  if (type == "ADDED") {
    out.type = WatchEventType::kAdded;
  } else if (type == "MODIFIED") {
    out.type = WatchEventType::kModified;
  } else if (type == "DELETED") {
    out.type = WatchEventType::kDeleted;
  } else if (type == "BOOKMARK") {
    out.type = WatchEventType::kBookmark;
  } else {
    return std::unexpected(malformed("watch: unknown event type \"" + type.substr(0, 32) + "\""));
  }
  if (resource_version_of(out.object).empty())
    return std::unexpected(malformed("watch: an object has no resourceVersion"));
  return out;
}

}  // namespace

struct Client::Impl {
  Config config;
  std::shared_ptr<Transport> calls;
  std::shared_ptr<Transport> watches;
  std::chrono::milliseconds call_deadline;

  [[nodiscard]] Request request(std::string method, std::string target, std::string body = {},
                                const char* content_type = nullptr) const {
    Request out;
    out.method = std::move(method);
    out.target = config.path_prefix + std::move(target);
    out.deadline = call_deadline;
    out.headers.emplace_back("Accept", "application/json");
    out.headers.emplace_back("User-Agent", kUserAgent);
    if (content_type != nullptr) out.headers.emplace_back("Content-Type", content_type);
    out.body = std::move(body);
    return out;
  }

  // `exchange` as who we are, and once more where the server takes the credentials no longer: a
  // request that it answered with 401 has done nothing.
  template <class Exchange>
  [[nodiscard]] Result<Response> authorized(Request request, const std::stop_token& stop,
                                            Exchange&& exchange) const {
    const std::size_t own = request.headers.size();
    for (bool again = false;; again = true) {
      std::uint64_t which = 0;
      if (config.credentials) {
        auto obtained = config.credentials->obtain(stop);
        if (!obtained) return std::unexpected(std::move(obtained.error()));
        which = *obtained;
      }
      request.headers.resize(own);
      std::ranges::move(identity_headers(config), std::back_inserter(request.headers));
      auto response = exchange(request);
      if (!config.credentials || again || !response || response->status != 401) return response;
      config.credentials->refuse(which);
    }
  }

  [[nodiscard]] Result<Response> stream(Request request, const Transport::ChunkSink& sink,
                                        std::chrono::milliseconds idle,
                                        const std::stop_token& stop) const {
    return authorized(std::move(request), stop, [&](const Request& prepared) {
      return watches->stream(prepared, sink, idle, stop);
    });
  }

  [[nodiscard]] Result<Response> call(const Request& request, const std::stop_token& stop) const {
    auto response = authorized(
        request, stop, [&](const Request& prepared) { return calls->send(prepared, stop); });
    if (!response) return response;
    if (response->status < 200 || response->status > 299)
      return std::unexpected(error_of(*response));
    return response;
  }

  [[nodiscard]] Result<Json> call_json(const Request& request, const std::stop_token& stop,
                                       Shape shape = Shape::kObject) const {
    auto response = call(request, stop);
    if (!response) return std::unexpected(std::move(response.error()));
    return parse_object(response->body, shape,
                        request.method + " " + request.target.substr(0, request.target.find('?')));
  }

  [[nodiscard]] Result<Json> post(const Resource& resource, std::string_view ns, const Json& object,
                                  Query query, const std::stop_token& stop) const {
    if (auto named = check_names(resource, ns, "", false); !named)
      return std::unexpected(named.error());
    return call_json(request("POST", std::move(query).text(), dump(object), "application/json"),
                     stop);
  }
};

Client::Client(Config config, std::shared_ptr<Transport> calls, std::shared_ptr<Transport> watches,
               std::chrono::milliseconds call_deadline)
    : impl_(std::make_unique<Impl>(
          Impl{std::move(config), std::move(calls), std::move(watches), call_deadline})) {}
Client::~Client() = default;

std::unique_ptr<Client> Client::connect(Config config, TransportKind kind,
                                        std::chrono::milliseconds call_deadline,
                                        const TransportWrap& wrap) {
  TransportOptions options;
  options.base_url = config.server;
  options.server_name = config.server_name;
  options.tls_material = config.tls_material;
  options.insecure_skip_verify = config.insecure_skip_verify;
  options.proxy = config.proxy;
  options.accept_gzip = config.compression;
  // cpprestsdk sends no header twice, and Impersonate-Group may come several times.
  if (!config.impersonation.user.empty()) kind = TransportKind::kBeast;
  const auto make = [&]() -> std::shared_ptr<Transport> {
    auto made = kind == TransportKind::kCpprest ? make_cpprest_transport(options)
                                                : make_beast_transport(options);
    return wrap ? wrap(std::move(made)) : std::move(made);
  };
  return std::make_unique<Client>(std::move(config), make(), make(), call_deadline);
}

const Config& Client::config() const {
  return impl_->config;
}

Result<Json> Client::get(const Resource& resource, std::string_view ns, std::string_view name,
                         std::stop_token stop) const {
  if (auto named = check_names(resource, ns, name); !named) return std::unexpected(named.error());
  return impl_->call_json(impl_->request("GET", resource.path(ns, name)), stop);
}

Result<ListPage> Client::list_page(const Resource& resource, const ListOptions& options,
                                   std::stop_token stop) const {
  Query query(resource.path(options.ns));
  query.add("labelSelector", options.label_selector).add("fieldSelector", options.field_selector);
  if (options.limit > 0) query.add("limit", std::to_string(options.limit));
  query.add("continue", options.continue_token);
  // The API server refuses a resourceVersion beside a continue token: the token names its own.
  if (options.continue_token.empty()) {
    query.add("resourceVersion", options.resource_version)
        .add("resourceVersionMatch", options.resource_version_match);
  }
  auto body = impl_->call_json(impl_->request("GET", std::move(query).text()), stop, Shape::kList);
  if (!body) return std::unexpected(std::move(body.error()));
  ListPage page;
  const auto metadata = body->find("metadata");
  if (metadata == body->end() || !metadata->is_object())
    return std::unexpected(malformed("list of " + resource.plural + ": no metadata"));
  page.resource_version = text_at(*metadata, "resourceVersion");
  page.continue_token = text_at(*metadata, "continue");
  const auto items = body->find("items");
  if (items != body->end() && items->is_array()) {
    page.items.reserve(items->size());
    for (Json& item : *items) {
      if (!item.is_object())
        return std::unexpected(
            malformed("list of " + resource.plural + ": an item is not an object"));
      item["apiVersion"] = resource.api_version();
      item["kind"] = resource.kind;
      page.items.push_back(std::move(item));
    }
  } else if (items != body->end() && !items->is_null()) {
    return std::unexpected(malformed("list of " + resource.plural + ": items is not an array"));
  }
  return page;
}

Result<ListPage> Client::list(const Resource& resource, ListOptions options,
                              std::stop_token stop) const {
  ListPage all;
  while (true) {
    auto page = list_page(resource, options, stop);
    if (!page) return page;
    std::ranges::move(page->items, std::back_inserter(all.items));
    all.resource_version = page->resource_version;
    if (page->continue_token.empty()) return all;
    if (page->continue_token == options.continue_token)
      return std::unexpected(
          malformed("list of " + resource.plural + ": its pages do not advance"));
    options.continue_token = page->continue_token;
  }
}

Result<void> Client::watch(const Resource& resource, const WatchOptions& options,
                           const std::function<bool(WatchEvent)>& on_event,
                           std::stop_token stop) const {
  Query query(resource.path(options.ns));
  query.add("watch", "true")
      .add("labelSelector", options.label_selector)
      .add("fieldSelector", options.field_selector);
  query.add("resourceVersion", options.resource_version)
      .add("timeoutSeconds", std::to_string(options.server_timeout.count()));
  if (options.bookmarks || options.send_initial_events) query.add("allowWatchBookmarks", "true");
  if (options.send_initial_events)
    query.add("sendInitialEvents", "true").add("resourceVersionMatch", "NotOlderThan");

  std::string pending;
  std::optional<Error> failed;
  const auto deliver = [&](std::string_view line) {
    if (line.empty()) return true;
    auto event = parse_event(line);
    if (!event) {
      failed = std::move(event.error());
      return false;
    }
    event->object["apiVersion"] = resource.api_version();
    event->object["kind"] = resource.kind;
    return on_event(std::move(*event));
  };
  const auto sink = [&](std::string_view piece) {
    while (!piece.empty()) {
      const auto end = piece.find('\n');
      if (end == std::string_view::npos) {
        pending.append(piece);
        if (pending.size() > kMaxWatchLine) {
          failed = Error{0, kTransportReasonTooLarge, "watch: an event is too large", {}, {}};
          return false;
        }
        return true;
      }
      bool more = true;
      if (pending.empty()) {
        more = deliver(piece.substr(0, end));
      } else {
        pending.append(piece.substr(0, end));
        const std::string line = std::exchange(pending, {});
        more = deliver(line);
      }
      if (!more) return false;
      piece.remove_prefix(end + 1);
    }
    return true;
  };
  const auto idle = options.server_timeout + std::chrono::seconds(30);
  auto response = impl_->stream(impl_->request("GET", std::move(query).text()), sink,
                                std::chrono::duration_cast<std::chrono::milliseconds>(idle), stop);
  if (failed) return std::unexpected(std::move(*failed));
  if (!response) return std::unexpected(std::move(response.error()));
  if (response->status < 200 || response->status > 299) return std::unexpected(error_of(*response));
  if (!pending.empty())
    return std::unexpected(
        Error{0, kTransportReasonClosed, "watch: cut in the middle of an event", {}, {}});
  return {};
}

Result<Json> Client::create(const Resource& resource, std::string_view ns, const Json& object,
                            std::stop_token stop, std::string_view field_manager) const {
  return impl_->post(resource, ns, object,
                     Query(resource.path(ns)).add("fieldManager", field_manager), stop);
}

Result<Json> Client::create_strictly(const Resource& resource, std::string_view ns,
                                     const Json& object, const CreateOptions& options,
                                     std::stop_token stop) const {
  Query query(resource.path(ns));
  query.add("fieldManager", options.field_manager).add("fieldValidation", "Strict");
  query.add("dryRun", options.dry_run ? "All" : "");
  return impl_->post(resource, ns, object, std::move(query), stop);
}

Result<Json> Client::update(const Resource& resource, std::string_view ns, std::string_view name,
                            const Json& object, std::string_view subresource,
                            std::stop_token stop) const {
  if (auto named = check_names(resource, ns, name); !named) return std::unexpected(named.error());
  return impl_->call_json(
      impl_->request("PUT", resource.path(ns, name, subresource), dump(object), "application/json"),
      stop);
}

Result<Json> Client::patch(const Resource& resource, std::string_view ns, std::string_view name,
                           PatchType type, const Json& body, std::string_view subresource,
                           std::stop_token stop) const {
  if (auto named = check_names(resource, ns, name); !named) return std::unexpected(named.error());
  const char* content_type = type == PatchType::kJson    ? "application/json-patch+json"
                             : type == PatchType::kMerge ? "application/merge-patch+json"
                                                         : "application/strategic-merge-patch+json";
  return impl_->call_json(
      impl_->request("PATCH", resource.path(ns, name, subresource), dump(body), content_type),
      stop);
}

Result<Json> Client::apply(const Resource& resource, std::string_view ns, std::string_view name,
                           const Json& object, const ApplyOptions& options,
                           std::stop_token stop) const {
  if (auto named = check_names(resource, ns, name); !named) return std::unexpected(named.error());
  Query query(resource.path(ns, name, options.subresource));
  query.add("fieldManager", options.field_manager);
  if (options.force) query.add("force", "true");
  if (options.dry_run) query.add("dryRun", "All");
  // JSON is YAML: https://kubernetes.io/docs/reference/using-api/server-side-apply/#serialization
  return impl_->call_json(impl_->request("PATCH", std::move(query).text(), dump(object),
                                         "application/apply-patch+yaml"),
                          stop);
}

Result<void> Client::remove(const Resource& resource, std::string_view ns, std::string_view name,
                            const DeleteOptions& options, std::stop_token stop) const {
  if (auto named = check_names(resource, ns, name); !named) return std::unexpected(named.error());
  Json body{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty())
    body["preconditions"]["resourceVersion"] = options.resource_version;
  if (!options.propagation.empty()) body["propagationPolicy"] = options.propagation;
  if (options.grace_period_seconds) body["gracePeriodSeconds"] = *options.grace_period_seconds;
  auto response = impl_->call(
      impl_->request("DELETE", resource.path(ns, name), dump(body), "application/json"), stop);
  if (!response) return std::unexpected(std::move(response.error()));
  return {};
}

Result<std::string> Client::get_raw(std::string_view target, std::stop_token stop) const {
  auto response = impl_->call(impl_->request("GET", std::string(target)), stop);
  if (!response) return std::unexpected(std::move(response.error()));
  return std::move(response->body);
}

Result<void> Client::stream_raw(std::string_view target, const Transport::ChunkSink& sink,
                                std::chrono::milliseconds idle, std::stop_token stop) const {
  auto response = impl_->stream(impl_->request("GET", std::string(target)), sink, idle, stop);
  if (!response) return std::unexpected(std::move(response.error()));
  if (response->status < 200 || response->status > 299) return std::unexpected(error_of(*response));
  return {};
}

}  // namespace kube
