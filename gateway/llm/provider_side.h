// What a request would have the provider do on its own: fetch what is at a URL, read files that
// were left with it, run hosted tools, talk to MCP servers. Each is a way out of the session that
// no NetworkPolicy sees. Pure. Sources: OpenAI's and Anthropic's API references.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "request.h"

namespace palisade::gateway::llm {

struct ProviderSide {
  std::string where;  // as messages[2].content[0].image_url.url
  std::string what;   // "a URL that the provider would fetch"
};

// The first of them in `body`, which read_request() has taken. One pass.
[[nodiscard]] std::optional<ProviderSide> find_provider_side(Endpoint endpoint,
                                                             std::string_view body);

}  // namespace palisade::gateway::llm
