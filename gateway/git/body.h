// The body of a client's request: inflated where git deflated it, bounded, and never silently cut.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string_view>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>

#include "inflate.h"

namespace palisade::gateway::git {

class Body {
 public:
  // `limit`: of bytes as they are used, inflated. `longest`: to its end.
  Body(Exchange& exchange, std::uint64_t limit, std::chrono::milliseconds longest);

  // The Content-Type and the Content-Encoding are what git sends.
  [[nodiscard]] std::expected<void, Refusal> check(std::string_view type) const;
  // The next piece; "" at its end. Valid until the next call.
  [[nodiscard]] Task<std::expected<std::string_view, Refusal>> next();
  // Reads what is left, and no more than `most`, so that a client that writes before it reads gets
  // to read its answer.
  [[nodiscard]] Task<void> drain(std::uint64_t most);

  [[nodiscard]] std::uint64_t received() const { return received_; }  // as it came
  [[nodiscard]] bool broken() const {
    return broken_;
  }  // the client's connection is of no more use

 private:
  [[nodiscard]] Task<std::expected<void, Refusal>> receive();
  [[nodiscard]] std::expected<std::string_view, Refusal> piece();

  Exchange& exchange_;
  std::uint64_t limit_;
  std::chrono::steady_clock::time_point until_;
  std::optional<Inflater> inflater_;
  std::string_view raw_;
  std::uint64_t received_ = 0;
  std::uint64_t used_ = 0;
  bool ended_ = false;
  bool broken_ = false;
};

}  // namespace palisade::gateway::git
