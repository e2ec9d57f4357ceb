// Proof, before the agent starts, that the network is closed: a NetworkPolicy that no plugin
// enforces looks like one that is enforced. Every target is tried at once, without waiting for any
// of them.
//
// What counts as reachable:
// - TCP: the connection is made, or refused by the target itself (its RST came back: packets pass
//   both ways). A refusal that another host sent in its place by ICMP (a firewall's REJECT, a
//   service without endpoints) is a closed door; where the kernel does not tell who sent it, it
//   counts as the target's own.
// - UDP (a DNS query is sent, whatever the port): any answer, or an ICMP "port unreachable" from
// the
//   target itself. ICMP from elsewhere, and administrative ICMP from anywhere, is a closed door.
//   Silence cannot be told from a filter and counts as closed.
// - A target that cannot be tried for a reason of guard's own (an unreadable address, no descriptor
//   left) counts as reachable: nothing was proven.
// No route, a local filter (EPERM, EACCES), and time running out are closed doors.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "guard/policy.h"

namespace palisade::guard {

// The targets that one round of tries found reachable, as indices into `targets`, ascending. Takes
// `timeout` at most, and less where every target answers sooner.
[[nodiscard]] std::vector<std::size_t> reachable(const std::vector<Unreachable>& targets,
                                                 std::chrono::milliseconds timeout);

// Rounds until one finds every target closed, or `policy.within` is over. The error is one line for
// people: four open targets by name and address, one of each name first, how many more, and the
// fix. Nothing to try is success. Blocks the calling thread for `within` + `timeout` at most.
[[nodiscard]] std::expected<void, std::string> preflight(const PreflightPolicy& policy);

}  // namespace palisade::guard
