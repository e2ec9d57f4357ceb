#include "render.h"

#include <algorithm>
#include <memory>
#include <ostream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <policy/policy.h>
#include <policy/vap.h>

#include "commands.h"
#include "sources.h"
#include "yaml_out.h"

namespace palisade::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* kLimits =
    R"(The API server judges pods, their debug containers and resizes, and what makes pods, by itself: with the
webhook away, or without it. The webhook knows more, so keep it where you can. These policies leave out:
  - modes for single controls (control.palisade.dev/...), HardeningExceptions and AgentPolicies: the
    settings here count for every namespace;
  - deny-all-network: CEL cannot read NetworkPolicies; image-signature: nor ask registries;
  - who may exec, attach, port-forward and bind; Secrets, NetworkPolicies, ConfigMaps and RoleBindings of
    live workspaces; AgentWorkspaces; the guard's own objects and namespace labels;
  - updates that change the spec of a pod from before the guard without weakening it further: they are
    refused too.
Namespace labels are read: palisade.dev/enforce (agents, all, off) and palisade.dev/mode (enforce, warn,
audit).)";

constexpr const char* kRenderFooter = R"(
Examples:
  palisade render vap | kubectl apply -f -
  palisade render vap --settings policy.json --exempt-namespace kube-system --exempt-namespace palisade-system)";

struct Mode {
  const char* name;
  std::vector<const char*> actions;
};

OrderedJson metadata(const std::string& name) {
  return {{"name", name}, {"labels", {{"app.kubernetes.io/managed-by", "palisade"}}}};
}

// One rule for each group; pods have rules for their subresources too.
OrderedJson rules_of(const policy::CelPolicy& policy) {
  OrderedJson rules = OrderedJson::array();
  const auto rule = [](std::string_view group, OrderedJson resources, OrderedJson operations) {
    return OrderedJson{{"apiGroups", {group}},
                       {"apiVersions", {"v1"}},
                       {"operations", std::move(operations)},
                       {"resources", std::move(resources)},
                       {"scope", "Namespaced"}};
  };
  for (std::size_t i = 0; i < policy.kinds.size(); ++i) {
    const std::string_view group = policy.kinds[i]->group;
    if (std::any_of(policy.kinds.begin(), policy.kinds.begin() + static_cast<std::ptrdiff_t>(i),
                    [&](const policy::PodTemplate* kind) { return kind->group == group; })) {
      continue;
    }
    OrderedJson resources = OrderedJson::array();
    for (const policy::PodTemplate* kind : policy.kinds) {
      if (kind->group == group) resources.push_back(kind->resource);
    }
    rules.push_back(rule(group, std::move(resources), {"CREATE", "UPDATE"}));
  }
  if (policy.kinds.front()->resource == "pods")
    rules.push_back(
        rule("", {"pods/ephemeralcontainers", "pods/resize"}, OrderedJson::array({"UPDATE"})));
  return rules;
}

// What is away must not hold up everybody's Deployments: their pods are judged once more.
bool guards_pods(const policy::CelPolicy& policy) {
  return policy.kinds.front()->resource == "pods";
}

std::string policy_name(const policy::CelPolicy& policy, const VapOptions& options) {
  std::string shape = guards_pods(policy)       ? "pods"
                      : policy.kinds.size() > 1 ? "workloads"
                                                : std::string(policy.kinds.front()->resource);
  return options.name_prefix + "-" + shape;
}

OrderedJson policy_object(const policy::CelPolicy& policy, const VapOptions& options) {
  OrderedJson variables = OrderedJson::array();
  for (const policy::CelVariable& variable : policy.variables)
    variables.push_back({{"name", variable.name}, {"expression", variable.expression}});
  OrderedJson exempt = OrderedJson::array();
  for (const std::string& name : options.exempt_namespaces)
    exempt.push_back(name);
  OrderedJson conditions = OrderedJson::array();
  if (!exempt.empty()) {
    // A list of texts in JSON is one in CEL.
    conditions.push_back({{"name", "not-an-exempt-namespace"},
                          {"expression", "!(request.namespace in " + exempt.dump() + ")"}});
  }
  OrderedJson spec{
      {"failurePolicy", guards_pods(policy) ? "Fail" : "Ignore"},
      {"matchConstraints", {{"matchPolicy", "Equivalent"}, {"resourceRules", rules_of(policy)}}}};
  if (!conditions.empty()) spec["matchConditions"] = std::move(conditions);
  spec["variables"] = std::move(variables);
  spec["validations"] = OrderedJson::array({{{"expression", policy.validation},
                                             {"message", policy.message},
                                             {"messageExpression", policy.message_expression},
                                             {"reason", "Forbidden"}}});
  return {{"apiVersion", "admissionregistration.k8s.io/v1"},
          {"kind", "ValidatingAdmissionPolicy"},
          {"metadata", metadata(policy_name(policy, options))},
          {"spec", std::move(spec)}};
}

