// Holds a process's threads still while guard decides on one of its system calls: nobody but guard
// then changes its table of descriptors. Done with ptrace(2) (PTRACE_SEIZE, PTRACE_INTERRUPT): the
// caller itself goes on inside its system call and stops at the call's end.
//
// Whoever reaps in guard must wait with __WNOTHREAD, or pass over stops that it did not ask for: a
// wait for any child also sees the stops of the tracees of guard's other threads.
#pragma once

#include <chrono>
#include <expected>
#include <map>
#include <set>

#include <sys/types.h>

namespace palisade::guard {

// Belongs to one thread, as the kernel's tracers do. Holds one process at a time.
class Freezer {
 public:
  Freezer() = default;
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;
  ~Freezer() { release(); }

  // Stops every thread of `process`; `caller` is the one that waits for guard's answer. Threads
  // that cannot stop before they come back from a call that leaves descriptors alone (the wait of a
  // vfork, a connect) count as stopped. Error: an errno; everything runs on then.
  [[nodiscard]] std::expected<void, int> stop(pid_t process, pid_t caller,
                                              std::chrono::milliseconds within);
  // After the answer: waits until the caller has come to the end of its call. False: it has died,
  // or did not within this time.
  [[nodiscard]] bool wait_for_caller(std::chrono::milliseconds within);
  // Lets all go on. A thread that sits in a call can be let go at its end only: settle() does it.
  void release();
  // To be called every few milliseconds while it returns true.
  bool settle();

 private:
  enum class State { kStopped, kRunning, kDead };
  [[nodiscard]] static State look(pid_t process, pid_t thread);
  [[nodiscard]] static bool let_go(pid_t process, pid_t thread);
  [[nodiscard]] std::expected<void, int> seize(pid_t thread);
  [[nodiscard]] std::expected<bool, int> round();

  pid_t process_ = 0;
  pid_t caller_ = 0;
  std::set<pid_t> held_;
  std::map<pid_t, pid_t> left_;  // thread -> its process
};

}  // namespace palisade::guard
