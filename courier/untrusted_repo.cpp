#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <courier/untrusted_repo.h>

namespace palisade::courier {

namespace {

constexpr std::size_t kMaxPackedRefs = 16 * 1024 * 1024;

// Below `root` and through no link. O_NONBLOCK: a pipe in a file's place must not block.
Descriptor open_beneath(int root, const std::string& path, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Descriptor(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

struct Found {
  enum { kAbsent, kText, kWrong } kind = kAbsent;
  std::string text;  // or what is wrong
};

Found read_beneath(int root, const std::string& path, std::size_t most) {
  const Descriptor file = open_beneath(root, path, O_RDONLY);
  if (!file.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return {Found::kWrong, fmt::format("{}: {}", path, std::strerror(errno))};
  }
  struct stat info {};
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return {Found::kWrong, path + " is not a regular file"};
  std::string text(most + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(file.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {Found::kWrong, fmt::format("{}: {}", path, std::strerror(errno))};
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  if (size > most) return {Found::kWrong, path + " is too large"};
  text.resize(size);
  return {Found::kText, std::move(text)};
}

bool is_object_id(std::string_view text) {
  return text.size() == 40 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Descriptor open_workspace(const std::filesystem::path& workspace) {
  return Descriptor(open(workspace.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

std::expected<std::optional<std::string>, std::string> read_branch(
    const std::filesystem::path& workspace, const std::string& branch) {
  const Descriptor root = open_workspace(workspace);
  if (!root.valid()) {
    if (errno == ENOENT) return std::nullopt;
    return std::unexpected(fmt::format("{}: {}", workspace.string(), std::strerror(errno)));
  }
  const Found loose = read_beneath(root.get(), ".git/refs/heads/" + branch, 128);
  if (loose.kind == Found::kWrong) return std::unexpected(loose.text);
  if (loose.kind == Found::kText) {
    std::string_view text = loose.text;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
      text.remove_suffix(1);
    if (text.empty()) return std::nullopt;  // being written
    if (!is_object_id(text)) return std::unexpected("refs/heads/" + branch + " holds no commit id");
    return std::string(text);
  }
  const Found packed = read_beneath(root.get(), ".git/packed-refs", kMaxPackedRefs);
  if (packed.kind == Found::kWrong) return std::unexpected(packed.text);
  if (packed.kind == Found::kAbsent) return std::nullopt;
  const std::string wanted = " refs/heads/" + branch;
  std::string_view rest = packed.text;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    if (line.size() == 40 + wanted.size() && line.ends_with(wanted) &&
        is_object_id(line.substr(0, 40)))
      return std::string(line.substr(0, 40));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::expected<Descriptor, std::string> open_objects(const std::filesystem::path& workspace) {
  const Descriptor root = open_workspace(workspace);
  if (!root.valid())
    return std::unexpected(fmt::format("{}: {}", workspace.string(), std::strerror(errno)));
  Descriptor objects = open_beneath(root.get(), ".git/objects", O_RDONLY | O_DIRECTORY);
  if (!objects.valid())
    return std::unexpected(fmt::format(".git/objects: {}", std::strerror(errno)));
  return objects;
}

}  // namespace palisade::courier
