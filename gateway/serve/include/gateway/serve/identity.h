// Who calls, by the ServiceAccount token that its relay shows: verified by the API server
// (TokenReview), bound to a pod, whose controller is an AgentWorkspace.
// Source:
// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <gateway/core/services.h>
#include <gateway/serve/directory.h>

#include <kube/client.h>

namespace palisade::gateway {

struct IdentityOptions {
  std::string audience = "palisade-gateway";
  // How long a review counts: what ends a token before its time (its ServiceAccount is deleted) is
  // noticed after that; what ends its pod or its workspace, at once. Never beyond the token's end.
  std::chrono::milliseconds keep{60'000};
  std::chrono::milliseconds keep_refusals{5'000};
  // How long a request waits for a review that another began, or for a pod that is very new.
  std::chrono::milliseconds patience{6'000};
  std::chrono::milliseconds pod_patience{2'000};
  std::size_t max_token_bytes = 16 * 1024;
  std::size_t max_known = 20'000;
  std::size_t max_refused = 5'000;
  int threads = 4;  // TokenReviews at the same time
  std::size_t max_waiting = 2'000;
  std::function<std::chrono::system_clock::time_point()> now;  // empty: the system's
};

struct IdentityCounters {
  std::uint64_t reviews = 0;
  std::uint64_t failed_reviews = 0;  // the API server did not answer
};

// Tokens are kept as SHA-256 alone. Many requests with one token make one review. Without the API
// server, who is known stays known until `keep` is over; everyone else gets 503.
// Rights: create of tokenreviews. Thread-safe.
class TokenIdentity : public Identity {
 public:
  // `client` should have a short call deadline (3 s). `directory` outlives it.
  TokenIdentity(std::shared_ptr<const kube::Client> client, const Directory& directory,
                IdentityOptions options);
  ~TokenIdentity() override;

  [[nodiscard]] Task<std::expected<Caller, Refusal>> identify(std::string_view bearer) override;
  [[nodiscard]] IdentityCounters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
