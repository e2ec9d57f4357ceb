// What an untrusted program prints, made fit for a person's terminal. A list of what passes; what
// is not on it does not:
//
//   text     UTF-8 that shows; newline, carriage return, tab, backspace
//   colours  SGR, but not conceal (8)
//   cursor   CSI A-H a d e f g I X Z ` s u, CSI b (repeat), CSI SP q (shape), ESC 7 8 D E M
//   erase    CSI J K P L M @ S T, but not 3J: the scroll-back stays; CSI r (scroll region)
//   modes    4, ?1 ?7 ?12 ?25 ?47 ?1047 ?1048 ?1049 ?2004, ESC = and >
//   mouse and focus reports: to be turned off alone
//
// Taken away: OSC (title, clipboard, links), DCS, APC, PM, SOS, every query (DA, DSR, DECRQM,
// DECREQTPARM, XTVERSION, CSI t), printing, character sets, resets, other C0 controls; characters
// that take no room (U+200B-D, U+2060-4, U+FEFF, U+00AD, U+E0000-E0FFF and their like). Replaced by
// U+FFFD, so that one sees that something was there: C1 controls, bytes that are no UTF-8,
// bidirectional controls, line and paragraph separators.
//
// A control sequence ends where it stops being one: at a byte that does not belong to it, or after
// 256 bytes. A string (OSC and the like) ends at BEL, ST, CAN, SUB, another escape, the line's end,
// or after 16 KiB: none swallows all that follows.
//
// Source: ECMA-48 and https://invisible-island.net/xterm/ctlseqs/ctlseqs.html.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace palisade::guard {

// One stream. What is given in pieces comes out as if it had been given whole. Memory is bounded;
// one thread.
class TerminalFilter {
 public:
  // Appends to `out` what may be shown of these bytes.
  void feed(std::string_view bytes, std::string& out);
  // The stream's end: a character that was cut is U+FFFD, a sequence that was cut is nothing.
  void finish(std::string& out);
  // The sequences that undo the modes and colours that passed and are still on.
  [[nodiscard]] std::string restore() const;

 private:
  enum class State : std::uint8_t {
    kText,
    kCharacter,
    kEscape,
    kEscapeMore,
    kCsi,
    kCsiBad,
    kString,
    kStringEscape
  };
  void byte(unsigned char c, std::string& out);
  void text(unsigned char c, std::string& out);
  void character(unsigned char c, std::string& out);
  void escape(unsigned char c, std::string& out);
  void csi(unsigned char c, std::string& out);
  void string(unsigned char c, std::string& out);
  [[nodiscard]] bool harmless_csi();
  void note_mode(unsigned mode, bool on);
  void note_modes(unsigned mode, bool is_private, bool on);

  State state_ = State::kText;
  std::array<char, 64> sequence_{};  // what was read of an escape sequence or a character
  std::size_t length_ = 0;
  std::size_t skipped_ = 0;  // bytes of a string, or of a sequence that is too long
  std::size_t wanted_ = 0;   // bytes of the character
  std::uint16_t modes_ = 0;  // bits of what is to be undone
};

// The whole of `bytes`.
[[nodiscard]] std::string shown_on_terminal(std::string_view bytes);

}  // namespace palisade::guard
