#include "live_pods.h"

#include <algorithm>

#include "parsed.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

constexpr const char* kConfiguration = "palisade-webhook";
constexpr const char* kConfigMap = "palisade-config";
constexpr const char* kConfigKey = "policy.json";

std::string text_by_pointer(const Json& object, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!object.contains(at) || !object.at(at).is_string()) return {};
  return object.at(at).get<std::string>();
}

std::expected<policy::Settings, std::string> parse_config_map(const Json& object,
                                                              const std::string& where) {
  const std::string text = text_by_pointer(object, "/data/policy.json");
  if (text.empty()) {
    return std::unexpected(where + " has no key " + kConfigKey +
                           ": is it the chart's palisade-config?");
  }
  auto settings = policy::parse_settings(text);
  if (!settings) return std::unexpected(where + ": " + printable(settings.error()));
  return settings;
}

class LivePodsReader {
 public:
  LivePodsReader(const Live& live, const LiveOptions& options, const Streams& streams,
                 Progress& progress, LivePods& out)
      : live_(live), options_(options), streams_(streams), progress_(progress), out_(out) {}

  void read() {
    scope_ = live_.scope(options_.scope);
    const auto configuration = read_configuration();
    const auto settings = read_settings_for_cluster(configuration);
    if (!settings) return problem(settings.error());
    base_ = *settings;
    read_policies();
    read_exceptions();
    if (!read_namespaces()) return;
    read_networks();
    for (const policy::PodTemplate& kind : policy::pod_templates())
      judge_all(kind);
    std::ranges::stable_sort(out_.outcome.pods, [](const Judged& a, const Judged& b) {
      return std::tie(a.space, a.kind, a.name) < std::tie(b.space, b.kind, b.name);
    });
  }

 private:
  void problem(std::string what) {
    out_.problems.push_back(std::move(what));
    out_.outcome.unreadable = true;
  }

  // The webhook's, or null where there is none that may be read.
  Json read_configuration() {
    auto found = live_.find(known::kValidatingWebhookConfigurations, "", kConfiguration);
    if (!found) {
      out_.notes.push_back(found.error() + "; namespaces that it exempts are judged too");
      return {};
    }
    if (!found->has_value()) return {};
    out_.exempt = exempt_namespaces(**found);
    return std::move(**found);
  }

  std::expected<policy::Settings, std::string> read_settings_for_cluster(
      const Json& configuration) {
    constexpr std::string_view kPrefix = "configmap/";
    const std::string& wanted = options_.settings;
    if (wanted.starts_with(kPrefix)) {
      const std::string rest = wanted.substr(kPrefix.size());
      const auto slash = rest.find('/');
      if (slash == std::string::npos || slash == 0 || slash + 1 == rest.size()) {
        return std::unexpected("--settings " + printable(wanted) +
                               ": write configmap/NAMESPACE/NAME");
      }
      const auto object =
          live_.get(known::kConfigMaps, rest.substr(0, slash), rest.substr(slash + 1));
      if (!object) return std::unexpected(object.error());
      return parse_config_map(*object, "ConfigMap " + printable(rest));
    }
    if (!wanted.empty()) return read_settings(wanted, streams_.in);
    return installed_settings(configuration);
  }

  // What the webhook of this cluster judges by, where one is installed and may be read.
  std::expected<policy::Settings, std::string> installed_settings(const Json& configuration) {
    constexpr const char* kDefaults = "judged by the default settings: ";
    const std::string ns =
        text_by_pointer(configuration, "/webhooks/0/clientConfig/service/namespace");
    if (ns.empty()) {
      out_.notes.push_back(std::string(kDefaults) + "no Palisade webhook is installed here");
      return policy::Settings{};
    }
    const auto object = live_.find(known::kConfigMaps, ns, kConfigMap);
    if (!object || !object->has_value()) {
      out_.notes.push_back(
          kDefaults +
          (object ? "there is no ConfigMap " + printable(ns) + "/" + kConfigMap : object.error()) +
          " (--settings FILE names others)");
      return policy::Settings{};
    }
    return parse_config_map(**object, "ConfigMap " + printable(ns) + "/" + kConfigMap);
  }

  void read_policies() {
    const auto objects = live_.all(kinds::kAgentPolicies, "", progress_);
    if (!objects) return problem(objects.error());
    for (const Json& object : *objects) {
      const Parsed parsed(object.dump());
      auto policy = policy::parse_agent_policy(parsed.element());
      if (!policy) {
        problem("AgentPolicy " + printable(text_by_pointer(object, "/metadata/name")) + ": " +
                printable(policy.error()) + "; the webhook refuses agents until it is put right");
        continue;
      }
      policies_.push_back(std::move(*policy));
    }
  }

  void read_exceptions() {
    const auto objects = live_.all(kinds::kHardeningExceptions, "", progress_);
    if (!objects) return problem(objects.error());
    for (const Json& object : *objects) {
      const Parsed parsed(object.dump());
      auto exception = policy::parse_exception(parsed.element());
      if (!exception) {
        // It lets nothing through; no finding is hidden by it.
        out_.notes.push_back("HardeningException " +
                             printable(text_by_pointer(object, "/metadata/name")) +
                             " is without effect: " + printable(exception.error()));
        continue;
      }
      exceptions_.push_back(std::move(*exception));
    }
  }

