// An archive on a folder of the test's, and sessions that send to it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <gateway/archive/archive.h>
#include <gateway/archive/directory.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "gateway_archive/folder.h"
#include "gateway_http/fixture.h"

namespace palisade::gateway::archive::testing {

using gateway::testing::eventually;
using gateway::testing::TestServer;
using gateway::testing::Wire;
using nlohmann::json;

class Lines : public Record {
 public:
  void write(json line) override {
    const std::scoped_lock lock(mutex_);
    lines_.push_back(std::move(line));
  }
  [[nodiscard]] std::vector<json> all() const {
    const std::scoped_lock lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<json> lines_;
};

inline Caller caller(const std::string& pod = "pod-1") {
  return {"team-a", "fix-login", "uid-1", "fix-login-agent", pod, nullptr};
}

inline Place place(const std::string& pod = "pod-1") {
  return place_of(caller(pod)).value();
}

inline ArchiveConfig config_in(const fs::path& folder, std::uint64_t bytes = 4UL << 20) {
  ArchiveConfig out;
  out.directory = folder;
  out.session_bytes = bytes;
  return out;
}

// The gateway's side, on loopback: whoever says `Bearer NAME` is the pod of that UID.
class ArchiveServer {
 public:
  explicit ArchiveServer(std::shared_ptr<Store> store, std::uint16_t port = 0)
      : archive_(std::move(store), services(), counting()),
        server_([this](Exchange& exchange) { return handle(exchange); }, options(port)) {}

  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  [[nodiscard]] std::vector<json> lines() const { return lines_->all(); }
  std::atomic<std::uint64_t> kept{0};
  std::atomic<int> closed{0};
  std::atomic<int> fail_next{0};  // so many requests get a 503

 private:
  Services services() {
    Services out;
    out.record = lines_;
    return out;
  }
  ArchiveCounting counting() {
    return {[this](std::uint64_t bytes) { kept += bytes; }, [this] { ++closed; }};
  }
  static ServerOptions options(std::uint16_t port) {
    ServerOptions out = gateway::testing::local();
    out.port = port;
    return out;
  }
  Task<void> handle(Exchange& exchange) {
    if (fail_next > 0) {
      --fail_next;
      Fields fields;
      std::ignore = co_await exchange.reply(503, std::move(fields), "");
      co_return;
    }
    std::string who(exchange.request().fields.get("Authorization"));
    const Caller asks = caller(who.substr(std::min<std::size_t>(7, who.size())));
    co_await archive_.handle(exchange, asks);
  }

  std::shared_ptr<Lines> lines_ = std::make_shared<Lines>();
  Archive archive_;
  TestServer server_;
};

}  // namespace palisade::gateway::archive::testing
