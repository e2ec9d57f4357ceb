// How the processes of recorded programs end: each is followed by a pidfd until it has been reaped,
// which also tells its exit status where the kernel knows PIDFD_INFO_EXIT (6.15).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "guard/event.h"
#include "guard/proc.h"

namespace palisade::guard {

// Thread-safe, but for look() and finish(), which belong to one thread.
class Exits {
 public:
  // At most `most` processes are followed at a time; the ends of those beyond count as dropped.
  // Errors: std::system_error.
  Exits(Recorder& recorder, std::size_t most);

  // `pid` waits for guard's answer and is about to execute `program`. True: another program of the
  // same process was followed, which has its end now, and this one is followed in its stead. False:
  // follow() is to be called once the process has its answer.
  [[nodiscard]] bool replaces(pid_t pid, const std::string& program);
  // `process`: a pidfd, also of one that has ended by now. Where there is none, or no room, its end
  // counts as dropped.
  void follow(pid_t pid, std::string program, std::shared_ptr<const Fd> process,
              std::chrono::steady_clock::time_point begun);

  [[nodiscard]] int fd() const { return epoll_.get(); }  // readable: look() has something to do
  bool look();                                           // false: nothing had ended
  void finish();                                         // all are dead and reaped: the rest
  [[nodiscard]] bool kept() const;                       // false: the record has refused an event
  [[nodiscard]] std::size_t followed() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Follow {
    pid_t pid = 0;
    std::shared_ptr<const Fd> pidfd;
    std::string program;
    Clock::time_point begun;
    std::optional<Clock::time_point> ended;
  };
  void put(const Follow& follow, std::optional<int> status);
  void ended(std::uint64_t id, bool reaped);
  void remove(std::uint64_t id);

  Recorder& recorder_;
  const std::size_t most_;
  Fd epoll_;
  mutable std::mutex mutex_;
  bool kept_ = true;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Follow> follows_;
  std::map<pid_t, std::uint64_t> newest_;
};

}  // namespace palisade::guard