  void add_namespace(const Json& object) {
    Guard guard;
    guard.ns = text_by_pointer(object, "/metadata/name");
    guard.exempt = std::ranges::find(out_.exempt, guard.ns) != out_.exempt.end();
    const Parsed parsed(object.dump());
    const policy::Labels labels = policy::labels_of(parsed.element());
    guard.modes = policy::modes_of(labels);
    std::vector<const policy::AgentPolicy*> bounds;
    for (const policy::AgentPolicy& policy : policies_) {
      if (policy.namespaces.matches(labels)) bounds.push_back(&policy);
    }
    guard.settings = policy::tightened(base_, bounds);
    for (const policy::HardeningException& exception : exceptions_) {
      if (std::ranges::find(exception.namespaces, guard.ns) != exception.namespaces.end())
        guard.exceptions.push_back(exception);
    }
    out_.guards.insert_or_assign(guard.ns, std::move(guard));
  }

  bool read_namespaces() {
    if (!scope_.empty()) {
      const auto object = live_.get(known::kNamespaces, "", scope_);
      if (!object) {
        problem(object.error());
        return false;
      }
      add_namespace(*object);
      return true;
    }
    const auto done = live_.each(
        known::kNamespaces, "", "", progress_, [&] { out_.guards.clear(); },
        [&](const Json& object) { add_namespace(object); });
    if (!done) problem(done.error());
    return done.has_value();
  }

  void read_networks() {
    const auto objects = live_.all(known::kNetworkPolicies, scope_, progress_);
    if (!objects) return problem(objects.error() + "; deny-all-network is not judged");
    for (auto& [ns, guard] : out_.guards)
      guard.networks_known = true;
    for (const Json& object : *objects) {
      const Parsed parsed(object.dump());
      auto policy = policy::NetworkPolicy::parse(parsed.element());
      if (!policy) {
        problem("NetworkPolicy " + printable(text_by_pointer(object, "/metadata/name")) + ": " +
                printable(policy.error()));
        continue;
      }
      const auto guard = out_.guards.find(policy->ns());
      if (guard == out_.guards.end()) continue;
      guard->second.networks.push_back(
          std::make_shared<const policy::NetworkPolicy>(std::move(*policy)));
    }
  }

  // Asks again for a namespace that was made since the list.
  const Guard* guard_of(const std::string& ns) {
    if (!out_.guards.contains(ns)) {
      const auto object = live_.get(known::kNamespaces, "", ns);
      if (!object) {
        problem(object.error());
        return nullptr;
      }
      add_namespace(*object);
    }
    return &out_.guards.at(ns);
  }

  void judge_all(const policy::PodTemplate& kind) {
    const kube::Resource resource{std::string(kind.group), "v1", std::string(kind.resource),
                                  std::string(kind.kind), true};
    std::vector<Judged> judged;
    std::size_t passed_over = 0;
    const auto done = live_.each(
        resource, scope_, options_.scope.selector, progress_,
        [&] {
          judged.clear();
          passed_over = 0;
        },
        [&](const Json& object) {
          const std::string ns = text_by_pointer(object, "/metadata/namespace");
          const Guard* guard = guard_of(ns);
          if (guard == nullptr) return;
          const Parsed parsed(object.dump());
          auto one = judge_live(parsed.element(), kind, *guard, options_.judge);
          if (one) {
            judged.push_back(std::move(*one));
          } else {
            ++passed_over;
          }
        });
    if (!done) problem(done.error());
    out_.outcome.passed_over += passed_over;
    std::ranges::move(judged, std::back_inserter(out_.outcome.pods));
  }

  const Live& live_;
  const LiveOptions& options_;
  const Streams& streams_;
  Progress& progress_;
  LivePods& out_;
  std::string scope_;
  policy::Settings base_;
  std::vector<policy::AgentPolicy> policies_;
  std::vector<policy::HardeningException> exceptions_;
};

}  // namespace

std::vector<std::string> exempt_namespaces(const Json& configuration) {
  constexpr std::string_view kBefore = "request.namespace in ";
  const Json webhooks =
      configuration.is_object() ? configuration.value("webhooks", Json::array()) : Json::array();
  for (const Json& webhook : webhooks) {
    if (webhook.value("name", "") != "pods.palisade.dev") continue;
    const Json conditions = webhook.value("matchConditions", Json::array());
    for (const Json& condition : conditions) {
      if (condition.value("name", "") != "not-exempt") continue;
      const std::string expression = condition.value("expression", "");
      const auto at = expression.find(kBefore);
      const auto end = expression.find(']', at);
      if (at == std::string::npos || end == std::string::npos) continue;
      const Json list = Json::parse(
          expression.substr(at + kBefore.size(), end + 1 - at - kBefore.size()), nullptr, false);
      std::vector<std::string> out;
      if (!list.is_array()) continue;
      for (const Json& name : list) {
        if (name.is_string()) out.push_back(name.get<std::string>());
      }
      return out;
    }
  }
  return {};
}

LivePods judge_cluster(const Live& live, const LiveOptions& options, const Streams& streams,
                       Progress& progress) {
  LivePods out;
  out.outcome.live = true;
  LivePodsReader(live, options, streams, progress, out).read();
  return out;
}

}  // namespace palisade::cli
