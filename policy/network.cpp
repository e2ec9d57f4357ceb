#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <policy/network.h>

#include "cidr.h"
#include "pod_view.h"

namespace palisade::policy {
namespace {

using simdjson::dom::element;

constexpr std::size_t kMaxOpenings = 32;  // of wide ones and of the others
constexpr std::size_t kMaxDistinctBlocks = 256;
constexpr std::int64_t kDnsPort = 53;

constexpr std::string_view kExclude =
    "exclude agent pods from spec.podSelector (matchExpressions: [{key: palisade.dev/agent, "
    "operator: DoesNotExist}])";

struct Special {
  std::string_view cidr;
  std::string_view what;
};
constexpr std::array kSpecial{
    Special{"169.254.0.0/16", "link-local addresses, the cloud's metadata server among them"},
    Special{"fe80::/10", "link-local addresses, the cloud's metadata server among them"},
    Special{"100.100.100.200/32", "a cloud's metadata server"},
    Special{"168.63.129.16/32", "a cloud's metadata server"},
    Special{"192.0.0.192/32", "a cloud's metadata server"},
    Special{"fd00:ec2::254/128", "a cloud's metadata server"},
    Special{"fd20:ce::254/128", "a cloud's metadata server"},
    Special{"127.0.0.0/8", "loopback addresses"},
    Special{"::1/128", "the loopback address"},
    Special{"0.0.0.0/8", "addresses of the node itself"},
    Special{"::/128", "the unspecified address"},
    Special{"224.0.0.0/3", "multicast and reserved addresses"},
    Special{"ff00::/8", "multicast addresses"},
};

struct SpecialRange {
  Cidr range;
  std::string_view what;
};
const std::vector<SpecialRange>& special_ranges() {
  static const std::vector<SpecialRange> kRanges = [] {
    std::vector<SpecialRange> out;
    out.reserve(kSpecial.size());
    for (const auto& [cidr, what] : kSpecial)
      out.push_back({parse_cidr(cidr).value(), what});
    return out;
  }();
  return kRanges;
}

// Whether the selector names something by a label that must have one of the values that it lists.
// What only excludes, or asks that a label be there, is as good as everything: who reads
// {key: kubernetes.io/metadata.name, operator: Exists} as a choice is wrong.
bool names_something(element selector) {
  simdjson::dom::object labels;
  if (selector["matchLabels"].get(labels) == simdjson::SUCCESS && labels.size() > 0) return true;
  simdjson::dom::array expressions;
  if (selector["matchExpressions"].get(expressions) != simdjson::SUCCESS) return false;
  return std::ranges::any_of(expressions, [](const element expression) {
    std::string_view op;
    return expression["operator"].get(op) == simdjson::SUCCESS && op == "In";
  });
}

class OpeningsReader {
 public:
  explicit OpeningsReader(std::vector<Opening>& out) : out_(out) {}

  void read(const Node& spec) {
    // A rule in a direction that policyTypes leaves out should be without effect; no pod's safety
    // rests on every implementation reading it so.
    const Node ingress = spec["ingress"];
    const Node egress = spec["egress"];
    direction_ = Direction::ingress;
    each(ingress, [&](const Node& rule) {
      wide(rule, "lets traffic in, and agent pods accept none: take the rule away");
    });
    direction_ = Direction::egress;
    each(egress, [&](const Node& rule) { read_egress(rule); });
    read_sums(egress);
  }

 private:
  template <class Visit>
  void each(const Node& list, Visit visit) {
    const auto items = list.list();
    if (items.broken()) misread(list, "a list");
    if (!items.present()) return;
    std::size_t index = 0;
    for (const element value : items.value) {
      const Node item = list.item(index++, value);
      visit(item);
    }
  }

  void add(const Node& node, bool is_wide, std::string message) {
    std::size_t& count = is_wide ? wide_count_ : narrow_count_;
    if (count++ >= kMaxOpenings) return;
    out_.push_back({direction_, is_wide, node.path(), node.found(), std::move(message)});
  }
  void wide(const Node& node, std::string message) {
    rule_is_wide_ = true;
    add(node, true, std::move(message));
  }
  void misread(const Node& node, std::string_view expected) {
    const std::string_view wanted = node.expected().empty() ? expected : node.expected();
    wide(node, "must be " + std::string(wanted) + ", so it counts as if it let everything through");
  }

