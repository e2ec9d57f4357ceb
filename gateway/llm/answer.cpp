// Of a call: the answer's way back.
#include <algorithm>

#include "ascii.h"
#include "call.h"
#include "errors.h"

namespace palisade::gateway::llm {
namespace {

using std::chrono::milliseconds;

bool is_type(std::string_view value, std::string_view type) {
  value = value.substr(0, value.find(';'));
  while (value.ends_with(' '))
    value.remove_suffix(1);
  return std::ranges::equal(value, type, {}, lower, lower);
}

bool is_encoded(std::string_view value) {
  return !value.empty() && !is_type(value, "identity");
}

// What a large body is read with, on another thread: it owns all that it reads.
struct WholeReply {
  WholeReply(Endpoint endpoint, std::size_t most_text) : reader(endpoint, most_text) {}
  std::string body;
  ReplyReader reader;
  bool good = false;
};

}  // namespace

Fields LlmCall::answer_fields(std::string_view type) const {
  Fields fields;
  fields.add("Content-Type", std::string(type));
  fields.add("Cache-Control", "no-store");
  if (!record_.upstream_request.empty()) fields.add("x-request-id", record_.upstream_request);
  return fields;
}

void LlmCall::count(const ReplyReader& reader) {
  const Usage& usage = reader.usage();
  const bool embeddings = endpoint_ == Endpoint::kEmbeddings;
  record_.prompt_tokens =
      usage.prompt_known ? usage.prompt : estimated_prompt(record_.request_bytes);
  const auto said = static_cast<std::int64_t>((reader.said_bytes() + 3) / 4);
  // What a stream said of its own use before it was cut may be old.
  const bool known = usage.completion_known && reader.finished();
  record_.completion_tokens = known        ? usage.completion
                              : embeddings ? 0
                                           : std::max(usage.completion, said);
  if (!usage.prompt_known || !(known || embeddings)) record_.flags.emplace_back("estimated");
  record_.cost = cost_of(prepared_->model->price, record_.prompt_tokens, record_.completion_tokens);
  spent_ = {record_.prompt_tokens + record_.completion_tokens, record_.cost};
  if (config_.record_bodies) {
    std::string text;
    for (const auto& [key, said_there] : reader.said()) {
      if (text.size() >= kRecorded * 2) break;
      if (!text.empty()) text += '\n';
      if (!said_there.tool.empty()) text += said_there.tool + ": ";
      text += said_there.text.substr(0, kRecorded * 2);
    }
    record_.reply_body = body_excerpt(text, prepared_->secrets);
  }
}

// Flags what is found; the refusal where that is asked for.
Task<std::optional<Refusal>> LlmCall::judged(std::shared_ptr<const ReplyReader> reader) {
  const ReplyRules& rules = config_.replies;
  std::optional<Refusal> refusal;
  if (rules.max_bytes > 0 && reader->said_bytes() > rules.max_bytes)
    refusal = Refusal{403, "reply_too_large",
                      "the reply is larger than " + std::to_string(rules.max_bytes) +
                          " bytes (llm.replies.maxBytes)"};
  if (!rules.any()) co_return refusal;
  const auto found = std::make_shared<std::vector<Finding>>();
  if (reader->said_bytes() <= kLarge) {
    *found = judge(reader->said(), rules);
  } else {
    std::function<void()> work = [reader, rules, found] { *found = judge(reader->said(), rules); };
    const auto done = co_await shared_->workers.run(std::move(work));
    if (!done) {
      record_.flags.emplace_back("notAllJudged");
      if (rules.holds_back() && !refusal)
        refusal = Refusal{503, "overloaded", "the gateway has too much to read; try again"};
      co_return refusal;
    }
  }
  for (const Finding& finding : *found) {
    record_.flags.emplace_back(finding.rule);
    record_.findings.push_back(std::string(finding.rule) + ": " + finding.what);
    if (finding.action == Action::kRefuse && !refusal)
      refusal = Refusal{
          403, "reply_refused",
          "the reply is withheld by the rule " + std::string(finding.rule) + ": " + finding.what};
  }
  if (reader->cut()) {
    record_.flags.emplace_back("notAllJudged");
    if (rules.holds_back() && !refusal)
      refusal =
          Refusal{403, "reply_refused", "the reply is withheld: it is too large to be judged"};
  }
  co_return refusal;
}

Task<void> LlmCall::pass_on(Answer answer) {
  const std::string_view type = answer.head.fields.get("Content-Type");
  const bool encoded = is_encoded(answer.head.fields.get("Content-Encoding"));
  const bool stream = prepared_->request.stream;
  if (encoded || !is_type(type, stream ? "text/event-stream" : "application/json")) {
    watch(nullptr);
    Refusal refusal{502, "upstream_bad_answer",
                    "the upstream " + record_.upstream +
                        (encoded  ? " answered in an encoding that was not asked for"
                         : stream ? " did not answer with a stream"
                                  : " did not answer with JSON")};
    record_.prompt_tokens = estimated_prompt(record_.request_bytes);
    record_.flags.emplace_back("estimated");
    record_.cost = cost_of(prepared_->model->price, record_.prompt_tokens, 0);
    spent_ = {record_.prompt_tokens, record_.cost};
    co_await refuse(Verdict::kFailed, std::move(refusal));
    co_return;
  }
  if (stream) {
    co_await pass_stream(*answer.call);
  } else {
    co_await pass_whole(*answer.call);
  }
  watch(nullptr);
}

Task<std::optional<Refusal>> LlmCall::read_whole(Call& call, std::string& body) {
  const std::size_t limit = config_.limits.reply_bytes;
  const Upstream& upstream =
      *std::ranges::find(config_.upstreams, record_.upstream, &Upstream::name);
  for (;;) {
    const milliseconds within = std::min(upstream.idle_timeout, left());
    const auto piece = co_await call.read(std::max(within, milliseconds(1)));
    if (!piece) {
      if (gone_->gone) co_return Refusal{499, "client_gone", "the client went away"};
      const bool late = piece.error().fault == Fault::kTimeout;
      co_return Refusal{late ? 504 : 502, late ? "upstream_timeout" : "upstream_cut",
                        "the upstream " + record_.upstream +
                            (late ? " stopped within its answer" : " cut its answer short")};
    }
    if (piece->empty()) co_return std::nullopt;
    if (body.size() + piece->size() > limit)
      co_return Refusal{
          502, "reply_too_large",
          "the reply is larger than " + std::to_string(limit) + " bytes (llm.limits.replyBytes)"};
    if (!reply_memory_.grow(piece->size()))
      co_return Refusal{503, "overloaded",
                        "the gateway holds as many replies as it can; try again soon"};
    body.append(*piece);
    if (left() <= milliseconds(0))
      co_return Refusal{504, "deadline_exceeded", "the call took longer than llm.limits.deadline"};
  }
}

Task<void> LlmCall::pass_whole(Call& call) {
  const std::size_t most = config_.replies.any()   ? config_.limits.reply_bytes
                           : config_.record_bodies ? kRecorded
                                                   : 0;
  const auto reply = std::make_shared<WholeReply>(endpoint_, most);
  auto refusal = co_await read_whole(call, reply->body);
  if (!refusal) {
    if (reply->body.size() <= kLarge) {
      reply->good = reply->reader.body(reply->body);
    } else {
      std::function<void()> work = [reply] { reply->good = reply->reader.body(reply->body); };
      const auto done = co_await shared_->workers.run(std::move(work));
      if (!done)
        refusal = Refusal{503, "overloaded", "the gateway has too much to read; try again"};
    }
  }
  count(reply->reader);
  if (!refusal && !reply->good)
    refusal = Refusal{502, "upstream_bad_answer",
                      "the upstream " + record_.upstream + " answered with JSON that is none"};
  Verdict verdict = Verdict::kFailed;
  if (!refusal) {
    std::shared_ptr<const ReplyReader> reader(reply, &reply->reader);
    refusal = co_await judged(std::move(reader));
    verdict = Verdict::kRefused;
  }
  if (refusal) {
    co_await refuse(verdict, std::move(*refusal));
    co_return;
  }
  record_.reply_bytes = reply->body.size();
  Fields fields = answer_fields("application/json");
  const auto sent = co_await exchange_.reply(200, std::move(fields), reply->body);
  if (sent) {
    note(Verdict::kAllowed, {200, "ok", ""});
  } else {
    note(Verdict::kFailed, {499, "client_gone", "the client went away"});
  }
}

}  // namespace palisade::gateway::llm
