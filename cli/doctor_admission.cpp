// Whether both webhook configurations still are what the chart installs. What they let through, no
// judge ever sees: a rule that is gone, a condition more, a selector.
#include <algorithm>
#include <set>
#include <tuple>

#include "doctor.h"
#include "expected_admission.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kUpgrade =
    "put the chart's back: helm upgrade with the values of the installation; then find out who "
    "changed it (audit log)";

// One thing that is sent: group, version, resource, operation, scope.
using Sent = std::tuple<std::string, std::string, std::string, std::string, std::string>;

std::vector<std::string> texts(const Json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const Json& one : list) {
    if (one.is_string()) out.push_back(one.get<std::string>());
  }
  return out;
}

std::set<Sent> expanded(const Json& rules) {
  std::set<Sent> out;
  if (!rules.is_array()) return out;
  for (const Json& rule : rules) {
    std::string scope = text_at(rule, "/scope");
    if (scope.empty()) scope = "*";
    for (const std::string& group : texts(at(rule, "/apiGroups"))) {
      for (const std::string& version : texts(at(rule, "/apiVersions"))) {
        for (const std::string& resource : texts(at(rule, "/resources"))) {
          for (const std::string& operation : texts(at(rule, "/operations")))
            out.emplace(group, version, resource, operation, scope);
        }
      }
    }
  }
  return out;
}

// "*/*" is everything, "*" every resource without its subresources, "pods/*" pods with theirs.
bool resource_covers(const std::string& have, const std::string& want) {
  if (have == want || have == "*/*") return true;
  const auto slash = want.find('/');
  if (have == "*") return slash == std::string::npos;
  if (have.ends_with("/*")) return want.substr(0, slash) == have.substr(0, have.size() - 2);
  return have.starts_with("*/") && slash != std::string::npos &&
         want.substr(slash + 1) == have.substr(2);
}

bool covers(const Sent& have, const Sent& want) {
  const auto either = [](const std::string& a, const std::string& b) { return a == "*" || a == b; };
  return either(std::get<0>(have), std::get<0>(want)) &&
         either(std::get<1>(have), std::get<1>(want)) &&
         resource_covers(std::get<2>(have), std::get<2>(want)) &&
         either(std::get<3>(have), std::get<3>(want)) &&
         either(std::get<4>(have), std::get<4>(want));
}

bool covers_all(const Json& have, const Json& want) {
  const std::set<Sent> sent = expanded(have);
  const std::set<Sent> wanted = expanded(want);
  return std::ranges::all_of(wanted, [&](const Sent& one) {
    return std::ranges::any_of(sent, [&](const Sent& there) { return covers(there, one); });
  });
}

std::string spelled(const Sent& sent) {
  const auto& [group, version, resource, operation, scope] = sent;
  return operation + " " + resource + (group.empty() ? "" : "." + group) + "/" + version;
}

