// What purse.cpp and plan.cpp share: the kinds of what is budgeted, and its arithmetic.
#pragma once

#include <algorithm>
#include <array>

#include <gateway/serve/purse.h>

namespace palisade::gateway {

struct PotKind {
  Purse::Pot Purse::Account::*pot;
  std::int64_t Spent::*amount;
  std::optional<std::int64_t> Budget::*limit;
};
inline constexpr std::array<PotKind, 2> kKinds{
    PotKind{&Purse::Account::tokens, &Spent::tokens, &Budget::tokens},
    PotKind{&Purse::Account::cost, &Spent::cost, &Budget::cost}};

inline std::int64_t free_in(const Purse::Pot& pot) {
  return plus(pot.held, -pot.reserved);
}

// A request that says it needs nothing needs a budget that is not used up all the same.
inline std::int64_t need(std::int64_t estimate) {
  return std::max<std::int64_t>(estimate, 1);
}

// A minute that is over; or one that another's clock, which runs ahead, has begun, once it has
// lasted a minute here.
inline bool is_over(std::int64_t minute, std::chrono::steady_clock::time_point seen,
                    const Moment& now) {
  return now.minute > minute || (minute > now.minute && now.steady - seen >= Purse::kMinute);
}

inline void set_aside(Purse::Account& account, const Spent& amount, const Moment& now) {
  for (const PotKind& kind : kKinds) {
    Purse::Pot& pot = account.*kind.pot;
    pot.reserved = plus(pot.reserved, amount.*kind.amount);
  }
  account.used = now.steady;
}

}  // namespace palisade::gateway
