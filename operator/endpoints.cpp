#include <algorithm>
#include <charconv>

#include <arpa/inet.h>
#include <fmt/format.h>

#include <operator/endpoints.h>

#include "json_access.h"

namespace palisade::op {

namespace {

struct Forbidden {
  const char* cidr;
  const char* what;
  bool nameable;  // allowed where the block lies inside it
};
constexpr Forbidden kForbidden[] = {
    {"100.100.100.200/32", "a cloud metadata address", false},
    {"169.254.0.0/16", "link-local addresses (cloud metadata)", false},
    {"fd00:ec2::254/128", "a cloud metadata address", false},
    {"fe80::/10", "link-local addresses", false},
    {"127.0.0.0/8", "loopback addresses", false},
    {"::1/128", "the loopback address", false},
    {"0.0.0.0/8", "addresses of this host", false},
    {"::/128", "the unspecified address", false},
    {"224.0.0.0/4", "multicast addresses", false},
    {"ff00::/8", "multicast addresses", false},
    {"100.64.0.0/10", "carrier-grade NAT addresses", true},
};

bool excepted(const Cidr& range, const std::vector<Cidr>& except) {
  return std::ranges::any_of(except, [&](const Cidr& hole) { return hole.contains(range); });
}

Json address_peer(const std::string& address) {
  const char* prefix = address.find(':') == std::string::npos ? "/32" : "/128";
  return {{"ipBlock", {{"cidr", address + prefix}}}};
}

Json namespace_selector(const std::string& name) {
  return {{"matchLabels", {{"kubernetes.io/metadata.name", name}}}};
}

}  // namespace

bool Cidr::contains(const Cidr& other) const {
  if (other.bits < bits) return false;
  for (int bit = 0; bit < bits; bit += 8) {
    const auto index = static_cast<std::size_t>(bit / 8);
    const int left = std::min(8, bits - bit);
    const auto mask = static_cast<std::uint8_t>(0xffU << static_cast<unsigned>(8 - left));
    if ((bytes[index] & mask) != (other.bytes[index] & mask)) return false;
  }
  return true;
}

std::optional<Cidr> parse_cidr(const std::string& text) {
  const auto slash = text.find('/');
  const std::string address = text.substr(0, slash);
  Cidr out;
  int offset = 0;
  if (inet_pton(AF_INET, address.c_str(), out.bytes.data() + 12) == 1) {
    out.bytes[10] = out.bytes[11] = 0xff;
    offset = 96;
  } else if (inet_pton(AF_INET6, address.c_str(), out.bytes.data()) != 1) {
    return std::nullopt;
  }
  if (slash == std::string::npos) return out;
  const std::string digits = text.substr(slash + 1);
  int bits = -1;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (ec != std::errc() || end != digits.data() + digits.size() || bits < 0 || bits > 128 - offset)
    return std::nullopt;
  out.bits = bits + offset;
  return out;
}

std::optional<std::pair<std::string, std::string>> Target::service() const {
  std::string name = host;
  for (const char* suffix : {".cluster.local", ".svc"}) {
    if (name.ends_with(suffix)) {
      name.resize(name.size() - std::string_view(suffix).size());
    } else if (std::string_view(suffix) == ".svc") {
      return std::nullopt;
    }
  }
  const auto dot = name.find('.');
  if (dot == std::string::npos || dot == 0 || name.find('.', dot + 1) != std::string::npos ||
      dot + 1 == name.size())
    return std::nullopt;
  return std::pair(name.substr(0, dot), name.substr(dot + 1));
}

bool Target::is_address() const {
  return host.find('/') == std::string::npos && parse_cidr(host).has_value();
}

std::expected<Target, std::string> parse_target(const std::string& url) {
  Target target;
  std::string rest = url;
  if (rest.starts_with("https://")) {
    rest.erase(0, 8);
  } else if (rest.starts_with("http://")) {
    rest.erase(0, 7);
    target.tls = false;
    target.port = 80;
  } else {
    return std::unexpected("\"" + url + "\" is no http or https URL");
  }
  const std::string authority = rest.substr(0, rest.find_first_of("/?#"));
  std::string port;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string::npos)
      return std::unexpected("\"" + url + "\": the bracket is not closed");
    target.host = authority.substr(1, close - 1);
    if (close + 1 < authority.size()) port = authority.substr(close + 1);
  } else {
    target.host = authority.substr(0, authority.find(':'));
    port = authority.substr(target.host.size());
  }
  if (!port.empty()) {
    unsigned number = 0;
    const auto [end, ec] = std::from_chars(port.data() + 1, port.data() + port.size(), number);
    if (port.front() != ':' || ec != std::errc() || end != port.data() + port.size() ||
        number == 0 || number > 65535) {
      return std::unexpected("\"" + url + "\": its port is not between 1 and 65535");
    }
    target.port = static_cast<std::uint16_t>(number);
  }
  std::ranges::transform(target.host, target.host.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  while (target.host.ends_with('.'))
    target.host.pop_back();
  if (target.host.empty() || authority.find('@') != std::string::npos)
    return std::unexpected("\"" + url + "\" names no host");
  return target;
}

