// What outlives the session: reads what guard writes on the record's volume, and sends it to the
// gateway's archive while the session runs (gateway/archive/archive.h says how). Whose it is says
// the pod's token. Nothing that the agent can reach leads here: no port, no path, and a volume on
// which guard alone writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include <gateway/relay/config.h>

namespace palisade::gateway::relay {

struct Shipped {
  std::uint64_t bytes = 0;  // of both streams, as the archive has acknowledged them
  bool complete = false;    // the archive has all that there was at the session's end
  std::string trouble;      // why not, or not yet; "" where nothing is wrong
};
// {"bytes":N,"complete":true,"trouble":"..."}, the last where there is any.
[[nodiscard]] std::string to_json(const Shipped& shipped);

struct ShipperPace {
  std::chrono::milliseconds every{5'000};
  std::chrono::milliseconds first_pause{1'000};  // after a failure; doubled with each
  std::chrono::milliseconds longest_pause{30'000};
};

// One piece of a stream is in memory at a time; what waits for a gateway that does not answer
// stays on the volume.
class Shipper {
 public:
  explicit Shipper(ArchiveRoute route, ShipperPace pace = {});  // begins at once
  ~Shipper();                                                   // ends at once
  Shipper(const Shipper&) = delete;
  Shipper& operator=(const Shipper&) = delete;

  // The session is over: what is there is sent, and the archive told that it is whole, within that
  // time or not at all.
  void finish(std::chrono::milliseconds within);
  [[nodiscard]] Shipped shipped() const;  // thread-safe

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway::relay
