// What a client asks for, read out of its bytes, and the bytes that go on. Pure.
// Sources: OpenAI's and Anthropic's API references.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/core/caller.h>
#include <gateway/llm/config.h>

#include "json_scan.h"

namespace palisade::gateway::llm {

enum class Endpoint : std::uint8_t { kChat, kCompletions, kEmbeddings, kMessages, kModels };

// By method and path; a Refusal (404, 405) where there is none.
[[nodiscard]] std::expected<Endpoint, Refusal> endpoint_of(std::string_view method,
                                                           std::string_view path);
// What it is appended to an upstream's path as: "/chat/completions".
[[nodiscard]] std::string_view path_of(Endpoint endpoint);
[[nodiscard]] Kind kind_of(Endpoint endpoint);

struct LlmRequest {
  Endpoint endpoint = Endpoint::kChat;
  std::string model;  // as asked
  bool stream = false;
  bool wants_usage = false;     // stream_options.include_usage, as asked
  std::int64_t max_tokens = 0;  // 0: not said
  std::int64_t choices = 1;     // n, best_of
  // Where they lie in the body.
  Span model_at;
  std::optional<Span> stream_options_at;
  JsonType stream_options_type = JsonType::kNull;
};

// Refused with 400, naming the field.
[[nodiscard]] std::expected<LlmRequest, Refusal> read_request(Endpoint endpoint,
                                                              std::string_view body);

// What must change of the body for an upstream that knows the model as `model`: its name, and
// for streams of the OpenAI kind stream_options.include_usage. Ascending.
[[nodiscard]] std::vector<Edit> edits_for(const LlmRequest& request, std::string_view body,
                                          std::string_view model);

// The model that the caller may use under that name. 404 model_not_found where there is none, 403
// model_not_allowed where it is not the caller's; both list what is.
[[nodiscard]] std::expected<const Model*, Refusal> allowed_model(const LlmConfig& config,
                                                                 const Grant& grant,
                                                                 std::string_view name);

// The answer to GET /v1/models, in either shape.
[[nodiscard]] std::string models_list(const LlmConfig& config, const Grant& grant, Kind kind);

// What a call may take, before it is made: a quarter of the prompt's bytes and what may be said.
[[nodiscard]] std::int64_t estimated_prompt(std::size_t bytes);
[[nodiscard]] std::int64_t estimated_completion(const LlmRequest& request);

// Rounded up to a millionth of a dollar. Saturates.
[[nodiscard]] MicroDollars cost_of(const std::optional<Price>& price, std::int64_t input,
                                   std::int64_t output);

}  // namespace palisade::gateway::llm
