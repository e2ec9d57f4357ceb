#include "reply.h"

#include <algorithm>

#include <simdjson.h>

#include "json_scan.h"

namespace palisade::gateway::llm {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::int64_t kMostCounted = 1'000'000'000;
constexpr std::size_t kMostParts = 1024;      // choices and tool calls
constexpr std::size_t kKeptParser = 1 << 20;  // of a thread's, above it one is made anew

std::string_view text_of(const object& from, std::string_view name) {
  std::string_view text;
  return from[name].get(text) == simdjson::SUCCESS ? text : std::string_view();
}

std::int64_t index_of(const object& from) {
  std::int64_t index = 0;
  return from["index"].get(index) == simdjson::SUCCESS ? index : 0;
}

bool object_of(const object& from, std::string_view name, object& into) {
  return from[name].get(into) == simdjson::SUCCESS;
}

// Each object of an array member.
template <typename Use>
void each(const object& from, std::string_view name, Use use) {
  simdjson::dom::array items;
  if (from[name].get(items) != simdjson::SUCCESS) return;
  std::int64_t at = 0;
  for (const element item : items) {
    object read;
    if (item.get(read) == simdjson::SUCCESS) use(read, at);
    ++at;
  }
}

// A count that makes sense; what an upstream says wrongly must not give anything back.
bool count(const object& from, std::string_view name, std::int64_t& into) {
  std::int64_t read = 0;
  if (from[name].get(read) != simdjson::SUCCESS || read < 0) return false;
  into = std::min(read, kMostCounted);
  return true;
}

// Usage may come several times; it only grows.
void read_usage(const object& from, Usage& usage) {
  object found;
  if (!object_of(from, "usage", found)) return;
  std::int64_t value = 0;
  std::int64_t prompt = 0;
  bool has_prompt = false;
  for (const std::string_view name : {"prompt_tokens", "input_tokens",
                                      "cache_creation_input_tokens", "cache_read_input_tokens"}) {
    if (!count(found, name, value)) continue;
    prompt += value;
    has_prompt = true;
  }
  if (has_prompt) {
    usage.prompt = std::max(usage.prompt, prompt);
    usage.prompt_known = true;
  }
  for (const std::string_view name : {"completion_tokens", "output_tokens"}) {
    if (!count(found, name, value)) continue;
    usage.completion = std::max(usage.completion, value);
    usage.completion_known = true;
  }
  if (!usage.completion_known && usage.prompt_known && count(found, "total_tokens", value)) {
    usage.completion = std::max<std::int64_t>(0, value - usage.prompt);
    usage.completion_known = true;
  }
}

}  // namespace

// What the parts of an answer are, in both shapes.
struct ReplyReader::Parts {
  ReplyReader& reader;

  void tool_call(std::int64_t choice, std::int64_t index, const object& call) const {
    object function;
    if (!object_of(call, "function", function)) return;
    reader.name({choice, index}, text_of(function, "name"));
    reader.say({choice, index}, text_of(function, "arguments"));
  }

  // A delta or a message.
  void message(std::int64_t choice, const object& from) const {
    const ReplyReader::Key key{choice, -1};
    for (const char* name : {"content", "refusal", "reasoning_content", "reasoning"})
      reader.say(key, text_of(from, name));
    each(from, "content",
         [&](const object& part, std::int64_t) { reader.say(key, text_of(part, "text")); });
    each(from, "tool_calls", [&](const object& call, std::int64_t at) {
      std::int64_t index = at;
      if (call["index"].get(index) != simdjson::SUCCESS) index = at;
      tool_call(choice, index, call);
    });
    object function;
    if (object_of(from, "function_call", function)) {
      constexpr std::int64_t kOldCall = 1'000'000;
      reader.name({choice, kOldCall}, text_of(function, "name"));
      reader.say({choice, kOldCall}, text_of(function, "arguments"));
    }
  }

  void openai(const object& root) const {
    each(root, "choices", [&](const object& choice, std::int64_t at) {
      std::int64_t index = at;
      if (choice["index"].get(index) != simdjson::SUCCESS) index = at;
      object part;
      if (object_of(choice, "delta", part)) message(index, part);
      if (object_of(choice, "message", part)) message(index, part);
      reader.say({index, -1}, text_of(choice, "text"));
      reader.finished_ |= !text_of(choice, "finish_reason").empty();
    });
    read_usage(root, reader.usage_);
  }

