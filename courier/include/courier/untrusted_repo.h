// The agent's clone, read as data: no git runs in it, nothing of its configuration is honoured, no
// link in it is followed.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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

// What AgentObjects::ignored says of a clone that stands on another repository's objects.
inline constexpr const char* kAlternates = ".git/objects/info/alternates";

// What .git/objects holds, by name.
struct AgentObjects {
  Descriptor directory;            // .git/objects; its name may be replaced, what was opened stays
  std::vector<std::string> loose;  // object names
  std::vector<std::string> packs;  // pack-HEX, the .pack and the .idx being there
  std::string ignored;  // something that git would follow and the courier does not; "" where none
};
[[nodiscard]] std::expected<AgentObjects, std::string> list_objects(
    const std::filesystem::path& workspace);

// The agent's objects as git is shown them: a directory of the courier's own with a copy of each
// loose object and, for the packs, links to descriptors of files that were seen to be regular. So
// git meets no alternates, no link and no pipe of the agent's, whatever is swapped meanwhile.
class ObjectView {
 public:
  // `most`: bytes of all copies together. Replaces what is at `place`.
  [[nodiscard]] static std::expected<ObjectView, std::string> make(
      AgentObjects& objects, const std::vector<std::string>& loose, std::filesystem::path place,
      std::int64_t most, std::chrono::steady_clock::time_point deadline);
  ObjectView(ObjectView&&) = default;
  ObjectView& operator=(ObjectView&&) = delete;
  ObjectView(const ObjectView&) = delete;
  ObjectView& operator=(const ObjectView&) = delete;
  ~ObjectView();
  // git must inherit them.
  [[nodiscard]] std::vector<int> descriptors() const;

 private:
  explicit ObjectView(std::filesystem::path place) : place_(std::move(place)) {}
  std::filesystem::path place_;  // empty once moved from
  std::vector<Descriptor> packs_;
};

}  // namespace palisade::courier
