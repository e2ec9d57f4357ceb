// `palisade-guard tail PATH`: the record on standard output, line by line, so that the container's
// log is the record.
#pragma once

#include <chrono>
#include <string>

namespace palisade::guard {

struct TailOptions {
  std::string path;
  int out = 1;
  std::chrono::milliseconds poll{200};
  std::chrono::milliseconds last{10'000};  // for what is there when SIGTERM comes
};

// Prints all complete lines of the file from its beginning, and those that come, until SIGTERM or
// SIGINT; then what is there, and returns 0. Waits for a file that is not there; one that was cut
// or replaced is printed from its beginning. Only a regular file is read; a line of more than 64
// KiB is left out, with a word on stderr. Returns 126 where standard output is closed, signals
// cannot be had, or what was there at the end could not be printed within `last`. Blocks SIGTERM
// and SIGINT in the calling thread; call it from a program with one thread.
[[nodiscard]] int tail(const TailOptions& options);

}  // namespace palisade::guard