  void block(std::int64_t index, const object& from) const {
    const bool tool = text_of(from, "type").ends_with("tool_use");
    const ReplyReader::Key key{0, tool ? index : -1};
    if (tool) reader.name(key, text_of(from, "name"));
    reader.say(key, text_of(from, "text"));
    reader.say(key, text_of(from, "thinking"));
    object input;
    if (tool && object_of(from, "input", input) && input.size() > 0)
      reader.say(key, simdjson::minify(input));
  }

  void anthropic(const object& root) const {
    object part;
    if (object_of(root, "message", part)) read_usage(part, reader.usage_);
    read_usage(root, reader.usage_);
    each(root, "content", [&](const object& from, std::int64_t at) { block(at, from); });
    if (object_of(root, "content_block", part)) block(index_of(root), part);
    if (object_of(root, "delta", part)) {
      reader.say({0, -1}, text_of(part, "text"));
      reader.say({0, -1}, text_of(part, "thinking"));
      reader.say({0, index_of(root)}, text_of(part, "partial_json"));
      reader.finished_ |= !text_of(part, "stop_reason").empty();
    }
  }
};

void ReplyReader::say(Key key, std::string_view text) {
  if (text.empty()) return;
  said_bytes_ += text.size();
  if (most_text_ == 0) return;
  const auto found = said_.find(key);
  if (kept_ + text.size() > most_text_ || (found == said_.end() && said_.size() >= kMostParts)) {
    cut_ = true;
    return;
  }
  kept_ += text.size();
  (found == said_.end() ? said_[key] : found->second).text += text;
}

void ReplyReader::name(Key key, std::string_view tool) {
  if (tool.empty() || most_text_ == 0) return;
  if (said_.size() >= kMostParts && !said_.contains(key)) {
    cut_ = true;
    return;
  }
  std::string& name = said_[key].tool;
  if (name.size() + tool.size() > 256) {
    cut_ = true;
    return;
  }
  name += tool;
}

EventIs ReplyReader::event(const SseEvent& event) {
  if (!event.has_data) return EventIs::kNothing;
  if (event.data == "[DONE]") {
    finished_ = true;
    return EventIs::kDone;
  }
  // What reads an object in two ways is no answer that can be judged.
  if (!read_object(event.data)) return EventIs::kUnreadable;
  thread_local simdjson::dom::parser kept;
  simdjson::dom::parser large;
  simdjson::dom::parser& parser = event.data.size() > kKeptParser ? large : kept;
  object root;
  if (parser.parse(event.data).get(root) != simdjson::SUCCESS) return EventIs::kUnreadable;
  const std::string_view type = text_of(root, "type");
  element error;
  if ((root["error"].get(error) == simdjson::SUCCESS && !error.is_null()) || type == "error")
    return EventIs::kError;
  const Parts parts{*this};
  if (endpoint_ == Endpoint::kMessages) {
    parts.anthropic(root);
    if (type != "message_stop") return EventIs::kContent;
    finished_ = true;
    return EventIs::kDone;
  }
  parts.openai(root);
  simdjson::dom::array choices;
  object usage;
  const bool alone = root["choices"].get(choices) == simdjson::SUCCESS && choices.size() == 0 &&
                     object_of(root, "usage", usage);
  return alone ? EventIs::kUsageAlone : EventIs::kContent;
}

bool ReplyReader::body(std::string_view json) {
  const auto members = read_object(json);
  if (!members) return false;
  // For the usage alone the rest need not be taken apart: embeddings are long.
  if (most_text_ == 0 && endpoint_ == Endpoint::kEmbeddings) {
    const Member* usage = find_member(*members, "usage");
    if (usage == nullptr) return true;
    const std::string alone = R"({"usage":)" + std::string(usage->value.of(json)) + "}";
    simdjson::dom::parser parser;
    object root;
    if (parser.parse(alone).get(root) != simdjson::SUCCESS) return false;
    read_usage(root, usage_);
    return true;
  }
  simdjson::dom::parser parser;
  object root;
  if (parser.parse(simdjson::padded_string(json)).get(root) != simdjson::SUCCESS) return false;
  const Parts parts{*this};
  endpoint_ == Endpoint::kMessages ? parts.anthropic(root) : parts.openai(root);
  finished_ = true;
  return true;
}

}  // namespace palisade::gateway::llm
