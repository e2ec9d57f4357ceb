// What keeps a process that does not lead from writing to the API server.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>

#include <kube/client.h>

namespace palisade::op {

// The token of this process' term (kube::LeaderElector::term()); none where it does not lead.
using Term = std::function<std::optional<std::stop_token>()>;

// For Client::connect. Whatever is no GET leaves the process only while `term` has a token, looked
// at right before, and is cancelled the moment that token is stopped; otherwise it is an error that
// may be tried again (code 0, NotLeading). Reads and watches go through. Thread-safe as `term` is.
//
// What that holds: no write begins after the term, and the term ends before the Lease lets another
// begin (kube/leader.h). What it does not: a request that the API server has got already, or that
// is sent by a process that was stopped between the look and the sending, may be carried out later.
// Such writes are made harmless by what they say: creates never adopt, deletes and patches name a
// UID, finalizers, statuses and applies the resourceVersion that was looked at, so that they are
// refused once anybody has written since. Where nobody need have, somebody does: before a pod's
// gate is lifted (ActionKind::kFence), and before a pod is made for a workspace that was there
// before the term (Reconciler).
[[nodiscard]] kube::TransportWrap fenced(Term term);

}  // namespace palisade::op
