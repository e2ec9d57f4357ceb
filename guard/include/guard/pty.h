// The agent's standard streams. In between stands the terminal filter (terminal.h), in both modes:
//
//   task         stdout and stderr are a pipe each; stdin is /dev/null, or a pipe where guard's own
//   is
//                neither a terminal nor /dev/null
//   interactive  all three are one pseudo-terminal, the agent's controlling terminal; guard's own
//   is
//                in raw mode meanwhile, and its size is passed on (SIGWINCH)
//
// The agent never holds a descriptor of guard's own streams. A reader of guard's output that is
// slow holds back the agent's writes and nothing else; what cannot be written any more (EPIPE, EIO)
// is thrown away.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace palisade::guard {

struct TerminalOptions {
  bool interactive = false;  // needs `in` and `out` to be terminals
  int in = 0;                // guard's own streams; borrowed
  int out = 1;
  int err = 2;
  // Output came, or somebody typed. Called on the pump's thread; must not block.
  std::function<void()> activity = {};
  // What the agent printed, as it goes out. Likewise.
  std::function<void(std::string_view)> printed = {};
};

// Whether guard's standard input and output are terminals.
[[nodiscard]] bool own_terminal(int in = 0, int out = 1);

// open() and adopt() in any thread; start(), drain() and the destructor in the thread that owns it.
class Terminal {
 public:
  // Makes the streams. Blocks SIGWINCH in this thread for good where it is interactive: to be
  // called before other threads are made. The error names what could not be had.
  [[nodiscard]] static std::expected<std::unique_ptr<Terminal>, std::string> open(
      TerminalOptions options);
  // Restores guard's own terminal and ends the thread.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // In the child, between fork and exec: a session of its own (setsid; a group of its own in it),
  // the streams at 0, 1 and 2. Async-signal-safe; uses open(2), dup2(2), setsid(2) alone. False
  // with errno set. Signal dispositions and masks stay the caller's matter.
  [[nodiscard]] bool adopt() const noexcept;

  // After the fork: closes the child's ends here and begins to pump, on a thread named `terminal`.
  // Guard's own terminal becomes raw now. Sets O_NONBLOCK on guard's own streams until the end.
  [[nodiscard]] std::expected<void, std::string> start();

  // When no process of the agent is left: what is on its way is written, then the thread ends and
  // guard's own streams are as they were. False: `within` was over and the rest is thrown away.
  bool drain(std::chrono::milliseconds within);

 private:
  struct Impl;
  explicit Terminal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::guard
