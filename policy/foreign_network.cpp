#include <algorithm>
#include <array>
#include <span>

#include <policy/foreign_network.h>

namespace palisade::policy {
namespace {

using simdjson::dom::element;
using Actions = std::span<const std::string_view>;

// Actions that open nothing. Pass hands on to the NetworkPolicies; Calico's hands on to profiles,
// which let everything through.
constexpr std::array kKubernetesCloses{std::string_view("Deny"), std::string_view("Pass")};
constexpr std::array kCalicoCloses{std::string_view("Deny"), std::string_view("Log")};
constexpr std::array kAntreaCloses{std::string_view("Drop"), std::string_view("Reject"),
                                   std::string_view("Pass")};

constexpr std::string_view kNotUnderstood = "not understood";

// A member that is there and not null.
std::optional<element> member(const element& object, std::string_view key) {
  element out;
  if (object[key].get(out) != simdjson::SUCCESS || out.is_null()) return std::nullopt;
  return out;
}

std::string_view text(const element& object, std::string_view key) {
  std::string_view out;
  const auto found = member(object, key);
  return found && found->get(out) == simdjson::SUCCESS ? out : std::string_view();
}

bool may_match(const element& object, std::string_view key, const Labels& labels) {
  const auto found = member(object, key);
  if (!found) return true;
  const auto selector = Selector::parse(*found, key);
  return !selector || selector->matches(labels);
}

// The first rule of spec.ingress and spec.egress that opens and that `applies` to the pod.
template <class Applies>
std::optional<ForeignOpening> opening_rule(const element& spec, Actions closing,
                                           const Applies& applies) {
  for (const char* direction : {"ingress", "egress"}) {
    const auto rules = member(spec, direction);
    if (!rules) continue;
    const std::string at = std::string("spec.") + direction;
    simdjson::dom::array list;
    if (rules->get(list) != simdjson::SUCCESS)
      return ForeignOpening{at, std::string(kNotUnderstood)};
    std::size_t index = 0;
    for (const element rule : list) {
      const std::string field = at + "[" + std::to_string(index++) + "]";
      const std::string_view action = text(rule, "action");
      if (std::ranges::find(closing, action) != closing.end() || !applies(rule)) continue;
      return ForeignOpening{field, action.empty() ? std::string("no action that is understood")
                                                  : std::string(action.substr(0, 32))};
    }
  }
  return std::nullopt;
}

constexpr auto kEveryRule = [](const element&) { return true; };

// AdminNetworkPolicy and ClusterNetworkPolicy. What is of the baseline comes after NetworkPolicies,
// and only for pods that none selects.
std::optional<ForeignOpening> kubernetes(std::string_view resource, const element& spec,
                                         const SelectedPod& pod) {
  if (resource == "baselineadminnetworkpolicies" || text(spec, "tier") == "Baseline")
    return std::nullopt;
  if (const auto subject = member(spec, "subject")) {
    const auto pods = member(*subject, "pods");
    const bool by_pods = pods && may_match(*pods, "namespaceSelector", pod.ns_labels) &&
                         may_match(*pods, "podSelector", pod.labels);
    const bool by_namespace = (!pods || member(*subject, "namespaces")) &&
                              may_match(*subject, "namespaces", pod.ns_labels);
    if (!by_pods && !by_namespace) return std::nullopt;
  }
  return opening_rule(spec, kKubernetesCloses, kEveryRule);
}

// --- Cilium ---

// The labels of an endpoint, by each way to write their keys.
Labels endpoint_labels(const SelectedPod& pod) {
  Labels out;
  const auto add = [&](const std::string& key, std::string_view value) {
    for (const char* source : {"", "any:", "k8s:"})
      out.insert_or_assign(source + key, std::string(value));
  };
  for (const auto& [key, value] : pod.labels)
    add(key, value);
  add("io.kubernetes.pod.namespace", pod.ns);
  for (const auto& [key, value] : pod.ns_labels)
    add("io.cilium.k8s.namespace.labels." + key, value);
  return out;
}

// Labels that Cilium itself gives an endpoint (its account, its cluster, what it was told to add),
// and ways to write a key that this does not know.
bool is_ciliums(std::string_view key) {
  const auto colon = key.find(':');
  const std::string_view source = colon == std::string_view::npos ? "" : key.substr(0, colon);
  if (colon != std::string_view::npos) key.remove_prefix(colon + 1);
  if (!source.empty() && source != "any" && source != "k8s") return true;
  return key.starts_with("any.") || key.starts_with("k8s.") || key.starts_with("reserved.") ||
         (key.starts_with("io.kubernetes.") && key != "io.kubernetes.pod.namespace") ||
         (key.starts_with("io.cilium.") && !key.starts_with("io.cilium.k8s.namespace.labels."));
}

// Cilium leaves labels out that it is told to leave out, so what asks for a label's absence may
// match all the same. Palisade's own stay where nobody has said otherwise.
bool trusts_absence(const element& expression) {
  const std::string_view op = text(expression, "operator");
  return op == "In" || op == "Exists" ||
         text(expression, "key").find("palisade.dev/") != std::string_view::npos;
}

bool is_certain(const element& selector) {
  simdjson::dom::object labels;
  if (const auto found = member(selector, "matchLabels");
      found && found->get(labels) == simdjson::SUCCESS) {
    for (const auto [key, value] : labels) {
      if (is_ciliums(key)) return false;
    }
  }
  simdjson::dom::array expressions;
  if (const auto found = member(selector, "matchExpressions");
      found && found->get(expressions) == simdjson::SUCCESS) {
    for (const element expression : expressions) {
      if (is_ciliums(text(expression, "key")) || !trusts_absence(expression)) return false;
    }
  }
  return true;
}

std::optional<ForeignOpening> cilium_part(const element& spec, const std::string& at,
                                          const Labels& labels) {
  const auto endpoints = member(spec, "endpointSelector");
  if (!endpoints && member(spec, "nodeSelector")) return std::nullopt;  // the nodes' own
  if (endpoints && is_certain(*endpoints) && !may_match(spec, "endpointSelector", labels))
    return std::nullopt;
  for (const char* direction : {"ingress", "egress"}) {
    const auto rules = member(spec, direction);
    simdjson::dom::array list;
    if (!rules || (rules->get(list) == simdjson::SUCCESS && list.size() == 0)) continue;
    return ForeignOpening{at + "." + direction, "rules that allow"};
  }
  return std::nullopt;
}

std::optional<ForeignOpening> cilium(const element& object, const SelectedPod& pod) {
  const Labels labels = endpoint_labels(pod);
  if (const auto spec = member(object, "spec")) {
    if (auto out = cilium_part(*spec, "spec", labels)) return out;
  }
  const auto specs = member(object, "specs");
  if (!specs) return std::nullopt;
  simdjson::dom::array list;
  if (specs->get(list) != simdjson::SUCCESS)
    return ForeignOpening{"specs", std::string(kNotUnderstood)};
  std::size_t index = 0;
  for (const element spec : list) {
    if (auto out = cilium_part(spec, "specs[" + std::to_string(index++) + "]", labels)) return out;
  }
  return std::nullopt;
}

// --- Calico ---

class CalicoSelector {
 public:
  CalicoSelector(std::string_view text, const Labels& labels) : rest_(text), labels_(labels) {}

