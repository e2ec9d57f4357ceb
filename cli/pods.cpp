#include "pods.h"

#include <policy/templates.h>

namespace palisade::cli {
namespace {

using simdjson::dom::element;

constexpr int kMaxLists = 10;  // Lists in Lists

std::string text(element object, std::string_view key) {
  std::string_view value;
  return object[key].get(value) == simdjson::SUCCESS ? std::string(value) : std::string();
}

std::string_view group_of(std::string_view api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view() : api_version.substr(0, slash);
}

void add_pod(element object, const policy::PodTemplate& where, const std::string& kind,
             const std::string& prefix, Contents& out) {
  PodPlace place;
  place.kind = kind;
  element metadata;
  if (object["metadata"].get(metadata) == simdjson::SUCCESS) {
    place.space = text(metadata, "namespace");
    place.name = text(metadata, "name");
    if (place.name.empty()) place.name = text(metadata, "generateName");
  }
  const auto pod = policy::pod_in(object, where);
  if (!pod) {
    // The API refuses a workload without a template; so does this: it has no pod to judge.
    out.problem = kind;
    out.problem.append(" ").append(place.name).append(": ").append(prefix).append(pod.error());
    out.problem += " is missing";
    return;
  }
  place.pod = *pod;
  place.prefix = prefix + where.prefix();
  out.pods.push_back(std::move(place));
}

void visit(element object, std::string_view item_kind, std::string_view item_version,
           const std::string& prefix, int depth, Contents& out) {
  if (!out.problem.empty()) return;
  const std::string where = prefix.empty() ? "the document" : prefix.substr(0, prefix.size() - 1);
  if (!object.is_object()) {
    out.problem = where + " is no Kubernetes object";
    return;
  }
  std::string kind = text(object, "kind");
  std::string version = text(object, "apiVersion");
  if (kind.empty()) kind = item_kind;
  if (version.empty()) version = item_version;
  if (kind.empty() || version.empty()) {
    out.problem = where + " is no Kubernetes object: " + (kind.empty() ? "kind" : "apiVersion") +
                  " is missing";
    return;
  }
  simdjson::dom::array items;
  if (kind.ends_with("List") && object["items"].get(items) == simdjson::SUCCESS) {
    if (depth >= kMaxLists) {
      out.problem = where + " is a List in too many Lists";
      return;
    }
    // The items of a typed list do not repeat their kind; those of a List do.
    const std::string_view of = std::string_view(kind).substr(0, kind.size() - 4);
    std::size_t index = 0;
    for (const element item : items) {
      visit(item, of, of.empty() ? std::string_view() : std::string_view(version),
            prefix + "items[" + std::to_string(index++) + "].", depth + 1, out);
    }
    return;
  }
  const policy::PodTemplate* const found = policy::template_of_kind(group_of(version), kind);
  if (found == nullptr) {
    ++out.others;
    return;
  }
  add_pod(object, *found, kind, prefix, out);
}

}  // namespace

Contents find_pods(element document) {
  Contents out;
  visit(document, {}, {}, "", 0, out);
  return out;
}

}  // namespace palisade::cli
