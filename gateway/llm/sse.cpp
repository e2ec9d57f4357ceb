#include "sse.h"

#include <utility>

namespace palisade::gateway::llm {

bool SseReader::feed(std::string_view piece, std::vector<SseEvent>& events) {
  if (broken_) return false;
  while (!piece.empty()) {
    if (after_return_) {
      after_return_ = false;
      if (piece[0] == '\n') {
        // The rest of the line's end. Where that line ended an event, it opens the next one's
        // bytes.
        event_.raw += '\n';
        line_begins_ = event_.raw.size();
        piece.remove_prefix(1);
        continue;
      }
    }
    const std::size_t end = piece.find_first_of("\r\n");
    event_.raw += piece.substr(0, end);
    if (event_.raw.size() > most_) {
      broken_ = true;
      return false;
    }
    if (end == std::string_view::npos) return true;
    const bool blank = event_.raw.size() == line_begins_;
    if (blank) {
      first_ = false;  // a byte order mark is one at the very beginning alone
    } else {
      line();
    }
    // A CRLF within one piece is taken whole, so that its event has both.
    const std::size_t size = piece.substr(end).starts_with("\r\n") ? 2 : 1;
    after_return_ = size == 1 && piece[end] == '\r';
    event_.raw += piece.substr(end, size);
    line_begins_ = event_.raw.size();
    piece.remove_prefix(end + size);
    if (blank || !fields_) give(events);
  }
  return true;
}

void SseReader::line() {
  std::string_view text = std::string_view(event_.raw).substr(line_begins_);
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (std::exchange(first_, false) && text.starts_with(kMark)) text.remove_prefix(kMark.size());
  if (text.starts_with(':') || text.empty()) return;
  fields_ = true;
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  std::string_view value =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "event") {
    event_.name = value;
  } else if (name == "data") {
    if (event_.has_data) event_.data += '\n';
    event_.data += value;
    event_.has_data = true;
  }
}

void SseReader::give(std::vector<SseEvent>& events) {
  events.push_back(std::exchange(event_, {}));
  line_begins_ = 0;
  fields_ = false;
}

}  // namespace palisade::gateway::llm
