// Servers and addresses for tests of the network. The whole test program lives in a network
// namespace of its own, where 10.66.0.1 is an address like any other: nothing can leave it.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard/address.h"
#include "guard/policy.h"
#include "guard/proc.h"
#include "namespaces.h"
#include "server_process.h"

namespace palisade::guard {

inline constexpr const char* kForeign = "10.66.0.1";

class OwnNetwork : public ::testing::Environment {
 public:
  void SetUp() override {
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
      ASSERT_EQ(enter_namespaces(CLONE_NEWNET), "");
    }
    ASSERT_TRUE(configure_interface("lo", nullptr, nullptr));
    ASSERT_TRUE(configure_interface("lo:1", kForeign, "255.255.255.0"));
  }
};

inline EncodedAddress internet(const char* address, std::uint16_t port, int family = AF_INET) {
  return *encode({*parse_address(address), port}, family);
}
inline const sockaddr* raw(const EncodedAddress& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}
inline std::uint16_t port_of(int fd) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  return decode(std::as_bytes(std::span{&own, 1}).first(size)).endpoint.port;
}

// connect(2) and errno: 0 for success.
inline int try_connect(int fd, const EncodedAddress& address) {
  return connect(fd, raw(address), address.size) == 0 ? 0 : errno;
}
inline int try_connect(int fd, const sockaddr_un& address, socklen_t size = sizeof(sockaddr_un)) {
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
}
inline int try_bind(int fd, const sockaddr_un& address, socklen_t size = sizeof(sockaddr_un)) {
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 ? 0 : errno;
}
inline sockaddr_un unix_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path));
  return address;
}

// Accepts everything on an address, echoes what comes until its end, and counts.
class EchoServer {
  struct Counts {
    std::atomic<int> accepted = 0;
    std::atomic<int> ended = 0;
  };

 public:
  explicit EchoServer(const char* address, int family = AF_INET)
      : EchoServer(internet(address, 0, family)) {}
  explicit EchoServer(const EncodedAddress& address) : EchoServer(raw(address), address.size) {}
  explicit EchoServer(const sockaddr_un& address)
      : EchoServer(reinterpret_cast<const sockaddr*>(&address), sizeof address) {}

  [[nodiscard]] std::uint16_t port() const { return port_of(fd_.get()); }

 private:
  const Shared<Counts> counts_;
  Fd fd_;

 public:
  const std::atomic<int>& accepted = counts_->accepted;
  const std::atomic<int>& ended = counts_->ended;  // connections whose peer has closed

 private:
  EchoServer(const sockaddr* address, socklen_t size)
      : fd_(listening(address, size)), process_(fd_.get(), [this] { serve(); }) {}

  static int listening(const sockaddr* address, socklen_t size) {
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool fine = bind(fd, address, size) == 0 && listen(fd, 1024) == 0;
    EXPECT_TRUE(fine) << strerror(errno);
    return fd;
  }
  [[noreturn]] void serve() const {
    std::vector<Fd> open;
    while (true) {
      std::vector<pollfd> ready{{fd_.get(), POLLIN, 0}};
      for (const auto& one : open)
        ready.push_back({one.get(), POLLIN, 0});
      if (poll(ready.data(), ready.size(), -1) <= 0) continue;
      for (std::size_t i = open.size(); i > 0; --i) {
        if (ready[i].revents == 0) continue;
        std::array<char, 4096> bytes{};
        const auto got = recv(open[i - 1].get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got > 0) {
          send(open[i - 1].get(), bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
        } else if (got == 0 || errno != EAGAIN) {
          ++counts_->ended;
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(i - 1));
        }
      }
      if (ready[0].revents != 0) {
        Fd peer{accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!peer) continue;
        ++counts_->accepted;
        open.push_back(std::move(peer));
      }
    }
  }

  const ServerProcess process_;
};

// Waits until `holds`, for 20 seconds at most.
template <typename Condition>
bool eventually(Condition holds) {
  for (int i = 0; i < 2000; ++i) {
    if (holds()) return true;
    usleep(10'000);
  }
  return holds();
}

inline Policy allow(std::uint16_t port, const char* range = "127.0.0.1/32") {
  Policy policy;
  policy.network.connect = {{range, port, 0}};
  return policy;
}

}  // namespace palisade::guard
