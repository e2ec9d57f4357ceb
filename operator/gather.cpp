#include <algorithm>
#include <array>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <openssl/evp.h>

#include <operator/gather.h>

namespace palisade::op {

namespace {

constexpr auto kApiServerFresh = std::chrono::seconds(60);
constexpr std::size_t kMaxToken = 16 * 1024;

std::optional<std::string> decode_base64(const std::string& text) {
  if (text.size() % 4 != 0 || text.size() > kMaxToken * 2) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  const auto padding = static_cast<std::size_t>(std::ranges::count(text, '='));
  out.resize(static_cast<std::size_t>(length) - std::min<std::size_t>(padding, 2));
  return out;
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

std::expected<std::vector<std::string>, std::string> resolve_host(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(host.c_str(), nullptr, &hints, &found); code != 0)
    return std::unexpected(std::string(gai_strerror(code)));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  std::vector<std::string> v4;
  std::vector<std::string> v6;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (entry->ai_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ai_addr)->sin_addr,
                text.data(), text.size());
      v4.emplace_back(text.data());
    } else if (entry->ai_family == AF_INET6) {
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(entry->ai_addr)->sin6_addr,
                text.data(), text.size());
      v6.emplace_back(text.data());
    }
  }
  return v4.empty() ? v6 : v4;
}

Gatherer::Gatherer(std::shared_ptr<const kube::Client> client, Caches caches,
                   std::map<std::string, std::string> gateways, Resolver resolver)
    : client_(std::move(client)),
      caches_(caches),
      gateways_(std::move(gateways)),
      resolver_(std::move(resolver)) {}

kube::Result<Observed> Gatherer::gather(const kube::ObjectPtr& workspace, std::stop_token stop) {
  using namespace kube::resources;
  Observed seen;
  seen.workspace = *workspace;
  const auto parsed = parse_workspace(*workspace);
  const auto [ns, name] = kube::split_key(kube::object_key(*workspace));
  Workspace named;
  named.name = name;
  const std::string objects = named.agent_object();

  auto pod = read(kPods, caches_.pods, ns, objects, stop);
  if (!pod) return std::unexpected(std::move(pod.error()));
  seen.pod = std::move(*pod);
  const bool settled = seen.pod && !(*seen.pod)["spec"].contains("schedulingGates");
  struct Wanted {
    const kube::Resource* resource;
    const kube::Cache* cache;
    std::string name;
    kube::ObjectPtr* into;
  };
  // Until the gate is lifted the policy is read from the API server itself: the cache may be of a
  // moment ago.
  const Wanted wanted[] = {
      {&kServiceAccounts, caches_.service_accounts, objects, &seen.service_account},
      {&kConfigMaps, caches_.config_maps, objects, &seen.config_map},
      {&kNetworkPolicies, settled ? caches_.network_policies : nullptr, objects,
       &seen.network_policy},
      {&kSecrets, nullptr, named.git_secret(), &seen.secret}};
  for (const Wanted& entry : wanted) {
    auto object = read(*entry.resource, entry.cache, ns, entry.name, stop);
    if (!object) return std::unexpected(std::move(object.error()));
    *entry.into = std::move(*object);
  }
  const Problem none{"NotLookedUp", "not looked up"};
  seen.token = std::unexpected(none);
  seen.access = std::unexpected(none);
  if (!parsed || parsed->deleting) return seen;

  auto addresses = api_server(stop);
  if (!addresses) return std::unexpected(std::move(addresses.error()));
  seen.api_server = std::move(*addresses);
  auto held = token(*parsed, stop);
  if (!held) return std::unexpected(std::move(held.error()));
  seen.token = std::move(*held);
  auto reach = access(*parsed, seen.api_server, stop);
  if (!reach) return std::unexpected(std::move(reach.error()));
  seen.access = std::move(*reach);
  return seen;
}

kube::Result<kube::ObjectPtr> Gatherer::read(const kube::Resource& resource,
                                             const kube::Cache* cache, const std::string& ns,
                                             const std::string& name,
                                             const std::stop_token& stop) const {
  if (cache != nullptr) {
    if (auto known = cache->get(ns, name)) return known;
  }
  // The caches hold only what carries our label: a foreign object of that name would be overlooked.
  auto live = client_->get(resource, ns, name, stop);
  if (live) return std::make_shared<const Json>(std::move(*live));
  if (live.error().is_not_found()) return nullptr;
  return std::unexpected(std::move(live.error()));
}

