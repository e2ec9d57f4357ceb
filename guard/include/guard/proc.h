// What /proc says of a process that waits for guard's answer. A notification names a thread; every
// function here takes a thread or a process and asks for that one's own tables, which threads need
// not share. After Notification::alive() said true, what was read before was the caller's.
//
// Errors are errno values. Thread-safe, no state.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <sys/types.h>

#include "guard/event.h"

namespace palisade::guard {

// A descriptor that closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

// For the record: the process (not the thread), its parent and its program. Where something cannot
// be read, it is left empty.
[[nodiscard]] Process process_of(pid_t thread);

struct Kinship {
  pid_t group = 0;  // the process that the thread belongs to
  pid_t parent = 0;
};
[[nodiscard]] std::expected<Kinship, int> kinship(pid_t thread);
// The same out of /proc/THREAD/status: for kernels before 6.13.
[[nodiscard]] std::expected<Kinship, int> kinship_by_status(pid_t thread);

// The process of a thread that waits, with a pidfd of it, which tells later whether its number is
// still its own. No descriptor where guard has none left.
struct Caller {
  Kinship kin;
  std::shared_ptr<const Fd> process;
};
[[nodiscard]] std::expected<Caller, int> caller_of(pid_t thread);

// The target of /proc/THREAD/NAME ("exe", "cwd", "root", "fd/3"), as the kernel prints it: a
// deleted file ends in " (deleted)".
[[nodiscard]] std::expected<std::string, int> link_target(pid_t thread, const std::string& name);

// What /proc/THREAD/NAME leads to. For "fd/3" the open file itself, whatever its name is by now.
[[nodiscard]] std::expected<struct stat, int> stat_of(pid_t thread, const std::string& name);

// Opens /proc/THREAD/NAME with O_PATH | O_CLOEXEC. The caller closes it.
[[nodiscard]] std::expected<int, int> open_path(pid_t thread, const std::string& name);

// The threads of a process.
[[nodiscard]] std::expected<std::vector<pid_t>, int> threads_of(pid_t process);

// A file by two numbers: two names with the same are one file.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};
[[nodiscard]] inline FileId file_id(const struct stat& status) {
  return {status.st_dev, status.st_ino};
}

}  // namespace palisade::guard
