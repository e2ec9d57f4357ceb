#include "permissions_network.h"

#include <algorithm>
#include <optional>

#include <policy/network.h>
#include <policy/selector.h>

#include "permissions_reader.h"

namespace palisade::policy {

namespace {

using simdjson::dom::element;

// The value as JSON with sorted members: equal values have equal texts.
std::string canonical(element value) {
  if (value.is_object()) {
    std::vector<std::pair<std::string, std::string>> members;
    for (const auto [key, member] : simdjson::dom::object(value.get_object()))
      members.emplace_back(key, canonical(member));
    std::ranges::sort(members);
    std::string out = "{";
    for (const auto& [key, text] : members)
      out.append(out.size() > 1 ? "," : "").append(key).append(":").append(text);
    return out + "}";
  }
  if (value.is_array()) {
    std::string out = "[";
    for (const element item : simdjson::dom::array(value.get_array()))
      out.append(out.size() > 1 ? "," : "").append(canonical(item));
    return out + "]";
  }
  return simdjson::minify(value);
}

std::string canonical_at(element object, std::string_view pointer) {
  element value;
  return object.at_pointer(pointer).get(value) == simdjson::SUCCESS ? canonical(value)
                                                                    : std::string();
}

// "app=llm", "all", or the selector itself where it is more than labels.
std::string selector_text(element selector) {
  element expressions;
  simdjson::dom::object labels;
  std::string out;
  if (selector.at_pointer("/matchExpressions").get(expressions) == simdjson::SUCCESS)
    return canonical(selector);
  if (selector.at_pointer("/matchLabels").get(labels) == simdjson::SUCCESS) {
    for (const auto [key, value] : labels)
      out.append(out.empty() ? "" : ",").append(key).append("=").append(text_of(value));
  }
  return out.empty() ? "all" : out;
}

std::string peer_text(element peer, const std::string& ns) {
  const std::string cidr = text_at(peer, "/ipBlock/cidr");
  if (!cidr.empty()) {
    std::string except;
    each_at(peer, "/ipBlock/except", [&](element block, const std::string&) {
      except += (except.empty() ? " except " : ",") + text_of(block);
    });
    return cidr + except;
  }
  element pods;
  element namespaces;
  const bool by_pods = peer.at_pointer("/podSelector").get(pods) == simdjson::SUCCESS;
  const bool by_namespaces =
      peer.at_pointer("/namespaceSelector").get(namespaces) == simdjson::SUCCESS;
  if (!by_pods && !by_namespaces) return canonical(peer);
  return "pods " + (by_pods ? selector_text(pods) : "all") + " of " +
         (by_namespaces ? "namespaces " + selector_text(namespaces) : "namespace " + ns);
}

std::string port_text(element port) {
  std::string out = text_at(port, "/protocol");
  if (out.empty()) out = "TCP";
  element number;
  if (port.at_pointer("/port").get(number) != simdjson::SUCCESS) return out;
  out += "/" + (number.is_string() ? text_of(number) : simdjson::minify(number));
  if (const auto end = int_at(port, "/endPort")) out += "-" + std::to_string(*end);
  return out;
}

std::string ports_text(element rule) {
  std::string out;
  each_at(rule, "/ports", [&](element port, const std::string&) {
    out += (out.empty() ? "" : ",") + port_text(port);
  });
  return out.empty() ? "all ports" : out;
}

// What the operator says it opened the pod's network for (annotation palisade.dev/access).
struct Opened {
  std::string llm, git;  // canonical peers and ports
  std::string llm_url, git_host;
};

std::string endpoint_text(element access, const std::string& which) {
  return canonical_at(access, "/" + which + "/peers") +
         canonical_at(access, "/" + which + "/ports");
}

Opened opened_for(element pod) {
  Opened out;
  const std::string text = text_at(pod, "/metadata/annotations/palisade.dev~1access");
  simdjson::dom::parser parser;
  const simdjson::padded_string padded(text);
  element access;
  if (text.empty() || parser.parse(padded).get(access) != simdjson::SUCCESS) return out;
  out.llm = endpoint_text(access, "llm");
  out.git = endpoint_text(access, "git");
  out.llm_url = without_user(text_at(access, "/llmUrl"));
  out.git_host = text_at(access, "/git/host");
  return out;
}

class PoliciesReader {
 public:
  PoliciesReader(element pod, std::string pod_name)
      : labels_(labels_of(pod)), opened_(opened_for(pod)), pod_name_(std::move(pod_name)) {}

