// What an agent prints on a person's terminal: the filter's properties, for any bytes and any way
// of cutting them. The first byte says how they are cut.
#include <guard/terminal.h>

#include "fuzz/check.h"
#include "tests/guard/terminal_check.h"

using namespace palisade;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = 1 + data[0] % 7U;
  const std::string_view in = fuzz::view(data + 1, size - 1);
  const std::string whole = guard::shown_on_terminal(in);
  // One byte becomes at most one U+FFFD, and one that is put off comes with its successor.
  fuzz::check(whole.size() <= 3 * in.size(), "the output is bounded");
  const auto bad = guard::testing::forbidden_at(whole);
  fuzz::check(!bad, "nothing is let through that is not on the list", whole);
  fuzz::check(guard::shown_on_terminal(whole) == whole, "what was filtered stays as it is", whole);
  guard::TerminalFilter filter;
  std::string pieces;
  for (std::size_t at = 0; at < in.size(); at += step)
    filter.feed(in.substr(at, step), pieces);
  filter.finish(pieces);
  fuzz::check(pieces == whole, "pieces come out as the whole does", pieces);
  const std::string undo = filter.restore();
  fuzz::check(guard::shown_on_terminal(undo) == undo, "what undoes modes is let through", undo);
  filter.feed(undo, pieces);
  fuzz::check(filter.restore().empty(), "what undoes modes leaves none", undo);
  // Nothing swallows what follows: after the longest string, text comes through.
  std::string after(in);
  after += "\n" + std::string(300, 'z') + "\nend";
  fuzz::check(guard::shown_on_terminal(after).ends_with("\nend"), "text after it is shown");
  return 0;
}
