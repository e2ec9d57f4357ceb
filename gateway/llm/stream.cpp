// Of a call: an answer that is streamed.
#include <algorithm>

#include "call.h"
#include "errors.h"
#include "sse.h"

namespace palisade::gateway::llm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostEvent = 4 << 20;
constexpr std::size_t kMostFlagged = 1 << 20;  // of what is said, where it is not held back
constexpr std::string_view kWaiting = ": waiting\n\n";

Refusal client_gone() {
  return {499, "client_gone", "the client went away"};
}

}  // namespace

Task<void> LlmCall::pass_stream(Call& call) {
  const ReplyRules& rules = config_.replies;
  const bool hold = rules.holds_back();
  const auto reader = std::make_shared<ReplyReader>(endpoint_, hold ? config_.limits.reply_bytes
                                                               : rules.any() ? kMostFlagged
                                                               : config_.record_bodies ? kRecorded
                                                                                       : 0);
  record_.status = 200;
  Fields fields = answer_fields("text/event-stream");
  const auto begun = co_await exchange_.begin(200, std::move(fields), std::nullopt);
  if (!begun) {
    count(*reader);
    note(Verdict::kFailed, client_gone());
    co_return;
  }
  // For the attempts alone; a stream may last.
  if (!prepared_->body.empty()) {
    std::string().swap(prepared_->body);
    prepared_->masks.clear();
    prepared_->masks.shrink_to_fit();
    request_memory_.release();
  }
  std::string held;
  Ending ending = co_await pump(call, *reader, held);
  count(*reader);
  Verdict verdict = Verdict::kFailed;
  if (ending && ending->code == "reply_too_large" && ending->status == 403)
    verdict = Verdict::kRefused;
  if (!ending || !hold) {
    auto refusal = co_await judged(reader);
    if (!ending && refusal && (hold || refusal->code == "reply_too_large")) {
      ending = std::move(refusal);
      verdict = Verdict::kRefused;
    }
  }
  if (gone_->gone || (ending && ending->status == 499)) {
    note(Verdict::kFailed, client_gone());
    co_return;
  }
  if (ending) {
    note(verdict, *ending);
    held = error_event(kind(), *ending);
    record_.reply_bytes += held.size();
  } else {
    note(Verdict::kAllowed, {200, "ok", ""});
  }
  NetResult<void> sent;
  if (!held.empty()) sent = co_await exchange_.write(held);
  if (sent) sent = co_await exchange_.end();
  if (!sent && !ending) note(Verdict::kFailed, client_gone());
  finish();
  // What is left after the last event is the body's end: read, the connection can be kept.
  constexpr milliseconds kRest{50};
  const Moment until = steady_clock::now() + kRest;
  while (sent && !ending && steady_clock::now() < until) {
    const auto rest = co_await call.read(kRest);
    if (!rest || rest->empty()) break;
  }
}

// Reads to the end; passes on as it comes, or gathers in `held`.
Task<LlmCall::Ending> LlmCall::pump(Call& call, ReplyReader& reader, std::string& held) {
  const Upstream& upstream =
      *std::ranges::find(config_.upstreams, record_.upstream, &Upstream::name);
  const std::string who = "the upstream " + record_.upstream;
  const bool hold = config_.replies.holds_back();
  const milliseconds keep_alive = config_.limits.keep_alive;
  SseReader sse(kMostEvent);
  std::string out;
  bool done = false;
  Moment heard = steady_clock::now();  // from the upstream
  Moment spoke = heard;                // to the client
  while (!done) {
    const Moment now = steady_clock::now();
    if (left() <= milliseconds(0))
      co_return Refusal{504, "deadline_exceeded", "the call took longer than llm.limits.deadline"};
    const auto ms = [](steady_clock::duration time) {
      return std::chrono::ceil<milliseconds>(time);
    };
    if (hold && now - spoke >= keep_alive) {
      const auto sent = co_await exchange_.write(kWaiting);
      if (!sent) co_return client_gone();
      spoke = now;
    }
    milliseconds within = std::min(ms(heard + upstream.idle_timeout - now), ms(deadline_ - now));
    if (hold) within = std::min(within, ms(spoke + keep_alive - now));
    const auto piece = co_await call.read(std::max(within, milliseconds(1)));
    if (!piece) {
      if (gone_->gone) co_return client_gone();
      if (piece.error().fault == Fault::kStopped)
        co_return Refusal{503, "ended", "the gateway is ending; try again"};
      if (piece.error().fault != Fault::kTimeout)
        co_return Refusal{502, "upstream_cut", who + " cut its answer short"};
      const Moment later = steady_clock::now();
      if (later - heard >= upstream.idle_timeout)
        co_return Refusal{504, "upstream_timeout", who + " stopped within its answer"};
      continue;
    }
    heard = steady_clock::now();
    if (piece->empty()) {
      if (!reader.finished())
        co_return Refusal{502, "upstream_cut", who + " ended its stream before its answer's end"};
      break;
    }
    out.clear();
    record_.reply_bytes += piece->size();
    Ending ending;
    if (record_.reply_bytes > config_.limits.reply_bytes) {
      ending = Refusal{502, "reply_too_large",
                       "the reply is larger than " + std::to_string(config_.limits.reply_bytes) +
                           " bytes (llm.limits.replyBytes)"};
    } else {
      ending = take(*piece, sse, reader, out, done);
    }
    if (hold) {
      if (!reply_memory_.grow(out.size()) && !ending)
        ending = Refusal{503, "overloaded",
                         "the gateway holds as many replies as it can; try again soon"};
      held += out;
    } else if (!out.empty()) {
      const auto sent = co_await exchange_.write(out);
      if (!sent) co_return client_gone();
    }
    if (ending) co_return ending;
  }
  co_return std::nullopt;
}

// One piece: what of it the client gets.
LlmCall::Ending LlmCall::take(std::string_view piece, SseReader& sse, ReplyReader& reader,
                              std::string& out, bool& done) {
  const std::string who = "the upstream " + record_.upstream;
  const std::size_t most = config_.replies.max_bytes;
  std::vector<SseEvent> events;
  const bool small = sse.feed(piece, events);
  for (const SseEvent& event : events) {
    switch (reader.event(event)) {
      case EventIs::kUsageAlone:
        if (!prepared_->request.wants_usage) continue;
        break;
      case EventIs::kError: {
        const std::string said = upstream_message(event.data, key_);
        return Refusal{502, "upstream_failed",
                       who + " ended its answer with an error" + (said.empty() ? "" : ": " + said)};
      }
      case EventIs::kUnreadable:
        return Refusal{502, "upstream_bad_answer", who + " sent an event that is no JSON object"};
      case EventIs::kDone:
        done = true;
        break;
      case EventIs::kContent:
      case EventIs::kNothing:
        break;
    }
    if (most > 0 && reader.said_bytes() > most)
      return Refusal{
          403, "reply_too_large",
          "the reply is larger than " + std::to_string(most) + " bytes (llm.replies.maxBytes)"};
    out += event.raw;
    if (done) return std::nullopt;
  }
  if (!small)
    return Refusal{502, "upstream_bad_answer",
                   who + " sent an event of more than " + std::to_string(kMostEvent) + " bytes"};
  return std::nullopt;
}

}  // namespace palisade::gateway::llm
