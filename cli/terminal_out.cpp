#include "terminal_out.h"

#include <iostream>
#include <string>

#include <unistd.h>

namespace palisade::cli {

bool is_terminal(const std::ostream& stream) {
  return (&stream == &std::cout && ::isatty(STDOUT_FILENO) != 0) ||
         (&stream == &std::cerr && ::isatty(STDERR_FILENO) != 0);
}

TerminalOut::TerminalOut(std::ostream& out, When when)
    : out_(out), filtered_(when == When::kAlways || is_terminal(out)) {}

TerminalOut::~TerminalOut() {
  finish();
}

bool TerminalOut::write(std::string_view bytes) {
  if (!filtered_) {
    out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  } else {
    std::string shown;
    filter_.feed(bytes, shown);
    out_ << shown;
  }
  out_.flush();
  return out_.good();
}

void TerminalOut::finish() {
  if (filtered_) {
    std::string rest;
    filter_.finish(rest);
    out_ << rest << filter_.restore();
    filter_ = {};
  }
  out_.flush();
}

}  // namespace palisade::cli