  // Fields that a later Kubernetes may know and this does not.
  void refuse_unknown(const Node& object, std::initializer_list<std::string_view> known) {
    const auto members = object.object();
    if (!members.present()) return misread(object, "an object");
    for (const auto [key, value] : members.value) {
      if (std::ranges::find(known, key) != known.end()) continue;
      const Node member = object.member(key, value);
      if (!member.absent())
        wide(member, "is not known here, so it counts as if it let everything through");
    }
  }

  void read_egress(const Node& rule) {
    rule_is_wide_ = false;
    refuse_unknown(rule, {"to", "ports"});
    if (!rule.object().present()) return;
    const Node to = rule["to"];
    const Node ports = rule["ports"];
    const auto peers = to.list();
    if (peers.absent() || (peers.present() && peers.value.size() == 0)) {
      wide(to,
           "names no peer, which is every address there is: name pods by podSelector, or few "
           "addresses by ipBlock");
    } else {
      each(to, [&](const Node& peer) { read_peer(peer); });
    }
    const auto list = ports.list();
    if (list.absent() || (list.present() && list.value.size() == 0)) {
      wide(ports, "names no port, which is every port there is: name each");
    } else {
      each(ports, [&](const Node& port) { read_port(port); });
    }
    if (!rule_is_wide_) add(rule, false, "lets traffic out");
  }

  void read_port(const Node& port) {
    refuse_unknown(port, {"protocol", "port", "endPort"});
    if (!port.object().present()) return;
    const Node number = port["port"];
    const Node end = port["endPort"];
    if (number.absent())
      return wide(number, "names no port, which is every port there is: name each");
    const auto first = number.integer();
    if (!first.present()) {
      return wide(number,
                  "is no number: which port a name means is the peer's choice, so write the "
                  "number");
    }
    const auto last = end.integer();
    if (last.broken()) return misread(end, "a number");
    if (last.present() && last.value != first.value)
      wide(end, "makes a range of ports: name each port by itself");
    if (first.value <= kDnsPort && (last.present() ? last.value : first.value) >= kDnsPort) {
      wide(number,
           "is DNS, through which data leaves to any name's server: give the pod addresses "
           "(spec.hostAliases) instead");
    }
  }

  void read_peer(const Node& peer) {
    refuse_unknown(peer, {"ipBlock", "podSelector", "namespaceSelector"});
    if (!peer.object().present()) return;
    const Node block = peer["ipBlock"];
    const Node pods = peer["podSelector"];
    const Node namespaces = peer["namespaceSelector"];
    if (!block.absent()) {
      if (!pods.absent() || !namespaces.absent())
        wide(peer, "has an ipBlock and a selector, which no NetworkPolicy can");
      return read_block(block);
    }
    if (pods.absent() && namespaces.absent())
      return wide(peer, "is an empty peer, which may be read as every address there is: name pods");
    const bool some_namespaces = read_selector(namespaces);
    const bool some_pods = read_selector(pods);
    if (namespaces.present() && !some_namespaces) {
      wide(namespaces,
           "takes in the pods of any namespace: name namespaces by the value of a "
           "label, such as kubernetes.io/metadata.name");
    } else if (!some_pods) {
      wide(pods, namespaces.present()
                     ? "takes in all pods of these namespaces: name pods by the value of a label"
                     : "takes in all pods of the namespace: name pods by the value of a label");
    }
  }

  // Whether it is a selector that chooses; one that is not understood says so and counts as if it
  // chose, to be told once.
  bool read_selector(const Node& selector) {
    if (selector.absent()) return false;
    if (selector.broken()) {
      misread(selector, "a label selector");
      return true;
    }
    if (const auto parsed = Selector::parse(selector.value(), "it"); !parsed) {
      wide(selector, "counts as if it took in everything: " + parsed.error());
      return true;
    }
    return names_something(selector.value());
  }