  // What the whole comes to; true where it is not understood.
  bool may_match() {
    bool matches = true;
    do {
      const auto term = one_term();
      if (!term) return true;
      matches = matches && *term;
    } while (taken("&&"));
    skip();
    return !rest_.empty() || matches;
  }

 private:
  void skip() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t'))
      rest_.remove_prefix(1);
  }
  bool taken(std::string_view token) {
    skip();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }
  std::string_view key() {
    skip();
    constexpr std::string_view kLetters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    const auto end = rest_.find_first_not_of(kLetters);
    const std::string_view out = rest_.substr(0, end);
    rest_.remove_prefix(out.size());
    return out;
  }
  // Labels that Calico itself gives a pod, and those of its account.
  [[nodiscard]] bool is_calicos(std::string_view key) const {
    return key.starts_with("pcsa.") ||
           (key.find("projectcalico.org/") != std::string_view::npos && !labels_.contains(key));
  }

  std::optional<bool> one_term() {
    if (taken("all()")) return true;
    const bool negated = taken("!");
    std::string_view name = key();
    if (name == "has" && taken("(")) {
      name = key();
      if (name.empty() || is_calicos(name) || !taken(")")) return std::nullopt;
      return labels_.contains(name) != negated;
    }
    if (negated || name.empty() || is_calicos(name)) return std::nullopt;
    const bool equal = taken("==");
    if (equal || taken("!=")) {
      const auto wanted = value();
      if (!wanted) return std::nullopt;
      return has_value(name, *wanted) == equal;
    }
    std::string_view word = key();
    const bool out = word == "not";
    if (out) word = key();
    if (word != "in" || !taken("{")) return std::nullopt;
    bool among = false;
    do {
      const auto wanted = value();
      if (!wanted) return std::nullopt;
      among = among || has_value(name, *wanted);
    } while (taken(","));
    if (!taken("}")) return std::nullopt;
    return among != out;
  }

