// The agent's clone, read as data: no git runs in it, nothing of its configuration is honoured, no
// link in it is followed.
#pragma once

#include <expected>
#include <filesystem>
#include <optional>
#include <string>

namespace palisade::courier {

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// The commit that `branch` points to, from .git/refs/heads/BRANCH or .git/packed-refs: 40
// hexadecimal digits and nothing else. nullopt where the branch is not there (or is being written);
// an error where something else stands in its place: a link, a pipe, too much text. Source:
// https://man7.org/linux/man-pages/man2/openat2.2.html (RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS)
[[nodiscard]] std::expected<std::optional<std::string>, std::string> read_branch(
    const std::filesystem::path& workspace, const std::string& branch);

// .git/objects as a descriptor; the name may be replaced afterwards, what was opened stays.
[[nodiscard]] std::expected<Descriptor, std::string> open_objects(
    const std::filesystem::path& workspace);

}  // namespace palisade::courier