  std::expected<void, std::string> read(element object) {
    const auto policy = NetworkPolicy::parse(object);
    if (!policy) return std::unexpected("a NetworkPolicy cannot be read: " + policy.error());
    if (policy->terminating()) return {};
    const bool surely = policy->selects(labels_);
    closed_in_ = closed_in_ || (surely && policy->isolates(Direction::ingress));
    closed_out_ = closed_out_ || (surely && policy->isolates(Direction::egress));
    if (!policy->may_select(labels_)) return {};
    const std::string name = "NetworkPolicy " + policy->ns() + "/" + policy->name() + " ";
    if (policy->isolates(Direction::egress)) {
      each_at(object, "/spec/egress", [&](element rule, const std::string& at) {
        const auto [capability, detail] = purpose(rule);
        rule_grants(rule, at, "/to", policy->ns(), name, capability, detail);
      });
    }
    if (policy->isolates(Direction::ingress)) {
      each_at(object, "/spec/ingress", [&](element rule, const std::string& at) {
        rule_grants(rule, at, "/from", policy->ns(), name, "network.ingress", "");
      });
    }
    return {};
  }

  std::vector<std::pair<std::string, Grant>> finish() {
    const auto open = [&](const char* capability, const char* way) {
      grants_.emplace_back(
          capability, Grant{"anywhere", std::string("no NetworkPolicy isolates the pod's ") + way,
                            pod_name_ + " /metadata"});
    };
    if (!closed_out_) open("network.egress.any", "egress");
    if (!closed_in_) open("network.ingress", "ingress");
    return std::move(grants_);
  }

 private:
  [[nodiscard]] std::pair<std::string, std::string> purpose(element rule) const {
    const std::string rule_text = canonical_at(rule, "/to") + canonical_at(rule, "/ports");
    if (!rule_text.empty() && rule_text == opened_.llm && rule_text == opened_.git)
      return {"network.egress.gateway", "for " + opened_.llm_url};
    if (!rule_text.empty() && rule_text == opened_.llm)
      return {"network.egress.llm", "for " + opened_.llm_url};
    if (!rule_text.empty() && rule_text == opened_.git)
      return {"network.egress.git", "for " + opened_.git_host};
    return {"network.egress.extra", ""};
  }

  void rule_grants(element rule, const std::string& at, const std::string& side,
                   const std::string& ns, const std::string& name, const std::string& capability,
                   const std::string& detail) {
    const std::string ports = ports_text(rule);
    bool named = false;
    each_at(rule, side, [&](element peer, const std::string& here) {
      named = true;
      grants_.emplace_back(capability,
                           Grant{peer_text(peer, ns) + " " + ports, detail, name + at + here});
    });
    if (!named) grants_.emplace_back(capability, Grant{"anywhere " + ports, detail, name + at});
  }

  const Labels labels_;
  const Opened opened_;
  const std::string pod_name_;
  bool closed_in_ = false;
  bool closed_out_ = false;
  std::vector<std::pair<std::string, Grant>> grants_;
};

}  // namespace

std::expected<std::vector<std::pair<std::string, Grant>>, std::string> network_grants(
    element objects, element pod, const std::string& pod_name) {
  PoliciesReader reader(pod, pod_name);
  std::string problem;
  each_at(objects, "/networkPolicies", [&](element object, const std::string&) {
    if (!object.is_object()) problem = "a NetworkPolicy is no object";
    if (text_at(object, "/metadata/namespace") != text_at(pod, "/metadata/namespace")) return;
    if (auto read = reader.read(object); !read && problem.empty()) problem = read.error();
  });
  if (!problem.empty()) return std::unexpected(problem);
  return reader.finish();
}

}  // namespace palisade::policy