  void read_block(const Node& block) {
    refuse_unknown(block, {"cidr", "except"});
    if (!block.object().present()) return;
    const Node at = block["cidr"];
    const auto text = at.text();
    const auto range = text.present() ? parse_cidr(text.value) : std::nullopt;
    if (!range) return misread(at, "a range of addresses such as 10.20.30.0/28");
    const Node holes = block["except"];
    std::vector<Cidr> except;
    each(holes, [&](const Node& hole) {
      const auto written = hole.text();
      const auto parsed = written.present() ? parse_cidr(written.value) : std::nullopt;
      if (parsed) {
        except.push_back(*parsed);
      } else {
        misread(hole, "a range of addresses such as 10.20.30.0/28");
      }
    });
    const std::optional<Cidr> meant = translated(*range);
    const bool v4 = range->is_v4();
    // What is left of a huge block by `except` is still huge, or better written as what it is.
    if (v4 ? range->bits < 96 + kWidestV4Prefix
           : range->bits < kWidestV6Prefix || range->contains(kAllV4) ||
                 (meant && meant->bits < 96 + kWidestV4Prefix)) {
      wide(at,
           "is a huge range, with or without except: name the few addresses that the pod "
           "needs (at most a /16, or an IPv6 /48)");
    } else {
      count(meant ? *meant : *range);
    }
    for (const auto& [special, what] : special_ranges()) {
      for (const Cidr& reached : {*range, meant.value_or(*range)}) {
        if (!reached.overlaps(special)) continue;
        const Cidr& both = reached.contains(special) ? special : reached;
        if (std::ranges::any_of(except, [&](const Cidr& hole) { return hole.contains(both); }))
          continue;
        wide(at, "reaches " + std::string(what) + ": choose a range without them");
        return;  // one is enough, and told once
      }
    }
  }

  void count(const Cidr& range) {
    const bool known =
        blocks_.size() <= kMaxDistinctBlocks &&
        std::ranges::any_of(blocks_, [&](const Cidr& b) { return b.contains(range); });
    if (known) return;
    if (blocks_.size() <= kMaxDistinctBlocks) blocks_.push_back(range);
    if (range.is_v4()) {
      v4_ += std::ldexp(1.0, 128 - range.bits);
    } else {
      v6_ += std::ldexp(1.0, 128 - range.bits);
    }
  }

  void read_sums(const Node& egress) {
    if (v4_ > std::ldexp(1.0, 32 - kWidestV4Prefix) || v6_ > std::ldexp(1.0, 128 - kWidestV6Prefix))
      wide(egress,
           "has blocks that are a huge range together: name the few addresses that the pod "
           "needs (at most a /16, or an IPv6 /48)");
  }

  static constexpr Cidr kAllV4{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};

  std::vector<Opening>& out_;
  Direction direction_ = Direction::ingress;
  bool rule_is_wide_ = false;
  std::size_t wide_count_ = 0;
  std::size_t narrow_count_ = 0;
  std::vector<Cidr> blocks_;
  double v4_ = 0;  // addresses
  double v6_ = 0;
};

std::string labels_text(const Labels& labels) {
  constexpr std::size_t kMaxShown = 160;
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out += ',';
    out += key;
    out += '=';
    out += value;
    if (out.size() > kMaxShown) {
      std::size_t end = kMaxShown;
      while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0U) == 0x80U)
        --end;
      out.resize(end);
      return out + "...";
    }
  }
  return out.empty() ? "(no labels)" : out;
}

}  // namespace

