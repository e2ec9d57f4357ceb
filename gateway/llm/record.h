// What a call leaves on the record. Pure.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/core/caller.h>
#include <gateway/core/services.h>

#include "credentials.h"

namespace palisade::gateway::llm {

enum class Verdict : std::uint8_t { kAllowed, kRefused, kFailed };

struct CallRecord {
  Verdict verdict = Verdict::kFailed;
  std::string code;     // "ok", or a Refusal's
  std::string message;  // why it was refused or failed
  int status = 0;       // as answered; an error within a stream has its own here
  std::string endpoint;
  std::string model;  // the gateway's name, or what was asked for
  std::string upstream;
  std::string upstream_model;
  std::string upstream_request;  // its id there
  bool stream = false;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  MicroDollars cost = 0;
  std::chrono::milliseconds duration{0};
  std::optional<std::chrono::milliseconds> first_byte;
  std::size_t request_bytes = 0;
  std::size_t reply_bytes = 0;
  int retries = 0;
  std::vector<std::string> flags;  // "estimated", "credentialsMasked", rules that found something
  std::vector<std::string> findings;  // what they found
  std::optional<std::string> request_body;
  std::optional<std::string> reply_body;
};

// A JSON object; every text in it is UTF-8 and one line, whatever came.
[[nodiscard]] std::string record_line(const Caller& caller, const CallRecord& record);
// What is counted of it; of `record`'s own texts.
[[nodiscard]] Counted counted_of(const CallRecord& record);

// A body for the record: credentials masked, at most 16 KiB.
[[nodiscard]] std::string body_excerpt(std::string_view body, const Secrets& secrets);

}  // namespace palisade::gateway::llm
