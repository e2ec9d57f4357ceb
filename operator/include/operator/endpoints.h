// What a session may reach: a URL becomes an address for the pod's hosts file and a NetworkPolicy
// rule. Pure; look-ups are handed in.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include <operator/workspace.h>

namespace palisade::op {

// An address range; IPv4 as IPv4-mapped IPv6, so that ::ffff:169.254.169.254 is the address that it
// means.
struct Cidr {
  std::array<std::uint8_t, 16> bytes{};
  int bits = 128;  // of the mapped form

  [[nodiscard]] bool contains(const Cidr& other) const;
  [[nodiscard]] bool overlaps(const Cidr& other) const {
    return contains(other) || other.contains(*this);
  }
};
// "10.0.0.0/8", "10.0.0.1", "fd00::/8"; nullopt for anything else.
[[nodiscard]] std::optional<Cidr> parse_cidr(const std::string& text);

struct Target {
  bool tls = true;
  std::string host;  // without brackets
  std::uint16_t port = 443;
  // {name, namespace} where the host is SERVICE.NAMESPACE.svc[.cluster.local]
  [[nodiscard]] std::optional<std::pair<std::string, std::string>> service() const;
  [[nodiscard]] bool is_address() const;
};
[[nodiscard]] std::expected<Target, std::string> parse_target(const std::string& url);

struct Endpoint {
  std::string host;   // as the URL names it
  std::string alias;  // address for the hosts file; empty where the host is an address itself
  Json peers = Json::array();  // NetworkPolicyPeer objects
  Json ports = Json::array();  // NetworkPolicyPort objects
  bool operator==(const Endpoint&) const = default;
};
[[nodiscard]] Json to_json(const Endpoint& endpoint);
[[nodiscard]] std::optional<Endpoint> endpoint_from_json(const Json& json);

// Why `block` (with its exceptions) may not be reached, or "" where it may: the API server,
// loopback, link-local and metadata addresses never; carrier-grade NAT (100.64/10) only where the
// block lies inside it, that is, where it was named.
[[nodiscard]] std::string forbidden_reason(const Cidr& block, const std::vector<Cidr>& except,
                                           const std::vector<std::string>& api_server);

// What must not answer when a session starts.
struct Unreachable {
  std::string name;  // "the API server", as a message says it
  std::string address;
  std::uint16_t port = 0;
  bool udp = false;
  bool forbidden = true;  // no spec.isolation.egress can mean it
  // The address is a pod's, and somebody else's after that: nothing that lasts may rest on it.
  bool of_pod = false;
  bool operator==(const Unreachable&) const = default;
};

// The TCP ports of a Service's spec or of an EndpointSlice.
[[nodiscard]] std::vector<std::uint16_t> tcp_ports(const Json& object);

// The pods behind a Service, of its EndpointSlices: of each address family the first two that are
// ready, on two nodes where there are two, with each TCP port. The order of the slices and of what
// they hold changes nothing.
[[nodiscard]] std::vector<Unreachable> pods_behind(const std::vector<Json>& slices);

// The ranges that no session may reach, but where it names an address inside them.
[[nodiscard]] std::vector<Cidr> never_reachable();

// From the Service that the host names.
[[nodiscard]] std::expected<Endpoint, std::string> service_endpoint(const Target& target,
                                                                    const Json& service);
// From addresses that the host resolves to (or is).
[[nodiscard]] std::expected<Endpoint, std::string> address_endpoint(
    const Target& target, std::vector<std::string> addresses,
    const std::vector<std::string>& api_server);

// Whether `endpoint`, read from an annotation that others can write, is what the operator can have
// made of `url` for a pod with these hostAliases (which nobody can change).
[[nodiscard]] bool fits_pod(const Endpoint& endpoint, const std::string& url,
                            const Json& host_aliases);
// The same for the Service that `url` names and that the pod has no alias of.
[[nodiscard]] bool fits_service(const Endpoint& endpoint, const std::string& url);

// spec.isolation.egress, judged: "" or the first offence with its path.
[[nodiscard]] std::string check_egress(const Json& rules,
                                       const std::vector<std::string>& api_server);

}  // namespace palisade::op
