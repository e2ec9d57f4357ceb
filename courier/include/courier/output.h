// What an agent left in its output directory (mount: ReadOnly), read as data: regular files with
// plain names, within bounds, through no link.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace palisade::courier {

inline constexpr std::int64_t kMebi = 1024LL * 1024;

struct OutputLimits {
  std::size_t files = 1000;
  std::size_t entries = 10'000;  // whatever they are
  std::int64_t file_bytes = 16LL * 1024 * 1024;
  std::int64_t all_bytes = 64LL * 1024 * 1024;
  std::size_t path_bytes = 1024;
  std::size_t depth = 32;
};

// What was not taken.
struct LeftOut {
  std::size_t count = 0;
  std::string first;  // "a/link is a symbolic link"; the name as the agent wrote it
};

// A path below the directory, and the file's bytes. An error ends the reading.
using TakeFile =
    std::function<std::expected<void, std::string>(const std::string&, const std::string&)>;

// Gives every file to `take`, in the order of names. What is no regular file, cannot be opened or
// has a name that no commit should have is left out. Beyond a limit the error says which: then the
// caller throws away what it took.
[[nodiscard]] std::expected<LeftOut, std::string> read_output(
    const std::filesystem::path& directory, const OutputLimits& limits,
    std::chrono::steady_clock::time_point deadline, const TakeFile& take);

// Why one part of a path is not taken into a commit, "" where it is: names that git gives a meaning
// (in any spelling that a file system takes for them), and names that mislead who reads them.
[[nodiscard]] std::string name_problem(std::string_view name);

}  // namespace palisade::courier
