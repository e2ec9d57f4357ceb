// Answers that say what went wrong, in the shape that the client's library reads. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <gateway/core/caller.h>
#include <gateway/llm/config.h>

namespace palisade::gateway::llm {

// {"error": {"message", "type", "param": null, "code"}} or {"type": "error", "error": {"type",
// "message"}}.
[[nodiscard]] std::string error_body(Kind kind, const Refusal& refusal);
// The same as an event of a stream that has begun.
[[nodiscard]] std::string error_event(Kind kind, const Refusal& refusal);

// What an upstream says of its refusal, for a person: from its JSON's error.message or message, one
// line of printable text, bounded, credentials masked. "" where it says nothing, or where it
// repeats some of `key`.
[[nodiscard]] std::string upstream_message(std::string_view body, std::string_view key);

// One line of a foreign text that may be shown: no control, direction or invisible characters.
[[nodiscard]] std::string one_line(std::string_view text, std::size_t limit);

// The refusal that an upstream's status stands for; `message` is upstream_message()'s.
[[nodiscard]] Refusal upstream_refusal(std::string_view upstream, int status,
                                       std::string_view message);

// An upstream's request id as the record and the client may see it; "" where it is no plain word.
[[nodiscard]] std::string plain_id(std::string_view value);

}  // namespace palisade::gateway::llm
