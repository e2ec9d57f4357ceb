#include "unix_path.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard/paths.h"

namespace palisade::guard {

namespace {

std::expected<std::string, int> name_of(int fd) {
  return link_target(getpid(), "fd/" + std::to_string(fd));
}

// 077 where it cannot be read: nobody else's then.
mode_t umask_of(pid_t thread) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Umask:")) {
      return static_cast<mode_t>(std::strtoul(line.c_str() + 6, nullptr, 8)) & 0777U;
    }
  }
  return 077;
}

int restrict_and_bind(int ruleset, int socket, const sockaddr_un& address, socklen_t size) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) return errno;
  return bind(socket, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
}

}  // namespace

std::expected<ResolvedPath, int> resolve(pid_t thread, const std::string& path) {
  if (path.empty()) return std::unexpected(ENOENT);
  const bool absolute = path.front() == '/';
  auto start = open_path(thread, absolute ? "root" : "cwd");
  if (!start) return std::unexpected(start.error());
  const Fd from{*start};
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS | (absolute ? RESOLVE_IN_ROOT : 0ULL);
  ResolvedPath resolved;
  resolved.file =
      Fd{static_cast<int>(syscall(SYS_openat2, from.get(), path.c_str(), &how, sizeof how))};
  if (!resolved.file) return std::unexpected(errno);
  auto name = name_of(resolved.file.get());
  if (!name) return std::unexpected(name.error());
  resolved.name = std::move(*name);
  return resolved;
}

std::expected<ResolvedPath, int> resolve_parent(pid_t thread, const std::string& path) {
  const auto slash = path.rfind('/');
  const auto last = path.substr(slash == std::string::npos ? 0 : slash + 1);
  if (last.empty() || last == "." || last == "..") return std::unexpected(EADDRINUSE);
  if (slash == std::string::npos) return resolve(thread, ".");
  return resolve(thread, path.substr(0, slash + 1));
}

WritablePlaces::WritablePlaces(const std::vector<std::string>& directories) {
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SOCK;
  ruleset_ =
      Fd{static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0))};
  for (const auto& directory : directories) {
    const auto real = resolved(directory);
    if (!real) continue;
    places_.push_back(*real);
    const Fd place{open(real->c_str(), O_PATH | O_CLOEXEC)};
    landlock_path_beneath_attr rule{};
    rule.allowed_access = LANDLOCK_ACCESS_FS_MAKE_SOCK;
    rule.parent_fd = place.get();
    // Where a rule cannot be added, nothing can be bound there.
    if (ruleset_ && place) {
      syscall(SYS_landlock_add_rule, ruleset_.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    }
  }
}

bool WritablePlaces::covers(const std::string& real_path) const {
  for (const auto& place : places_) {
    if (below(real_path, place)) return true;
  }
  return false;
}

int WritablePlaces::bind_path(pid_t thread, int socket, const std::string& path) const {
  if (!ruleset_) return EACCES;
  auto name = path;
  if (!name.starts_with('/')) {
    auto directory = link_target(thread, "cwd");
    if (!directory) return directory.error();
    name = *directory + "/" + path;
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
  // The new file gets the socket's mode, less guard's own umask.
  if (fchmod(socket, 0777U & ~umask_of(thread)) != 0) return errno;
  int error = EACCES;
  std::thread([&] { error = restrict_and_bind(ruleset_.get(), socket, address, size); }).join();
  return error;
}

}  // namespace palisade::guard
