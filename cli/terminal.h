// The user's terminal while somebody else's is shown on it.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <termios.h>

namespace palisade::cli {

// Raw mode: every key goes to the session. As it was before when the object goes, and also where
// the process ends by abort() or a fault. One at a time.
class RawTerminal {
 public:
  // Errors: `descriptor` is no terminal.
  [[nodiscard]] static std::expected<RawTerminal, std::string> enter(int descriptor);
  ~RawTerminal();
  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  RawTerminal& operator=(RawTerminal&&) = delete;

  // After a stop (SIGCONT): the shell has set its own mode meanwhile.
  void again() const;

 private:
  RawTerminal(int descriptor, const termios& before) : descriptor_(descriptor), before_(before) {}
  int descriptor_;
  termios before_;
};

// Columns and rows; 80 and 24 where nobody knows.
[[nodiscard]] std::pair<unsigned, unsigned> terminal_size(int descriptor);

// The keys that leave a session, such as "ctrl-p,ctrl-q": seen across pieces, and never sent on.
class DetachKeys {
 public:
  // Names separated by commas: ctrl-a to ctrl-z, ctrl-@ [ \ ] ^ _, or one character. The error says
  // which is none.
  [[nodiscard]] static std::expected<DetachKeys, std::string> parse(std::string_view text);

  // Appends to `send` what goes to the session; true where the keys were pressed: the rest of
  // `typed` is dropped.
  bool feed(std::string_view typed, std::string& send);

 private:
  explicit DetachKeys(std::string keys) : keys_(std::move(keys)) {}
  std::string keys_;
  std::string held_;  // a beginning of them
};

}  // namespace palisade::cli