Json to_json(const Endpoint& endpoint) {
  return {{"host", endpoint.host},
          {"alias", endpoint.alias},
          {"peers", endpoint.peers},
          {"ports", endpoint.ports}};
}

std::optional<Endpoint> endpoint_from_json(const Json& json) {
  if (!json.is_object() || !json.contains("host") || !json["host"].is_string() ||
      !json.contains("alias") || !json["alias"].is_string() || !json.contains("peers") ||
      !json["peers"].is_array() || !json.contains("ports") || !json["ports"].is_array()) {
    return std::nullopt;
  }
  return Endpoint{json["host"].get<std::string>(), json["alias"].get<std::string>(), json["peers"],
                  json["ports"]};
}

std::string forbidden_reason(const Cidr& block, const std::vector<Cidr>& except,
                             const std::vector<std::string>& api_server) {
  for (const Forbidden& entry : kForbidden) {
    const Cidr range = *parse_cidr(entry.cidr);
    if (!block.overlaps(range)) continue;
    if (entry.nameable && range.contains(block)) continue;
    if (!excepted(block.contains(range) ? range : block, except))
      return fmt::format("it reaches {} ({})", entry.what, entry.cidr);
  }
  for (const std::string& address : api_server) {
    const auto range = parse_cidr(address);
    if (range && block.overlaps(*range) && !excepted(*range, except))
      return fmt::format("it reaches the API server ({})", address);
  }
  return {};
}

std::vector<std::uint16_t> tcp_ports(const Json& object) {
  std::vector<std::uint16_t> out;
  const Json ports = object.value("ports", Json::array());
  for (const Json& port : ports) {
    if (!port.is_object() || port.value("protocol", "TCP") != "TCP") continue;
    const Json number = port.value("port", Json());
    if (number.is_number_integer() && number > 0 && number < 65536)
      out.push_back(number.get<std::uint16_t>());
  }
  return out;
}

namespace {

struct Backend {
  std::string address;
  std::string node;
  std::vector<std::uint16_t> ports;
};

// https://kubernetes.io/docs/reference/kubernetes-api/discovery/endpoint-slice-v1/: addresses of
// one endpoint are the same pod's; a condition that is left out means ready, and not terminating.
std::vector<Backend> ready_pods(const std::vector<Json>& slices, const std::string& family) {
  std::vector<Backend> out;
  for (const Json& slice : slices) {
    if (text_at(slice, "addressType") != family) continue;
    const auto ports = tcp_ports(slice);
    for (const Json& endpoint : child(slice, "endpoints")) {
      const Json& conditions = child(endpoint, "conditions");
      const Json& addresses = child(endpoint, "addresses");
      if (child(conditions, "ready") == false || child(conditions, "terminating") == true ||
          !addresses.is_array() || addresses.empty() || !addresses.front().is_string())
        continue;
      const auto address = addresses.front().get<std::string>();
      if (address.find('/') == std::string::npos && parse_cidr(address))
        out.push_back({address, text_at(endpoint, "nodeName"), ports});
    }
  }
  std::ranges::sort(out, {}, &Backend::address);
  return out;
}

}  // namespace

