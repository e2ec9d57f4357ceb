// What ends with a workspace and what stays: the branch, the merge request, tokens, the volume.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include <kube/client.h>

#include "follow.h"

namespace palisade::cli {

struct Stays {
  std::vector<std::string> lines;  // sentences for a person, safe for a terminal
  bool token_left = false;         // a token was not revoked: somebody must do it by hand
};

// Of a workspace that was deleted, as it was last seen, with the operator's warnings about tokens
// that it could not revoke (their texts).
[[nodiscard]] Stays after_deletion(const kube::Json& last,
                                   const std::vector<std::string>& unrevoked);
// Of one that was suspended.
[[nodiscard]] Stays after_suspension(const kube::Json& last);

// Deletes it and, with `wait`, follows it until it is gone; then says on `streams.out` what ended
// and what stays. The exit status: 0; 1 where it is not gone within `timeout`, or a token could not
// be revoked; 2 where it was not deleted. `command` begins the messages.
[[nodiscard]] int delete_workspace(const Live& live, const kube::Json& workspace, bool wait,
                                   std::chrono::seconds timeout, const std::string& command,
                                   const Streams& streams);

// Sets spec.lifecycle.suspend; with `wait` follows it until the pod is gone. Exit statuses as
// above.
[[nodiscard]] int suspend_workspace(const Live& live, const kube::Json& workspace, bool wait,
                                    std::chrono::seconds timeout, const std::string& command,
                                    const Streams& streams);

}  // namespace palisade::cli
