// known-fields: nothing in the spec that this policy has not thought about.
//
// | field | allowed                                                  |
// | ----- | -------------------------------------------------------- |
// | spec  | fields of pod_fields.h, nested as the API's types nest   |
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cel.h"
#include "controls.h"
#include "pod_fields.h"
#include "report.h"

namespace palisade::policy::table::known_fields {
namespace {

constexpr std::string_view kId = "known-fields";
constexpr std::array kReferences{
    std::string_view("Kubernetes API reference: PodSpec"),
    std::string_view("SOC 2: CC8.1"),
};

// Bounded by the types, none of which nests in itself.
void walk(Report& report, const Node& node, TypeIndex type) {  // NOLINT(misc-no-recursion)
  const auto members = node.object();
  if (members.absent()) return;
  if (members.broken()) {
    report.wrong_type_masked(node, "an object");
    return;
  }
  for (const auto [key, value] : members.value) {
    const PodField* const field = find_field(type, key);
    if (field == nullptr) {
      if (value.is_null() || !pod_types()[type].others.empty()) continue;
      const Node member = node.member(key, value);
      // Nobody knows what such a field holds.
      report.masked(member, member.found_type(),
                    "is a field that this version of Palisade does not know");
    } else if (field->kind == PodField::Kind::object) {
      const Node member = node.member(key, value);
      walk(report, member, field->type);
    } else if (field->kind == PodField::Kind::list) {
      const Node member = node.member(key, value);
      each_item(
          report, member, [&](const Node& item) { walk(report, item, field->type); }, true);
    }
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  walk(report, pod.spec(), 0);
}

std::string names_of(TypeIndex type) {
  std::vector<std::string_view> names;
  for (const PodField& field : pod_types()[type].fields)
    names.push_back(field.name);
  return cel::list(names);
}

std::string known(const std::string& at, TypeIndex type, int depth);

// Of an object whose own fields are known: whether those of the objects in it are. `top`: without
// what has a variable of its own.
std::string known_inside(const std::string& at, TypeIndex type,
                         int depth,  // NOLINT(misc-no-recursion)
                         bool top) {
  std::string out;
  for (const PodField& field : pod_types()[type].fields) {
    const bool is_list = field.kind == PodField::Kind::list;
    if (!is_list && field.kind != PodField::Kind::object) continue;
    if (top && (field.name == "volumes" || field.name.ends_with("ontainers"))) continue;
    const std::string inner = at + "." + std::string(field.name);
    const std::string item = "e" + std::to_string(depth);
    out += (out.empty() ? "(!has(" : " && (!has(") + inner + ") || " + inner + " == null || ";
    out += is_list ? inner + ".all(" + item + ", " + known(item, field.type, depth + 1) + "))"
                   : known(inner, field.type, depth) + ")";
  }
  return out.empty() ? "true" : out;
}

// Whether every field of the object is one of the type's, and every field of what is in it.
std::string known(const std::string& at, TypeIndex type, int depth) {  // NOLINT(misc-no-recursion)
  std::string out;
  if (pod_types()[type].others.empty()) {
    const std::string key = "f" + std::to_string(depth);
    out = at + ".all(" + key + ", " + key + " in " + names_of(type) + ")";
  }
  const std::string inside = known_inside(at, type, depth, false);
  if (inside == "true") return out.empty() ? inside : out;
  return out.empty() ? inside : out + " && " + inside;
}

TypeIndex type_of(std::string_view field) {
  return find_field(0, field)->type;
}

std::string twin(const Settings& /*settings*/) {
  return "variables.spec.filter(f, !(f in " + names_of(0) + ")).map(f, 'spec.' + f) + " +
         cel::where("!(" + known_inside("variables.spec", 0, 0, true) + ")", "spec") + " + " +
         cel::containers("!(" + known("k.c", type_of("ephemeralContainers"), 0) + ")", "") + " + " +
         cel::volumes("!(" + known("v.v", type_of("volumes"), 0) + ")", "");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Only fields that the policy knows",
    .why =
        "A field of a newer Kubernetes can undo any of the other controls without touching a field "
        "that they read.",
    .remedy =
        "remove the field, or correct its name; a Palisade that knows this version of Kubernetes "
        "says whether it is harmless",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::known_fields