std::expected<NetworkPolicy, std::string> NetworkPolicy::parse(element object) {
  const Node root(object, "");
  const Node metadata = root["metadata"];
  const Node spec = root["spec"];
  if (!root.object().present()) return std::unexpected("a NetworkPolicy must be an object");
  NetworkPolicy out;
  for (const auto& [field, target] :
       {std::pair{"namespace", &out.ns_}, std::pair{"name", &out.name_}}) {
    const Node node = metadata[field];
    const auto text = node.text();
    if (text.broken())
      return std::unexpected("metadata." + std::string(field) + " must be a text, given once");
    *target = text.value;
  }
  out.labels_ = labels_of(object);
  simdjson::dom::array owners;
  if (object.at_pointer("/metadata/ownerReferences").get(owners) == simdjson::SUCCESS) {
    for (const element owner : owners) {
      std::string_view kind;
      std::string_view version;
      std::string_view uid;
      if (owner["kind"].get(kind) == simdjson::SUCCESS && kind == "AgentWorkspace" &&
          owner["apiVersion"].get(version) == simdjson::SUCCESS &&
          version.starts_with("palisade.dev/") && owner["uid"].get(uid) == simdjson::SUCCESS)
        out.workspace_uid_ = uid;
    }
  }
  const Node deletion = metadata["deletionTimestamp"];
  out.terminating_ = !deletion.absent();

  const Node selector = spec["podSelector"];
  if (selector.absent()) {
    out.pods_.emplace();  // as {}: every pod
  } else if (selector.present()) {
    if (auto parsed = Selector::parse(selector.value(), "spec.podSelector"); parsed)
      out.pods_ = *std::move(parsed);
  }

  const Node types = spec["policyTypes"];
  const auto listed = types.list();
  if (listed.present() && listed.value.size() > 0) {
    for (const element type : listed.value) {
      std::string_view text;
      if (type.get(text) != simdjson::SUCCESS) continue;
      if (text == "Ingress") out.ingress_ = true;
      if (text == "Egress") out.egress_ = true;
    }
  } else if (!listed.broken() && !spec.broken()) {
    const Node egress = spec["egress"];
    const auto rules = egress.list();
    out.ingress_ = true;
    out.egress_ = rules.present() && rules.value.size() > 0;
  }
  OpeningsReader(out.openings_).read(spec);
  return out;
}

bool NetworkPolicy::selects(const Labels& pod) const {
  return pods_ && pods_->matches(pod);
}

bool NetworkPolicy::may_select(const Labels& pod) const {
  return !pods_ || pods_->matches(pod);
}

bool NetworkPolicy::isolates(Direction direction) const {
  return direction == Direction::ingress ? ingress_ : egress_;
}

std::vector<Finding> widenings(const NetworkPolicy& policy, const NetworkOf& pod,
                               std::string_view prefix) {
  std::vector<Finding> out;
  if (policy.openings().empty() || !policy.may_select(pod.labels)) return out;
  const bool by_hand = pod.own_policy.empty();
  const bool own = !by_hand && !pod.workspace_uid.empty() && policy.name() == pod.own_policy &&
                   policy.workspace_uid() == pod.workspace_uid;
  for (const Opening& opening : policy.openings()) {
    // What a workspace's own policy lets out is what its operator gave it.
    if (own ? opening.direction == Direction::egress : by_hand && !opening.wide) continue;
    std::string message;
    if (by_hand) {
      message = opening.message + "; or " + std::string(kExclude);
    } else if (own) {
      message = opening.message;
    } else {
      message =
          "NetworkPolicies add up, so this gives a workspace's pod more than its own policy "
          "does: " +
          std::string(kExclude) +
          "; what a session needs goes into its AgentWorkspace's spec.isolation.egress";
    }
    out.push_back(
        {kDenyAllNetwork, std::string(prefix) + opening.field, opening.found, std::move(message)});
  }
  return out;
}

std::vector<Finding> network_findings(
    const NetworkOf& pod, std::span<const std::shared_ptr<const NetworkPolicy>> policies) {
  std::vector<Finding> out;
  for (const auto& [direction, name, type] : {std::tuple{Direction::ingress, "into", "Ingress"},
                                              std::tuple{Direction::egress, "out of", "Egress"}}) {
    const bool closed = std::ranges::any_of(policies, [&, wanted = direction](const auto& policy) {
      return !policy->terminating() && policy->isolates(wanted) && policy->selects(pod.labels);
    });
    if (!closed) {
      out.push_back({kDenyAllNetwork, "metadata.labels", labels_text(pod.labels),
                     std::string("no NetworkPolicy closes the way ") + name +
                         " a pod with these labels: create one first that selects it and has " +
                         type + " in spec.policyTypes"});
    }
  }
  for (const auto& policy : policies) {
    if (policy->openings().empty() || out.size() >= kMaxFindings) continue;
    auto more =
        widenings(*policy, pod, "NetworkPolicy " + policy->ns() + "/" + policy->name() + ": ");
    std::ranges::move(more, std::back_inserter(out));
  }
  return out;
}

}  // namespace palisade::policy
