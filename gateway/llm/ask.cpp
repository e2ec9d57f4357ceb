// Of a call: the way to an upstream's answer.
#include <algorithm>
#include <random>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "call.h"
#include "errors.h"

namespace palisade::gateway::llm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostErrorText = 64 * 1024;
constexpr milliseconds kErrorIdle{5'000};
constexpr milliseconds kLongestRest{60'000};

std::uint64_t random_number() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

Task<void> pause(milliseconds time) {
  const auto executor = co_await boost::asio::this_coro::executor;
  boost::asio::steady_timer timer(executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

// What changes of the body, in order. What the upstream must read goes before a mask.
std::vector<Edit> all_edits(const Prepared& prepared, std::string_view model) {
  std::vector<Edit> edits = edits_for(prepared.request, prepared.body, model);
  edits.insert(edits.end(), prepared.masks.begin(), prepared.masks.end());
  std::ranges::stable_sort(edits, {}, [](const Edit& edit) { return edit.span.begin; });
  std::vector<Edit> out;
  for (Edit& edit : edits) {
    if (out.empty() || edit.span.begin >= out.back().span.end) out.push_back(std::move(edit));
  }
  return out;
}

std::size_t edited_size(std::string_view text, const std::vector<Edit>& edits) {
  std::size_t size = text.size();
  for (const Edit& edit : edits)
    size = size + edit.text.size() - (edit.span.end - edit.span.begin);
  return size;
}

// 2023-06-01
bool is_version(std::string_view text) {
  return text.size() == 10 &&
         std::ranges::all_of(text, [](char c) { return c == '-' || (c >= '0' && c <= '9'); });
}

// computer-use-2025-01-24,token-counting-2024-11-01
bool is_beta(std::string_view text) {
  return !text.empty() && text.size() <= 512 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.,: ").find(c) != std::string_view::npos;
  });
}

// Built here; of the client's fields only what is known, and only as it must look.
RequestHead request_head(const Upstream& upstream, const LlmRequest& request, const Fields& client,
                         const std::string& key) {
  RequestHead head;
  head.method = "POST";
  head.target = upstream.path;
  // Anthropic's path has its version in it.
  if (upstream.kind == Kind::kAnthropic && !upstream.path.ends_with("/v1")) head.target += "/v1";
  head.target += path_of(request.endpoint);
  head.fields.add("Content-Type", "application/json");
  head.fields.add("Accept", request.stream ? "text/event-stream" : "application/json");
  head.fields.add("User-Agent", "palisade-gateway/" PALISADE_VERSION);
  if (upstream.kind == Kind::kOpenAi) {
    if (!key.empty()) head.fields.add("Authorization", "Bearer " + key);
    return head;
  }
  if (!key.empty()) head.fields.add("x-api-key", key);
  const std::string_view version = client.get("anthropic-version");
  head.fields.add("anthropic-version",
                  is_version(version) ? std::string(version) : std::string("2023-06-01"));
  const std::string_view beta = client.get("anthropic-beta");
  if (is_beta(beta)) head.fields.add("anthropic-beta", std::string(beta));
  return head;
}

Refusal fault_refusal(const std::string& name, const NetError& error, bool connected) {
  const std::string who = "the upstream " + name;
  switch (error.fault) {
    case Fault::kTimeout:
      return {504, "upstream_timeout",
              who + (connected ? " did not answer in time" : " could not be reached in time")};
    case Fault::kTls:
      return {502, "upstream_untrusted", who + " could not prove who it is: " + error.message};
    case Fault::kProtocol:
    case Fault::kTooLarge:
      return {502, "upstream_bad_answer", who + " did not answer in HTTP as it must be"};
    case Fault::kStopped:
      return {503, "ended", "the gateway is ending; try again"};
    case Fault::kClosed:
      return {502, "upstream_cut", who + " ended the connection without an answer"};
    case Fault::kConnect:
      break;
  }
  return {502, "upstream_unreachable", who + " could not be reached: " + error.message};
}

}  // namespace

Task<std::expected<LlmCall::Answer, Refusal>> LlmCall::ask() {
  const Model& model = *prepared_->model;
  std::vector<std::size_t> untried = routes_of(config_, model, kind());
  const auto breaker_of = [&](std::size_t route) -> Breaker& {
    return shared_->breakers.at(model.routes.at(route).upstream);
  };
  const auto usable = [&](Moment now) {
    std::vector<std::size_t> out;
    std::ranges::copy_if(untried, std::back_inserter(out),
                         [&](std::size_t route) { return !breaker_of(route).open(now); });
    return out;
  };
  Refusal last{503, "upstream_unavailable",
               "all upstreams of the model " + model.name +
                   " have failed lately or asked for silence; try again soon"};
  Attempts attempts;
  std::optional<std::size_t> again;  // the same route once more
  for (;;) {
    const Moment now = steady_clock::now();
    const auto route = again ? again : choose(model.routes, usable(now), random_number());
    if (!route) break;
    auto ticket = breaker_of(*route).enter(now);
    if (!again) std::erase(untried, *route);
    if (!ticket) {  // opened meanwhile
      if (again) break;
      continue;
    }
    ++attempts.all;
    attempts.here = again ? attempts.here + 1 : 1;
    Attempted tried = co_await attempt(model.routes[*route], std::move(*ticket));
    if (tried.answer) {
      retry_after_.reset();
      co_return std::move(*tried.answer);
    }
    last = std::move(tried.refusal);
    retry_after_ = tried.retry_after;
    if (tried.ended) break;
    attempts.another = !usable(steady_clock::now()).empty();
    const auto next = next_attempt(tried.failure, attempts, tried.retry_after, left());
    if (!next) break;
    again = next->same ? route : std::nullopt;
    if (next->wait > milliseconds(0)) co_await pause(next->wait);
    if (gone_->gone) {
      last = {499, "client_gone", "the client went away"};
      break;
    }
    ++record_.retries;
  }
  if (attempts.all == 0) {
    Moment until = Moment::max();
    for (const std::size_t route : routes_of(config_, model, kind()))
      until = std::min(until, breaker_of(route).until());
    retry_after_ = std::chrono::duration_cast<milliseconds>(
        std::max(until - steady_clock::now(), steady_clock::duration(std::chrono::seconds(1))));
  }
  co_return std::unexpected(std::move(last));
}

// The newest, as Secrets rotate.
std::optional<Refusal> LlmCall::take_key(const Upstream& upstream) {
  key_.clear();
  if (!upstream.key) return std::nullopt;
  const auto missing = [&](const char* why) {
    return Refusal{503, "upstream_key_missing",
                   "the key " + upstream.key->key + " of the Secret " + upstream.key->secret +
                       " in the gateway's namespace, for the upstream " + upstream.name + ", " +
                       why};
  };
  auto found = shared_->services.keys->key(upstream.key->secret, upstream.key->key);
  while (found && (found->ends_with('\n') || found->ends_with('\r')))
    found->pop_back();
  if (!found || found->empty()) return missing("is not there or empty");
  if (std::ranges::any_of(*found, [](char c) { return c <= ' ' || c > '~'; }))
    return missing("has a space or another character that no header field can have");
  key_ = std::move(*found);
  return std::nullopt;
}

Task<LlmCall::Attempted> LlmCall::attempt(const Route& route, Breaker::Ticket ticket) {
  const Upstream& upstream = config_.upstreams.at(route.upstream);
  record_.upstream = upstream.name;
  record_.upstream_model = route.model;
  Attempted out;
  if (auto refusal = take_key(upstream)) {
    out.failure = Failure::kKey;
    out.refusal = std::move(*refusal);
    co_return out;
  }
  const std::vector<Edit> edits = all_edits(*prepared_, route.model);
  for (int stale = 0;; ++stale) {
    const milliseconds within = std::min(upstream.connect_timeout, left());
    auto opened = co_await exchange_.clients().open(upstream.origin, within);
    if (!opened) {
      const NetError& error = opened.error();
      out.ended = error.fault == Fault::kStopped || gone_->gone;
      out.failure = Failure::kConnect;
      out.refusal = fault_refusal(upstream.name, error, false);
      if (!out.ended) ticket.bad(steady_clock::now());
      break;
    }
    Answer answer;
    answer.call = std::move(*opened);
    if (gone_->gone) answer.call->abort();
    watch(answer.call.get());
    auto head = co_await send(*answer.call, upstream, edits);
    if (!head) {
      watch(nullptr);
      const Fault fault = head.error().fault;
      // It had closed a kept connection before it saw the request.
      constexpr int kMostStale = 8;
      if (fault == Fault::kClosed && answer.call->reused() && stale < kMostStale && !gone_->gone)
        continue;
      out.ended = gone_->gone || fault == Fault::kStopped;
      out.failure = fault == Fault::kTimeout  ? Failure::kSilent
                    : fault == Fault::kClosed ? Failure::kCut
                                              : Failure::kServer;
      out.refusal = gone_->gone ? Refusal{499, "client_gone", "the client went away"}
                                : fault_refusal(upstream.name, head.error(), true);
      if (!out.ended) ticket.bad(steady_clock::now());
      break;
    }
    answer.head = std::move(*head);
    const int status = answer.head.status;
    record_.upstream_request = plain_id(answer.head.fields.get("x-request-id"));
    if (record_.upstream_request.empty())
      record_.upstream_request = plain_id(answer.head.fields.get("request-id"));
    if (status == 200) {
      ticket.good();
      sent_ = true;
      out.answer = std::move(answer);
      break;
    }
    const std::string text = co_await error_text(*answer.call);
    watch(nullptr);
    out.refusal = upstream_refusal(upstream.name, status, upstream_message(text, key_));
    out.retry_after =
        parse_retry_after(answer.head.fields.get("Retry-After"), std::chrono::system_clock::now());
    out.failure = status == 429 ? Failure::kLimited : Failure::kServer;
    const Moment now = steady_clock::now();
    if (status == 429) {
      ticket.rest(now + std::min(out.retry_after.value_or(milliseconds(500)), kLongestRest));
    } else if (status >= 500) {
      ticket.bad(now);
    } else {
      ticket.good();
      out.ended = true;  // elsewhere it would be refused as well
    }
    break;
  }
  co_return out;
}

Task<NetResult<ResponseHead>> LlmCall::send(Call& call, const Upstream& upstream,
                                            const std::vector<Edit>& edits) {
  const std::string_view body = prepared_->body;
  RequestHead head = request_head(upstream, prepared_->request, exchange_.request().fields, key_);
  auto sent = co_await call.send(std::move(head), edited_size(body, edits));
  std::size_t at = 0;
  for (const Edit& edit : edits) {
    if (sent && edit.span.begin > at)
      sent = co_await call.write(body.substr(at, edit.span.begin - at));
    if (sent && !edit.text.empty()) sent = co_await call.write(edit.text);
    at = edit.span.end;
  }
  if (sent && at < body.size()) sent = co_await call.write(body.substr(at));
  if (sent) sent = co_await call.finish();
  if (!sent && sent.error().fault != Fault::kClosed)
    co_return std::unexpected(std::move(sent.error()));
  // Where it closed, it may have said why before.
  const milliseconds within = std::min(upstream.first_byte_timeout, left());
  auto answer = co_await call.response(std::max(within, milliseconds(1)));
  if (answer) {
    record_.first_byte = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun_);
  } else if (sent && answer.error().fault != Fault::kClosed) {
    sent_ = true;  // it has it, and may count it
  }
  co_return answer;
}

Task<std::string> LlmCall::error_text(Call& call) {
  std::string text;
  while (text.size() < kMostErrorText) {
    const auto piece = co_await call.read(std::min(kErrorIdle, std::max(left(), milliseconds(1))));
    if (!piece) co_return std::string();
    if (piece->empty()) break;
    text.append(piece->substr(0, kMostErrorText - text.size()));
  }
  co_return text;
}

}  // namespace palisade::gateway::llm
