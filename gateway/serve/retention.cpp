#include "retention.h"

#include <chrono>
#include <exception>
#include <utility>

#include <gateway/archive/directory.h>
#include <spdlog/spdlog.h>

namespace palisade::gateway {

namespace {

using namespace std::chrono_literals;

constexpr auto kEvery = 1h;
// After a start or another configuration: by then it is known who leads.
constexpr auto kSoon = 30s;

}  // namespace

Retention::Retention(std::function<bool()> leads)
    : leads_(std::move(leads)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

void Retention::use(std::optional<archive::ArchiveConfig> config) {
  {
    const std::scoped_lock lock(mutex_);
    config_ = std::move(config);
    fresh_ = true;
  }
  changed_.notify_all();
}

void Retention::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const bool fresh = std::exchange(fresh_, false);
    changed_.wait_for(lock, stop, fresh ? std::chrono::seconds(kSoon) : kEvery,
                      [this] { return fresh_; });
    if (stop.stop_requested() || fresh_ || !config_ || config_->s3 ||
        config_->retention_days == 0 || !leads_())
      continue;
    const archive::ArchiveConfig config = *config_;
    lock.unlock();
    look(config, stop);
    lock.lock();
  }
}

void Retention::look(const archive::ArchiveConfig& config, const std::stop_token& stop) const {
  try {
    const auto removed = archive::remove_older(
        config.directory,
        std::chrono::system_clock::now() - std::chrono::days(config.retention_days),
        [this, &stop] { return stop.stop_requested() || !leads_(); });
    if (removed > 0)
      spdlog::info("archive: {} sessions older than {} days were removed", removed,
                   config.retention_days);
  } catch (const std::exception& error) {
    spdlog::error("archive: what is older than {} days cannot be removed: {}",
                  config.retention_days, error.what());
  }
}

}  // namespace palisade::gateway
