// The addresses of one host name. A look-up in the system's resolver cannot be interrupted, so it
// runs on a thread of its own and its callers stop waiting when they like.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include <kube/error.h>

namespace kube {

// Thread-safe. At most one look-up is in flight; callers share it. Nothing is cached. The
// destructor waits for a look-up in flight, which the resolver's own timeout bounds
// (resolv.conf(5)).
class HostLookup {
 public:
  using Endpoints = std::vector<boost::asio::ip::tcp::endpoint>;

  HostLookup(std::string host, std::string port);
  ~HostLookup() = default;
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

  // ConnectFailed, DeadlineExceeded or Cancelled. An IP literal is answered at once.
  [[nodiscard]] Result<Endpoints> find(std::chrono::steady_clock::time_point until,
                                       const std::stop_token& stop);

 private:
  void start();

  const std::string host_;
  const std::string port_;
  std::mutex mutex_;
  std::condition_variable_any finished_;
  bool running_ = false;
  std::uint64_t count_ = 0;  // look-ups finished
  Result<Endpoints> last_;
  std::jthread worker_;  // last: joined while the rest is alive
};

}  // namespace kube
