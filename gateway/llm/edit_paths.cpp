#include "edit_paths.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "ascii.h"

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kLongestPath = 1024;

bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// Without the marks that Markdown and models put around a name.
std::string_view bare(std::string_view line) {
  constexpr std::string_view kMarks = " \t\r#*`'\":>";
  const std::size_t from = line.find_first_not_of(kMarks);
  if (from == std::string_view::npos) return {};
  const std::size_t last = line.find_last_not_of(" \t\r*`'\":");
  return last == std::string_view::npos || last < from ? std::string_view()
                                                       : line.substr(from, last - from + 1);
}

bool has_space(std::string_view text) {
  return std::ranges::any_of(text, blank);
}

// NAME of "--- a/NAME\ttime", "*** Update File: NAME" and the like.
std::optional<std::string_view> diff_name(std::string_view line) {
  static constexpr std::array<std::string_view, 9> kHeads{
      "--- ",        "+++ ",          "rename from ",     "rename to ",
      "copy to ",    "*** Add File:", "*** Update File:", "*** Delete File:",
      "*** Move to:"};
  for (const std::string_view head : kHeads) {
    if (!line.starts_with(head)) continue;
    std::string_view name = line.substr(head.size());
    name = bare(name.substr(0, name.find('\t')));
    if (head == "--- " || head == "+++ ") {
      if (name == "/dev/null") return std::nullopt;
      if (name.starts_with("a/") || name.starts_with("b/")) name.remove_prefix(2);
    }
    return name;
  }
  return std::nullopt;
}

template <typename Use>
void each_part(std::string_view path, Use use) {
  while (!path.empty()) {
    const std::size_t end = path.find_first_of("/\\");
    use(path.substr(0, end));
    if (end == std::string_view::npos) return;
    path.remove_prefix(end + 1);
  }
}

}  // namespace

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && blank(text.front()))
    text.remove_prefix(1);
  while (!text.empty() && blank(text.back()))
    text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

bool is_fence(std::string_view line) {
  static constexpr std::array<std::string_view, 10> kTags{
      "<source>", "</source>",   "<code>",       "</code>",      "<pre>",
      "</pre>",   "<codeblock>", "</codeblock>", "<sourcecode>", "</sourcecode>"};
  line = trimmed(line);
  if (line.starts_with("```") || line.starts_with("~~~")) return true;
  return std::ranges::any_of(kTags, [&](std::string_view tag) { return line.starts_with(tag); });
}

std::string_view fence_info(std::string_view line) {
  line = trimmed(line);
  if (!line.starts_with("```") && !line.starts_with("~~~")) return {};
  const std::size_t from = line.find_first_not_of(line[0]);
  return from == std::string_view::npos ? std::string_view() : trimmed(line.substr(from));
}

bool is_search_head(std::string_view line) {
  line = trimmed(line);
  const std::size_t marks = std::min(line.find_first_not_of('<'), line.size());
  return marks >= 5 && marks <= 9 && trimmed(line.substr(marks)).starts_with("SEARCH");
}

std::vector<std::string> edited_paths(std::string_view text) {
  constexpr std::size_t kBefore = 3;  // lines before a SEARCH that may name its file
  const auto lines = lines_of(text);
  std::vector<std::string> out;
  const auto add = [&](std::string_view name) {
    if (!name.empty() && name.size() <= kLongestPath) out.emplace_back(name);
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    if (const auto name = diff_name(line)) add(*name);
    if (is_fence(line)) {
      std::string_view info = fence_info(line);
      while (!info.empty()) {  // ```python path/to/file.py
        const std::size_t end = std::min(info.find(' '), info.size());
        const std::string_view word = bare(info.substr(0, end));
        if (word.find_first_of("./\\~") != std::string_view::npos) add(word);
        info = trimmed(info.substr(end));
      }
      if (i > 0 && !has_space(bare(lines[i - 1]))) add(bare(lines[i - 1]));
    }
    if (!is_search_head(line)) continue;
    bool nearest = true;
    for (std::size_t back = 1; back <= kBefore && back <= i; ++back) {
      const std::string_view before = lines[i - back];
      if (is_fence(before) || trimmed(before).empty()) continue;
      const std::string_view name = bare(before);
      // A name with spaces stands right before its block.
      if (nearest || !has_space(name)) add(name);
      nearest = false;
    }
  }
  return out;
}

bool leads_outside(std::string_view path) {
  if (path.empty()) return false;
  if (path[0] == '/' || path[0] == '\\' || path[0] == '~') return true;
  if (path.size() > 2 && path[1] == ':' && (path[2] == '/' || path[2] == '\\')) return true;
  if (lower_case(path.substr(0, 5)) == "file:") return true;
  bool outside = false;
  each_part(path, [&](std::string_view part) { outside |= trimmed(part) == ".."; });
  return outside;
}

bool is_in_git_directory(std::string_view path) {
  bool inside = false;
  each_part(path, [&](std::string_view part) {
    std::string name = lower_case(trimmed(part));
    while (name.size() > 4 && name.ends_with('.'))
      name.pop_back();  // a file system may leave it out
    inside |= name == ".git" || name == "git~1";
  });
  return inside;
}

}  // namespace palisade::gateway::llm
