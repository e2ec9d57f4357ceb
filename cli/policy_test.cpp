#include "policy_test.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "explain.h"
#include "guard.h"
#include "parsed.h"
#include "pods.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

constexpr const char* kKind = "PolicyTest";
constexpr const char* kApiVersion = "palisade.dev/v1alpha1";

// What is wrong, and which value of the test it is about.
struct Problem {
  std::string path;
  std::string message;
  bool placed = false;  // the message names its own place, in another file
};

struct Verdict {
  std::set<std::string> controls;  // that deny
  std::string detail;
};

std::string joined(const std::set<std::string>& controls) {
  std::string out;
  for (const std::string& control : controls)
    out += (out.empty() ? "" : ", ") + control;
  return out;
}

class Test {
 public:
  Test(const std::string& file, const Document& document, std::int64_t now, TestRun& out)
      : file_(file), document_(document), out_(out) {
    options_.now = now;
  }

  void run() {
    try {
      read();
    } catch (const Problem& problem) {
      complain(problem);
    }
  }

 private:
  void complain(const Problem& problem) {
    if (problem.placed) {
      out_.errors.push_back(problem.message);
      return;
    }
    const Place at = document_.places.find(problem.path);
    out_.errors.push_back(place(file_, {at.line, at.column, problem.path + " " + problem.message}));
  }

