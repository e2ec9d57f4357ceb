#include "guard/last_lines.h"

#include <algorithm>

#include "guard/mask.h"
#include "guard/rounds.h"
#include "unicode.h"

namespace palisade::guard {
namespace {

constexpr std::size_t kKeptTail = 16UL << 10;

// At most `most` bytes, cut at a character.
std::string shortened(std::string line, std::size_t most) {
  constexpr std::string_view kMark = "...";
  if (line.size() <= most) return line;
  std::size_t end = 0;
  for (std::size_t at = 0; at < line.size(); at += unicode::decode(line, at).length) {
    if (at + kMark.size() > most) break;
    end = at;
  }
  return line.substr(0, end).append(kMark);
}

}  // namespace

void LastLines::add(std::string_view bytes) {
  tail_ += bytes;
  if (tail_.size() <= 2 * kKeptTail) return;
  tail_.erase(0, tail_.size() - kKeptTail);
  cut_ = true;
}

std::vector<std::string> LastLines::lines() const {
  std::string_view kept = tail_;
  // A line without its beginning could be the rest of a token.
  if (cut_) kept.remove_prefix(std::min(kept.find('\n'), kept.size()));
  const std::string text = mask(plain_text(kept));
  std::vector<std::string> out;
  for (std::size_t end = text.size(); end != std::string::npos && out.size() < kMost;) {
    const std::size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
    const std::size_t begin = before == std::string::npos ? 0 : before + 1;
    std::string line = text.substr(begin, end - begin);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t'))
      line.pop_back();
    if (!line.empty()) out.push_back(shortened(std::move(line), kLongest));
    end = before;
  }
  std::ranges::reverse(out);
  return out;
}

}  // namespace palisade::guard
