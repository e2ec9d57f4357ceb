// The list of commands that a push begins with, and whether a workspace may have it done.
// Source: git's gitprotocol-pack(5), "Reference Update Request".
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/core/caller.h>

#include "capabilities.h"
#include "object_id.h"
#include "pkt_line.h"

namespace palisade::gateway::git {

// Why a push is not done. The reason is shown by git, on one line.
struct Rejection {
  std::string code;    // a short word, as not_fast_forward
  std::string reason;  // what is wrong and what to do about it
};

struct Command {
  std::string old_id;  // hex
  std::string new_id;
  std::string ref;
};

struct CommandList {
  std::vector<Command> commands;
  std::string capabilities;  // the client's choice, as it came
  bool shallow = false;      // there were shallow lines
  bool certificate = false;  // there was a push certificate
};

// Reads it packet by packet. Bounded: 1,000 commands and 256 KiB.
class CommandReader {
 public:
  // True: that was the list's last packet. The error is final.
  [[nodiscard]] std::expected<bool, Rejection> take(const Pkt& pkt);
  [[nodiscard]] const CommandList& list() const { return list_; }

 private:
  [[nodiscard]] std::expected<void, Rejection> command(std::string_view line);
  CommandList list_;
  std::size_t bytes_ = 0;
};

// A push of one branch, as it may go to the host.
struct Update {
  Command command;
  Choice choice;
  ObjectId old_tip;  // zero: the branch is new
  ObjectId new_tip;
};

// Exactly one command: the workspace's branch is set to a commit. The capabilities are read into
// `choice` as far as they are understood even where the list is refused, so that the client can be
// told in its own form.
[[nodiscard]] std::expected<Update, Rejection> judge(const CommandList& list,
                                                     const RepositoryGrant& grant, Choice& choice);

// The list for the host, made anew of what was understood. The pack follows.
[[nodiscard]] std::string written(const Update& update);

// Whether refs/heads/BRANCH is a name that git would take: the grant is checked too.
[[nodiscard]] bool is_branch_name(std::string_view branch);

}  // namespace palisade::gateway::git
