// What the LLM and the git side ask of the rest of the gateway. Implemented in gateway/serve, by
// the API server's objects; tests have implementations of their own.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/core/caller.h>
#include <gateway/http/task.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway {

// All of these are called from the server's threads and are thread-safe.

class Identity {
 public:
  virtual ~Identity() = default;
  // By the token of an `Authorization: Bearer` field. What cannot be proven is refused: 401 for the
  // token, 503 where the API server does not answer.
  [[nodiscard]] virtual Task<std::expected<Caller, Refusal>> identify(std::string_view bearer) = 0;
};

// Keys and tokens, by name; the newest, as Secrets rotate. nullopt where there is none.
class Keys {
 public:
  virtual ~Keys() = default;
  // Key `key` of Secret `secret` of the gateway's namespace.
  [[nodiscard]] virtual std::optional<std::string> key(std::string_view secret,
                                                       std::string_view key) const = 0;
  // The token for the workspace's git host.
  [[nodiscard]] virtual std::optional<std::string> git_token(const Caller& caller) const = 0;
};

struct Spent {
  std::int64_t tokens = 0;
  MicroDollars cost = 0;
};

// What is set aside for one call; given back unspent if it is destroyed unsettled.
class Reservation {
 public:
  virtual ~Reservation() = default;
  virtual void settle(const Spent& spent) = 0;  // once; may be more than was set aside
};

class Budgets {
 public:
  virtual ~Budgets() = default;
  // Counts one request and sets `estimate` aside, of the workspace's and of the namespace's budget.
  // 429 (code budget_exceeded or rate_limited) where either has not that much left; 503 where that
  // cannot be told.
  [[nodiscard]] virtual Task<std::expected<std::unique_ptr<Reservation>, Refusal>> reserve(
      const Caller& caller, const Spent& estimate) = 0;
};

// What is counted of a line; each stands in it too.
struct Counted {
  std::string_view kind;
  std::string_view verdict;
  std::string_view code;
  std::string_view upstream;
  std::int64_t duration_ms = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  MicroDollars cost = 0;
};

// One JSON line a call, on standard output. Never blocks for long: lines that cannot be written are
// counted and said so with the next.
class Record {
 public:
  virtual ~Record() = default;
  virtual void write(nlohmann::json line) = 0;  // `time` (RFC 3339, microseconds) is added
  // The same of a line that is text already: one JSON object with a member at least, in UTF-8.
  virtual void write_text(const Counted& counted, std::string line) {
    static_cast<void>(counted);
    write(nlohmann::json::parse(line));
  }
};

struct Services {
  std::shared_ptr<Identity> identity;
  std::shared_ptr<Keys> keys;
  std::shared_ptr<Budgets> budgets;
  std::shared_ptr<Record> record;
};

}  // namespace palisade::gateway
