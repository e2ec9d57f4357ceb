// What has been taken of a namespace's budgets, as all replicas share it. Pure.
//
// An amount is "taken" before it is spent: a replica takes an allotment, spends of it, and gives
// back what is left. What a crashed replica held stays taken, which errs on the safe side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>

#include <gateway/core/services.h>

namespace palisade::gateway {

// Requests of one minute. Minutes are counted since 1970, and never go back.
struct Window {
  std::int64_t minute = 0;
  std::int64_t requests = 0;
  bool operator==(const Window&) const = default;
};

struct LedgerEntry {
  std::string name;  // of the workspace, for whoever reads it
  Spent taken;
  Window window;
};

struct Ledger {
  static constexpr std::size_t kMaxWorkspaces = 4000;  // about 600 KiB of the 1 MiB that there is
  static constexpr std::size_t kMaxDays = 8;

  std::map<std::string, LedgerEntry, std::less<>> workspaces;  // by UID
  std::map<std::int64_t, Spent> days;                          // of the namespace; UTC, since 1970
  Window window;                                               // of the namespace

  // The entry of a day; nullptr where there is none and no room for one: all days that are kept
  // are later ones, so that somebody's clock is wrong. Drops the oldest beyond kMaxDays.
  [[nodiscard]] Spent* day(std::int64_t day);

  // Errors name the field. What cannot be read is never taken for an empty ledger.
  [[nodiscard]] static std::expected<Ledger, std::string> parse(std::string_view json);
  [[nodiscard]] std::string dump() const;
};

// 2026-11-21 and back.
[[nodiscard]] std::string day_text(std::int64_t day);
[[nodiscard]] std::expected<std::int64_t, std::string> parse_day(std::string_view text);

// Sums that stop at the ends of what is counted instead of running over.
inline constexpr std::int64_t kMaxAmount = 4'000'000'000'000'000'000;
[[nodiscard]] std::int64_t plus(std::int64_t a, std::int64_t b);

}  // namespace palisade::gateway
