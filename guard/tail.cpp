#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <guard/proc.h>
#include <guard/tail.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kTailPiece = 64UL * 1024;
constexpr std::size_t kLongest = 64UL * 1024;
constexpr int kFailed = 126;

void complain(const std::string& what) {
  static_cast<void>(std::fprintf(stderr, "palisade-guard: tail: %s\n", what.c_str()));
}

enum class Waited { kReady, kStop, kTimeout };

class Tail {
 public:
  Tail(const TailOptions& options, int signals) : options_(options), signals_(signals) {}

  int run() {
    for (;;) {
      const bool last = stopping_;
      if (!copy()) return kFailed;
      if (last) return finished();
      if (!stopping_ && wait(-1, 0, options_.poll) == Waited::kStop) stop();
    }
  }

 private:
  void stop() {
    stopping_ = true;
    end_by_ = Clock::now() + options_.last;
  }

  int finished() const {
    if (!line_.empty())
      complain("the last line of " + options_.path + " has no end and is left out");
    return 0;
  }

  Waited wait(int fd, short events, std::chrono::milliseconds timeout) const {
    std::array<pollfd, 2> polled{{{stopping_ ? -1 : signals_, POLLIN, 0}, {fd, events, 0}}};
    const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(timeout.count()));
    if (ready > 0 && polled[0].revents != 0) return Waited::kStop;
    return ready > 0 ? Waited::kReady : Waited::kTimeout;
  }

  // Opens the file where none is open, or another one has taken its name.
  void follow_name() {
    struct stat named {};
    struct stat opened {};
    if (file_ && ::fstat(file_.get(), &opened) == 0) {
      const bool same =
          ::lstat(options_.path.c_str(), &named) != 0 || file_id(named) == file_id(opened);
      if (same && opened.st_size >= read_) return;
      if (same) {
        complain(options_.path + " was cut; it is printed from its beginning");
        rewind();
        return;
      }
    }
    Fd next(
        ::open(options_.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK));
    // It is there once the agent's container has started. Nothing is said until then: a container's
    // log holds what is said too, and the record's readers would find a line that is none.
    if (!next || ::fstat(next.get(), &opened) != 0 || !S_ISREG(opened.st_mode)) return;
    file_ = std::move(next);
    rewind();
  }

  void rewind() {
    read_ = 0;
    line_.clear();
    too_long_ = false;
  }

  // All that is there now. False: it cannot be printed.
  bool copy() {
    follow_name();
    std::array<char, kTailPiece> piece;
    while (file_) {
      const ssize_t got = ::pread(file_.get(), piece.data(), piece.size(), read_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        complain("cannot read " + options_.path + ": " + std::strerror(errno));
        file_ = Fd();
        return true;
      }
      if (got == 0) return true;
      read_ += got;
      if (!take({piece.data(), static_cast<std::size_t>(got)})) return false;
    }
    return true;
  }

  bool take(std::string_view bytes) {
    std::string whole;
    while (!bytes.empty()) {
      const std::size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      if (!too_long_ && line_.size() + part.size() > kLongest) {
        too_long_ = true;
        line_.clear();
        complain("a line of more than 64 KiB is left out");
      }
      if (!too_long_) line_ += part;
      if (end == std::string_view::npos) break;
      bytes.remove_prefix(end + 1);
      if (!too_long_) {
        whole += line_;
        whole += '\n';
      }
      line_.clear();
      too_long_ = false;
    }
    return print(whole);
  }

  bool print(std::string_view bytes) {
    // No more than a pipe surely takes once it is ready, so that a signal is seen in between.
    constexpr std::size_t kAtOnce = 4096;
    while (!bytes.empty()) {
      auto timeout = std::chrono::milliseconds(-1);
      if (stopping_) {
        timeout = std::chrono::duration_cast<std::chrono::milliseconds>(end_by_ - Clock::now());
        if (timeout.count() <= 0) {
          complain("standard output takes nothing; the rest of the record was not printed");
          return false;
        }
      }
      const Waited waited = wait(options_.out, POLLOUT, timeout);
      if (waited == Waited::kStop) stop();
      if (waited != Waited::kReady) continue;
      const ssize_t written = ::write(options_.out, bytes.data(), std::min(bytes.size(), kAtOnce));
      if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (written < 0) {
        complain(std::string("cannot print: ") + std::strerror(errno));
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

  const TailOptions& options_;
  const int signals_;
  Fd file_;
  off_t read_ = 0;
  std::string line_;  // what has no end yet
  bool too_long_ = false;
  bool stopping_ = false;
  Clock::time_point end_by_;
};

}  // namespace

int tail(const TailOptions& options) {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);  // a write says EPIPE
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGTERM);
  ::sigaddset(&blocked, SIGINT);
  const Fd signals(::pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0
                       ? ::signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK)
                       : -1);
  if (!signals) {
    complain(std::string("signals cannot be had: ") + std::strerror(errno));
    return kFailed;
  }
  return Tail(options, signals.get()).run();
}

}  // namespace palisade::guard
