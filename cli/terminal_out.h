// What an untrusted program wrote, on its way to a person: on a terminal only what guard's filter
// lets pass, into a pipe or a file as it is.
#pragma once

#include <iosfwd>
#include <string_view>

#include <guard/terminal.h>

namespace palisade::cli {

[[nodiscard]] bool is_terminal(const std::ostream& stream);  // std::cout or std::cerr on one

class TerminalOut {
 public:
  enum class When { kOnTerminals, kAlways };
  explicit TerminalOut(std::ostream& out, When when = When::kOnTerminals);
  ~TerminalOut();  // undoes colours and modes that are still on
  TerminalOut(const TerminalOut&) = delete;
  TerminalOut& operator=(const TerminalOut&) = delete;

  // False where nobody reads any more.
  bool write(std::string_view bytes);
  // The text's end: what was cut is shown as such, colours and modes are undone.
  void finish();

 private:
  std::ostream& out_;
  const bool filtered_;
  palisade::guard::TerminalFilter filter_;
};

}  // namespace palisade::cli
