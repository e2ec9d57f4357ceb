// The files that a reply would edit, as coding agents read its text. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway::llm {

[[nodiscard]] std::vector<std::string_view> lines_of(std::string_view text);
[[nodiscard]] std::string_view trimmed(std::string_view text);
[[nodiscard]] std::string lower_case(std::string_view text);

// Whether a line opens or closes a block of code: ``` or ~~~ or <source> and its kin.
[[nodiscard]] bool is_fence(std::string_view line);
// What a fence says of its block: "bash" of ```bash; "" for the others.
[[nodiscard]] std::string_view fence_info(std::string_view line);
// <<<<<<< SEARCH
[[nodiscard]] bool is_search_head(std::string_view line);

// Names before and within the fences of edit blocks, of diffs and of patches: SEARCH/REPLACE, whole
// files, unified diffs, "*** Update File: NAME".
[[nodiscard]] std::vector<std::string> edited_paths(std::string_view text);

// Out of the workspace: absolute, a home directory, a drive, a URL, or with a part "..".
[[nodiscard]] bool leads_outside(std::string_view path);
// Has a part that is git's own directory.
[[nodiscard]] bool is_in_git_directory(std::string_view path);

}  // namespace palisade::gateway::llm
