// What decide() does about tokens: which job the keeper (operator/tokens) is given next, and what
// of the tokens is told. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include <operator/decide.h>

#include "status.h"

namespace palisade::op {

// Fills Observed::token and ::username from the Secret that a minted token is kept in.
void fill_minted(Observed& seen, const Workspace& workspace, const Config& config,
                 std::chrono::system_clock::time_point now);

// Plans to mint, renew or revoke where that is due. A workspace that has been accepted only.
void hold_token(Plan& plan, const Observed& seen, const Workspace& workspace, const Config& config,
                bool through_gateway, std::chrono::system_clock::time_point now);

// Plans to take all tokens back; true once that is done (or given up, which is an event), so that
// the Secrets may go. `last`: the workspace is going for good.
[[nodiscard]] bool end_tokens(Plan& plan, const Observed& seen, const Workspace& workspace,
                              const Config& config, bool last,
                              std::chrono::system_clock::time_point now);

// Plans to ask what the token of a secretRef may do, where its host can tell.
void inspect_token(Plan& plan, const Observed& seen, const Workspace& workspace,
                   std::chrono::system_clock::time_point now);
// Why the token reaches further than the repository, or "".
[[nodiscard]] std::string broad_token(const Observed& seen, const Workspace& workspace,
                                      bool through_gateway);
// Why the token is not renewed, or is not taken back, though there is one; or "".
[[nodiscard]] std::string token_trouble(const Observed& seen);

// For a session that has succeeded: spec.repository.mergeRequest, and the condition MergeRequest.
// The status has its other conditions already.
void open_merge_request(Plan& plan, StatusBuilder& status, const Observed& seen,
                        const Workspace& workspace, std::chrono::system_clock::time_point now);
inline constexpr const char* kMergeRequestCondition = "MergeRequest";

// Title and body of the merge request, from the spec and the status.
[[nodiscard]] tokens::MergeRequestWish merge_request_wish(const Workspace& workspace,
                                                          const Json& status);

// Looked at again after `again` at the latest.
void look_again(Plan& plan, std::chrono::seconds again);

}  // namespace palisade::op
