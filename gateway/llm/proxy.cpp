#include <exception>
#include <string>
#include <utility>

#include <gateway/llm/proxy.h>

#include "call.h"
#include "errors.h"

namespace palisade::gateway::llm {

LlmProxy::LlmProxy(LlmConfig config, Services services)
    : shared_(std::make_shared<Shared>(std::move(config), std::move(services))) {}

LlmProxy::~LlmProxy() = default;

Task<void> LlmProxy::handle(Exchange& exchange, const Caller& caller) {
  const std::shared_ptr<Shared> shared = shared_;
  LlmCall call(shared, exchange, caller);
  bool failed = false;
  try {
    co_await call.run();
  } catch (const std::exception& error) {
    call.broke(error.what());
    failed = true;
  }
  if (!failed || exchange.begun()) co_return;
  const std::string body =
      error_body(Kind::kOpenAi, {500, "internal_error", "the gateway failed; its record says why"});
  Fields fields;
  fields.add("Content-Type", "application/json");
  static_cast<void>(co_await exchange.reply(500, std::move(fields), body));
}

}  // namespace palisade::gateway::llm
