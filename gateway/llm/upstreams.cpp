#include "upstreams.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <string>
#include <utility>

namespace palisade::gateway::llm {

Breaker::Ticket::Ticket(Ticket&& other) noexcept
    : breaker_(std::exchange(other.breaker_, nullptr)), probe_(other.probe_) {}

Breaker::Ticket& Breaker::Ticket::operator=(Ticket&& other) noexcept {
  std::swap(breaker_, other.breaker_);
  std::swap(probe_, other.probe_);
  return *this;
}

Breaker::Ticket::~Ticket() {
  if (breaker_ == nullptr || !probe_) return;
  const std::lock_guard lock(breaker_->mutex_);
  breaker_->probing_ = false;
}

void Breaker::Ticket::good() {
  if (breaker_ == nullptr) return;
  const std::lock_guard lock(breaker_->mutex_);
  breaker_->failures_ = 0;
  if (probe_) breaker_->probing_ = false;
  breaker_ = nullptr;
}

void Breaker::Ticket::bad(Moment now) {
  if (breaker_ == nullptr) return;
  const std::lock_guard lock(breaker_->mutex_);
  breaker_->failures_ = std::min(breaker_->failures_ + 1, kMostFailures);
  if (breaker_->failures_ >= kMostFailures) breaker_->opened_until_ = now + kPause;
  if (probe_) breaker_->probing_ = false;
  breaker_ = nullptr;
}

void Breaker::Ticket::rest(Moment until) {
  if (breaker_ == nullptr) return;
  const std::lock_guard lock(breaker_->mutex_);
  breaker_->rests_until_ = std::max(breaker_->rests_until_, until);
  if (probe_) breaker_->probing_ = false;
  breaker_ = nullptr;
}

bool Breaker::open_locked(Moment now) const {
  if (now < rests_until_) return true;
  return failures_ >= kMostFailures && (now < opened_until_ || probing_);
}

bool Breaker::open(Moment now) const {
  const std::lock_guard lock(mutex_);
  return open_locked(now);
}

std::optional<Breaker::Ticket> Breaker::enter(Moment now) {
  const std::lock_guard lock(mutex_);
  if (open_locked(now)) return std::nullopt;
  const bool probe = failures_ >= kMostFailures;
  if (probe) probing_ = true;
  return Ticket(this, probe);
}

Moment Breaker::until() const {
  const std::lock_guard lock(mutex_);
  return failures_ >= kMostFailures ? std::max(opened_until_, rests_until_) : rests_until_;
}

std::vector<std::size_t> routes_of(const LlmConfig& config, const Model& model, Kind kind) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < model.routes.size(); ++i) {
    if (config.upstreams.at(model.routes[i].upstream).kind == kind) out.push_back(i);
  }
  return out;
}

std::optional<std::size_t> choose(const std::vector<Route>& routes,
                                  const std::vector<std::size_t>& usable, std::uint64_t random) {
  std::uint64_t sum = 0;
  for (const std::size_t route : usable)
    sum += routes.at(route).weight;
  if (sum == 0) return std::nullopt;
  std::uint64_t at = random % sum;
  for (const std::size_t route : usable) {
    if (at < routes[route].weight) return route;
    at -= routes[route].weight;
  }
  return std::nullopt;
}

std::optional<NextAttempt> next_attempt(Failure failure, const Attempts& attempts,
                                        std::optional<std::chrono::milliseconds> retry_after,
                                        std::chrono::milliseconds left) {
  using std::chrono::milliseconds;
  constexpr int kMost = 3;
  constexpr milliseconds kUnsaid{500};
  constexpr milliseconds kLongest{20'000};  // clients wait longer by themselves
  constexpr milliseconds kForTheCall{1'000};
  if (attempts.all >= kMost || left <= kForTheCall) return std::nullopt;
  if (attempts.another) return NextAttempt{false, milliseconds{0}};
  // The same once more; what took all its time, or cannot be asked at all, is not asked again.
  if (attempts.here >= 2 || failure == Failure::kSilent || failure == Failure::kKey)
    return std::nullopt;
  const milliseconds wait = failure == Failure::kCut
                                ? milliseconds{0}
                                : std::max(retry_after.value_or(kUnsaid), milliseconds{0});
  if (wait > kLongest || wait + kForTheCall > left) return std::nullopt;
  return NextAttempt{true, wait};
}

std::optional<std::chrono::milliseconds> parse_retry_after(
    std::string_view value, std::chrono::system_clock::time_point now) {
  using std::chrono::seconds;
  constexpr seconds kMost{24 * 3600};
  if (value.empty() || value.size() > 40) return std::nullopt;
  std::int64_t count = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  if (error == std::errc{} && stop == value.data() + value.size())
    return count < 0 ? std::nullopt
                     : std::optional<std::chrono::milliseconds>(std::min(seconds(count), kMost));
  std::tm time{};
  const std::string text(value);
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &time);
  if (end == nullptr || *end != '\0') return std::nullopt;
  const auto at = std::chrono::system_clock::from_time_t(timegm(&time));
  const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(at - now);
  return std::clamp<std::chrono::milliseconds>(wait, seconds(0), kMost);
}

}  // namespace palisade::gateway::llm
