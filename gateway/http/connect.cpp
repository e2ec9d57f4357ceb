#include "connect.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <system_error>

#include <arpa/inet.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

namespace palisade::gateway {

namespace {

using namespace std::chrono_literals;

constexpr auto kFoundFor = 10s;
constexpr auto kNotFoundFor = 1s;
constexpr std::size_t kMaxNames = 256;
constexpr std::size_t kMaxAddresses = 8;

std::vector<Endpoint> literal(const std::string& host) {
  Endpoint out;
  auto* four = reinterpret_cast<sockaddr_in*>(&out.address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&out.address);
  if (::inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    out.size = sizeof(*four);
    return {out};
  }
  if (::inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    out.size = sizeof(*six);
    return {out};
  }
  return {};
}

std::vector<Endpoint> ask_system(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  std::vector<Endpoint> out;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return out;
  for (const addrinfo* one = found; one != nullptr && out.size() < kMaxAddresses;
       one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    Endpoint& endpoint = out.emplace_back();
    std::memcpy(&endpoint.address, one->ai_addr, one->ai_addrlen);
    endpoint.size = one->ai_addrlen;
  }
  ::freeaddrinfo(found);
  return out;
}

NetError unreachable(const char* why) {
  return {Fault::kConnect, std::string("connect: ") + why};
}

}  // namespace

struct Resolver::Lookup {
  bool done = false;
  Clock::time_point until;
  std::vector<Endpoint> endpoints;
  std::vector<boost::asio::steady_timer*> waiting;
};

Resolver::Resolver(Loop& loop, std::shared_ptr<Workers> workers)
    : loop_(loop), workers_(std::move(workers)) {}
Resolver::~Resolver() = default;

Task<void> Resolver::look_up(std::shared_ptr<Workers> workers, std::shared_ptr<Lookup> lookup,
                             std::string host) {
  const auto found = std::make_shared<std::vector<Endpoint>>();
  // Named: GCC 12 copies a closure that is a temporary of a co_await byte by byte.
  std::function<void()> ask = [found, host] { *found = ask_system(host); };
  const auto done = co_await workers->run(std::move(ask));
  if (done) lookup->endpoints = std::move(*found);
  lookup->done = true;
  lookup->until = Loop::now() + (lookup->endpoints.empty() ? kNotFoundFor : kFoundFor);
  for (auto* timer : lookup->waiting)
    timer->cancel();
}

Task<NetResult<std::vector<Endpoint>>> Resolver::find(std::string host,
                                                      Clock::time_point deadline) {
  if (auto address = literal(host); !address.empty()) co_return address;
  std::erase_if(lookups_, [](const auto& entry) {
    return entry.second->done && entry.second->until <= Loop::now();
  });
  std::shared_ptr<Lookup> lookup;
  if (const auto at = lookups_.find(host); at != lookups_.end()) {
    lookup = at->second;
  } else {
    lookup = std::make_shared<Lookup>();
    if (lookups_.size() < kMaxNames) lookups_[host] = lookup;
    boost::asio::co_spawn(loop_.io(), look_up(workers_, lookup, host), boost::asio::detached);
  }
  if (!lookup->done) {
    boost::asio::steady_timer timer(loop_.io(), deadline);
    lookup->waiting.push_back(&timer);
    boost::system::error_code cancelled;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    std::erase(lookup->waiting, &timer);
  }
  if (!lookup->done)
    co_return std::unexpected(
        NetError{Fault::kTimeout, "look up " + host + ": no answer within the deadline"});
  if (lookup->endpoints.empty())
    co_return std::unexpected(NetError{Fault::kConnect, "look up " + host + ": not found"});
  co_return lookup->endpoints;
}

namespace {

Task<NetResult<StreamPtr>> connect_one(Loop& loop, Endpoint endpoint, std::uint16_t port,
                                       Clock::time_point deadline) {
  auto* four = reinterpret_cast<sockaddr_in*>(&endpoint.address);
  auto* six = reinterpret_cast<sockaddr_in6*>(&endpoint.address);
  if (endpoint.address.ss_family == AF_INET)
    four->sin_port = htons(port);
  else
    six->sin6_port = htons(port);
  const int fd =
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) co_return std::unexpected(unreachable(std::strerror(errno)));
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const int result = ::connect(fd, reinterpret_cast<sockaddr*>(&endpoint.address), endpoint.size);
  const int error = errno;
  if (result != 0 && error != EINPROGRESS) {
    ::close(fd);
    co_return std::unexpected(unreachable(std::strerror(error)));
  }
  StreamPtr stream;
  try {
    stream = Stream::make(loop, fd, result != 0);
  } catch (const std::system_error& refused) {
    co_return std::unexpected(unreachable(refused.what()));
  }
  if (result != 0) {
    const Wake woken = co_await stream->writable(deadline);
    if (woken == Wake::kTimeout)
      co_return std::unexpected(NetError{Fault::kTimeout, "connect: not within the deadline"});
    if (woken == Wake::kStopped) co_return std::unexpected(NetError{Fault::kStopped, "ended here"});
    int failed = 0;
    socklen_t size = sizeof(failed);
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size);
    if (failed != 0) co_return std::unexpected(unreachable(std::strerror(failed)));
  }
  co_return std::move(stream);
}

}  // namespace

Task<NetResult<StreamPtr>> connect_to(Loop& loop, std::vector<Endpoint> endpoints,
                                      std::uint16_t port, Clock::time_point deadline) {
  NetResult<StreamPtr> out = std::unexpected(unreachable("no address"));
  std::size_t left = endpoints.size();
  for (const Endpoint& endpoint : endpoints) {
    // The others shall have their share of the time.
    const auto now = Loop::now();
    const auto until = now + (deadline - now) / static_cast<int>(left--);
    out = co_await connect_one(loop, endpoint, port, until);
    if (out || out.error().fault == Fault::kStopped) break;
  }
  co_return std::move(out);
}

}  // namespace palisade::gateway
