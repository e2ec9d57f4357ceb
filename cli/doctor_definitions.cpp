// Whether the cluster's definitions, its programs and this one are of one version: an upgrade that
// was done by half is told as such.
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "doctor.h"
#include "own_definitions.h"
#include "text.h"
#include "yaml_json.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

constexpr std::size_t kNamed = 3;  // fields that are told by their names
constexpr const char* kBringUp = "kubectl apply --server-side --force-conflicts -f crds/";
constexpr const char* kVersionLabel = "app.kubernetes.io/version";

void fields_below(const Json& schema, const std::string& path, std::set<std::string>& out) {
  for (const auto& [name, field] : at(schema, "/properties").items()) {
    const std::string here = path + (path.ends_with(':') ? "" : ".") + name;
    out.insert(here);
    fields_below(field, here, out);
  }
  for (const Json& value : at(schema, "/enum"))
    out.insert(path + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
  if (const Json& items = at(schema, "/items"); items.is_object())
    fields_below(items, path + "[]", out);
  if (const Json& values = at(schema, "/additionalProperties"); values.is_object())
    fields_below(values, path + "{}", out);
}

// "a, b, c and 7 more" of what is in one and not in the other; "" where nothing is.
std::string beside(const std::set<std::string>& one, const std::set<std::string>& other) {
  std::vector<std::string> only;
  std::ranges::set_difference(one, other, std::back_inserter(only));
  std::string out;
  for (std::size_t i = 0; i < std::min(kNamed, only.size()); ++i)
    out += (i == 0 ? "" : ", ") + only[i];
  if (only.size() > kNamed) out += " and " + std::to_string(only.size() - kNamed) + " more";
  return out;
}

bool is_established(const Json& definition) {
  return std::ranges::any_of(at(definition, "/status/conditions"), [](const Json& condition) {
    return text_at(condition, "/type") == "Established" && text_at(condition, "/status") == "True";
  });
}

// The first version of `own` that is not served; "" where all are.
std::string not_served(const Json& own, const Json& there) {
  for (const Json& wanted : at(own, "/spec/versions")) {
    const std::string name = text_at(wanted, "/name");
    const bool served = std::ranges::any_of(at(there, "/spec/versions"), [&](const Json& version) {
      return text_at(version, "/name") == name && at(version, "/served") == true;
    });
    if (!served) return name;
  }
  return {};
}

void check_definition(const Live& live, const Json& own, Diagnoses& out) {
  const std::string name = text_at(own, "/metadata/name");
  const auto found = live.find(known::kCustomResourceDefinitions, "", name);
  if (!found) return out.unread(found.error());
  if (!found->has_value())
    return out.problem("CustomResourceDefinition " + name + " is not there", kBringUp);
  const Json& there = **found;
  if (!is_established(there))
    return out.problem(name + " is not established", "kubectl describe crd " + name + " says why");
  if (const std::string version = not_served(own, there); !version.empty())
    return out.problem(name + " is not served as " + version, kBringUp);
  const auto wanted = definition_fields(own);
  const auto has = definition_fields(there);
  if (const std::string lacks = beside(wanted, has); !lacks.empty()) {
    return out.problem(
        name + " is of an older version than this palisade (" PALISADE_VERSION "): it lacks " +
            lacks + ", and what programs write there is dropped",
        kBringUp);
  }
  if (const std::string more = beside(has, wanted); !more.empty()) {
    return out.warning(
        name + " is of a later version than this palisade (" PALISADE_VERSION "): it has " + more,
        "use the palisade of that version; if the release is older too, end the "
        "upgrade: helm upgrade");
  }
  out.ok(name + " is as this version has it");
}

std::int64_t count_at(const Json& object, const std::string& pointer) {
  const Json& found = at(object, pointer);
  return found.is_number_integer() ? found.get<std::int64_t>() : 0;
}

}  // namespace

std::set<std::string> definition_fields(const Json& definition) {
  std::set<std::string> out;
  for (const Json& version : at(definition, "/spec/versions"))
    fields_below(at(version, "/schema/openAPIV3Schema"), text_at(version, "/name") + ":", out);
  return out;
}

void check_versions(const std::vector<Json>& deployments, Diagnoses& out) {
  std::map<std::string, std::string> programs;  // by their version
  for (const Json& deployment : deployments) {
    const std::string name = text_at(deployment, "/metadata/name");
    const Json& labels = at(deployment, "/metadata/labels");
    std::string& those = programs[labels.is_object() ? labels.value(kVersionLabel, "") : ""];
    those += (those.empty() ? "" : ", ") + name;
    // What the controller of Deployments has not seen is not rolled out either.
    const std::int64_t all = count_at(deployment, "/status/replicas");
    const std::int64_t fresh = count_at(deployment, "/status/updatedReplicas");
    const std::int64_t wanted = count_at(deployment, "/spec/replicas");
    const bool seen = count_at(deployment, "/status/observedGeneration") >=
                      count_at(deployment, "/metadata/generation");
    if (seen && fresh >= wanted && fresh >= all) continue;
    const std::string ns = text_at(deployment, "/metadata/namespace");
    out.warning("Deployment " + ns + "/" + name + " is half upgraded: " + std::to_string(fresh) +
                    " of " + std::to_string(std::max(all, wanted)) +
                    " pods are of its newest template",
                "kubectl rollout status -n " + ns + " deployment/" + name);
  }
  if (programs.size() > 1) {
    std::string all;
    for (const auto& [version, names] : programs)
      all += (all.empty() ? "" : "; ") + names + " of " + (version.empty() ? "none" : version);
    out.problem("Palisade's programs are of several versions: " + all,
                "end the upgrade: helm upgrade, or go back: helm rollback");
  } else if (!programs.empty() && programs.begin()->first != PALISADE_VERSION) {
    const auto& [version, names] = *programs.begin();
    out.warning("the release is of version " + (version.empty() ? "none" : version) +
                    ", this palisade and what it looks for of " PALISADE_VERSION,
                "end the upgrade: helm upgrade; or use the palisade of the release");
  } else if (!programs.empty()) {
    out.ok(programs.begin()->second + " are of version " PALISADE_VERSION);
  }
}

void check_definitions(const Live& live, Progress& progress, Diagnoses& out) {
  out.begin("definitions");
  for (const std::string_view text : kOwnDefinitions) {
    // Its own: held to be readable by the tests.
    const auto documents = read_yaml(text);
    if (!documents || documents->empty())
      return out.problem("this program's own definitions cannot be read", "build it again");
    check_definition(live, Json::parse(documents->front().json), out);
  }
  static const kube::Resource kDeployments{"apps", "v1", "deployments", "Deployment", true};
  std::vector<Json> deployments;
  const auto done = live.each(
      kDeployments, "", "app.kubernetes.io/name=palisade", progress, [&] { deployments.clear(); },
      [&](const Json& one) { deployments.push_back(one); });
  if (!done) return out.unread(done.error());
  check_versions(deployments, out);
}

}  // namespace palisade::cli
