// Answers to git clients, in the form in which each shows them.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>

#include "line.h"

namespace palisade::gateway::git {

inline constexpr std::string_view kUploadPack = "git-upload-pack";
inline constexpr std::string_view kReceivePack = "git-receive-pack";

[[nodiscard]] Fields git_fields(std::string type);

// Status and text: what git shows of info/refs.
[[nodiscard]] Task<void> answer_text(Exchange& exchange, Refusal refusal);
// 200 and one body of `type`.
[[nodiscard]] Task<void> answer_git(Exchange& exchange, std::string type, std::string body);

// On the record: a refusal where it is the gateway's word on what was asked, a failure where
// something did not work.
void note(Line& line, const Refusal& refusal);

}  // namespace palisade::gateway::git
