// What of a request is passed on, and to where.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/http/message.h>
#include <gateway/relay/config.h>

namespace palisade::gateway::relay {

// Why the relay itself answers. `code` is for machines.
struct Refused {
  int status = 404;
  const char* code = "";
  std::string message;
};

// The request as the gateway shall have it, without Authorization: the route's path in place, and
// of the fields only those that it needs. A path that leads out of the route's, however it is
// spelled, is a 404.
[[nodiscard]] std::expected<RequestHead, Refused> outgoing(const Route& route,
                                                           const RequestHead& head);

// "Bearer TOKEN"; nullopt where the text is no token that can be sent.
[[nodiscard]] std::optional<std::string> bearer(std::string_view token);

// Of an answer's fields, what the caller is to see.
void strip_answer(Fields& fields);

// A refusal as the route's callers read one: OpenAI's errors, or plain text for git.
struct Said {
  const char* content_type = "";
  std::string body;
};
[[nodiscard]] Said in_words(const Route& route, const Refused& refused);

}  // namespace palisade::gateway::relay
