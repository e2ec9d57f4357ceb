#include "call.h"

#include <algorithm>
#include <exception>

#include "errors.h"
#include "provider_side.h"
#include "unicode.h"

namespace palisade::gateway::llm {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

Refusal overloaded() {
  return {503, "overloaded", "the gateway holds as many requests as it can; try again soon"};
}

}  // namespace

void Prepared::run() {
  auto read = read_request(endpoint, body);
  if (!read) {
    refusal = std::move(read.error());
    return;
  }
  request = std::move(*read);
  const auto found = allowed_model(*config, *grant, request.model);
  if (!found) {
    refusal = found.error();
    return;
  }
  model = *found;
  if (!config->provider_side) {
    if (auto found_there = find_provider_side(endpoint, body)) {
      refusal = Refusal{403, "provider_side",
                        found_there->where + " is " + found_there->what +
                            " (llm.outbound.providerSide of the gateway's configuration)"};
      return;
    }
  }
  if (config->credentials != Outbound::kOff) {
    Outgoing outgoing = check_outgoing(body, secrets);
    credentials = outgoing.leak.count;
    if (credentials > 0 && (config->credentials == Outbound::kRefuse || outgoing.in_name)) {
      refusal = Refusal{403, "credentials_in_request",
                        outgoing.leak.where + " holds what looks like " +
                            std::string(outgoing.leak.kind) +
                            "; take it out of the prompt and of the files in it"};
      return;
    }
    masks = std::move(outgoing.edits);
  }
  if (config->record_bodies) excerpt = body_excerpt(body, secrets);
}

LlmCall::LlmCall(std::shared_ptr<LlmProxy::Shared> shared, Exchange& exchange, const Caller& caller)
    : shared_(std::move(shared)),
      config_(*shared_->config),
      exchange_(exchange),
      caller_(caller),
      deadline_(begun_ + config_.limits.deadline),
      request_memory_(shared_->memory, caller.workspace_uid),
      reply_memory_(shared_->memory, caller.workspace_uid) {
  exchange_.when_gone([gone = gone_] {
    gone->gone = true;
    if (gone->call != nullptr) gone->call->abort();
  });
}

LlmCall::~LlmCall() {
  gone_->call = nullptr;
  finish();
}

milliseconds LlmCall::left() const {
  return duration_cast<milliseconds>(deadline_ - std::chrono::steady_clock::now());
}

Task<void> LlmCall::run() {
  const RequestHead& head = exchange_.request();
  record_.endpoint = one_line(head.path(), 60);
  const auto endpoint = endpoint_of(head.method, head.path());
  if (!endpoint) {
    Refusal refusal = endpoint.error();
    co_await refuse(Verdict::kRefused, std::move(refusal));
    co_return;
  }
  endpoint_ = *endpoint;
  if (endpoint_ == Endpoint::kModels) {
    const Kind shape = head.fields.has("anthropic-version") ? Kind::kAnthropic : Kind::kOpenAi;
    const std::string body = models_list(config_, *caller_.grant, shape);
    record_.verdict = Verdict::kAllowed;
    record_.code = "ok";
    record_.status = 200;
    record_.reply_bytes = body.size();
    Fields fields = answer_fields("application/json");
    const auto sent = co_await exchange_.reply(200, std::move(fields), body);
    if (!sent) note(Verdict::kFailed, {499, "client_gone", "the client went away"});
    co_return;
  }
  auto refused = co_await read_body();
  if (!refused) refused = co_await prepare();
  if (!refused) refused = co_await reserve();
  if (refused) {
    const Verdict verdict = refused->status >= 499 ? Verdict::kFailed : Verdict::kRefused;
    co_await refuse(verdict, std::move(*refused));
    co_return;
  }
  auto answer = co_await ask();
  if (!answer) {
    Refusal refusal = std::move(answer.error());
    co_await refuse(Verdict::kFailed, std::move(refusal));
    co_return;
  }
  Answer taken = std::move(*answer);
  co_await pass_on(std::move(taken));
}

Task<std::optional<Refusal>> LlmCall::read_body() {
  const std::size_t limit = config_.limits.request_bytes;
  const auto too_large = [limit] {
    return Refusal{413, "request_too_large",
                   "the request is larger than " + std::to_string(limit) + " bytes"};
  };
  if (!exchange_.request().fields.get("Content-Encoding").empty())
    co_return Refusal{415, "unsupported_encoding", "the body must not be compressed"};
  if (exchange_.content_length().value_or(0) > limit) co_return too_large();
  prepared_ = std::make_shared<Prepared>();
  std::string& body = prepared_->body;
  for (;;) {
    const auto piece = co_await exchange_.read();
    if (!piece) {
      const bool late = piece.error().fault == Fault::kTimeout;
      co_return Refusal{late ? 408 : 499, late ? "request_too_slow" : "client_gone",
                        "the request did not come to its end"};
    }
    if (piece->empty()) break;
    if (body.size() + piece->size() > limit) co_return too_large();
    if (!request_memory_.grow(piece->size())) co_return overloaded();
    body.append(*piece);
    if (left() <= milliseconds(0))
      co_return Refusal{408, "request_too_slow", "the request did not come in time"};
  }
  record_.request_bytes = body.size();
  co_return std::nullopt;
}