std::vector<Unreachable> pods_behind(const std::vector<Json>& slices) {
  std::vector<Unreachable> out;
  for (const char* family : {"IPv4", "IPv6"}) {
    const auto pods = ready_pods(slices, family);
    if (pods.empty()) continue;
    const auto& first = pods.front();
    auto second =
        std::ranges::find_if(pods, [&](const Backend& pod) { return pod.node != first.node; });
    if (second == pods.end()) second = std::next(pods.begin());
    const auto add = [&](const Backend& pod) {
      for (const std::uint16_t port : pod.ports)
        out.push_back({"another pod", pod.address, port, false, false, true});
    };
    add(first);
    if (second != pods.end() && second->address != first.address) add(*second);
  }
  return out;
}

std::vector<Cidr> never_reachable() {
  std::vector<Cidr> out;
  for (const Forbidden& entry : kForbidden)
    out.push_back(*parse_cidr(entry.cidr));
  return out;
}

std::expected<Endpoint, std::string> service_endpoint(const Target& target, const Json& service) {
  const Json spec = service.value("spec", Json::object());
  const std::string cluster_ip = spec.value("clusterIP", "");
  if (cluster_ip.empty() || cluster_ip == "None") {
    return std::unexpected(fmt::format(
        "Service {} has no cluster address (headless); name an ordinary Service", target.host));
  }
  const Json selector = spec.value("selector", Json::object());
  if (!selector.is_object() || selector.empty()) {
    return std::unexpected(
        fmt::format("Service {} has no selector, so no NetworkPolicy can name its pods; name its "
                    "address instead",
                    target.host));
  }
  Endpoint endpoint;
  endpoint.host = target.host;
  endpoint.alias = cluster_ip;
  endpoint.peers.push_back({{"namespaceSelector", namespace_selector(target.service()->second)},
                            {"podSelector", {{"matchLabels", selector}}}});
  for (const Json& port : spec.value("ports", Json::array())) {
    if (port.value("port", 0) != target.port || port.value("protocol", "TCP") != "TCP") continue;
    const auto wanted = port.find("targetPort");
    endpoint.ports.push_back(
        {{"protocol", "TCP"}, {"port", wanted == port.end() ? Json(target.port) : *wanted}});
  }
  if (endpoint.ports.empty())
    return std::unexpected(fmt::format("Service {} has no TCP port {}", target.host, target.port));
  return endpoint;
}

std::expected<Endpoint, std::string> address_endpoint(const Target& target,
                                                      std::vector<std::string> addresses,
                                                      const std::vector<std::string>& api_server) {
  std::ranges::sort(addresses);
  const auto repeated = std::ranges::unique(addresses);
  addresses.erase(repeated.begin(), repeated.end());
  if (addresses.empty()) return std::unexpected(fmt::format("{} has no address", target.host));
  Endpoint endpoint;
  endpoint.host = target.host;
  for (const std::string& address : addresses) {
    const auto block = parse_cidr(address);
    if (!block) return std::unexpected(fmt::format("{} is no address", address));
    // An address that was written out, or that a name resolves to, is named.
    if (const std::string reason = forbidden_reason(*block, {}, api_server); !reason.empty()) {
      return std::unexpected(fmt::format("{} ({}) is refused: {}", target.host, address, reason));
    }
  }
  // The pod's hosts file knows one address, so no other needs to be open.
  endpoint.peers.push_back(address_peer(addresses.front()));
  if (!target.is_address()) endpoint.alias = addresses.front();
  endpoint.ports.push_back({{"protocol", "TCP"}, {"port", target.port}});
  return endpoint;
}

