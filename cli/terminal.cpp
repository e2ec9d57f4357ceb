#include "terminal.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"

namespace palisade::cli {
namespace {

constexpr std::size_t kMostKeys = 8;
constexpr std::array kFaults{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};

// For the handler of faults, which can be handed nothing.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
volatile std::sig_atomic_t saved_descriptor = -1;
termios saved{};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

extern "C" void restore_at_fault(int signal) {
  if (saved_descriptor >= 0) ::tcsetattr(saved_descriptor, TCSANOW, &saved);
  ::raise(signal);  // the handler is taken away by now (SA_RESETHAND)
}

void handle_faults(bool on) {
  struct sigaction action {};
  if (on) {
    action.sa_handler = restore_at_fault;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  } else {
    action.sa_handler = SIG_DFL;
  }
  for (const int fault : kFaults)
    ::sigaction(fault, &action, nullptr);
}

termios raw_of(termios mode) {
  ::cfmakeraw(&mode);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  return mode;
}

// One key's byte, or 0.
char byte_of(std::string_view name) {
  if (name.size() == 1 && name[0] > 0x20 && name[0] < 0x7F) return name[0];
  if (name.size() != 6 || !name.starts_with("ctrl-")) return 0;
  const char key = name[5];
  if (key >= 'a' && key <= 'z') return static_cast<char>(key - 'a' + 1);
  if (key >= '[' && key <= '_') return static_cast<char>(key - '@');
  return 0;
}

}  // namespace

std::expected<RawTerminal, std::string> RawTerminal::enter(int descriptor) {
  termios before{};
  if (::tcgetattr(descriptor, &before) != 0)
    return std::unexpected("this is no terminal: " + std::generic_category().message(errno));
  saved = before;
  saved_descriptor = descriptor;
  handle_faults(true);
  const termios raw = raw_of(before);
  if (::tcsetattr(descriptor, TCSADRAIN, &raw) != 0)
    return std::unexpected("this terminal cannot be set: " +
                           std::generic_category().message(errno));
  return RawTerminal(descriptor, before);
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), before_(other.before_) {}

RawTerminal::~RawTerminal() {
  if (descriptor_ < 0) return;
  ::tcsetattr(descriptor_, TCSADRAIN, &before_);
  saved_descriptor = -1;
  handle_faults(false);
}

void RawTerminal::again() const {
  const termios raw = raw_of(before_);
  ::tcsetattr(descriptor_, TCSADRAIN, &raw);
}

std::pair<unsigned, unsigned> terminal_size(int descriptor) {
  winsize size{};
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): ioctl(2)
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {80, 24};
  return {size.ws_col, size.ws_row};
}

std::expected<DetachKeys, std::string> DetachKeys::parse(std::string_view text) {
  std::string keys;
  for (;;) {
    const std::size_t comma = text.find(',');
    const std::string_view name = text.substr(0, comma);
    const char key = byte_of(name);
    if (key == 0)
      return std::unexpected("\"" + printable(name) +
                             "\" is no key: write ctrl-a to ctrl-z or one character, with commas "
                             "between them");
    keys += key;
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  if (keys.size() > kMostKeys) return std::unexpected("more than 8 keys nobody presses");
  return DetachKeys(std::move(keys));
}

bool DetachKeys::feed(std::string_view typed, std::string& send) {
  for (const char c : typed) {
    held_ += c;
    if (held_ == keys_) {
      held_.clear();
      return true;
    }
    // What cannot become them any more goes on; its end may be a beginning.
    while (!keys_.starts_with(held_)) {
      send += held_.front();
      held_.erase(0, 1);
    }
  }
  return false;
}

}  // namespace palisade::cli
