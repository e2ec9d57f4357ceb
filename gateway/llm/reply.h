// What an answer says and what it took, read from its events or as a whole. Pure.
// Sources: OpenAI's and Anthropic's API references (chunks, usage, stream events).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "request.h"
#include "sse.h"

namespace palisade::gateway::llm {

struct Usage {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
  bool prompt_known = false;
  bool completion_known = false;
};

// What a model says in one choice, or in one of its tool calls.
struct Said {
  std::string text;
  std::string tool;  // its name, where this is a tool call's arguments
};

enum class EventIs : std::uint8_t {
  kContent,
  kUsageAlone,  // the chunk that include_usage adds: no choices, only usage
  kDone,        // [DONE], message_stop: nothing follows
  kError,       // the upstream's own error
  kNothing,     // no data: comments
  kUnreadable,  // data that is no JSON object
};

class ReplyReader {
 public:
  // `most_text`: of what is said, as much is kept for said(); 0: none.
  ReplyReader(Endpoint endpoint, std::size_t most_text)
      : endpoint_(endpoint), most_text_(most_text) {}

  EventIs event(const SseEvent& event);
  // A whole answer. False: it is no JSON object, or one that is read in different ways.
  [[nodiscard]] bool body(std::string_view json);

  [[nodiscard]] const Usage& usage() const { return usage_; }
  // Bytes of what was said.
  [[nodiscard]] std::size_t said_bytes() const { return said_bytes_; }
  // A stream's end was announced: by its last event, or by a finish reason.
  [[nodiscard]] bool finished() const { return finished_; }

  using Key = std::pair<std::int64_t, std::int64_t>;  // choice, tool call (-1: none)
  [[nodiscard]] const std::map<Key, Said>& said() const { return said_; }
  // Not all that was said is in said().
  [[nodiscard]] bool cut() const { return cut_; }

 private:
  struct Parts;
  void say(Key key, std::string_view text);
  void name(Key key, std::string_view tool);

  Endpoint endpoint_;
  std::size_t most_text_;
  Usage usage_;
  std::size_t said_bytes_ = 0;
  std::size_t kept_ = 0;
  bool finished_ = false;
  bool cut_ = false;
  std::map<Key, Said> said_;
};

}  // namespace palisade::gateway::llm
