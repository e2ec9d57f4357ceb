// git over smart HTTP, to the one repository of the workspace that asks.
// Source: git's gitprotocol-http(5), gitprotocol-pack(5), gitprotocol-v2(5).
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/core/services.h>
#include <gateway/git/config.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>

namespace palisade::gateway::git {

// Fetches are passed on as streams; a push is taken whole, checked, and only then sent: one
// fast-forward of the workspace's branch, or nothing. The token is added here and goes to the
// grant's host alone. Thread-safe. It outlives the server that calls it.
class GitProxy {
 public:
  // `services`: keys and record are used.
  GitProxy(GitConfig config, Services services);
  ~GitProxy();
  GitProxy(const GitProxy&) = delete;
  GitProxy& operator=(const GitProxy&) = delete;

  // /git/info/refs?service=..., /git/git-upload-pack, /git/git-receive-pack; anything else is
  // refused. Answers in every case, in the form in which git shows the reason to its user, and
  // writes one line to the record.
  [[nodiscard]] Task<void> handle(Exchange& exchange, const Caller& caller);

  [[nodiscard]] std::uint64_t spooled_bytes() const;  // of all pushes that are being checked

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway::git
