// Server-sent events, read as they come, whatever the borders of the pieces.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway::llm {

// One event, or comments alone.
struct SseEvent {
  std::string raw;   // its bytes, to its end: what is passed on
  std::string name;  // of `event:`; "" where there is none
  std::string data;  // of `data:`, lines joined by \n
  bool has_data = false;
};

// Takes a stream apart into events without changing a byte: the raw parts of all events in their
// order, and rest(), are the stream. An event is given once the line that ends it has been read.
// Comments that come before an event's first field are given at once: they keep a client waiting.
class SseReader {
 public:
  // `most`: bytes of one event.
  explicit SseReader(std::size_t most) : most_(most) {}

  // Appends what the piece completes. False: an event is larger than allowed; nothing more is
  // read.
  [[nodiscard]] bool feed(std::string_view piece, std::vector<SseEvent>& events);
  // What has begun and not ended.
  [[nodiscard]] const std::string& rest() const { return event_.raw; }

 private:
  void line();
  void give(std::vector<SseEvent>& events);

  std::size_t most_;
  SseEvent event_;
  std::size_t line_begins_ = 0;  // in event_.raw
  bool first_ = true;            // of the stream: a byte order mark may stand there
  bool after_return_ = false;    // a line feed would belong to the line's end before it
  bool fields_ = false;          // the event has any
  bool broken_ = false;
};

}  // namespace palisade::gateway::llm