Task<std::optional<Refusal>> LlmCall::prepare() {
  prepared_->config = shared_->config;
  prepared_->grant = caller_.grant;
  prepared_->endpoint = endpoint_;
  if (const auto token = shared_->services.keys->git_token(caller_)) {
    const std::string user =
        caller_.grant->repository ? caller_.grant->repository->username : "x-access-token";
    prepared_->secrets.add(*token, user, "the workspace's git token");
  }
  if (prepared_->body.size() <= kLarge) {
    prepared_->run();
  } else {
    std::function<void()> work = [prepared = prepared_] { prepared->run(); };
    const auto done = co_await shared_->workers.run(std::move(work));
    if (!done) co_return overloaded();
  }
  record_.stream = prepared_->request.stream;
  record_.model = prepared_->model != nullptr ? prepared_->model->name
                                              : std::string(cut(prepared_->request.model, 100));
  record_.request_body = std::move(prepared_->excerpt);
  if (prepared_->credentials > 0)
    record_.flags.emplace_back(prepared_->refusal ? "credentialsFound" : "credentialsMasked");
  if (prepared_->refusal) co_return prepared_->refusal;
  const Model& model = *prepared_->model;
  if (routes_of(config_, model, kind()).empty())
    co_return Refusal{400, "wrong_endpoint",
                      "the model " + model.name + " is served at " +
                          (kind() == Kind::kOpenAi ? "/v1/messages" : "/v1/chat/completions") +
                          " only"};
  const bool money = caller_.grant->workspace_budget.cost || caller_.grant->namespace_budget.cost;
  if (money && !model.price)
    co_return Refusal{403, "model_without_price",
                      "the model " + model.name +
                          " has no price, and this workspace has a budget in money; the gateway's "
                          "administrator sets llm.models[].price"};
  co_return std::nullopt;
}

Task<std::optional<Refusal>> LlmCall::reserve() {
  const std::int64_t prompt = estimated_prompt(prepared_->body.size());
  const std::int64_t completion = estimated_completion(prepared_->request);
  const Spent estimate{prompt + completion, cost_of(prepared_->model->price, prompt, completion)};
  auto reserved = co_await shared_->services.budgets->reserve(caller_, estimate);
  if (!reserved) co_return std::move(reserved.error());
  reservation_ = std::move(*reserved);
  co_return std::nullopt;
}

void LlmCall::note(Verdict verdict, const Refusal& refusal) {
  record_.verdict = verdict;
  record_.code = refusal.code;
  record_.message = refusal.message;
  record_.status = refusal.status;
}

Task<void> LlmCall::refuse(Verdict verdict, Refusal refusal) {
  note(verdict, refusal);
  const std::string body = error_body(kind(), refusal);
  record_.reply_bytes = body.size();
  Fields fields = answer_fields("application/json");
  if (retry_after_) {
    const auto seconds = (retry_after_->count() + 999) / 1000;
    fields.add("Retry-After", std::to_string(seconds));
  }
  // So that the relay tells the gateway's own word from an upstream's status.
  fields.add("x-palisade-refusal", refusal.code);
  // Both vendors' clients repeat a 429 by themselves; a spent budget does not come back.
  if (refusal.code == "budget_exceeded") fields.add("x-should-retry", "false");
  const int status = refusal.status == 499 ? 400 : refusal.status;
  const auto sent = co_await exchange_.reply(status, std::move(fields), body);
  if (!sent && gone_->gone) record_.flags.emplace_back("clientGone");
}

void LlmCall::broke(std::string_view what) {
  watch(nullptr);
  note(Verdict::kFailed, {500, "internal_error", "the gateway failed: " + std::string(what)});
}

void LlmCall::finish() noexcept {
  if (std::exchange(finished_, true)) return;
  try {
    if (record_.code.empty())  // the handler was ended within
      note(Verdict::kFailed, {499, "ended", "the gateway ended before the answer did"});
    if (sent_ && spent_.tokens == 0 && record_.verdict != Verdict::kAllowed &&
        (record_.code == "client_gone" || record_.code == "ended")) {
      record_.prompt_tokens = estimated_prompt(record_.request_bytes);
      record_.flags.emplace_back("estimated");
      record_.cost = cost_of(prepared_->model->price, record_.prompt_tokens, 0);
      spent_ = {record_.prompt_tokens, record_.cost};
    }
    if (reservation_) reservation_->settle(spent_);
    record_.duration = duration_cast<milliseconds>(std::chrono::steady_clock::now() - begun_);
    shared_->services.record->write_text(counted_of(record_), record_line(caller_, record_));
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // Nothing is left to tell it to; what was set aside is given back unspent.
  }
}

}  // namespace palisade::gateway::llm
