// From a request to the side that answers it: who asks is proven first, always.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <gateway/archive/archive.h>
#include <gateway/core/services.h>
#include <gateway/http/server.h>
#include <gateway/serve/config.h>

#include "metrics.h"

namespace palisade::gateway {

// The sides, as one configuration made them.
class Sides {
 public:
  Sides() = default;
  virtual ~Sides() = default;
  Sides(const Sides&) = delete;
  Sides& operator=(const Sides&) = delete;
  [[nodiscard]] virtual Task<void> llm(Exchange& exchange, const Caller& caller) = 0;
  [[nodiscard]] virtual Task<void> git(Exchange& exchange, const Caller& caller) = 0;
  [[nodiscard]] virtual Task<void> archive(Exchange& exchange, const Caller& caller) = 0;
};
[[nodiscard]] std::shared_ptr<Sides> make_sides(const GatewayConfig& config,
                                                const Services& services,
                                                const archive::ArchiveCounting& counting);

// Thread-safe. Outlives the server.
class Routes {
 public:
  // The user name that goes with a git token, where its Secret has one.
  using GitUsername = std::function<std::optional<std::string>(const Caller&)>;
  Routes(Services services, std::shared_ptr<MeteredRecord> record, GitUsername git_username)
      : services_(std::move(services)),
        record_(std::move(record)),
        git_username_(std::move(git_username)) {}

  // Requests that are under way go on as they began.
  void use(std::shared_ptr<Sides> sides);
  [[nodiscard]] Task<void> handle(Exchange& exchange);

 private:
  [[nodiscard]] std::shared_ptr<Sides> sides() const;
  [[nodiscard]] Caller with_username(Caller caller) const;

  const Services services_;
  const std::shared_ptr<MeteredRecord> record_;
  const GitUsername git_username_;
  mutable std::mutex mutex_;
  std::shared_ptr<Sides> sides_;
};

// The token of an `Authorization: Bearer` field; "" where there is not exactly one.
[[nodiscard]] std::string bearer_of(const Fields& fields);

}  // namespace palisade::gateway