namespace {

// Pods of the namespace by their labels, at TCP ports, and nothing beside them.
bool selects_pods_of(const Endpoint& endpoint, const std::string& ns) {
  const bool tcp = std::ranges::all_of(endpoint.ports, [](const Json& port) {
    return port.is_object() && port.contains("port") && port.value("protocol", Json()) == "TCP";
  });
  return tcp && std::ranges::all_of(endpoint.peers, [&](const Json& peer) {
           if (!peer.is_object() || peer.size() != 2 ||
               peer.value("namespaceSelector", Json()) != namespace_selector(ns))
             return false;
           const Json pods = peer.value("podSelector", Json());
           return pods.is_object() && pods.size() == 1 && pods.contains("matchLabels") &&
                  pods["matchLabels"].is_object() && !pods["matchLabels"].empty();
         });
}

}  // namespace

bool fits_service(const Endpoint& endpoint, const std::string& url) {
  const auto target = parse_target(url);
  if (!target || target->host != endpoint.host || endpoint.peers.empty() || endpoint.ports.empty())
    return false;
  const auto service = target->service();
  return service && selects_pods_of(endpoint, service->second);
}

bool fits_pod(const Endpoint& endpoint, const std::string& url, const Json& host_aliases) {
  const auto target = parse_target(url);
  if (!target || target->host != endpoint.host || endpoint.peers.empty() || endpoint.ports.empty())
    return false;
  if (target->is_address()) {
    if (!endpoint.alias.empty()) return false;
  } else {
    const Json alias{{"ip", endpoint.alias}, {"hostnames", {endpoint.host}}};
    if (std::ranges::find(host_aliases, alias) == host_aliases.end()) return false;
    if (const auto service = target->service()) return selects_pods_of(endpoint, service->second);
  }
  const std::string address = target->is_address() ? target->host : endpoint.alias;
  return endpoint.peers == Json::array({address_peer(address)}) &&
         endpoint.ports == Json::array({{{"protocol", "TCP"}, {"port", target->port}}});
}

std::string check_egress(const Json& rules, const std::vector<std::string>& api_server) {
  if (!rules.is_array()) return "spec.isolation.egress is not a list";
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string rule_path = fmt::format("spec.isolation.egress[{}]", i);
    const Json peers = rules[i].is_object() ? rules[i].value("to", Json()) : Json();
    if (!peers.is_array() || peers.empty())
      return rule_path + ".to must name at least one destination";
    for (std::size_t j = 0; j < peers.size(); ++j) {
      const std::string path = fmt::format("{}.to[{}]", rule_path, j);
      const Json& peer = peers[j];
      if (!peer.is_object() || peer.empty())
        return path + " names nothing, which would mean everything";
      const auto block = peer.find("ipBlock");
      if (block == peer.end()) continue;
      const Json range = block->is_object() ? block->value("cidr", Json()) : Json();
      const auto cidr = range.is_string() ? parse_cidr(range.get<std::string>()) : std::nullopt;
      if (!cidr) return path + ".ipBlock.cidr is no address range";
      const Json holes = block->value("except", Json::array());
      if (!holes.is_array()) return path + ".ipBlock.except is not a list";
      std::vector<Cidr> except;
      for (const Json& hole : holes) {
        const auto parsed = hole.is_string() ? parse_cidr(hole.get<std::string>()) : std::nullopt;
        if (!parsed) return path + ".ipBlock.except holds something that is no address range";
        except.push_back(*parsed);
      }
      if (const std::string reason = forbidden_reason(*cidr, except, api_server); !reason.empty()) {
        return fmt::format("{}.ipBlock {} is refused: {}; narrow it or add that range to except",
                           path, range.get<std::string>(), reason);
      }
    }
  }
  return {};
}

}  // namespace palisade::op
