// What the LLM side is told: upstreams, models with routes and prices, limits and checks. The `llm`
// object of gateway.json.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/core/caller.h>
#include <gateway/http/client.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::llm {

// Whose wire format an upstream speaks.
enum class Kind : std::uint8_t { kOpenAi, kAnthropic };

// A key of a Secret of the gateway's namespace.
struct KeyReference {
  std::string secret;
  std::string key;
  bool operator==(const KeyReference&) const = default;
};

struct Upstream {
  std::string name;
  Origin origin;
  std::string path;  // "" or "/v1": what the endpoint is appended to
  Kind kind = Kind::kOpenAi;
  std::optional<KeyReference> key;  // nullopt: asked without one
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds first_byte_timeout{120'000};
  std::chrono::milliseconds idle_timeout{60'000};
};

struct Route {
  std::size_t upstream = 0;  // LlmConfig::upstreams[upstream]
  std::string model;         // its name there
  std::uint32_t weight = 1;
};

// Per million tokens.
struct Price {
  MicroDollars input = 0;
  MicroDollars output = 0;
};

struct Model {
  std::string name;
  std::vector<std::string> aliases;
  std::vector<Route> routes;
  std::optional<Price> price;  // nullopt: not to be used by whoever has a budget in money
};

struct Limits {
  std::size_t request_bytes = 10 << 20;
  std::size_t reply_bytes = 32 << 20;
  std::chrono::milliseconds deadline{15 * 60'000};  // of a call as a whole
  // Between comments in a stream that is held back. No field of the configuration.
  std::chrono::milliseconds keep_alive{10'000};
};

// What is done about credentials in what leaves.
enum class Outbound : std::uint8_t { kOff, kMask, kRefuse };
// What is done about a reply.
enum class Action : std::uint8_t { kOff, kFlag, kRefuse };

struct ReplyRules {
  Action shell_blocks = Action::kOff;
  Action outside_paths = Action::kOff;
  Action git_options = Action::kOff;
  Action look_alikes = Action::kOff;
  std::size_t max_bytes = 0;  // of what the model says; above it is refused. 0: not bounded

  // Whether anything is looked for; whether a reply must be whole before any of it is passed on.
  [[nodiscard]] bool any() const;
  [[nodiscard]] bool holds_back() const;
};

struct LlmConfig {
  std::vector<Upstream> upstreams;
  std::vector<Model> models;
  Limits limits;
  bool record_bodies = false;
  Outbound credentials = Outbound::kMask;
  bool provider_side =
      false;  // whether providers may be asked to fetch, run or connect to anything
  ReplyRules replies;

  // By its name or an alias; nullptr where there is none.
  [[nodiscard]] const Model* find(std::string_view name) const;
};

// Strict: what is not known, missing or out of range is an error, as "llm.models[0].price: why".
[[nodiscard]] std::expected<LlmConfig, std::string> parse_llm_config(
    const nlohmann::json& document);

}  // namespace palisade::gateway::llm
