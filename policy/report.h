// How a control says what it found: findings are made here and nowhere else.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <policy/policy.h>

#include "pod_view.h"

namespace palisade::policy {

class Report {
 public:
  Report(std::string_view control, std::vector<Finding>& out) : control_(control), out_(out) {}

  void operator()(const Node& node, std::string message) {
    if (!full()) add(node.path(), node.found(), std::move(message));
  }
  // The same with a value that may hold a secret: `found` is what may be shown of it.
  void masked(const Node& node, std::string found, std::string message) {
    if (!full()) add(node.path(), std::move(found), std::move(message));
  }
  // The node, or the ancestor to blame, has the wrong shape. Said once per place and control.
  void wrong_type(const Node& node, std::string_view expected) { wrong(node, expected, false); }
  void wrong_type_masked(const Node& node, std::string_view expected) {
    wrong(node, expected, true);
  }

 private:
  [[nodiscard]] bool full() const { return out_.size() >= kMaxFindings; }
  void add(std::string field, std::string found, std::string message);
  void wrong(const Node& node, std::string_view expected, bool mask);

  std::string_view control_;
  std::vector<Finding>& out_;
};

// Calls `visit(const Node&)` for each item of a list; nothing where it is absent, a finding where
// it is no list. `masked`: the list may hold secrets.
template <class Visit>
void each_item(Report& report, const Node& list, Visit visit, bool masked = false) {
  const auto items = list.list();
  if (items.absent()) return;
  if (items.broken()) {
    masked ? report.wrong_type_masked(list, "a list") : report.wrong_type(list, "a list");
    return;
  }
  std::size_t index = 0;
  for (const simdjson::dom::element value : items.value) {
    const Node item = list.item(index++, value);
    visit(item);
  }
}

// The same for the members of an object.
template <class Visit>
void each_member(Report& report, const Node& object, Visit visit) {
  const auto members = object.object();
  if (members.absent()) return;
  if (members.broken()) {
    report.wrong_type(object, "an object");
    return;
  }
  for (const auto [key, value] : members.value) {
    const Node member = object.member(key, value);
    visit(member);
  }
}

// A field that a container inherits from the pod where it does not set it itself, as the kubelet
// resolves it. Every value that is written is judged, also one that all containers override; a
// container for which nobody wrote one is `missing`.
template <class Judge, class Missing>
void each_inherited(const PodView& pod, std::string_view field, Judge judge, Missing missing) {
  const Node at_pod = pod.security()[field];
  if (!at_pod.absent()) judge(at_pod);
  for (const Container& container : pod.containers()) {
    const Node own = container.security[field];
    if (!own.absent()) {
      judge(own);
    } else if (at_pod.absent()) {
      missing(own);
    }
  }
}

// Refuses anything but absent or `false`.
inline void refuse_true(Report& report, const Node& node, std::string_view message) {
  const auto value = node.boolean();
  if (value.broken()) {
    report.wrong_type(node, "true or false");
  } else if (value.is(true)) {
    report(node, std::string(message));
  }
}

}  // namespace palisade::policy
