// What the two services say of a repository's refs, and fetches.
#pragma once

#include <utility>

#include <gateway/core/caller.h>
#include <gateway/git/config.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>

#include "line.h"
#include "upstream.h"

namespace palisade::gateway::git {

// GET info/refs of either service.
[[nodiscard]] Task<void> serve_refs(Exchange& exchange, Upstream& upstream,
                                    std::string_view service, Line& line);
// POST git-upload-pack.
[[nodiscard]] Task<void> serve_fetch(Exchange& exchange, Upstream& upstream,
                                     const GitConfig& config, Line& line);

// The fields that go on to the host with any question, out of the client's.
[[nodiscard]] Fields host_fields(const RequestHead& request);

// A refs question about pushes.
[[nodiscard]] Question refs_question(std::string_view service, Fields fields);

}  // namespace palisade::gateway::git