  static void only(const json& object, const std::string& path,
                   std::initializer_list<std::string_view> fields) {
    if (!object.is_object()) throw Problem{path, "must be an object"};
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(fields, key) != fields.end()) continue;
      std::string known;
      for (const std::string_view field : fields)
        known.append(known.empty() ? "" : ", ").append(field);
      throw Problem{path.empty() ? key : path + "." + key,
                    "is no field of " + std::string(path.empty() ? kKind : path) +
                        "; the fields are " + known};
    }
  }

  static std::string text(const json& object, const std::string& path, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return {};
    const std::string at = path.empty() ? key : path + "." + key;
    if (!found->is_string()) throw Problem{at, "must be a text"};
    return found->get<std::string>();
  }

  std::vector<Document> documents_of(const std::string& name, const std::string& path) const {
    if (name.empty() || name == "-") throw Problem{path, "must name a file"};
    const auto file = (std::filesystem::path(file_).parent_path() / name).string();
    std::istringstream no_input;
    auto documents = read_source(file, no_input);
    if (!documents) throw Problem{path, "names what cannot be read: " + documents.error()};
    return std::move(*documents);
  }

  // The value itself, or where it is {file: NAME} the one document of that file.
  std::string resolved(const json& value, const std::string& path) const {
    if (!value.is_object()) throw Problem{path, "must be an object, or {file: NAME}"};
    if (value.size() != 1 || !value.contains("file")) return value.dump();
    const auto documents = documents_of(text(value, path, "file"), path + ".file");
    if (documents.size() != 1)
      throw Problem{path + ".file", "names a file that does not hold one document"};
    return documents.front().json;
  }

  template <class Take>
  void each(const json& root, const char* key, Take take) const {
    const auto list = root.find(key);
    if (list == root.end() || list->is_null()) return;
    if (!list->is_array()) throw Problem{key, "must be a list"};
    for (std::size_t i = 0; i < list->size(); ++i)
      take((*list)[i], std::string(key) + "[" + std::to_string(i) + "]");
  }

  void read() {
    const json root = json::parse(document_.json);
    only(root, "",
         {"apiVersion", "kind", "metadata", "settings", "agentPolicies", "exceptions", "namespace",
          "now", "cases"});
    if (const std::string version = text(root, "", "apiVersion");
        !version.empty() && version != kApiVersion) {
      throw Problem{"apiVersion", std::string("must be ") + kApiVersion + ", or left out"};
    }
    read_guard(root);
    if (!root.contains("cases") || !root.at("cases").is_array() || root.at("cases").empty())
      throw Problem{"cases", "must be a list with at least one case"};
    std::set<std::string> names;
    each(root, "cases", [&](const json& one, const std::string& path) {
      try {
        run_case(one, path, names);
      } catch (const Problem& problem) {
        complain(problem);
      }
    });
  }

  void read_guard(const json& root) {
    guard_.settings = {};
    if (root.contains("settings") && !root.at("settings").is_null()) {
      auto settings = policy::parse_settings(resolved(root.at("settings"), "settings"));
      if (!settings) throw Problem{"settings", "cannot be used: " + settings.error()};
      guard_.settings = std::move(*settings);
    }
    policy::Labels labels;
    if (root.contains("namespace") && !root.at("namespace").is_null()) {
      const json& ns = root.at("namespace");
      only(ns, "namespace", {"name", "labels"});
      guard_.ns = text(ns, "namespace", "name");
      if (ns.contains("labels") && !ns.at("labels").is_null()) {
        if (!ns.at("labels").is_object()) throw Problem{"namespace.labels", "must be an object"};
        for (const auto& [key, value] : ns.at("labels").items()) {
          if (!value.is_string())
            throw Problem{"namespace.labels", "must hold texts: put " + key + " in quotes"};
          labels[key] = value.get<std::string>();
        }
      }
    }
    if (!guard_.ns.empty()) labels.try_emplace("kubernetes.io/metadata.name", guard_.ns);
    guard_.modes = policy::modes_of(labels);
    read_policies(root, labels);
    each(root, "exceptions", [&](const json& value, const std::string& path) {
      const Parsed parsed(resolved(value, path));
      auto exception = policy::parse_exception(parsed.element());
      if (!exception) throw Problem{path, "is no HardeningException: " + exception.error()};
      guard_.exceptions.push_back(std::move(*exception));
    });
    if (const std::string now = text(root, "", "now"); !now.empty()) {
      const auto seconds = policy::parse_rfc3339(now);
      if (!seconds) throw Problem{"now", seconds.error()};
      options_.now = *seconds;
    }
  }

  void read_policies(const json& root, const policy::Labels& labels) {
    std::vector<policy::AgentPolicy> policies;
    each(root, "agentPolicies", [&](const json& value, const std::string& path) {
      const Parsed parsed(resolved(value, path));
      auto policy = policy::parse_agent_policy(parsed.element());
      if (!policy) throw Problem{path, "is no AgentPolicy: " + policy.error()};
      policies.push_back(std::move(*policy));
    });
    std::vector<const policy::AgentPolicy*> bounds;
    for (const policy::AgentPolicy& policy : policies) {
      if (policy.namespaces.matches(labels)) bounds.push_back(&policy);
    }
    guard_.settings = policy::tightened(guard_.settings, bounds);
  }

  // Adds what denies the pods of one document.
  void judge(const std::string& document, const std::string& path, Verdict& verdict) const {
    const Parsed parsed(document);
    if (!parsed.good()) throw Problem{path, "cannot be judged"};
    const Contents contents = find_pods(parsed.element());
    if (!contents.problem.empty()) throw Problem{path, "cannot be judged: " + contents.problem};
    for (const PodPlace& pod : contents.pods) {
      Guard guard = guard_;
      if (guard.ns.empty()) guard.ns = pod.space.empty() ? "default" : pod.space;
      const auto judged = judge_template(pod.pod, pod.kind, pod.name, pod.prefix, guard, options_);
      if (!judged) continue;
      const auto findings = judged->findings(Effect::deny);
      if (findings.empty()) continue;
      for (const policy::Finding& finding : findings)
        verdict.controls.emplace(finding.control);
      verdict.detail += judged->title() + ": " + policy::explain(findings) + "\n";
    }
  }

  void run_case(const json& one, const std::string& path, std::set<std::string>& names) {
    only(one, path, {"name", "file", "object", "expect", "controls"});
    CaseResult result;
    result.file = file_;
    result.line = document_.places.find(path).line;
    result.name = text(one, path, "name");
    if (result.name.empty()) throw Problem{path + ".name", "is missing: say what the case shows"};
    if (!names.insert(result.name).second)
      throw Problem{path + ".name", "is another case's name too"};
    const std::string expect = text(one, path, "expect");
    if (expect != "allowed" && expect != "denied")
      throw Problem{path + ".expect", "must be allowed or denied"};
    std::set<std::string> wanted;
    const bool exact = one.contains("controls") && !one.at("controls").is_null();
    if (exact) {
      if (expect != "denied") throw Problem{path + ".controls", "goes with expect: denied only"};
      if (!one.at("controls").is_array() || one.at("controls").empty())
        throw Problem{path + ".controls", "must be a list of controls"};
      for (std::size_t i = 0; i < one.at("controls").size(); ++i) {
        const json& control = one.at("controls")[i];
        const std::string at = path + ".controls[" + std::to_string(i) + "]";
        if (!control.is_string()) throw Problem{at, "must be the id of a control"};
        if (const std::string unknown = known_control_of_pods(control); !unknown.empty())
          throw Problem{at, "is unknown: " + unknown};
        wanted.insert(control.get<std::string>());
      }
    }
    const bool inline_object = one.contains("object") && !one.at("object").is_null();
    if (inline_object == (one.contains("file") && !one.at("file").is_null()))
      throw Problem{path, "must have either file or object"};
    Verdict verdict;
    if (inline_object) {
      judge(one.at("object").dump(), path + ".object", verdict);
    } else {
      const auto documents = documents_of(text(one, path, "file"), path + ".file");
      if (documents.empty()) throw Problem{path + ".file", "names a file that holds no object"};
      for (const Document& document : documents)
        judge(document.json, path + ".file", verdict);
    }
    const bool denied = !verdict.controls.empty();
    result.expected = expect + (exact ? " by " + joined(wanted) : "");
    result.got = !denied ? "allowed" : "denied by " + joined(verdict.controls);
    result.passed = denied == (expect == "denied") && (!exact || wanted == verdict.controls);
    result.detail = std::move(verdict.detail);
    out_.cases.push_back(std::move(result));
  }

  const std::string& file_;
  const Document& document_;
  TestRun& out_;
  Guard guard_;
  JudgeOptions options_;
};

}  // namespace

bool is_policy_test(const Document& document) {
  const json root = json::parse(document.json, nullptr, false);
  return root.is_object() && root.value("kind", json()) == kKind;
}

void run_policy_test(const std::string& file, const Document& document, std::int64_t now,
                     TestRun& out) {
  ++out.tests;
  Test(file, document, now, out).run();
}

}  // namespace palisade::cli
