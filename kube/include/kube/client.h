// The typed-by-name API client: objects are JSON, kinds are values of Resource.
// Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/config.h>
#include <kube/error.h>
#include <kube/transport.h>

namespace kube {

using Json = nlohmann::json;

// A kind as the API serves it, e.g. {"", "v1", "pods", "Pod", true}.
struct Resource {
  std::string group;
  std::string version;
  std::string plural;
  std::string kind;
  bool namespaced = true;

  [[nodiscard]] std::string api_version() const {
    return group.empty() ? version : group + "/" + version;
  }
  // /apis/GROUP/VERSION/namespaces/NS/PLURAL[/NAME[/SUBRESOURCE]]; an empty `ns` of a namespaced
  // kind: all namespaces. `ns` and `name` are percent-encoded.
  [[nodiscard]] std::string path(std::string_view ns, std::string_view name = "",
                                 std::string_view subresource = "") const;
  bool operator==(const Resource&) const = default;
};

// Well-known kinds.
namespace resources {
extern const Resource kPods, kServices, kSecrets, kConfigMaps, kServiceAccounts, kNamespaces,
    kNodes, kEvents /* events.k8s.io/v1 */, kEndpointSlices, kNetworkPolicies, kLeases,
    kValidatingWebhookConfigurations, kMutatingWebhookConfigurations, kCustomResourceDefinitions;
}

struct ListOptions {
  std::string ns;  // empty: all
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;        // "" = most recent, "0" = any
  std::string resource_version_match;  // "", "NotOlderThan", "Exact"
  std::uint32_t limit = 500;           // page size; 0 = one page
  std::string continue_token;
};

struct ListPage {
  std::vector<Json> items;  // apiVersion and kind filled in
  std::string resource_version;
  std::string continue_token;  // empty on the last page
};

struct WatchOptions {
  std::string ns;
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;
  bool bookmarks = true;
  bool send_initial_events =
      false;  // streaming list (WatchList); implies resourceVersionMatch=NotOlderThan
  std::chrono::seconds server_timeout{
      300};  // timeoutSeconds; the client's idle deadline is a little above
};

enum class WatchEventType { kAdded, kModified, kDeleted, kBookmark };
struct WatchEvent {
  WatchEventType type;
  Json object;
};

struct DeleteOptions {
  std::string uid;               // precondition; empty: none
  std::string resource_version;  // precondition; empty: none
  std::string propagation;       // "", Foreground, Background, Orphan
  std::optional<int> grace_period_seconds;
};

struct ApplyOptions {
  std::string field_manager;
  bool force = true;
  std::string subresource;  // "" or "status"
  bool dry_run = false;
};

struct CreateOptions {
  std::string field_manager;
  bool dry_run = false;
};

enum class PatchType { kJson, kMerge, kStrategicMerge };

// What stands between a client and its transport; called once for each transport.
using TransportWrap = std::function<std::shared_ptr<Transport>(std::shared_ptr<Transport>)>;

// Thread-safe. Each call has its deadline (`call_deadline`); `stop` ends it early. 429 and 503 with
// Retry-After are returned as errors with `retry_after` set: the caller decides. A malformed body
// is MalformedResponse, never an exception. A call for one object without its name or namespace is
// a 400 that never leaves the process. Objects come without `metadata.managedFields`.
class Client {
 public:
  // `calls` and `watches` may be one transport; cpprestsdk wants them apart.
  Client(Config config, std::shared_ptr<Transport> calls, std::shared_ptr<Transport> watches,
         std::chrono::milliseconds call_deadline = std::chrono::seconds(30));
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  enum class TransportKind { kCpprest, kBeast };
  // The usual way: transports made from `config`, and given to `wrap` where there is one.
  [[nodiscard]] static std::unique_ptr<Client> connect(
      Config config, TransportKind kind = TransportKind::kCpprest,
      std::chrono::milliseconds call_deadline = std::chrono::seconds(30),
      const TransportWrap& wrap = nullptr);

  [[nodiscard]] const Config& config() const;

  [[nodiscard]] Result<Json> get(const Resource& resource, std::string_view ns,
                                 std::string_view name, std::stop_token stop = {}) const;
  // One page.
  [[nodiscard]] Result<ListPage> list_page(const Resource& resource, const ListOptions& options,
                                           std::stop_token stop = {}) const;
  // All pages. A 410 on a continue page is returned as it is (see Reflector).
  [[nodiscard]] Result<ListPage> list(const Resource& resource, ListOptions options,
                                      std::stop_token stop = {}) const;
  // Calls `on_event` in order, on one thread at a time, until the server ends the watch (success),
  // it returns false (success), or an error. An ERROR event becomes the Error it carries (410
  // included). Unknown event types and broken lines are MalformedResponse.
  [[nodiscard]] Result<void> watch(const Resource& resource, const WatchOptions& options,
                                   const std::function<bool(WatchEvent)>& on_event,
                                   std::stop_token stop) const;
  [[nodiscard]] Result<Json> create(const Resource& resource, std::string_view ns,
                                    const Json& object, std::stop_token stop = {},
                                    std::string_view field_manager = "") const;
  // The same where the object was written by a person: a field that the server does not know, or
  // that is given twice, is a 400 (fieldValidation=Strict) and not left out.
  [[nodiscard]] Result<Json> create_strictly(const Resource& resource, std::string_view ns,
                                             const Json& object, const CreateOptions& options = {},
                                             std::stop_token stop = {}) const;
  // PUT; optimistic concurrency by metadata.resourceVersion.
  [[nodiscard]] Result<Json> update(const Resource& resource, std::string_view ns,
                                    std::string_view name, const Json& object,
                                    std::string_view subresource = "",
                                    std::stop_token stop = {}) const;
  [[nodiscard]] Result<Json> patch(const Resource& resource, std::string_view ns,
                                   std::string_view name, PatchType type, const Json& body,
                                   std::string_view subresource = "",
                                   std::stop_token stop = {}) const;
  // Server-side apply: https://kubernetes.io/docs/reference/using-api/server-side-apply/
  [[nodiscard]] Result<Json> apply(const Resource& resource, std::string_view ns,
                                   std::string_view name, const Json& object,
                                   const ApplyOptions& options, std::stop_token stop = {}) const;
  // 404 is an error too: the caller says whether it minds.
  [[nodiscard]] Result<void> remove(const Resource& resource, std::string_view ns,
                                    std::string_view name, const DeleteOptions& options = {},
                                    std::stop_token stop = {}) const;
  // Any other GET (e.g. /version, /readyz, pod logs); returns the body of a 2xx.
  [[nodiscard]] Result<std::string> get_raw(std::string_view target,
                                            std::stop_token stop = {}) const;
  // The same for a body that goes on (a pod's log with follow=true): its pieces go to `sink` as
  // they come, until it ends or `sink` returns false (both success). `idle` is the longest silence.
  [[nodiscard]] Result<void> stream_raw(std::string_view target, const Transport::ChunkSink& sink,
                                        std::chrono::milliseconds idle,
                                        std::stop_token stop = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
