// The pod's only way out: it takes requests on loopback and passes them on with the session's
// identity. Who asks is not trusted: nothing it says becomes a header, a path outside the route's
// or a line of the log.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include <gateway/relay/config.h>

namespace palisade::gateway::relay {

// What the operator learns of a session's use. `failures`: answers of 5xx, and those that did not
// come or not whole though the caller waited. Bytes are those of bodies.
struct Counts {
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
  std::int64_t idle_seconds = 0;  // since anything last moved; since the start where nothing did
  std::uint64_t budget_refusals = 0;  // 429 with x-should-retry: false
};
// {"requests":N,"failures":N,"bytesUp":N,"bytesDown":N,"idleSeconds":N,"budgetRefusals":N}
[[nodiscard]] std::string to_json(const Counts& counts);

// Where counts are told, on every route: for `status` and `ready`.
inline constexpr const char* kStatusPath = "/-/relay";

class Relay {
 public:
  explicit Relay(const Config& config);
  ~Relay();  // stop(0)
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // All routes listen, or an error that names the one that does not.
  [[nodiscard]] std::expected<void, std::string> start();
  [[nodiscard]] std::vector<std::uint16_t> ports() const;  // in the order of the routes
  [[nodiscard]] Counts counts() const;                     // thread-safe
  // No new requests; those in flight have up to `grace`.
  void stop(std::chrono::milliseconds grace);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The commands. Exit codes.
[[nodiscard]] int serve(const Config& config);  // until SIGTERM or SIGINT, which are blocked
// Serves, by a process of its own that reads `file`, while this one command runs, and no longer;
// its exit code. The first word is a path. No threads may run.
[[nodiscard]] int with(const Config& config, const std::string& file,
                       const std::vector<std::string>& command);
[[nodiscard]] int ready(const Config& config);   // 0 once all routes listen
[[nodiscard]] int status(const Config& config);  // one JSON line

}  // namespace palisade::gateway::relay
