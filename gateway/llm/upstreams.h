// Which upstream is asked, and what follows where that fails. Time and chance are passed in.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include <gateway/llm/config.h>

namespace palisade::gateway::llm {

using Moment = std::chrono::steady_clock::time_point;

// One upstream's circuit breaker. After kMostFailures in a row nothing is sent for kPause, then one
// call tries; its success closes it, its failure opens it again. Thread-safe.
class Breaker {
 public:
  static constexpr int kMostFailures = 5;
  static constexpr std::chrono::seconds kPause{15};

  // Of one call that was let in. Destroyed without a verdict (the client left) it counts as none.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept;
    Ticket& operator=(Ticket&& other) noexcept;
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket();
    void good();
    void bad(Moment now);
    // 429: asked for so long of silence. No failure.
    void rest(Moment until);

   private:
    friend class Breaker;
    Ticket(Breaker* breaker, bool probe) : breaker_(breaker), probe_(probe) {}
    Breaker* breaker_ = nullptr;
    bool probe_ = false;
  };

  [[nodiscard]] bool open(Moment now) const;  // nothing is let in
  [[nodiscard]] std::optional<Ticket> enter(Moment now);
  // When something may be let in again.
  [[nodiscard]] Moment until() const;

 private:
  [[nodiscard]] bool open_locked(Moment now) const;

  mutable std::mutex mutex_;
  int failures_ = 0;
  bool probing_ = false;
  Moment opened_until_{};
  Moment rests_until_{};
};

// The routes of a model that speak `kind`, by index.
[[nodiscard]] std::vector<std::size_t> routes_of(const LlmConfig& config, const Model& model,
                                                 Kind kind);
// One of `usable` by the weights of `routes`; any number chooses, all are as good. nullopt: none is
// usable.
[[nodiscard]] std::optional<std::size_t> choose(const std::vector<Route>& routes,
                                                const std::vector<std::size_t>& usable,
                                                std::uint64_t random);

enum class Failure : std::uint8_t {
  kConnect,  // nothing was sent
  kCut,      // it ended the connection before an answer
  kSilent,   // no answer in time
  kLimited,  // 429
  kServer,   // 5xx
  kKey,      // there is no key for it
};

struct Attempts {
  int all = 0;           // made so far, this one included
  int here = 0;          // of them at the upstream that has just failed
  bool another = false;  // an upstream is left that was not tried and is not open
};
// How long to wait before the next one, and where; nullopt: the failure is the answer.
struct NextAttempt {
  bool same = false;
  std::chrono::milliseconds wait{0};
};
[[nodiscard]] std::optional<NextAttempt> next_attempt(
    Failure failure, const Attempts& attempts, std::optional<std::chrono::milliseconds> retry_after,
    std::chrono::milliseconds left);

// Retry-After: seconds, or a date. nullopt where it says neither; at most a day.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_retry_after(
    std::string_view value, std::chrono::system_clock::time_point now);

}  // namespace palisade::gateway::llm
