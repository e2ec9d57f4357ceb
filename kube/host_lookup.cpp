#include "host_lookup.h"

#include <cstring>
#include <memory>

#include <netdb.h>
#include <pthread.h>

#include "url.h"

namespace kube {

namespace {

Result<HostLookup::Endpoints> look_up(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (failed != 0)
    return transport_error(kTransportReasonConnect, host + ": " + gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  HostLookup::Endpoints out;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    boost::asio::ip::tcp::endpoint endpoint;
    if (entry->ai_addrlen > endpoint.capacity()) continue;
    std::memcpy(endpoint.data(), entry->ai_addr, entry->ai_addrlen);
    endpoint.resize(entry->ai_addrlen);
    out.push_back(endpoint);
  }
  if (out.empty()) return transport_error(kTransportReasonConnect, host + ": has no address");
  return out;
}

}  // namespace

HostLookup::HostLookup(std::string host, std::string port)
    : host_(std::move(host)), port_(std::move(port)) {}

void HostLookup::start() {
  if (worker_.joinable()) worker_.join();  // it has set running_ to false: it is at its end
  running_ = true;
  worker_ = std::jthread([this] {
    pthread_setname_np(pthread_self(), "kube-lookup");
    auto result = look_up(host_, port_);
    const std::scoped_lock lock(mutex_);
    last_ = std::move(result);
    ++count_;
    running_ = false;
    finished_.notify_all();
  });
}

Result<HostLookup::Endpoints> HostLookup::find(std::chrono::steady_clock::time_point until,
                                               const std::stop_token& stop) {
  if (is_ip_literal(host_)) return look_up(host_, port_);
  std::unique_lock lock(mutex_);
  if (!running_) start();
  const std::uint64_t before = count_;
  if (finished_.wait_until(lock, stop, until, [&] { return count_ != before; })) return last_;
  if (stop.stop_requested())
    return transport_error(kTransportReasonCancelled, host_ + ": look-up cancelled");
  return transport_error(kTransportReasonTimeout, host_ + ": no address within the deadline");
}

}  // namespace kube
