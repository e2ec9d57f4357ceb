// Puts the running program onto the volume that the agent's container starts it from.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

namespace palisade::guard {

inline constexpr const char* kInstalledName = "palisade-guard";

// Copies /proc/self/exe to DIRECTORY/palisade-guard: mode 0555, on disk (fsync of the file and of
// the directory) before it has its name, and under its name whole or not at all. The same bytes
// there already: nothing but their mode is touched. An older palisade-guard is replaced; anything
// else under that name (a directory, a link, a file that is no ELF program) is an error. Returns
// the file's path; the error is one line that names the path and the fix. A temporary file of a run
// that was killed is removed by the next. Not for two processes at once.
[[nodiscard]] std::expected<std::filesystem::path, std::string> install(
    const std::filesystem::path& directory);

}  // namespace palisade::guard
