// A gateway that closes the connections which the relay keeps, just as they are used again.
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include <gateway/relay/relay.h>

#include "gateway_http/fixture.h"

namespace palisade::gateway::relay {
namespace {

using namespace palisade::gateway::testing;
namespace fs = std::filesystem;

// What the gateway does with the second request of each connection.
enum class Closes { kOnceRead, kUnread, kWithinTheAnswer };

// A gateway in plain HTTP: answers the first request of a connection with its body's size, and
// closes at the second. With `never`, at the first too.
class ClosingGateway {
 public:
  explicit ClosingGateway(Closes closes, bool never = false)
      : closes_(closes), never_(never), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, plain, size) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, plain, &size) != 0)
      throw std::runtime_error("no listener");
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { serve(); });
  }
  ~ClosingGateway() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  ClosingGateway(const ClosingGateway&) = delete;
  ClosingGateway& operator=(const ClosingGateway&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }
  [[nodiscard]] int seconds() const { return seconds_; }  // requests that a kept one brought

 private:
  void serve() {
    std::vector<std::jthread> each;
    for (;;) {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      ++connections_;
      each.emplace_back([this, socket] { one(socket); });
    }
  }

  static bool read_request(Wire& wire, std::size_t& size) {
    const std::string head = wire.until("\r\n\r\n");
    if (head.empty()) return false;
    size = 0;
    if (head.find("chunked") != std::string::npos) {
      size = wire.until("0\r\n\r\n").size();
    } else if (const auto at = head.find("Content-Length: "); at != std::string::npos) {
      size = std::stoul(head.substr(at + 16));
      if (size > 0 && wire.exactly(size).empty()) return false;
    }
    return true;
  }

  void one(int socket) {
    Wire wire = Wire::of(socket);
    std::size_t size = 0;
    if (!never_) {
      if (!read_request(wire, size)) return;
      const std::string said = std::to_string(size);
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(said.size()) + "\r\n\r\n" +
                said);
    }
    if (closes_ == Closes::kUnread) {
      pollfd more{socket, POLLIN, 0};
      char byte = 0;
      if (::poll(&more, 1, 20'000) <= 0 || ::recv(socket, &byte, 1, MSG_PEEK) <= 0) return;
    } else if (!read_request(wire, size)) {
      return;
    }
    ++seconds_;
    if (closes_ == Closes::kWithinTheAnswer)
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  }

  const Closes closes_;
  const bool never_;
  int listener_;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_{0};
  std::atomic<int> seconds_{0};
  std::jthread thread_;
};

class RelayRetry : public ::testing::Test {
 protected:
  void start(std::uint16_t gateway) {
    Route route;
    route.name = "llm";
    route.address = "127.0.0.1";
    route.path = "/v1";
    route.url.tls = false;
    route.url.host = "127.0.0.1";
    route.url.port = gateway;
    route.url.path = "/v1";
    Config config;
    config.routes = {route};
    relay_ = std::make_unique<Relay>(config);
    const auto started = relay_->start();
    ASSERT_TRUE(started) << started.error();
  }
  std::string say(const std::string& head, const std::string& body = {}) {
    Wire wire(relay_->ports()[0]);
    wire.send(head + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    wire.send(body.empty() ? "\r\n"
                           : "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return wire.rest();
  }
  std::string post(std::size_t size) { return say("POST /v1/x", std::string(size, 'b')); }
  std::string chunked(std::size_t size) {
    Wire wire(relay_->ports()[0]);
    wire.send(
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: "
        "chunked\r\n\r\n");
    char length[20];
    std::snprintf(length, sizeof length, "%zx\r\n", size);
    wire.send(length + std::string(size, 'b') + "\r\n0\r\n\r\n");
    return wire.rest();
  }

  std::unique_ptr<Relay> relay_;
};

class RelayRetries : public RelayRetry, public ::testing::WithParamInterface<Closes> {};

TEST_P(RelayRetries, SendsAgainWhatAKeptConnectionDidNotTake) {
  ClosingGateway gateway(GetParam());
  start(gateway.port());
  ASSERT_TRUE(post(3).ends_with("\r\n\r\n3"));
  for (const std::size_t size : {std::size_t{0}, std::size_t{4}, std::size_t{200'000}}) {
    // Until one has met the connection that another left: it is there a moment after the answer.
    const int before = gateway.seconds();
    for (int i = 0; i < 100 && gateway.seconds() == before; ++i) {
      const std::string answer = size == 0 ? say("GET /v1/x") : post(size);
      ASSERT_TRUE(answer.ends_with("\r\n\r\n" + std::to_string(size))) << answer;
    }
    EXPECT_GT(gateway.seconds(), before);
  }
  EXPECT_EQ(relay_->counts().failures, 0U);
  relay_.reset();  // and with it the connections that the gateway waits for
}

TEST_P(RelayRetries, SendsWhatItCannotHoldOverANewConnection) {
  ClosingGateway gateway(GetParam());
  start(gateway.port());
  ASSERT_TRUE(post(3).ends_with("\r\n\r\n3"));
  std::this_thread::sleep_for(200ms);  // so that it is kept; nothing fails where it is not
  const std::string large = post(1'000'000);
  EXPECT_TRUE(large.ends_with("\r\n\r\n1000000")) << large;
  const std::string unknown = chunked(10);
  EXPECT_NE(unknown.find("HTTP/1.1 200 OK"), std::string::npos) << unknown;
  EXPECT_EQ(gateway.connections(), 3);
  EXPECT_EQ(gateway.seconds(), 0);
  relay_.reset();
}

TEST_P(RelayRetries, SendsNothingAThirdTime) {
  ClosingGateway gateway(GetParam(), true);
  start(gateway.port());
  const std::string answer = post(3);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 502")) << answer;
  EXPECT_EQ(gateway.connections(), 1) << "a new connection is not tried again";
  EXPECT_EQ(relay_->counts().failures, 1U);
}

INSTANTIATE_TEST_SUITE_P(Closing, RelayRetries,
                         ::testing::Values(Closes::kOnceRead, Closes::kUnread), [](const auto& of) {
                           return of.param == Closes::kOnceRead ? "OnceRead" : "Unread";
                         });

TEST_F(RelayRetry, DoesNotSendAgainWhatBeganToBeAnswered) {
  ClosingGateway gateway(Closes::kWithinTheAnswer);
  start(gateway.port());
  ASSERT_TRUE(post(3).ends_with("\r\n\r\n3"));
  std::string cut;
  for (int i = 0; i < 100 && gateway.seconds() == 0; ++i)
    cut = post(4);
  EXPECT_TRUE(cut.ends_with("half")) << cut;
  relay_.reset();
}

}  // namespace
}  // namespace palisade::gateway::relay
