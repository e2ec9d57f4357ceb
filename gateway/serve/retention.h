// Takes away what the archive has kept for as long as it was to.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include <gateway/archive/config.h>

namespace palisade::gateway {

// Looks once an hour, and soon after another configuration. Thread-safe.
class Retention {
 public:
  // `leads`: whether this replica does it; of several that share a volume one should.
  explicit Retention(std::function<bool()> leads);
  // nullopt, a bucket (its lifecycle rule does it) or retentionDays 0: everything is kept.
  void use(std::optional<archive::ArchiveConfig> config);

 private:
  void run(const std::stop_token& stop);
  void look(const archive::ArchiveConfig& config, const std::stop_token& stop) const;

  const std::function<bool()> leads_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<archive::ArchiveConfig> config_;
  bool fresh_ = false;
  std::jthread thread_;  // last: it uses what stands above
};

}  // namespace palisade::gateway
