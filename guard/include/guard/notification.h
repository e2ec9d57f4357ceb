// One system call that waits for guard's answer (seccomp_unotify(2)).
#pragma once

#include <cstdint>

#include <linux/seccomp.h>

namespace palisade::guard {

struct Answer;

struct Notification {
  const seccomp_notif& call;
  int listener;

  // Whether the caller still waits. What was read from its memory or /proc before this said true
  // was its own; afterwards the PID may be another's.
  [[nodiscard]] bool alive() const;
  // Puts `fd` into the caller's table and ends its system call with the new number
  // (SECCOMP_ADDFD_FLAG_SEND). False: the caller has gone.
  [[nodiscard]] bool give(int fd, bool close_on_exec) const;
  // Answers now, from any thread; kDone does nothing. For a judge that has said kDone and knows the
  // result later: keep a copy of `call`. False: the caller has gone.
  bool reply(const Answer& answer) const;  // NOLINT(modernize-use-nodiscard)
};

struct Answer {
  enum class Kind {
    kContinue,  // the kernel goes on with the call; never where the verdict rests on the caller's
                // memory alone
    kError,     // the call returns -1 with errno `error`
    kReturn,    // the call returns `value`: guard did it
    kDone,      // answered already (Notification::give), or the caller has gone
  };
  Kind kind = Kind::kError;
  int error = 1;  // EPERM
  std::int64_t value = 0;

  static Answer go_on() { return {Kind::kContinue, 0, 0}; }
  static Answer refuse(int error) { return {Kind::kError, error, 0}; }
  static Answer returned(std::int64_t value) { return {Kind::kReturn, 0, value}; }
  static Answer done() { return {Kind::kDone, 0, 0}; }
};

}  // namespace palisade::guard