  [[nodiscard]] bool has_value(std::string_view name, std::string_view wanted) const {
    const auto label = labels_.find(name);
    return label != labels_.end() && label->second == wanted;
  }
  std::optional<std::string_view> value() {
    skip();
    if (rest_.empty() || (rest_.front() != '\'' && rest_.front() != '"')) return std::nullopt;
    const auto end = rest_.find(rest_.front(), 1);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view out = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return out;
  }

  std::string_view rest_;
  const Labels& labels_;
};

bool calico_selects(const element& spec, std::string_view key, const Labels& labels) {
  const auto selector = member(spec, key);
  std::string_view written;
  return !selector || selector->get(written) != simdjson::SUCCESS ||
         calico_may_match(written, labels);
}

std::optional<ForeignOpening> calico(const element& spec, const SelectedPod& pod) {
  Labels labels = pod.labels;
  labels.insert_or_assign("projectcalico.org/namespace", std::string(pod.ns));
  labels.insert_or_assign("pcns.projectcalico.org/name", std::string(pod.ns));
  for (const auto& [key, value] : pod.ns_labels)
    labels.insert_or_assign("pcns." + key, value);
  Labels of_namespace = pod.ns_labels;
  of_namespace.insert_or_assign("projectcalico.org/name", std::string(pod.ns));
  if (!calico_selects(spec, "selector", labels) ||
      !calico_selects(spec, "namespaceSelector", of_namespace)) {
    return std::nullopt;
  }
  return opening_rule(spec, kCalicoCloses, kEveryRule);
}

// --- Antrea ---

// nullopt where nothing is listed.
std::optional<bool> antrea_applies(const element& holder, const SelectedPod& pod) {
  const auto list = member(holder, "appliedTo");
  if (!list) return std::nullopt;
  simdjson::dom::array peers;
  if (list->get(peers) != simdjson::SUCCESS) return true;
  if (peers.size() == 0) return std::nullopt;
  return std::ranges::any_of(peers, [&](const element peer) {
    simdjson::dom::object members;
    if (peer.get(members) != simdjson::SUCCESS) return true;
    for (const auto [key, value] : members) {
      if (key != "podSelector" && key != "namespaceSelector" && !value.is_null()) return true;
    }
    return may_match(peer, "podSelector", pod.labels) &&
           may_match(peer, "namespaceSelector", pod.ns_labels);
  });
}

std::optional<ForeignOpening> antrea(const element& spec, const SelectedPod& pod) {
  // This tier comes after NetworkPolicies, and only for pods that none selects.
  if (text(spec, "tier") == "baseline") return std::nullopt;
  const auto whole = antrea_applies(spec, pod);
  if (whole && !*whole) return std::nullopt;
  return opening_rule(spec, kAntreaCloses, [&](const element& rule) {
    return whole || antrea_applies(rule, pod).value_or(true);
  });
}

}  // namespace

bool calico_may_match(std::string_view selector, const Labels& labels) {
  if (selector.find_first_not_of(" \t") == std::string_view::npos) return true;
  return CalicoSelector(selector, labels).may_match();
}

std::optional<ForeignOpening> foreign_opening(std::string_view group, std::string_view resource,
                                              element object, const SelectedPod& pod) {
  if (group == "cilium.io") return cilium(object, pod);
  const auto spec = member(object, "spec");
  if (!spec) return std::nullopt;
  if (group == "policy.networking.k8s.io") return kubernetes(resource, *spec, pod);
  if (group == "crd.projectcalico.org" || group == "projectcalico.org") return calico(*spec, pod);
  if (group == "crd.antrea.io") return antrea(*spec, pod);
  return ForeignOpening{"spec", std::string(kNotUnderstood)};
}

}  // namespace palisade::policy
