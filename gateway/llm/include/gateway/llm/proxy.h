// Serves /v1: an OpenAI-compatible API, and Anthropic's /v1/messages, for the agents of workspaces,
// out of upstreams whose keys they never see.
#pragma once

#include <memory>

#include <gateway/core/services.h>
#include <gateway/http/server.h>
#include <gateway/llm/config.h>

namespace palisade::gateway::llm {

class LlmProxy {
 public:
  // Of `services`, keys, budgets and record are used.
  LlmProxy(LlmConfig config, Services services);
  ~LlmProxy();
  LlmProxy(const LlmProxy&) = delete;
  LlmProxy& operator=(const LlmProxy&) = delete;

  // One request below /v1, of a caller that is proven. Answers, settles what was used and writes
  // one line to the record, whatever happens. Thread-safe; what it began may outlive the proxy.
  [[nodiscard]] Task<void> handle(Exchange& exchange, const Caller& caller);

  // What all of its callers and threads share; defined inside.
  struct Shared;

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace palisade::gateway::llm