// One for each mode that a namespace can be in; a namespace without the label, or with another
// value, is in the first.
std::vector<OrderedJson> bindings_of(const policy::CelPolicy& policy, const VapOptions& options) {
  const std::vector<Mode> modes{
      {"enforce", {"Deny", "Audit"}}, {"warn", {"Warn", "Audit"}}, {"audit", {"Audit"}}};
  std::vector<OrderedJson> out;
  for (const Mode& mode : modes) {
    const bool enforces = std::string_view(mode.name) == "enforce";
    const OrderedJson selector{
        {"key", "palisade.dev/mode"},
        {"operator", enforces ? "NotIn" : "In"},
        {"values", enforces ? OrderedJson{"warn", "audit"} : OrderedJson::array({mode.name})}};
    const std::string name = policy_name(policy, options);
    out.push_back(
        {{"apiVersion", "admissionregistration.k8s.io/v1"},
         {"kind", "ValidatingAdmissionPolicyBinding"},
         {"metadata", metadata(name + "-" + mode.name)},
         {"spec",
          {{"policyName", name},
           {"validationActions", mode.actions},
           {"matchResources",
            {{"namespaceSelector", {{"matchExpressions", OrderedJson::array({selector})}}}}}}}});
  }
  return out;
}

// A name that objects can have: "palisade", "team-a.palisade".
std::string object_name(const std::string& text) {
  const bool good =
      !text.empty() && text.size() <= 200 &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos &&
      text.find_first_of("-.") != 0 && text.find_last_of("-.") != text.size() - 1;
  return good ? std::string()
              : "must be lower-case letters, digits, - and . (found \"" + text + "\")";
}

}  // namespace

std::vector<OrderedJson> vap_objects(const policy::Settings& settings, const VapOptions& options) {
  std::vector<OrderedJson> policies;
  std::vector<OrderedJson> bindings;
  for (const policy::CelPolicy& policy : policy::cel_policies(settings)) {
    policies.push_back(policy_object(policy, options));
    for (OrderedJson& binding : bindings_of(policy, options))
      bindings.push_back(std::move(binding));
  }
  policies.insert(policies.end(), bindings.begin(), bindings.end());
  return policies;
}

std::string vap_yaml(const policy::Settings& settings, const VapOptions& options) {
  std::string out = "# Written by `palisade render vap` " PALISADE_VERSION
                    "; do not edit, render it anew.\n#\n# ";
  for (const char c : std::string_view(kLimits))
    out += c == '\n' ? std::string("\n# ") : std::string(1, c);
  out += '\n';
  for (const OrderedJson& object : vap_objects(settings, options)) {
    YAML::Emitter emitter;
    emit_yaml(emitter, object);
    out += std::string("---\n") + emitter.c_str() + "\n";
  }
  return out;
}

Command add_render(CLI::App& parent) {
  struct Options {
    VapOptions vap;
    std::string settings_file;
    std::string format = "yaml";
  };
  auto options = std::make_shared<Options>();
  CLI::App* app = parent.add_subcommand("render", "Print objects that keep the policy");
  app->require_subcommand(1);
  CLI::App* vap =
      app->add_subcommand("vap", "ValidatingAdmissionPolicies: the guard without the webhook");
  vap->footer("\n" + std::string(kLimits) + "\n" + kRenderFooter);
  vap->add_option("--settings", options->settings_file, "Policy settings, JSON or YAML")
      ->type_name("FILE");
  vap->add_option("--name-prefix", options->vap.name_prefix, "What the objects' names begin with")
      ->type_name("NAME")
      ->capture_default_str()
      ->check(CLI::Validator(object_name, ""));
  vap->add_option("--exempt-namespace", options->vap.exempt_namespaces,
                  "A namespace that is never judged (may be given again)")
      ->type_name("NAMESPACE")
      ->expected(1)
      ->capture_default_str()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(object_name, ""));
  vap->add_option("-o,--output", options->format, "yaml or json")
      ->check(CLI::IsMember({"yaml", "json"}))
      ->type_name("FORMAT")
      ->capture_default_str();
  const CLI::App* const condition = app->add_subcommand(
      "condition", "The match condition of the chart's webhook entries for pods, in CEL");
  return {app, [options, condition](const Streams& streams) {
            if (condition->parsed()) {
              streams.out << policy::agent_match_condition() << '\n';
              return kCompliant;
            }
            const auto settings = read_settings(options->settings_file, streams.in);
            if (!settings) {
              streams.err << settings.error() << '\n';
              return kUnreadable;
            }
            if (options->format == "json") {
              const OrderedJson list{{"apiVersion", "v1"},
                                     {"kind", "List"},
                                     {"items", vap_objects(*settings, options->vap)}};
              streams.out << list.dump(2) << '\n';
            } else {
              streams.out << vap_yaml(*settings, options->vap);
            }
            return kCompliant;
          }};
}

}  // namespace palisade::cli
