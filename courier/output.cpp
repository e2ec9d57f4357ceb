#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <courier/output.h>

#include "beneath.h"

namespace palisade::courier {

namespace {

constexpr std::size_t kMostShown = 200;  // of a name

// One code point of UTF-8 off the front; nullopt where it is none.
std::optional<char32_t> next_code_point(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  std::size_t length = 0;
  if (first < 0x80) length = 1;
  if (first >= 0xc2 && first < 0xe0) length = 2;
  if (first >= 0xe0 && first < 0xf0) length = 3;
  if (first >= 0xf0 && first < 0xf5) length = 4;
  if (length == 0 || length > text.size()) return std::nullopt;
  char32_t value = length == 1 ? first : first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return std::nullopt;
    value = value << 6 | (byte(i) & 0x3fU);
  }
  static constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast.at(length) || (value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff)
    return std::nullopt;
  text.remove_prefix(length);
  return value;
}

// Control characters, and those that nobody sees or that turn the text around: HFS+ leaves some of
// them out of names, so that ".g<U+200C>it" is ".git" there.
bool is_unseen(char32_t c) {
  struct Range {
    char32_t first, last;
  };
  static constexpr Range kRanges[] = {
      {0x00, 0x1f},     {0x7f, 0x9f},      {0xad, 0xad},     {0x34f, 0x34f},   {0x61c, 0x61c},
      {0x115f, 0x1160}, {0x17b4, 0x17b5},  {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e},
      {0x2060, 0x206f}, {0x3164, 0x3164},  {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0},
      {0xfff0, 0xfffb}, {0xe0000, 0xe0fff}};
  return std::ranges::any_of(kRanges,
                             [&](const Range& one) { return c >= one.first && c <= one.last; });
}

std::string kind_of(mode_t mode) {
  if (S_ISLNK(mode)) return "is a symbolic link";
  if (S_ISFIFO(mode)) return "is a pipe";
  if (S_ISSOCK(mode)) return "is a socket";
  if (S_ISBLK(mode) || S_ISCHR(mode)) return "is a device";
  return "is no regular file";
}

std::string cannot_be_read(int error) {
  return "cannot be read (" + reason(error) + ")";
}

class Reader {
 public:
  using Done = std::expected<void, std::string>;

  Reader(const OutputLimits& limits, std::chrono::steady_clock::time_point deadline,
         const TakeFile& take)
      : limits_(limits), deadline_(deadline), take_(take) {}

  Done directory(const Descriptor& at, const std::string& path, std::size_t depth) {
    auto names = list(at);
    if (!names) return std::unexpected(std::move(names.error()));
    for (const std::string& name : *names) {
      if (std::chrono::steady_clock::now() >= deadline_)
        return std::unexpected("reading it takes too long");
      const std::string inner = path.empty() ? name : path + "/" + name;
      if (auto read = entry(at, name, inner, depth); !read) return read;
    }
    return {};
  }

  [[nodiscard]] LeftOut left_out() const { return left_out_; }

