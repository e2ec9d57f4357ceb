// An upstream's stream: however it is cut into pieces it is read alike, as the specification reads
// the whole; nothing is lost, and what is made of its events is bounded.
#include "sse.h"

#include <nlohmann/json.hpp>

#include "errors.h"
#include "fuzz/check.h"
#include "reply.h"
#include "rules.h"
#include "unicode.h"

namespace {

using namespace palisade;
using namespace palisade::gateway;
using namespace palisade::gateway::llm;

struct Event {
  std::string name;
  std::string data;
};

// By the letter of the specification, on the whole text at once. An event without its blank line
// is none.
std::vector<Event> read_whole(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<Event> out;
  Event event;
  bool has_data = false;
  std::string line;
  const auto end_of_line = [&] {
    if (line.empty()) {
      if (has_data) out.push_back(event);
      event = {};
      has_data = false;
    } else if (line[0] != ':') {
      const std::size_t colon = line.find(':');
      const std::string field = line.substr(0, colon);
      std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
      if (value.starts_with(' ')) value.erase(0, 1);
      if (field == "event") event.name = value;
      if (field == "data") {
        event.data += (has_data ? "\n" : "") + value;
        has_data = true;
      }
    }
    line.clear();
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' && text[i] != '\n') {
      line += text[i];
      continue;
    }
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
    end_of_line();
  }
  return out;
}

void check_reply(const std::vector<SseEvent>& events, Endpoint endpoint, std::size_t bytes) {
  constexpr std::size_t kMost = 1000;
  ReplyReader reader(endpoint, kMost);
  for (const SseEvent& event : events) {
    const EventIs is = reader.event(event);
    fuzz::check_shown(upstream_message(event.data, "a-secret-key"), 600);
    if (event.has_data && event.data != "[DONE]") {
      const bool json = nlohmann::json::accept(event.data);
      fuzz::check(is == EventIs::kUnreadable || json, "what is read is JSON", event.data);
    }
  }
  const Usage& usage = reader.usage();
  fuzz::check(usage.prompt >= 0 && usage.completion >= 0, "counts are no debts");
  // Compact JSON of what was there in another form may be a little longer.
  fuzz::check(reader.said_bytes() <= 2 * bytes, "no more is said than there is");
  std::size_t kept = 0;
  for (const auto& [key, said] : reader.said())
    kept += said.text.size();
  fuzz::check(kept <= kMost, "no more is kept than asked for");
  ReplyRules rules;
  rules.shell_blocks = rules.outside_paths = rules.git_options = rules.look_alikes =
      Action::kRefuse;
  for (const Finding& finding : judge(reader.said(), rules)) {
    const Refusal refusal{403, "reply_refused", finding.what};
    for (const Kind kind : {Kind::kOpenAi, Kind::kAnthropic}) {
      SseReader again(1 << 20);
      std::vector<SseEvent> one;
      const bool good = again.feed(error_event(kind, refusal), one);
      fuzz::check(good && one.size() == 1 && nlohmann::json::accept(one[0].data),
                  "an error is one event", finding.what);
    }
    fuzz::check_shown(finding.what, 400);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = 1 + data[0] % 31U;
  const std::string_view in = fuzz::view(data + 1, size - 1);
  SseReader reader(1 << 20);
  std::vector<SseEvent> events;
  for (std::size_t at = 0; at < in.size(); at += step)
    fuzz::check(reader.feed(in.substr(at, step), events), "small streams are read");
  std::string raw;
  std::vector<const SseEvent*> with_data;
  for (const SseEvent& event : events) {
    raw += event.raw;
    if (event.has_data) with_data.push_back(&event);
  }
  fuzz::check(raw + reader.rest() == in, "no byte is changed or lost", raw);
  const auto wanted = read_whole(in);
  fuzz::check(with_data.size() == wanted.size(), "as many events as the whole has");
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    fuzz::check(with_data[i]->data == wanted[i].data, "the same data", wanted[i].data);
    fuzz::check(with_data[i]->name == wanted[i].name, "the same name", wanted[i].name);
  }
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kMessages})
    check_reply(events, endpoint, in.size());

  SseReader bounded(16);
  std::vector<SseEvent> few;
  for (std::size_t at = 0; at < in.size(); at += step) {
    if (!bounded.feed(in.substr(at, step), few)) break;
  }
  for (const SseEvent& event : few)
    fuzz::check(event.raw.size() <= 16 + 2, "an event is bounded", event.raw);
  return 0;
}
