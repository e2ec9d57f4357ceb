#include "report.h"

#include <algorithm>

namespace palisade::policy {

void Report::add(std::string field, std::string found, std::string message) {
  out_.push_back({control_, std::move(field), std::move(found), std::move(message)});
}

void Report::wrong(const Node& node, std::string_view expected, bool mask) {
  if (full()) return;
  std::string field = node.path();
  if (std::ranges::any_of(out_, [&](const Finding& finding) {
        return finding.control == control_ && finding.field == field;
      })) {
    return;
  }
  const std::string_view wanted = node.expected().empty() ? expected : node.expected();
  add(std::move(field), mask ? node.found_type() : node.found(),
      "must be " + std::string(wanted) + ", so this cannot be checked and is refused");
}

}  // namespace palisade::policy
