// Opening what the agent wrote: below a directory and through no link.
#pragma once

#include <cstdint>
#include <string>

#include <courier/untrusted_repo.h>

namespace palisade::courier {

// An errno in words.
[[nodiscard]] std::string reason(int error);

// `path` below the directory `root`; errno says why it is not valid. A pipe in a file's place does
// not block. Source: https://man7.org/linux/man-pages/man2/openat2.2.html (RESOLVE_BENEATH,
// RESOLVE_NO_SYMLINKS)
[[nodiscard]] Descriptor open_beneath(int root, const std::string& path, std::uint64_t flags);

}  // namespace palisade::courier
