#include <algorithm>
#include <array>
#include <utility>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <kube/base64.h>
#include <kube/labels.h>
#include <operator/gather.h>

#include "cached.h"
#include "compare.h"

namespace palisade::op {

namespace {

// Of what many workspaces name alike: a Service, a user's Secret.
constexpr auto kShared = std::chrono::seconds(1);
constexpr auto kOffLimitsFresh = std::chrono::seconds(60);
constexpr auto kGatewayCaFresh = std::chrono::seconds(10);
constexpr const char* kGatewayCaConfigMap = "palisade-gateway-ca";
constexpr const char* kGatewayCaConfigMapKey = "ca.crt";
constexpr const char* kMetadataAddress = "169.254.169.254";
constexpr std::size_t kMaxToken = 16 * 1024;

// Of a Secret; a token is not larger than kMaxToken.
std::optional<std::string> decode_token(const std::string& text) {
  if (text.size() > kMaxToken * 2) return std::nullopt;
  return kube::decode_base64(text);
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool same_spec(const Json& a, const Json& b) {
  return uid_of(a) == uid_of(b) &&
         a["metadata"].value("generation", 0) == b["metadata"].value("generation", -1);
}

}  // namespace

const kube::Resource& agent_policies() {
  static const kube::Resource kAgentPolicies{"palisade.dev", "v1alpha1", "agentpolicies",
                                             "AgentPolicy", false};
  return kAgentPolicies;
}

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
                   std::map<std::string, std::string> gateways, std::optional<Gateway> own,
                   std::vector<std::string> unreachable, Resolver resolver,
                   std::shared_ptr<Known> known)
    : client_(std::move(client)),
      caches_(caches),
      gateways_(std::move(gateways)),
      own_{{}, {}, {}, std::move(own)},
      unreachable_(std::move(unreachable)),
      resolver_(std::move(resolver)),
      known_(std::move(known)) {}

kube::Result<Observed> Gatherer::gather(const kube::ObjectPtr& workspace, std::stop_token stop,
                                        const Observed* before) {
  Observed seen;
  seen.workspace = *workspace;
  const auto parsed = parse_workspace(*workspace);
  const std::string key = kube::object_key(*workspace);
  const std::string ns = kube::split_key(key).first;
  auto found = find_objects(seen, key, parsed ? std::optional(*parsed) : std::nullopt, stop);
  if (!found) return std::unexpected(std::move(found.error()));
  const Problem none{"NotLookedUp", "not looked up"};
  seen.token = std::unexpected(none);
  seen.llm_key = std::unexpected(none);
  seen.gateway_ca = std::unexpected(none);
  seen.access = std::unexpected(none);
  if (!parsed || parsed->deleting) return seen;
  if (before != nullptr && same_spec(*workspace, before->workspace)) {
    seen.api_server = before->api_server;
    seen.unreachable = before->unreachable;
    seen.token = before->token;
    seen.llm_key = before->llm_key;
    seen.gateway_ca = before->gateway_ca;
    seen.access = before->access;
    seen.policies = before->policies;
    seen.surroundings = before->surroundings;
    return seen;
  }

  auto off = off_limits(stop);
  if (!off) return std::unexpected(std::move(off.error()));
  seen.api_server = std::move(off->api_server);
  seen.unreachable = std::move(off->targets);
  auto held = token(*parsed, stop);
  if (!held) return std::unexpected(std::move(held.error()));
  seen.token = std::move(*held);
  seen.llm_key = std::string();
  if (parsed->llm_key) {
    auto line = line_of(*parsed, *parsed->llm_key, "key", stop);
    if (!line) return std::unexpected(std::move(line.error()));
    seen.llm_key = std::move(*line);
  }
  auto authorities = gateway_ca(stop);
  if (!authorities) return std::unexpected(std::move(authorities.error()));
  seen.gateway_ca = std::move(*authorities);
  auto reach = access(*parsed, seen.api_server, stop);
  if (!reach) return std::unexpected(std::move(reach.error()));
  seen.access = std::move(*reach);
  auto bounds = policies(ns, stop);
  if (!bounds) return std::unexpected(std::move(bounds.error()));
  seen.policies = std::move(*bounds);
  seen.surroundings = std::make_shared<const char>();
  return seen;
}

kube::Result<std::expected<std::vector<policy::AgentPolicy>, Problem>> Gatherer::policies(
    const std::string& ns, const std::stop_token& stop) const {
  using Outcome = std::expected<std::vector<policy::AgentPolicy>, Problem>;
  if (caches_.agent_policies == nullptr) return Outcome();
  const auto policies = caches_.agent_policies->all();
  if (policies.empty()) return Outcome();
  kube::ObjectPtr object = caches_.namespaces ? caches_.namespaces->get("", ns) : nullptr;
  if (!object) {
    auto live = fresh(kube::resources::kNamespaces, "", ns, stop);
    if (!live) return std::unexpected(std::move(live.error()));
    object = std::make_shared<const Json>(std::move(*live));
  }
  const policy::Labels labels = kube::labels_of(*object);
  std::vector<policy::AgentPolicy> out;
  for (const kube::ObjectPtr& policy : policies) {
    simdjson::dom::parser parser;
    const simdjson::padded_string text(policy->dump());
    simdjson::dom::element root;
    const std::string name = kube::object_key(*policy);
    if (parser.parse(text).get(root) != simdjson::SUCCESS)
      return Outcome(std::unexpected(Problem{"AgentPolicyInvalid", "AgentPolicy " + name}));
    auto parsed = policy::parse_agent_policy(root);
    // What it bounds is not known, so nothing starts.
    if (!parsed)
      return Outcome(std::unexpected(
          Problem{"AgentPolicyInvalid",
                  fmt::format("AgentPolicy {} cannot be read: {}", name, parsed.error())}));
    if (parsed->namespaces.matches(labels)) out.push_back(std::move(*parsed));
  }
  return Outcome(std::move(out));
}

kube::Result<kube::ObjectPtr> Gatherer::read(const kube::Resource& resource, const std::string& ns,
                                             const std::string& name,
                                             const std::stop_token& stop) const {
  auto live = client_->get(resource, ns, name, stop);
  if (live) return std::make_shared<const Json>(lean(resource, std::move(*live)));
  if (live.error().is_not_found()) return nullptr;
  return std::unexpected(std::move(live.error()));
}

kube::Result<Json> Gatherer::fresh(const kube::Resource& resource, const std::string& ns,
                                   const std::string& name, const std::stop_token& stop,
                                   Known::Clock::time_point after) const {
  const std::string place = resource.plural + "/" + kube::object_key(ns, name);
  const auto asked = known_->now();
  {
    const std::scoped_lock lock(mutex_);
    std::erase_if(fresh_, [&](const auto& entry) { return asked - entry.second.at > kShared; });
    if (const auto found = fresh_.find(place); found != fresh_.end() && found->second.at > after)
      return found->second.object;
  }
  auto object = client_->get(resource, ns, name, stop);
  if (!object) return object;
  const std::scoped_lock lock(mutex_);
  fresh_[place] = {*object, asked};
  return object;
}

kube::Result<std::expected<std::string, Problem>> Gatherer::token(
    const Workspace& w, const std::stop_token& stop) const {
  using Outcome = std::expected<std::string, Problem>;
  if (!w.has_credentials()) return Outcome(std::string());
  if (!w.secret)
    return Outcome(
        std::unexpected(Problem{kMintingReason, "minted ones are read by fill_minted()"}));
  return line_of(w, {w.secret->name, w.secret->key}, "token", stop);
}

kube::Result<std::expected<std::string, Problem>> Gatherer::line_of(
    const Workspace& w, const SecretKey& reference, const char* what,
    const std::stop_token& stop) const {
  using Outcome = std::expected<std::string, Problem>;
  const std::string& ns = w.ns;
  const std::string fix =
      fmt::format("create it with: kubectl create secret generic {} -n {} --from-literal={}=VALUE",
                  reference.name, ns, reference.key);
  // Whoever touches the workspace has it read anew.
  auto secret = fresh(kube::resources::kSecrets, ns, reference.name, stop,
                      known_->secrets_forgotten(kube::object_key(ns, w.name)));
  if (!secret) {
    if (secret.error().is_not_found()) {
      return Outcome(std::unexpected(Problem{
          "SecretNotFound",
          fmt::format("Secret {} (key {}) is not there; {}", reference.name, reference.key, fix)}));
    }
    return std::unexpected(std::move(secret.error()));
  }
  const Json data = secret->value("data", Json::object());
  const auto entry = data.find(reference.key);
  if (entry == data.end() || !entry->is_string()) {
    return Outcome(
        std::unexpected(Problem{"KeyNotFound", fmt::format("Secret {} has no key {}; {}",
                                                           reference.name, reference.key, fix)}));
  }
  const auto decoded = decode_token(entry->get<std::string>());
  const std::string value = decoded ? trimmed(*decoded) : std::string();
  const bool clean =
      std::ranges::none_of(value, [](unsigned char c) { return c < 0x21 || c > 0x7e; });
  if (value.empty() || value.size() > kMaxToken || !clean) {
    return Outcome(std::unexpected(
        Problem{"TokenInvalid",
                fmt::format("key {} of Secret {} holds no {} (one line of printable characters)",
                            reference.key, reference.name, what)}));
  }
  return Outcome(value);
}

kube::Result<std::expected<std::string, Problem>> Gatherer::gateway_ca(
    const std::stop_token& stop) {
  using Outcome = std::expected<std::string, Problem>;
  if (!own_.gateway) return Outcome(std::string());
  {
    const std::scoped_lock lock(mutex_);
    if (!gateway_ca_.empty() &&
        std::chrono::steady_clock::now() - gateway_ca_read_ < kGatewayCaFresh)
      return Outcome(gateway_ca_);
  }
  auto object =
      client_->get(kube::resources::kConfigMaps, own_.gateway->ns, kGatewayCaConfigMap, stop);
  if (!object && !object.error().is_not_found()) return std::unexpected(std::move(object.error()));
  const Json data = object ? object->value("data", Json::object()) : Json::object();
  const Json pem = data.value(kGatewayCaConfigMapKey, Json());
  if (!pem.is_string() ||
      pem.get<std::string>().find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
    return Outcome(std::unexpected(
        Problem{"GatewayNotReady",
                fmt::format("ConfigMap {} in namespace {} has no certificate authority ({}): the "
                            "gateway writes it as it starts; see its Deployment and its log",
                            kGatewayCaConfigMap, own_.gateway->ns, kGatewayCaConfigMapKey)}));
  }
  const std::scoped_lock lock(mutex_);
  gateway_ca_ = pem.get<std::string>();
  gateway_ca_read_ = std::chrono::steady_clock::now();
  return Outcome(gateway_ca_);
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
  const bool through = wants_gateway_for_git(w, own_);
  if (through && !own_.gateway) {
    return Outcome(std::unexpected(
        Problem{"UnknownGateway",
                "spec.repository.via: Gateway needs Palisade's own gateway, which is not installed "
                "(the chart's gateway.enabled); Direct lets the courier talk to the host itself"}));
  }
  const std::string git_url = through ? own_.gateway->git_url() : std::string();
  auto git = through ? endpoint("spec.repository.via", git_url, api_server, stop)
                     : endpoint("spec.repository.url", w.url, api_server, stop);
  if (!git) return std::unexpected(std::move(git.error()));
  if (!*git) return Outcome(std::unexpected(git->error()));
  if (through && (w.mints() || w.merge_request)) {
    // The operator itself talks to the host then: nor may that be what no session may reach.
    auto host = endpoint("spec.repository.url", w.url, api_server, stop);
    if (!host) return std::unexpected(std::move(host.error()));
    if (!*host) return Outcome(std::unexpected(host->error()));
  }
  return Outcome(Access{gateway->second, std::move(**llm), std::move(**git), git_url});
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
    auto object = fresh(kube::resources::kServices, service->second, service->first, stop);
    if (!object) {
      if (object.error().is_not_found()) {
        return refused("EndpointNotFound", fmt::format("Service {} in namespace {} is not there",
                                                       service->first, service->second));
      }
      if (object.error().is_forbidden()) {
        return refused("EndpointForbidden",
                       fmt::format("the operator may not read Service {} in namespace {}; an "
                                   "administrator names that namespace in the chart's "
                                   "operator.serviceNamespaces",
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

kube::Result<Gatherer::OffLimits> Gatherer::off_limits(const std::stop_token& stop) {
  {
    const std::scoped_lock lock(mutex_);
    if (!off_limits_.api_server.empty() &&
        std::chrono::steady_clock::now() - off_limits_read_ < kOffLimitsFresh)
      return off_limits_;
  }
  OffLimits out;
  out.targets.push_back({"the cloud's metadata service", kMetadataAddress, 80, false, true});
  const auto api_server = [&](const std::string& address, const std::vector<std::uint16_t>& ports) {
    out.api_server.push_back(address);
    for (const std::uint16_t port : ports)
      out.targets.push_back({"the API server", address, port, false, true});
  };
  auto service = client_->get(kube::resources::kServices, "default", "kubernetes", stop);
  if (!service) return std::unexpected(std::move(service.error()));
  const Json spec = service->value("spec", Json::object());
  for (const Json& ip : spec.value("clusterIPs", Json::array()))
    api_server(ip.get<std::string>(), tcp_ports(spec));
  const auto slices_of = [&](const std::string& ns, const std::string& name) {
    kube::ListOptions query;
    query.ns = ns;
    query.label_selector = "kubernetes.io/service-name=" + name;
    return client_->list(kube::resources::kEndpointSlices, query, stop);
  };
  auto slices = slices_of("default", "kubernetes");
  if (!slices) return std::unexpected(std::move(slices.error()));
  for (const Json& slice : slices->items) {
    for (const Json& entry : slice.value("endpoints", Json::array())) {
      for (const Json& address : entry.value("addresses", Json::array()))
        api_server(address.get<std::string>(), tcp_ports(slice));
    }
  }
  // Not every cluster has a DNS service of that name.
  auto dns = client_->get(kube::resources::kServices, "kube-system", "kube-dns", stop);
  if (!dns && !dns.error().is_not_found()) return std::unexpected(std::move(dns.error()));
  if (dns) {
    const Json addresses = dns->value("spec", Json::object()).value("clusterIPs", Json::array());
    for (const Json& ip : addresses) {
      if (!ip.is_string() || ip == "None") continue;
      for (const bool udp : {true, false})
        out.targets.push_back({"the cluster's DNS", ip.get<std::string>(), 53, udp, false});
    }
  }
  // Behind a Service's address may be nobody, and what answers there says nothing of pods.
  for (const std::string& key : unreachable_) {
    const auto [ns, name] = kube::split_key(key);
    auto pods = slices_of(ns, name);
    if (!pods) return std::unexpected(std::move(pods.error()));
    std::ranges::move(pods_behind(pods->items), std::back_inserter(out.targets));
  }
  const std::scoped_lock lock(mutex_);
  off_limits_ = out;
  off_limits_read_ = std::chrono::steady_clock::now();
  return out;
}

}  // namespace palisade::op
