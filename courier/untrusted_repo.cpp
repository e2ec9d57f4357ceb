#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <courier/untrusted_repo.h>

#include "beneath.h"

namespace palisade::courier {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPackedRefs = 16 * 1024 * 1024;
constexpr std::size_t kMaxObjects = 200'000;  // loose, with everything else in their directories
constexpr std::size_t kMaxPacks = 200;        // two descriptors each
constexpr const char* kTooMany =
    ".git/objects holds too many loose objects or packs; `git gc` in the workspace helps";
constexpr const char* kTooLarge =
    "the new loose objects in .git/objects are larger than maxPackBytes";

struct Found {
  enum { kAbsent, kText, kWrong } kind = kAbsent;
  std::string text;  // or what is wrong
};

Found read_beneath(int root, const std::string& path, std::size_t most) {
  const Descriptor file = open_beneath(root, path, O_RDONLY);
  if (!file.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return {Found::kWrong, path + ": " + reason(errno)};
  }
  struct stat info {};
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return {Found::kWrong, path + " is not a regular file"};
  std::string text(most + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(file.get(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return {Found::kWrong, path + ": " + reason(errno)};
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

// Appends the names in a directory below `root`, none where it is not there; false where more than
// `left` are there.
bool list_directory(int root, const std::string& path, std::vector<std::string>& names,
                    std::size_t& left, std::string& ignored) {
  const Descriptor directory = open_beneath(root, path, O_RDONLY | O_DIRECTORY);
  if (!directory.valid()) {
    if (errno != ENOENT) ignored = ".git/objects/" + path + ": " + reason(errno);
    return true;
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(
      fdopendir(fcntl(directory.get(), F_DUPFD_CLOEXEC, 0)), &closedir);
  if (!stream) return true;
  while (const dirent* entry = readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
    if (left == 0) return false;
    --left;
    names.emplace_back(entry->d_name);
  }
  return true;
}

// `most` bytes at most, which are taken off it.
std::expected<void, std::string> copy(int from, const fs::path& to, std::int64_t& most,
                                      std::chrono::steady_clock::time_point deadline) {
  const Descriptor out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out.valid()) return std::unexpected(to.string() + ": " + reason(errno));
  std::array<char, 65536> buffer{};
  while (true) {
    if (std::chrono::steady_clock::now() >= deadline)
      return std::unexpected("copying the loose objects takes too long");
    const ssize_t count = read(from, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected("a loose object: " + reason(errno));
    if (count == 0) return {};
    most -= count;
    if (most < 0) return std::unexpected(kTooLarge);
    for (ssize_t written = 0; written < count;) {
      const ssize_t more =
          write(out.get(), buffer.data() + written, static_cast<std::size_t>(count - written));
      if (more < 0 && errno != EINTR) return std::unexpected(to.string() + ": " + reason(errno));
      if (more > 0) written += more;
    }
  }
}

Descriptor open_workspace(const std::filesystem::path& workspace) {
  return Descriptor(open(workspace.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

std::string reason(int error) {
  if (error == ELOOP) return "a symbolic link, which is not followed";
  if (error == ENOTDIR) return "not a directory, and links are not followed";
  return std::strerror(error);
}

Descriptor open_beneath(int root, const std::string& path, std::uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC | O_NOFOLLOW;
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Descriptor(static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
}

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
    return std::unexpected(workspace.string() + ": " + reason(errno));
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

std::expected<AgentObjects, std::string> list_objects(const fs::path& workspace) {
  const Descriptor root = open_workspace(workspace);
  if (!root.valid()) return std::unexpected(workspace.string() + ": " + reason(errno));
  AgentObjects objects;
  objects.directory = open_beneath(root.get(), ".git/objects", O_RDONLY | O_DIRECTORY);
  if (!objects.directory.valid()) return std::unexpected(".git/objects: " + reason(errno));
  const int top = objects.directory.get();
  std::size_t left = kMaxObjects;
  std::vector<std::string> names;
  for (int first = 0; first < 256; ++first) {
    const std::string fan = fmt::format("{:02x}", first);
    names.clear();
    if (!list_directory(top, fan, names, left, objects.ignored)) return std::unexpected(kTooMany);
    for (const std::string& name : names)
      if (name.size() == 38 && is_object_id(fan + name)) objects.loose.push_back(fan + name);
  }
  names.clear();
  if (!list_directory(top, "pack", names, left, objects.ignored)) return std::unexpected(kTooMany);
  for (const std::string& name : names) {
    if (name.size() == 50 && name.starts_with("pack-") && name.ends_with(".pack") &&
        is_object_id(std::string_view(name).substr(5, 40)) &&
        std::ranges::find(names, name.substr(0, 45) + ".idx") != names.end())
      objects.packs.push_back(name.substr(0, 45));
    if (objects.packs.size() > kMaxPacks) return std::unexpected(kTooMany);
  }
  const Descriptor alternates = open_beneath(top, "info/alternates", O_PATH);
  if (alternates.valid() || errno != ENOENT) objects.ignored = kAlternates;
  return objects;
}

std::expected<ObjectView, std::string> ObjectView::make(
    AgentObjects& objects, const std::vector<std::string>& loose, fs::path place, std::int64_t most,
    std::chrono::steady_clock::time_point deadline) {
  fs::remove_all(place);
  ObjectView view(std::move(place));
  fs::create_directories(view.place_ / "pack");
  const auto open_file = [&](const std::string& name, std::int64_t& size) {
    Descriptor file = open_beneath(objects.directory.get(), name, O_RDONLY);
    struct stat info {};
    if (!file.valid()) {
      if (errno != ENOENT) objects.ignored = ".git/objects/" + name + ": " + reason(errno);
    } else if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
      objects.ignored = ".git/objects/" + name + " is not a regular file";
      file = Descriptor();
    }
    size = info.st_size;
    return file;
  };
  std::int64_t size = 0;
  for (const std::string& name : objects.packs) {
    Descriptor pack = open_file("pack/" + name + ".pack", size);
    Descriptor index = open_file("pack/" + name + ".idx", size);
    if (!pack.valid() || !index.valid()) continue;
    for (auto [file, suffix] : {std::pair{&pack, ".pack"}, std::pair{&index, ".idx"}}) {
      fs::create_symlink(fmt::format("/proc/self/fd/{}", file->get()),
                         view.place_ / "pack" / (name + suffix));
      view.packs_.push_back(std::move(*file));
    }
  }
  for (const std::string& name : loose) {
    const std::string fan = name.substr(0, 2);
    const std::string rest = name.substr(2);
    const Descriptor from = open_file(fmt::format("{}/{}", fan, rest), size);
    if (!from.valid()) continue;
    if (size > most) return std::unexpected(kTooLarge);
    fs::create_directory(view.place_ / fan);
    if (auto copied = copy(from.get(), view.place_ / fan / rest, most, deadline); !copied)
      return std::unexpected(std::move(copied.error()));
  }
  return view;
}

ObjectView::~ObjectView() {
  std::error_code ignored;  // replaced next time
  if (!place_.empty()) fs::remove_all(place_, ignored);
}

std::vector<int> ObjectView::descriptors() const {
  std::vector<int> out;
  out.reserve(packs_.size());
  for (const Descriptor& file : packs_)
    out.push_back(file.get());
  return out;
}

}  // namespace palisade::courier
