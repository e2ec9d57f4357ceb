// A server on loopback with a handler of the test's, a client that says just the bytes it is told,
// and a place to run coroutines that make calls.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/client.h>
#include <gateway/http/server.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace palisade::gateway::testing {

using namespace std::chrono_literals;

inline constexpr auto kPatience = 15s;  // of what normally takes no time

inline Task<void> pause(std::chrono::milliseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  co_await timer.async_wait(boost::asio::use_awaitable);
}

template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

inline ServerOptions local() {
  ServerOptions options;
  options.address = "127.0.0.1";
  options.log = [](const std::string&) {};
  return options;
}

struct TestServer {
  explicit TestServer(Handler handler, ServerOptions options = local())
      : server(std::move(options), std::move(handler)) {
    if (const auto started = server.start(); !started)
      throw std::runtime_error(started.error().message);
  }
  [[nodiscard]] std::uint16_t port() const { return server.port(); }
  Server server;
};

// Bytes over TCP.
class Wire {
 public:
  explicit Wire(std::uint16_t port, int receive_buffer = 0)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0)
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
  }
  // Of a socket that is connected.
  static Wire of(int socket) { return Wire(socket, Taken{}); }
  ~Wire() { close(); }
  Wire(Wire&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), read_(std::move(other.read_)) {}
  Wire& operator=(Wire&&) = delete;

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void end_writing() { ::shutdown(socket_, SHUT_WR); }

  // False once the peer has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // What came up to and with `end`; "" where the peer closes or is silent before.
  std::string until(std::string_view end) {
    while (read_.find(end) == std::string::npos) {
      if (!more()) return {};
    }
    const std::size_t size = read_.find(end) + end.size();
    std::string out = read_.substr(0, size);
    read_.erase(0, size);
    return out;
  }
  std::string exactly(std::size_t size) {
    while (read_.size() < size) {
      if (!more()) return {};
    }
    std::string out = read_.substr(0, size);
    read_.erase(0, size);
    return out;
  }
  // All that comes until the peer closes; ends with "(silence)" where it does not.
  std::string rest() {
    while (more()) {
    }
    return std::exchange(read_, {}) + (closed_ ? "" : "(silence)");
  }

 private:
  struct Taken {};
  Wire(int socket, Taken) : socket_(socket) {}

  bool more() {
    pollfd wait{socket_, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) <= 0)
      return false;
    std::array<char, 65536> piece{};
    const ssize_t got = ::recv(socket_, piece.data(), piece.size(), 0);
    closed_ = got <= 0;
    if (!closed_) read_.append(piece.data(), static_cast<std::size_t>(got));
    return !closed_;
  }

  int socket_;
  bool closed_ = false;
  std::string read_;
};

// A server that does with its connections, one after the other, what it is told.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<void(Wire&)> script) : script_(std::move(script)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("listen");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      int socket = -1;
      while ((socket = ::accept(listener_, nullptr, nullptr)) >= 0) {
        ++connections;
        Wire wire = Wire::of(socket);
        script_(wire);
      }
    });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  std::atomic<int> connections{0};

 private:
  std::function<void(Wire&)> script_;
  int listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

inline Origin plain(std::uint16_t port) {
  Origin origin;
  origin.tls = false;
  origin.host = "127.0.0.1";
  origin.port = port;
  return origin;
}

// Runs coroutines with a thread's Clients, as handlers do.
class Caller {
 public:
  using Body = std::function<Task<void>(Clients&)>;

  Caller() : front_([this](Exchange& exchange) { return serve(exchange); }) {}
  // Waits for its end; fails the test where that does not come, or for what it throws.
  void run(Body body) {
    body_ = std::move(body);
    thrown_.clear();
    Wire wire(front_.port());
    wire.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(wire.rest().substr(0, 12), "HTTP/1.1 200");
    EXPECT_EQ(thrown_, "");
  }

 private:
  Task<void> serve(Exchange& exchange) {
    try {
      co_await body_(exchange.clients());
    } catch (const std::exception& error) {
      thrown_ = error.what();
    }
    Fields none;
    std::ignore = co_await exchange.reply(200, std::move(none), "done");
  }

  Body body_;
  std::string thrown_;
  TestServer front_;
};

// One call from its beginning to its end.
struct Answer {
  int status = 0;
  Fields fields;
  std::string body;
  bool reused = false;
  std::optional<Fault> fault;
  std::string message;
};

inline Task<Answer> ask(Clients& clients, const Origin& origin, RequestHead head,
                        std::string_view body = {},
                        std::chrono::milliseconds deadline = kPatience) {
  Answer out;
  const auto failed = [&out](const NetError& error) {
    out.fault = error.fault;
    out.message = error.message;
    return out;
  };
  auto call = co_await clients.open(origin, deadline);
  if (!call) co_return failed(call.error());
  out.reused = (*call)->reused();
  const auto sent = co_await (*call)->send(std::move(head), body.size());
  if (!sent) co_return failed(sent.error());
  if (!body.empty()) {
    const auto written = co_await (*call)->write(body);
    if (!written) co_return failed(written.error());
  }
  const auto finished = co_await (*call)->finish();
  if (!finished) co_return failed(finished.error());
  auto answer = co_await (*call)->response(deadline);
  if (!answer) co_return failed(answer.error());
  out.status = answer->status;
  out.fields = std::move(answer->fields);
  for (;;) {
    const auto piece = co_await (*call)->read(deadline);
    if (!piece) co_return failed(piece.error());
    if (piece->empty()) break;
    out.body.append(*piece);
  }
  co_return out;
}

inline RequestHead request(std::string method, std::string target) {
  RequestHead head;
  head.method = std::move(method);
  head.target = std::move(target);
  return head;
}

}  // namespace palisade::gateway::testing
