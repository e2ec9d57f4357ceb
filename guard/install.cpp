#include "guard/install.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/proc.h"

namespace palisade::guard {

namespace {

constexpr const char* kTemporary = ".palisade-guard.new";
constexpr mode_t kMode = 0555;

std::string remedy(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "the volume is full: give it more room (32Mi is enough)";
    case EROFS:
      return "the volume is read-only: mount it writable in the init container, and only there";
    case EACCES:
    case EPERM:
      return "no permission: the volume must be writable for the user that this container runs as";
    case ENOENT:
      return "there is no such directory: mount the volume there";
    case ENOTDIR:
      return "that is no directory: name the directory that the volume is mounted on";
    default:
      return std::generic_category().message(error);
  }
}

std::unexpected<std::string> failure(const std::string& path, const std::string& why) {
  return std::unexpected("cannot install to " + path + ": " + why);
}

ssize_t read_chunk(int fd, std::span<char> into) {
  ssize_t got = 0;
  do {
    got = read(fd, into.data(), into.size());
  } while (got < 0 && errno == EINTR);
  return got;
}

bool write_all(int fd, std::span<const char> bytes) {
  while (!bytes.empty()) {
    ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

// Both from their present offsets. False also where one cannot be read: then it is written anew.
bool same_bytes(int left, int right) {
  std::array<char, 65536> a{};
  std::array<char, 65536> b{};
  while (true) {
    ssize_t got = read_chunk(left, a);
    if (got < 0) return false;
    for (ssize_t have = 0; have < got;) {
      ssize_t more = read_chunk(right, std::span{b}.first(static_cast<std::size_t>(got - have)));
      if (more <= 0 ||
          std::memcmp(a.data() + have, b.data(), static_cast<std::size_t>(more)) != 0) {
        return false;
      }
      have += more;
    }
    if (got == 0) return read_chunk(right, b) == 0;
  }
}

enum class Existing { kNone, kSame, kOther, kForeign, kUnreadable };

Existing look(int directory, int self) {
  struct stat about {};
  if (fstatat(directory, kInstalledName, &about, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? Existing::kNone : Existing::kUnreadable;
  }
  if (!S_ISREG(about.st_mode)) return Existing::kForeign;
  Fd file{openat(directory, kInstalledName, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!file) return Existing::kUnreadable;
  std::array<char, 4> magic{};
  if (read_chunk(file.get(), magic) != 4 || std::memcmp(magic.data(), "\177ELF", 4) != 0) {
    return Existing::kForeign;
  }
  if (lseek(file.get(), 0, SEEK_SET) != 0) return Existing::kUnreadable;
  if (!same_bytes(self, file.get())) return Existing::kOther;
  // Its mode may have been changed, or may never have been set.
  return fchmod(file.get(), kMode) == 0 ? Existing::kSame : Existing::kOther;
}

int copy(int from, int to) {  // 0, or errno
  std::array<char, 65536> buffer{};
  while (true) {
    ssize_t got = read_chunk(from, buffer);
    if (got < 0) return errno;
    if (got == 0) break;
    errno = ENOSPC;
    if (!write_all(to, std::span{buffer}.first(static_cast<std::size_t>(got)))) return errno;
  }
  if (fchmod(to, kMode) != 0 || fsync(to) != 0) return errno;
  return 0;
}

}  // namespace

std::expected<std::filesystem::path, std::string> install(const std::filesystem::path& directory) {
  auto target = directory / kInstalledName;
  Fd self{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  if (!self) {
    return failure(target, "/proc/self/exe cannot be read: " + remedy(errno));
  }
  Fd folder{open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder) return failure(target, remedy(errno));
  switch (look(folder.get(), self.get())) {
    case Existing::kSame:
      return target;
    case Existing::kForeign:
      return failure(
          target, "something else is there under this name: remove it, or give another directory");
    case Existing::kUnreadable:
      return failure(target, "what is there cannot be read: " + remedy(errno));
    case Existing::kNone:
    case Existing::kOther:
      break;
  }
  if (lseek(self.get(), 0, SEEK_SET) != 0) return failure(target, remedy(errno));
  if (unlinkat(folder.get(), kTemporary, 0) != 0 && errno != ENOENT) {
    return failure(target, remedy(errno));
  }
  int error = 0;
  {
    Fd file{openat(folder.get(), kTemporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                   0600)};
    if (!file) return failure(target, remedy(errno));
    error = copy(self.get(), file.get());
  }  // closed before it has its name: a file that is open for writing cannot be executed
  if (error == 0 && renameat(folder.get(), kTemporary, folder.get(), kInstalledName) != 0) {
    error = errno;
  }
  if (error != 0) {
    unlinkat(folder.get(), kTemporary, 0);
    return failure(target, remedy(error));
  }
  if (fsync(folder.get()) != 0) return failure(target, remedy(errno));
  return target;
}

}  // namespace palisade::guard