std::string squeezed(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' && c != '\n' && c != '\t') {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

// Whether a text is a pattern with its placeholders filled in: @NS@ by `ns`, @LIST@ by a JSON list
// of names.
bool fits(std::string_view text, std::string_view pattern, const std::string& ns) {
  constexpr std::string_view kNs = "@NS@";
  constexpr std::string_view kList = "@LIST@";
  while (!pattern.empty()) {
    if (pattern.starts_with(kNs)) {
      if (ns.empty() || !text.starts_with(ns)) return false;
      text.remove_prefix(ns.size());
      pattern.remove_prefix(kNs.size());
    } else if (pattern.starts_with(kList)) {
      const auto end = text.find(']');
      if (!text.starts_with('[') || end == std::string_view::npos) return false;
      const Json list = Json::parse(text.substr(0, end + 1), nullptr, false);
      if (!list.is_array() ||
          !std::ranges::all_of(list, [](const Json& one) { return one.is_string(); })) {
        return false;
      }
      text.remove_prefix(end + 1);
      pattern.remove_prefix(kList.size());
    } else {
      if (text.empty() || text.front() != pattern.front()) return false;
      text.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  return text.empty();
}

// The same names with the same expressions in the same order.
bool same_expressions(const Json& have, const Json& want, const std::string& ns) {
  if (!have.is_array() || have.size() != want.size()) return false;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (text_at(have[i], "/name") != text_at(want[i], "/name") ||
        !fits(squeezed(text_at(have[i], "/expression")), text_at(want[i], "/expression"), ns)) {
      return false;
    }
  }
  return true;
}

const Json* named(const Json& list, const std::string& name) {
  if (!list.is_array()) return nullptr;
  for (const Json& one : list) {
    if (text_at(one, "/name") == name) return &one;
  }
  return nullptr;
}

bool selects_all(const Json& selector) {
  return selector.is_null() || selector.empty() ||
         (at(selector, "/matchLabels").empty() && at(selector, "/matchExpressions").empty());
}

class Entry {
 public:
  Entry(const Json& wanted, const Json& found, std::string ns, Diagnoses& out)
      : wanted_(wanted),
        found_(found),
        name_(text_at(wanted, "/name")),
        ns_(std::move(ns)),
        out_(out) {}

  void check() {
    rules();
    conditions();
    for (const char* selector : {"namespaceSelector", "objectSelector"}) {
      const Json& have = at(found_, std::string("/") + selector);
      if (!selects_all(have) && have != at(wanted_, std::string("/") + selector)) {
        problem("has a " + std::string(selector) +
                ": what it does not select is never judged, and labels can be taken off");
      }
    }
    if (text_at(wanted_, "/failurePolicy") == "Fail" && text_at(found_, "/failurePolicy") != "Fail")
      problem("lets everything through while the webhook is away (failurePolicy is not Fail)");
    if (text_at(found_, "/matchPolicy") != "Equivalent")
      problem("does not see the same object under another API version (matchPolicy)");
    if (const Json& timeout = at(found_, "/timeoutSeconds");
        timeout.is_number_integer() && timeout.get<int>() > 10) {
      out_.warning(
          name_ + " may hold up a request for " + std::to_string(timeout.get<int>()) + " seconds",
          "set webhook.timeoutSeconds of the chart to 10 or less");
    }
    client();
  }

 private:
  void problem(const std::string& what) { out_.problem(name_ + " " + what, kUpgrade); }

  void rules() {
    const std::set<Sent> have = expanded(at(found_, "/rules"));
    std::vector<std::string> missing;
    for (const Sent& want : expanded(at(wanted_, "/rules"))) {
      if (std::ranges::none_of(have, [&](const Sent& one) { return covers(one, want); }))
        missing.push_back(spelled(want));
    }
    if (!missing.empty()) problem("is not asked about: " + listed(missing));
  }

  void conditions() {
    const Json& have = at(found_, "/matchConditions");
    if (!have.is_array()) return;  // everything is sent
    for (const Json& condition : have) {
      const std::string name = text_at(condition, "/name");
      const Json* const want = named(at(wanted_, "/matchConditions"), name);
      if (want == nullptr) {
        problem("has a match condition that the chart has not, \"" + name +
                "\": what it leaves out is never judged");
      } else if (!fits(squeezed(text_at(condition, "/expression")), text_at(*want, "/expression"),
                       ns_)) {
        problem("has another match condition \"" + name +
                "\" than the chart: what it leaves out is never judged");
      }
    }
  }

  void client() {
    const Json& client = at(found_, "/clientConfig");
    if (!text_at(client, "/url").empty()) {
      problem("asks " + text_at(client, "/url") + " instead of the Service palisade-webhook");
    } else if (text_at(client, "/service/name") != "palisade-webhook" ||
               text_at(client, "/service/namespace") != ns_ ||
               text_at(client, "/service/path") != text_at(wanted_, "/path")) {
      problem("asks another Service or path than " + ns_ + "/palisade-webhook" +
              text_at(wanted_, "/path"));
    }
    if (text_at(client, "/caBundle").empty()) {
      out_.problem(name_ + " trusts no certificate (caBundle is empty), so it cannot be asked",
                   "the webhook writes it: see its log (kubectl logs -n " + ns_ +
                       " deployment/palisade-webhook), or cert-manager's where that is used");
    }
  }

  const Json& wanted_;
  const Json& found_;
  std::string name_;
  std::string ns_;
  Diagnoses& out_;
};

void check_configuration(const std::string& kind, const Json& wanted, const Json& found,
                         const std::string& ns, Diagnoses& out) {
  const std::string what = kind + " palisade-webhook";
  if (found.is_null()) {
    out.problem(what + " is not there: nothing is guarded", "install the chart: helm install");
    return;
  }
  const std::size_t before = out.troubles();
  for (const Json& entry : wanted) {
    const Json* const there = named(at(found, "/webhooks"), text_at(entry, "/name"));
    if (there == nullptr) {
      out.problem(what + " has lost its entry " + text_at(entry, "/name"), kUpgrade);
      continue;
    }
    Entry(entry, *there, ns, out).check();
  }
  if (const Json& have = at(found, "/webhooks"); have.is_array()) {
    for (const Json& entry : have) {
      if (named(wanted, text_at(entry, "/name")) == nullptr) {
        out.warning(
            what + " has an entry that this chart does not know: " + text_at(entry, "/name"),
            "use the palisade program of the installed version");
      }
    }
  }
  if (out.troubles() == before)
    out.ok(what + " is whole: every rule and condition is the chart's (" +
           std::to_string(wanted.size()) + ")");
}

// Placeholders for what an installation chooses, in a chart rendered with marks for it.
std::string normal(const std::string& expression) {
  constexpr std::string_view kSentinel = "palisade-ns-placeholder";
  std::string text = squeezed(expression);
  const auto replace = [&text](std::string_view what, std::string_view by) {
    for (auto place = text.find(what); place != std::string::npos; place = text.find(what))
      text.replace(place, what.size(), by);
  };
  for (const std::string_view items :
       {std::string_view(R"(["@exempt","palisade-ns-placeholder"])"),
        std::string_view(R"(["@schedulers"])"), std::string_view(R"(["@users"])"),
        std::string_view(R"(["@groups"])"),
        std::string_view(
            R"(["system:serviceaccount:palisade-ns-placeholder:palisade-webhook"])")}) {
    replace(items, "@LIST@");
  }
  replace(kSentinel, "@NS@");
  return text;
}

// Name and expression of each item, nothing else.
Json normal_expressions(const Json& list) {
  Json out = Json::array();
  if (!list.is_array()) return out;
  for (const Json& one : list)
    out.push_back(
        {{"name", text_at(one, "/name")}, {"expression", normal(text_at(one, "/expression"))}});
  return out;
}

Json normal_entry(const Json& webhook) {
  Json out{{"name", text_at(webhook, "/name")},
           {"failurePolicy", text_at(webhook, "/failurePolicy")},
           {"path", text_at(webhook, "/clientConfig/service/path")},
           {"rules", at(webhook, "/rules")},
           {"matchConditions", normal_expressions(at(webhook, "/matchConditions"))}};
  for (const char* selector : {"namespaceSelector", "objectSelector"}) {
    if (const Json& chosen = at(webhook, std::string("/") + selector); !selects_all(chosen))
      out[selector] = chosen;
  }
  return out;
}

}  // namespace

Json admission_expectation(const std::vector<Json>& objects) {
  Json out{{"validating", Json::array()}, {"mutating", Json::array()}};
  for (const Json& object : objects) {
    const std::string kind = text_at(object, "/kind");
    if (kind == "ValidatingAdmissionPolicy") {
      out["selfGuard"] = {
          {"rules", at(object, "/spec/matchConstraints/resourceRules")},
          {"matchConditions", normal_expressions(at(object, "/spec/matchConditions"))},
          {"variables", normal_expressions(at(object, "/spec/variables"))},
          {"validations", normal_expressions(at(object, "/spec/validations"))}};
    }
    if (kind != "ValidatingWebhookConfiguration" && kind != "MutatingWebhookConfiguration")
      continue;
    const Json& webhooks = at(object, "/webhooks");
    if (!webhooks.is_array()) continue;
    for (const Json& webhook : webhooks)
      out[kind.starts_with("Mutating") ? "mutating" : "validating"].push_back(
          normal_entry(webhook));
  }
  return out;
}

const Json& expected_admission() {
  static const Json kExpected = Json::parse(kExpectedAdmission);
  return kExpected;
}

void check_admission(const Installation& installed, Diagnoses& out) {
  out.begin("admission");
  const Json& expected = expected_admission();
  check_configuration("ValidatingWebhookConfiguration", expected.at("validating"),
                      installed.validating, installed.ns, out);
  check_configuration("MutatingWebhookConfiguration", expected.at("mutating"), installed.mutating,
                      installed.ns, out);
  if (const std::string fault = self_guard_fault(installed); !fault.empty()) {
    out.problem("the ValidatingAdmissionPolicy palisade-self-guard " + fault +
                    ": whoever may write webhook configurations can turn the guard off",
                kUpgrade);
  } else {
    out.ok("ValidatingAdmissionPolicy palisade-self-guard keeps the configurations as they are");
  }
}

std::string self_guard_fault(const Installation& installed) {
  const Json& policy = installed.self_guard;
  const Json& binding = installed.self_guard_binding;
  const Json& wanted = expected_admission().at("selfGuard");
  const auto some = [](const Json& list) { return !list.is_null() && !list.empty(); };
  if (policy.is_null()) return "is not there";
  if (binding.is_null()) return "has no binding, and so no effect";
  if (text_at(policy, "/spec/failurePolicy") != "Fail") return "lets through what it cannot judge";
  if (!covers_all(at(policy, "/spec/matchConstraints/resourceRules"), wanted.at("rules")))
    return "is not asked about all writes of webhook configurations";
  if (some(at(policy, "/spec/matchConstraints/excludeResourceRules")))
    return "excludes some requests";
  for (const std::string selector : {"namespaceSelector", "objectSelector"}) {
    if (!selects_all(at(policy, "/spec/matchConstraints/" + selector)) ||
        !selects_all(at(binding, "/spec/matchResources/" + selector))) {
      return "selects by labels";
    }
  }
  for (const std::string rules : {"resourceRules", "excludeResourceRules"}) {
    if (some(at(binding, "/spec/matchResources/" + rules))) return "is bound to some requests only";
  }
  for (const std::string list : {"matchConditions", "variables", "validations"}) {
    if (!same_expressions(at(policy, "/spec/" + list), wanted.at(list), installed.ns))
      return "has other " + list + " than the chart's";
  }
  if (text_at(binding, "/spec/policyName") != "palisade-self-guard") return "is not what is bound";
  if (const auto actions = texts(at(binding, "/spec/validationActions"));
      std::ranges::find(actions, "Deny") == actions.end()) {
    return "denies nothing (validationActions)";
  }
  return {};
}

}  // namespace palisade::cli