kube::Result<std::expected<std::string, Problem>> Gatherer::token(
    const Workspace& w, const std::stop_token& stop) const {
  using Outcome = std::expected<std::string, Problem>;
  if (!w.secret) return Outcome(std::string());
  const std::string fix =
      fmt::format("create it with: kubectl create secret generic {} -n {} --from-literal={}=TOKEN",
                  w.secret->name, w.ns, w.secret->key);
  auto secret = client_->get(kube::resources::kSecrets, w.ns, w.secret->name, stop);
  if (!secret) {
    if (secret.error().is_not_found()) {
      return Outcome(std::unexpected(Problem{
          "SecretNotFound",
          fmt::format("Secret {} (key {}) is not there; {}", w.secret->name, w.secret->key, fix)}));
    }
    return std::unexpected(std::move(secret.error()));
  }
  const Json data = secret->value("data", Json::object());
  const auto entry = data.find(w.secret->key);
  if (entry == data.end() || !entry->is_string()) {
    return Outcome(
        std::unexpected(Problem{"KeyNotFound", fmt::format("Secret {} has no key {}; {}",
                                                           w.secret->name, w.secret->key, fix)}));
  }
  const auto decoded = decode_base64(entry->get<std::string>());
  const std::string value = decoded ? trimmed(*decoded) : std::string();
  const bool clean =
      std::ranges::none_of(value, [](unsigned char c) { return c < 0x21 || c > 0x7e; });
  if (value.empty() || value.size() > kMaxToken || !clean) {
    return Outcome(std::unexpected(
        Problem{"TokenInvalid",
                fmt::format("key {} of Secret {} holds no token (one line of printable characters)",
                            w.secret->key, w.secret->name)}));
  }
  return Outcome(value);
}

kube::Result<std::expected<Access, Problem>> Gatherer::access(
    const Workspace& w, const std::vector<std::string>& api_server,
    const std::stop_token& stop) const {
  using Outcome = std::expected<Access, Problem>;
  const auto gateway = gateways_.find(w.gateway);
  if (gateway == gateways_.end()) {
    std::string known;
    for (const auto& [name, url] : gateways_)
      known += (known.empty() ? "" : ", ") + name;
    return Outcome(std::unexpected(
        Problem{"UnknownGateway",
                fmt::format("spec.llm.gateway: no gateway \"{}\" is configured; there is: {}",
                            w.gateway, known.empty() ? "none" : known)}));
  }
  auto llm = endpoint("spec.llm.gateway", gateway->second, api_server, stop);
  if (!llm) return std::unexpected(std::move(llm.error()));
  if (!*llm) return Outcome(std::unexpected(llm->error()));
  auto git = endpoint("spec.repository.url", w.url, api_server, stop);
  if (!git) return std::unexpected(std::move(git.error()));
  if (!*git) return Outcome(std::unexpected(git->error()));
  return Outcome(Access{gateway->second, std::move(**llm), std::move(**git)});
}

kube::Result<std::expected<Endpoint, Problem>> Gatherer::endpoint(
    const std::string& field, const std::string& url, const std::vector<std::string>& api_server,
    const std::stop_token& stop) const {
  using Outcome = std::expected<Endpoint, Problem>;
  const auto refused = [&](const char* reason, const std::string& why) {
    return Outcome(std::unexpected(Problem{reason, field + ": " + why}));
  };
  const auto target = parse_target(url);
  if (!target) return refused("EndpointInvalid", target.error());
  if (const auto service = target->service(); service && !target->is_address()) {
    auto object = client_->get(kube::resources::kServices, service->second, service->first, stop);
    if (!object) {
      if (object.error().is_not_found()) {
        return refused("EndpointNotFound", fmt::format("Service {} in namespace {} is not there",
                                                       service->first, service->second));
      }
      return std::unexpected(std::move(object.error()));
    }
    auto made = service_endpoint(*target, *object);
    if (!made) return refused("EndpointRefused", made.error());
    const auto alias = parse_cidr(made->alias);
    if (alias && !forbidden_reason(*alias, {}, api_server).empty())
      return refused("EndpointRefused", target->host + " is the API server");
    return Outcome(std::move(*made));
  }
  std::vector<std::string> addresses{target->host};
  if (!target->is_address()) {
    auto resolved = resolver_(target->host);
    if (!resolved)
      return refused("EndpointUnresolved",
                     fmt::format("{} does not resolve: {}; it is tried again by itself",
                                 target->host, resolved.error()));
    addresses = std::move(*resolved);
  }
  auto made = address_endpoint(*target, std::move(addresses), api_server);
  if (!made) return refused("EndpointRefused", made.error());
  return Outcome(std::move(*made));
}

kube::Result<std::vector<std::string>> Gatherer::api_server(const std::stop_token& stop) {
  {
    const std::scoped_lock lock(mutex_);
    if (!api_server_.empty() &&
        std::chrono::steady_clock::now() - api_server_read_ < kApiServerFresh)
      return api_server_;
  }
  std::vector<std::string> addresses;
  auto service = client_->get(kube::resources::kServices, "default", "kubernetes", stop);
  if (!service) return std::unexpected(std::move(service.error()));
  const Json spec = service->value("spec", Json::object());
  for (const Json& ip : spec.value("clusterIPs", Json::array()))
    addresses.push_back(ip.get<std::string>());
  kube::ListOptions query;
  query.ns = "default";
  query.label_selector = "kubernetes.io/service-name=kubernetes";
  auto slices = client_->list(kube::resources::kEndpointSlices, query, stop);
  if (!slices) return std::unexpected(std::move(slices.error()));
  for (const Json& slice : slices->items) {
    for (const Json& entry : slice.value("endpoints", Json::array())) {
      for (const Json& address : entry.value("addresses", Json::array()))
        addresses.push_back(address.get<std::string>());
    }
  }
  const std::scoped_lock lock(mutex_);
  api_server_ = addresses;
  api_server_read_ = std::chrono::steady_clock::now();
  return addresses;
}

}  // namespace palisade::op
