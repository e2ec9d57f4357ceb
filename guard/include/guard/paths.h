// Paths as text and as the file system has them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace palisade::guard {

// Whether `path` is `folder` or below it. Both absolute and resolved, without a slash at the end.
[[nodiscard]] bool below(std::string_view path, std::string_view folder);

// "git" of "/usr/bin/git"; `path` itself where it has no slash.
[[nodiscard]] std::string_view last_component(std::string_view path);

// Without symbolic links (realpath(3)). None: it cannot be found; errno says why.
[[nodiscard]] std::optional<std::string> resolved(const std::string& path);

}  // namespace palisade::guard
