#include "controls_doc.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <policy/policy.h>

namespace palisade::cli {

std::string controls_text() {
  std::size_t width = 0;
  for (const policy::Control& control : policy::controls()) {
    width = std::max(width, control.id.size());
  }
  std::string out;
  for (const policy::Control& control : policy::controls()) {
    out += fmt::format("{:<{}}  {}\n", control.id, width, control.title);
  }
  return out;
}

std::string controls_markdown() {
  std::string out =
      "# Controls\n\n"
      "<!-- Written by `palisade controls -o markdown`. Do not edit: change policy/controls/ and "
      "write it anew. -->\n\n"
      "What an Aider pod must keep, in the order in which it is reported. `palisade check`, the "
      "admission webhook and\nthe operator all read this one table.\n\n"
      "| control | what it asks |\n| --- | --- |\n";
  for (const policy::Control& control : policy::controls()) {
    out += fmt::format("| [{0}](#{0}) | {1} |\n", control.id, control.title);
  }
  for (const policy::Control& control : policy::controls()) {
    out += fmt::format("\n## {}\n\n{}.\n\n- **Why:** {}\n- **Fix:** {}.\n- **References:** ",
                       control.id, control.title, control.why, control.remedy);
    bool first = true;
    for (const std::string_view reference : control.references) {
      if (!first) out += "; ";
      first = false;
      out += reference;
    }
    out += '\n';
  }
  return out;
}

std::string controls_json() {
  nlohmann::json out = nlohmann::json::array();
  for (const policy::Control& control : policy::controls()) {
    nlohmann::json references = nlohmann::json::array();
    for (const std::string_view reference : control.references)
      references.push_back(reference);
    out.push_back({{"id", control.id},
                   {"title", control.title},
                   {"why", control.why},
                   {"fix", control.remedy},
                   {"references", std::move(references)}});
  }
  return out.dump(2) + "\n";
}

}  // namespace palisade::cli