 private:
  std::expected<std::vector<std::string>, std::string> list(const Descriptor& at) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fcntl(at.get(), F_DUPFD_CLOEXEC, 0)),
                                                     &closedir);
    if (!stream) return std::unexpected("it cannot be listed: " + reason(errno));
    while (const dirent* entry = readdir(stream.get())) {  // NOLINT(concurrency-mt-unsafe)
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (++entries_ > limits_.entries)
        return std::unexpected(fmt::format("it holds more than {} entries", limits_.entries));
      names.emplace_back(name);
    }
    std::ranges::sort(names);
    return names;
  }

  Done entry(const Descriptor& at, const std::string& name, const std::string& path,
             std::size_t depth) {
    if (std::string problem = name_problem(name); !problem.empty()) return leave_out(path, problem);
    if (path.size() > limits_.path_bytes)
      return leave_out(path, fmt::format("has a path of more than {} bytes", limits_.path_bytes));
    // What it is, without opening a device or waiting for a pipe. O_PATH | O_NOFOLLOW would open a
    // link itself, which RESOLVE_NO_SYMLINKS refuses.
    const Descriptor seen = open_beneath(at.get(), name, O_PATH);
    if (!seen.valid())
      return leave_out(path, errno == ELOOP ? kind_of(S_IFLNK) : cannot_be_read(errno));
    struct stat info {};
    if (fstat(seen.get(), &info) != 0) return leave_out(path, cannot_be_read(errno));
    if (S_ISDIR(info.st_mode)) {
      if (depth == limits_.depth)
        return leave_out(path, fmt::format("lies deeper than {} directories", limits_.depth));
      const Descriptor below = open_beneath(at.get(), name, O_RDONLY | O_DIRECTORY);
      if (!below.valid()) return leave_out(path, cannot_be_read(errno));
      return directory(below, path, depth + 1);
    }
    if (!S_ISREG(info.st_mode)) return leave_out(path, kind_of(info.st_mode));
    const Descriptor file = open_beneath(at.get(), name, O_RDONLY);
    if (!file.valid()) return leave_out(path, cannot_be_read(errno));
    // The name may mean another one by now.
    if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return leave_out(path, kind_of(info.st_mode));
    return contents(file, info.st_size, path);
  }

  Done contents(const Descriptor& file, std::int64_t size, const std::string& path) {
    if (++files_ > limits_.files)
      return std::unexpected(fmt::format("it holds more than {} files", limits_.files));
    const auto too_large = [&] {
      return std::unexpected(fmt::format("{} is larger than {} MiB", path.substr(0, kMostShown),
                                         limits_.file_bytes / kMebi));
    };
    if (size > limits_.file_bytes) return too_large();
    std::string bytes;
    std::array<char, 65536> buffer{};
    while (true) {
      const ssize_t count = read(file.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0)
        return std::unexpected(path.substr(0, kMostShown) + " " + cannot_be_read(errno));
      if (count == 0) break;
      bytes.append(buffer.data(), static_cast<std::size_t>(count));
      if (static_cast<std::int64_t>(bytes.size()) > limits_.file_bytes) return too_large();
    }
    bytes_ += static_cast<std::int64_t>(bytes.size());
    if (bytes_ > limits_.all_bytes)
      return std::unexpected(
          fmt::format("it holds more than {} MiB in all", limits_.all_bytes / kMebi));
    return take_(path, bytes);
  }

  Done leave_out(const std::string& path, const std::string& why) {
    if (left_out_.count++ == 0) left_out_.first = path.substr(0, kMostShown) + " " + why;
    return {};
  }

  const OutputLimits& limits_;
  const std::chrono::steady_clock::time_point deadline_;
  const TakeFile& take_;
  LeftOut left_out_;
  std::size_t entries_ = 0;
  std::size_t files_ = 0;
  std::int64_t bytes_ = 0;
};

}  // namespace

std::string name_problem(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return "is no name";
  std::string plain;
  for (const char c : name)
    plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  // NTFS: what follows a colon is a stream, dots and blanks at the end are nothing, and long names
  // have short ones such as GIT~1.
  plain.resize(std::min(plain.find(':'), plain.size()));
  while (plain.ends_with('.') || plain.ends_with(' '))
    plain.pop_back();
  for (const char* own : {".git", ".gitattributes", ".gitmodules"}) {
    if (plain == own) return "has a name that means something to git";
  }
  for (const char* shortened : {"git~", "gitatt~", "gitmod~", "gi7"}) {
    if (plain.starts_with(shortened) && plain.find('~') != std::string::npos)
      return "has a name that means something to git";
  }
  if (name.find('\\') != std::string_view::npos) return "has a backslash in its name";
  for (std::string_view rest = name; !rest.empty();) {
    const auto c = next_code_point(rest);
    if (!c) return "has a name that is not UTF-8";
    if (is_unseen(*c)) return "has a control or invisible character in its name";
  }
  return {};
}

std::expected<LeftOut, std::string> read_output(const std::filesystem::path& directory,
                                                const OutputLimits& limits,
                                                std::chrono::steady_clock::time_point deadline,
                                                const TakeFile& take) {
  const Descriptor root(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!root.valid()) return std::unexpected(directory.string() + ": " + reason(errno));
  Reader reader(limits, deadline, take);
  if (auto read = reader.directory(root, "", 0); !read)
    return std::unexpected(std::move(read.error()));
  return reader.left_out();
}

}  // namespace palisade::courier
