// Reading a caller's memory while it waits for guard's answer (process_vm_readv(2)). What is read
// is a copy: the caller's other threads may change the original at any moment, so that nothing that
// the kernel reads again may rest on it. Thread-safe, no state.
//
// Errors are errno values: EFAULT (not mapped), ESRCH (gone), EPERM (not readable for guard).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <sys/types.h>

namespace palisade::guard {

// Fills `into` from `address` on. Less than the whole is read where the mapping ends; zero bytes
// are an error.
[[nodiscard]] std::expected<std::size_t, int> read_some(pid_t pid, std::uint64_t address,
                                                        std::span<std::byte> into);

// All of `into`, or EFAULT.
[[nodiscard]] std::expected<void, int> read_all(pid_t pid, std::uint64_t address,
                                                std::span<std::byte> into);

template <typename T>
[[nodiscard]] std::expected<T, int> read_object(pid_t pid, std::uint64_t address) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::array<std::byte, sizeof(T)> bytes;
  if (auto read = read_all(pid, address, bytes); !read) {
    return std::unexpected(read.error());
  }
  T object;
  std::memcpy(&object, bytes.data(), sizeof object);
  return object;
}

// The text up to its NUL. ENAMETOOLONG: there is none within `most` bytes.
[[nodiscard]] std::expected<std::string, int> read_text(pid_t pid, std::uint64_t address,
                                                        std::size_t most);

struct Arguments {
  std::vector<std::string> words;  // the first `most` bytes of them
  std::size_t bytes = 0;           // of all, with one NUL after each
  std::string sha256;              // of those bytes, where words were cut; else ""
};

// An argv as execve(2) takes it; a null address is an empty one. At most `most` bytes are kept.
// More than the kernel would take is not looked at.
[[nodiscard]] std::expected<Arguments, int> read_arguments(pid_t pid, std::uint64_t address,
                                                           std::size_t most);

// Both of one execve(2), with fewer system calls. Where the path cannot be read the arguments are
// not looked at, and have its error.
struct ExecText {
  std::expected<std::string, int> path;
  std::expected<Arguments, int> arguments;
};
[[nodiscard]] ExecText read_exec(pid_t pid, std::uint64_t path, std::size_t path_most,
                                 std::uint64_t arguments, std::size_t arguments_most);

}  // namespace palisade::guard
