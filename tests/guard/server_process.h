// A server that a test needs beside itself. It is a process and not a thread: a fork while another
// thread holds a lock of the sanitizer's allocator leaves that lock taken in the child for ever,
// and nearly every test here forks.
#pragma once

#include <csignal>
#include <new>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {

// A T that this process and those forked from it share. Owned by whoever made it.
template <typename T>
class Shared {
 public:
  Shared()
      : at_(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (at_ == MAP_FAILED) throw std::bad_alloc();
    new (at_) T();
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(at_, sizeof(T)); }

  T& operator*() const { return *static_cast<T*>(at_); }
  T* operator->() const { return static_cast<T*>(at_); }

 private:
  void* at_;
};

class ServerProcess {
 public:
  // `serve` runs until the process is killed, which the destructor and this process's end do. Of
  // what is open now it has `fd` alone: nobody waits in vain for the end of what it would hold.
  template <typename Serve>
  ServerProcess(int fd, Serve serve) : pid_(fork()) {
    EXPECT_GE(pid_, 0);
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto own = static_cast<unsigned>(fd);
    if (own > 3) close_range(3, own - 1, 0);
    close_range(own + 1, ~0U, 0);
    serve();
    _exit(1);
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

 private:
  const pid_t pid_;
};

}  // namespace palisade::guard
