// How far something is, for a person who waits.
#pragma once

#include <iosfwd>
#include <string>

namespace palisade::cli {

// One line on standard error that is written anew where that is a terminal, cut to its width; else
// a line for each text that is not the one before.
class StatusLine {
 public:
  explicit StatusLine(std::ostream& err);
  ~StatusLine();  // takes the line away
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  void show(const std::string& text);
  void clear();

 private:
  std::ostream& err_;
  const bool terminal_;
  bool shown_ = false;
  std::string last_;
};

}  // namespace palisade::cli
