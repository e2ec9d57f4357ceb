// Files that a pod's volumes bring: read with a bound, and waited for where they may come later.
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <vector>

namespace palisade::guard {

// Up to 1 MiB; the error names the file.
[[nodiscard]] std::expected<std::string, std::string> read_text(const std::string& path);

// The JSON list of words in `path`, at least one, none empty at its head and none with a NUL; the
// file is waited for up to `patience`. A file that is there and is no such list is an error at
// once.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> await_words(
    const std::string& path, std::chrono::milliseconds patience);

}  // namespace palisade::guard
