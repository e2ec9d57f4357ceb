#include "status_line.h"

#include <algorithm>
#include <iostream>

#include <unistd.h>

#include "terminal.h"
#include "terminal_out.h"

namespace palisade::cli {
namespace {

constexpr std::size_t kNarrowest = 8;

std::size_t columns() {
  return std::max<std::size_t>(terminal_size(STDERR_FILENO).first, kNarrowest);
}

// The first `most` code points.
std::string cut_to(const std::string& text, std::size_t most) {
  std::size_t points = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U && points++ == most)
      return text.substr(0, i);
  }
  return text;
}

}  // namespace

StatusLine::StatusLine(std::ostream& err) : err_(err), terminal_(is_terminal(err)) {}

StatusLine::~StatusLine() {
  clear();
}

void StatusLine::show(const std::string& text) {
  if (!terminal_) {
    if (text != last_) err_ << text << '\n' << std::flush;
    last_ = text;
    return;
  }
  err_ << "\r\x1b[K" << cut_to(text, columns() - 1) << std::flush;
  shown_ = true;
}

void StatusLine::clear() {
  if (shown_) err_ << "\r\x1b[K" << std::flush;
  shown_ = false;
}

}  // namespace palisade::cli
