#include <algorithm>

#include <policy/policy.h>

namespace palisade::policy {
namespace {

constexpr std::size_t kMaxExplanation =
    16 * 1024;  // what a terminal and an admission response bear
constexpr std::size_t kMaxLine = 2 * 1024;
constexpr std::size_t kTail = 64;  // room for the line that says how many were left out

// Values come from the pod's author: nothing that moves a cursor or reorders text may pass.
void append_safe(std::string& out, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = [&](std::size_t n) {
      return i + n < text.size() ? static_cast<unsigned char>(text[i + n]) : 0U;
    };
    if (byte < 0x20 || byte == 0x7F) {
      out += '?';
    } else if ((byte == 0xC2 && next(1) >= 0x80 && next(1) < 0xA0) ||  // C1 controls
               (byte == 0xD8 && next(1) == 0x9C)) {                    // Arabic letter mark
      out += '?';
      i += 1;
    } else if (byte == 0xE2 && ((next(1) == 0x80 && next(2) >= 0x8E && next(2) <= 0xAE) ||
                                (next(1) == 0x81 && next(2) >= 0xA6 && next(2) <= 0xA9))) {
      out += '?';  // line and paragraph separators, directional marks
      i += 2;
    } else {
      out += text[i];
    }
  }
}

void append_line(std::string& out, const Finding& finding) {
  std::string line;
  line += "\n  ";
  append_safe(line, finding.field);
  line += ": ";
  append_safe(line, finding.found);
  line += " - ";
  append_safe(line, finding.message);
  if (line.size() > kMaxLine) {
    std::size_t end = kMaxLine;
    while ((static_cast<unsigned char>(line[end]) & 0xC0U) == 0x80U)
      --end;
    line.resize(end);
    line += "...";
  }
  out += line;
}

}  // namespace

std::string shown(std::string_view text, std::size_t most) {
  std::string out;
  std::size_t end = std::min(most, text.size());
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  append_safe(out, text.substr(0, end));
  if (end < text.size()) out += "...";
  return out;
}

std::string explain(std::span<const Finding> findings) {
  if (findings.empty()) return "no problems";
  std::string out =
      std::to_string(findings.size()) + (findings.size() == 1 ? " problem:" : " problems:");
  std::size_t told = 0;
  // Findings arrive in the table's order, so those of a control are neighbours.
  while (told < findings.size()) {
    const Finding& first = findings[told];
    const Control* control = find_control(first.control);
    std::string part = "\n[";
    part += first.control;
    part += ']';
    if (control != nullptr) {
      part += ' ';
      part += control->title;
    }
    std::string tail;
    if (control != nullptr) {
      tail += "\n  why: ";
      tail += control->why;
      tail += "\n  fix: ";
      tail += control->remedy;
    }
    std::size_t end = told;
    while (end < findings.size() && findings[end].control == first.control) {
      std::string line;
      append_line(line, findings[end]);
      if (out.size() + part.size() + line.size() + tail.size() + kTail > kMaxExplanation) break;
      part += line;
      ++end;
    }
    if (end == told) break;
    out += part;
    out += tail;
    const bool whole = end == findings.size() || findings[end].control != first.control;
    told = end;
    if (!whole) break;
  }
  if (told < findings.size()) {
    out += "\n... and " + std::to_string(findings.size() - told) + " more";
  }
  return out;
}

}  // namespace palisade::policy
