// What lies between two commits that the host has, by the host's own commits.
// Source: git's gitprotocol-v2(5), gitprotocol-http(5).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gateway/http/message.h>
#include <gateway/http/task.h>

#include "pack.h"
#include "pkt_line.h"
#include "push.h"
#include "upstream.h"

namespace palisade::gateway::git {

inline constexpr std::size_t kMostOutside = 256;

// The commits that `tip` leads to and that are not among `commits`, `tip` itself included; nullopt
// where they are more than kMostOutside.
[[nodiscard]] std::optional<std::vector<ObjectId>> outside(const Commits& commits,
                                                           const ObjectId& tip);

// The request: commits that `wants` lead to and `have` does not; no trees and no files where the
// host can leave those out.
[[nodiscard]] std::string ancestry_request(ObjectFormat format, const std::vector<ObjectId>& wants,
                                           const ObjectId& have, bool filter);

// Reads the packets of its answer; the pack's bytes are given out, all else is looked at alone.
class PackAnswer {
 public:
  // Of one packet, the part that is of the pack. The error is final.
  [[nodiscard]] std::expected<std::string_view, std::string> take(const Pkt& pkt);
  [[nodiscard]] bool complete() const { return ended_; }

 private:
  bool in_pack_ = false;
  bool ended_ = false;
};

// Asks the host, with the workspace's token: two requests, bounded by kMostAncestry bytes. What
// comes is proven by its hashes, as a push's own pack is. nullopt where it did not work; `why` says
// in a word for the record.
inline constexpr std::uint64_t kMostAncestry = 64ULL << 20;
[[nodiscard]] Task<std::optional<Commits>> ask_ancestry(Upstream& upstream, PushTools& tools,
                                                        Fields fields, ObjectFormat format,
                                                        std::vector<ObjectId> wants, ObjectId have,
                                                        std::string& why);

}  // namespace palisade::gateway::git
