#include "controls_doc.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <policy/guards.h>

#include "table.h"

namespace palisade::cli {

namespace {

void text_of(std::span<const policy::Control> table, std::size_t width, std::string& out) {
  for (const policy::Control& control : table)
    out += fmt::format("{:<{}}  {}\n", control.id, width, control.title);
}

void index_of(std::span<const policy::Control> table, std::string_view head, std::string& out) {
  out += fmt::format("| {} | what it asks |\n| --- | --- |\n", head);
  for (const policy::Control& control : table)
    out += fmt::format("| [{0}](#{0}) | {1} |\n", control.id, control.title);
}

void section_of(const policy::Control& control, std::string& out) {
  out += fmt::format("\n## {}\n\n{}.\n\n- **Why:** {}\n- **Fix:** {}.\n- **References:** ",
                     control.id, control.title, control.why, control.remedy);
  bool first = true;
  for (const std::string_view reference : control.references) {
    if (!first) out += "; ";
    first = false;
    out += reference;
  }
  out += '\n';
  if (control.needs_registry) {
    out +=
        "- **Judged by:** the admission webhook alone, which asks the registries of the images. "
        "What runs already is not\n  judged again: no scan asks for signatures.\n";
  } else if (control.needs_cluster && !control.is_guard) {
    out +=
        "- **Judged by:** the admission webhook and the cluster scan. It takes other objects of "
        "the cluster to tell,\n  so a manifest by itself neither breaks nor keeps it.\n";
  }
}

}  // namespace

std::string controls_text() {
  std::size_t width = 0;
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table)
      width = std::max(width, control.id.size());
  }
  std::string out;
  text_of(policy::controls(), width, out);
  out += "\nGuards, which judge requests:\n";
  text_of(policy::guards(), width, out);
  return out;
}

std::string controls_table() {
  std::vector<std::vector<std::string>> rows;
  for (const auto all : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : all) {
      std::string references;
      for (const std::string_view reference : control.references)
        references += (references.empty() ? "" : "; ") + std::string(reference);
      rows.push_back({std::string(control.id),
                      control.is_guard        ? "request"
                      : control.needs_cluster ? "cluster"
                                              : "pod",
                      std::string(control.title), std::move(references)});
    }
  }
  return table({{"CONTROL"}, {"JUDGES"}, {"ASKS"}, {"REFERENCES"}}, rows, 3);
}

std::string controls_markdown() {
  std::string out =
      "# Controls\n\n"
      "<!-- Written by `palisade controls -o markdown`. Do not edit: change policy/controls/ or "
      "policy/guards.cpp and write it anew. -->\n\n"
      "What an Aider pod must keep, in the order in which it is reported. `palisade check`, the "
      "admission webhook and\nthe operator all read this one table.\n\n";
  index_of(policy::controls(), "control", out);
  out +=
      "\nGuards judge requests and not pods: the admission webhook refuses by them what would get "
      "round the pod. Namespaces set\ntheir modes as those of controls; a HardeningException "
      "covers none. [guarded-objects.md](guarded-objects.md) says what each looks at.\n\n";
  index_of(policy::guards(), "guard", out);
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table)
      section_of(control, out);
  }
  return out;
}

std::string controls_json() {
  nlohmann::json out = nlohmann::json::array();
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      nlohmann::json references = nlohmann::json::array();
      for (const std::string_view reference : control.references)
        references.push_back(reference);
      out.push_back({{"id", control.id},
                     {"title", control.title},
                     {"why", control.why},
                     {"fix", control.remedy},
                     {"references", std::move(references)},
                     {"needsCluster", control.needs_cluster},
                     {"guard", control.is_guard}});
    }
  }
  return out.dump(2) + "\n";
}

}  // namespace palisade::cli
