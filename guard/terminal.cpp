#include <optional>

#include <guard/terminal.h>

#include "unicode.h"

namespace palisade::guard {
namespace {

constexpr unsigned char kBell = 0x07;
constexpr unsigned char kCancel = 0x18;
constexpr unsigned char kSubstitute = 0x1A;
constexpr unsigned char kEscapeByte = 0x1B;
constexpr std::size_t kLongestBadSequence = 256;
constexpr std::size_t kLongestString = 16UL * 1024;

// What must be undone at the end.
enum Left : std::uint16_t {
  kColours = 1U << 0U,
  kScrollRegion = 1U << 1U,
  kCursorHidden = 1U << 2U,
  kAlternateScreen = 1U << 3U,
  kBracketedPaste = 1U << 4U,
  kApplicationKeys = 1U << 5U,
  kKeypad = 1U << 6U,
  kInsert = 1U << 7U,
  kNoWrap = 1U << 8U,
  kCursorShape = 1U << 9U,
};

struct Parameters {
  static constexpr std::size_t kMost = 24;
  static constexpr unsigned kLargest = 9999;
  std::array<unsigned, kMost> values{};
  std::array<bool, kMost> sub{};  // came after a colon
  std::size_t count = 0;
};

// "1;2" and, for colours, "4:3". nullopt where it is anything else.
std::optional<Parameters> parameters(std::string_view text, bool colons) {
  Parameters out;
  if (text.empty()) return out;
  out.count = 1;
  for (const char c : text) {
    if (c == ';' || (c == ':' && colons)) {
      if (out.count == Parameters::kMost) return std::nullopt;
      out.sub.at(out.count) = c == ':';
      ++out.count;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    unsigned& value = out.values.at(out.count - 1);
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > Parameters::kLargest) return std::nullopt;
  }
  return out;
}

// Colours and styles, but nothing that makes text invisible.
bool harmless_style(const Parameters& style) {
  for (std::size_t i = 0; i < style.count; ++i) {
    if (style.sub.at(i)) continue;
    const unsigned value = style.values.at(i);
    if (value == 8) return false;
    if (value != 38 && value != 48 && value != 58) continue;
    // 38;5;N and 38;2;R;G;B: what follows is a colour.
    if (i + 1 >= style.count || style.sub.at(i + 1)) continue;
    i += style.values.at(i + 1) == 5 ? 2 : style.values.at(i + 1) == 2 ? 4 : 0;
  }
  return true;
}

bool harmless_private_mode(unsigned mode, bool on) {
  switch (mode) {
    case 1:   // application cursor keys
    case 7:   // wrap
    case 12:  // blinking cursor
    case 25:  // visible cursor
    case 47:  // the alternate screen, four ways
    case 1047:
    case 1048:
    case 1049:
    case 2004:  // bracketed paste
      return true;
    case 9:  // mouse and focus reports: to be turned off alone
    case 1000:
    case 1001:
    case 1002:
    case 1003:
    case 1004:
    case 1005:
    case 1006:
    case 1015:
    case 1016:
      return !on;
    default:
      return false;
  }
}

bool harmless_modes(const Parameters& modes, bool is_private, bool on) {
  if (modes.count == 0) return false;
  for (std::size_t i = 0; i < modes.count; ++i) {
    const unsigned mode = modes.values.at(i);
    if (!(is_private ? harmless_private_mode(mode, on) : mode == 4)) return false;
  }
  return true;
}

}  // namespace

void TerminalFilter::feed(std::string_view bytes, std::string& out) {
  for (const char c : bytes)
    byte(static_cast<unsigned char>(c), out);
}

void TerminalFilter::byte(unsigned char c, std::string& out) {
  switch (state_) {
    case State::kText:
      text(c, out);
      break;
    case State::kCharacter:
      character(c, out);
      break;
    case State::kEscape:
    case State::kEscapeMore:
      escape(c, out);
      break;
    case State::kCsi:
    case State::kCsiBad:
      csi(c, out);
      break;
    case State::kString:
    case State::kStringEscape:
      string(c, out);
      break;
  }
}

void TerminalFilter::text(unsigned char c, std::string& out) {
  state_ = State::kText;
  if (c == kEscapeByte) {
    state_ = State::kEscape;
    length_ = 0;
  } else if ((c >= 0x20 && c < 0x7F) || c == '\n' || c == '\r' || c == '\t' || c == '\b') {
    out += static_cast<char>(c);
  } else if (c >= 0x80) {
    wanted_ = unicode::length_of(c);
    if (wanted_ < 2) {
      out += unicode::kReplacement;
      return;
    }
    sequence_[0] = static_cast<char>(c);
    length_ = 1;
    state_ = State::kCharacter;
  }
}

void TerminalFilter::character(unsigned char c, std::string& out) {
  const auto first = static_cast<unsigned char>(sequence_[0]);
  const bool follows = length_ == 1 ? unicode::may_follow(first, c) : (c & 0xC0U) == 0x80U;
  if (!follows) {
    out += unicode::kReplacement;
    text(c, out);
    return;
  }
  sequence_.at(length_++) = static_cast<char>(c);
  if (length_ < wanted_) return;
  state_ = State::kText;
  const std::string_view whole(sequence_.data(), length_);
  switch (unicode::kind_of(unicode::decode(whole, 0).code)) {
    case unicode::Kind::kShown:
      out += whole;
      break;
    case unicode::Kind::kControl:
      out += unicode::kReplacement;
      break;
    case unicode::Kind::kHidden:
      break;
  }
}

void TerminalFilter::escape(unsigned char c, std::string& out) {
  if (c < 0x20 || c >= 0x7F) {  // no escape sequence has it
    text(c, out);
    return;
  }
  if (c < 0x30) {  // ESC ( B and the like: the next byte belongs to it
    state_ = State::kEscapeMore;
    if (++length_ > 4) state_ = State::kText;
    return;
  }
  const bool more = state_ == State::kEscapeMore;
  state_ = State::kText;
  if (more) return;
  switch (c) {
    case '[':
      state_ = State::kCsi;
      length_ = 0;
      break;
    case ']':  // OSC
    case 'P':  // DCS
    case '_':  // APC
    case '^':  // PM
    case 'X':  // SOS
    case 'k':  // a title, to screen and tmux
      state_ = State::kString;
      skipped_ = 0;
      break;
    case '=':
    case '>':
      note_mode(kKeypad, c == '=');
      [[fallthrough]];
    case '7':
    case '8':
    case 'D':
    case 'E':
    case 'M':
      out += static_cast<char>(kEscapeByte);
      out += static_cast<char>(c);
      break;
    default:
      break;
  }
}

void TerminalFilter::csi(unsigned char c, std::string& out) {
  if (c < 0x20 || c >= 0x7F) {
    text(c, out);
    return;
  }
  const bool last = c >= 0x40;
  if (state_ == State::kCsiBad) {
    if (last || ++skipped_ > kLongestBadSequence) state_ = State::kText;
    return;
  }
  if (length_ == sequence_.size() - 1) {
    state_ = last ? State::kText : State::kCsiBad;
    skipped_ = length_;
    return;
  }
  sequence_.at(length_++) = static_cast<char>(c);
  if (!last) return;
  state_ = State::kText;
  if (harmless_csi()) {
    out += "\x1b[";
    out.append(sequence_.data(), length_);
  }
}

bool TerminalFilter::harmless_csi() {
  std::string_view body(sequence_.data(), length_);
  const char final = body.back();
  body.remove_suffix(1);
  if (final == 'q' && body.ends_with(' ')) {  // the cursor's shape
    body.remove_suffix(1);
    const auto shape = parameters(body, false);
    if (!shape || shape->count > 1 || shape->values[0] > 6) return false;
    note_mode(kCursorShape, shape->values[0] != 0);
    return true;
  }
  const bool is_private = body.starts_with('?');
  if (is_private) body.remove_prefix(1);
  const auto given = parameters(body, final == 'm');
  if (!given) return false;
  if (final == 'h' || final == 'l') {
    const bool on = final == 'h';
    if (!harmless_modes(*given, is_private, on)) return false;
    for (std::size_t i = 0; i < given->count; ++i)
      note_modes(given->values.at(i), is_private, on);
    return true;
  }
  if (is_private) return false;  // selective erase, queries
  const std::size_t count = given->count;
  const unsigned first = given->values[0];
  switch (final) {
    case 'm':
      if (!harmless_style(*given)) return false;
      note_mode(kColours, count > 1 || first != 0);
      return true;
    case 'J':
    case 'K':
      return count <= 1 && first <= 2;
    case 'r':
      if (count > 2) return false;
      note_mode(kScrollRegion, count != 0);
      return true;
    case 'H':
    case 'f':
      return count <= 2;
    case 's':  // with parameters it sets margins
    case 'u':  // with parameters it speaks of keyboards
      return count == 0;
    case 'A':
    case 'B':
    case 'C':
    case 'D':
    case 'E':
    case 'F':
    case 'G':
    case 'I':
    case 'Z':
    case 'a':
    case 'b':
    case 'd':
    case 'e':
    case '`':
    case 'g':
    case 'L':
    case 'M':
    case 'P':
    case '@':
    case 'X':
    case 'S':
    case 'T':
      return count <= 1;
    default:
      return false;
  }
}

void TerminalFilter::string(unsigned char c, std::string& out) {
  if (state_ == State::kStringEscape) {
    state_ = State::kText;
    if (c == '\\') return;
    state_ = State::kEscape;  // the escape began another sequence
    length_ = 0;
    escape(c, out);
    return;
  }
  if (c == kEscapeByte) {
    state_ = State::kStringEscape;
  } else if (c == '\n' || c == '\r') {
    text(c, out);
  } else if (c == kBell || c == kCancel || c == kSubstitute || ++skipped_ > kLongestString) {
    state_ = State::kText;
  }
}

void TerminalFilter::finish(std::string& out) {
  if (state_ == State::kCharacter) out += unicode::kReplacement;
  state_ = State::kText;
}

void TerminalFilter::note_mode(unsigned mode, bool on) {
  modes_ = static_cast<std::uint16_t>(on ? modes_ | mode : modes_ & ~mode);
}

void TerminalFilter::note_modes(unsigned mode, bool is_private, bool on) {
  if (!is_private) {
    note_mode(kInsert, on);
    return;
  }
  if (mode == 1) note_mode(kApplicationKeys, on);
  if (mode == 7) note_mode(kNoWrap, !on);
  if (mode == 25) note_mode(kCursorHidden, !on);
  if (mode == 47 || mode == 1047 || mode == 1049) note_mode(kAlternateScreen, on);
  if (mode == 2004) note_mode(kBracketedPaste, on);
}

std::string TerminalFilter::restore() const {
  struct Undo {
    Left what;
    std::string_view how;
  };
  static constexpr std::array<Undo, 10> kUndo{{{kScrollRegion, "\x1b[r"},
                                               {kAlternateScreen, "\x1b[?1049l"},
                                               {kColours, "\x1b[0m"},
                                               {kCursorHidden, "\x1b[?25h"},
                                               {kBracketedPaste, "\x1b[?2004l"},
                                               {kApplicationKeys, "\x1b[?1l"},
                                               {kKeypad, "\x1b>"},
                                               {kInsert, "\x1b[4l"},
                                               {kNoWrap, "\x1b[?7h"},
                                               {kCursorShape, "\x1b[0 q"}}};
  std::string out;
  for (const Undo& undo : kUndo) {
    if ((modes_ & undo.what) != 0) out += undo.how;
  }
  return out;
}

std::string shown_on_terminal(std::string_view bytes) {
  std::string out;
  TerminalFilter filter;
  filter.feed(bytes, out);
  filter.finish(out);
  return out;
}

}  // namespace palisade::guard
