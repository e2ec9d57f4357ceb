// The HTTP server under the bytes of one connection: it answers what is a request, refuses or
// closes what is none, in answers that a client can tell apart, and goes on serving.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <kube/http_server.h>

#include "fuzz/check.h"

namespace {

using namespace std::chrono_literals;
using palisade::fuzz::check;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 20s;  // beyond it the server counts as wedged
constexpr std::size_t kMaxHeader = 4096;
constexpr std::size_t kMaxBody = 16 * 1024;

class Server {
 public:
  Server() : server_(options(), [this](const auto& request) { return answer(request); }) {
    spdlog::set_level(spdlog::level::off);
    check(server_.start().has_value(), "the server starts");
  }
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  [[nodiscard]] std::size_t connections() const { return server_.connections(); }
  // The methods of the requests since the last call, in their order.
  std::vector<std::string> take_methods() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(methods_, {});
  }

 private:
  static kube::HttpServerOptions options() {
    kube::HttpServerOptions out;
    out.address = "127.0.0.1";
    out.threads = 1;
    out.waiting_threads = 1;
    out.max_header_bytes = kMaxHeader;
    out.max_body_bytes = kMaxBody;
    return out;
  }
  kube::HttpResponse answer(const kube::HttpRequest& request) {
    check(!request.method.empty() && !request.target.empty(),
          "a request has a method and a target");
    check(request.body.size() <= kMaxBody, "a body is bounded");
    check(request.target.size() + request.content_type.size() <= kMaxHeader, "a head is bounded");
    for (const std::string_view part : {request.method, request.target, request.content_type}) {
      check(part.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos,
            "no part of a head holds a line's end");
    }
    check(request.deadline <= Clock::now() + 1min, "an answer is due");
    // Some are answered on the other threads, from the beginning.
    if (!request.may_wait && request.target.size() % 4 == 1) return kube::HttpResponse::must_wait();
    const std::scoped_lock lock(mutex_);
    methods_.emplace_back(request.method);
    kube::HttpResponse response;
    response.content_type = "text/plain";
    response.body.assign(request.body.size() % 100, 'x');
    return response;
  }

  std::mutex mutex_;
  std::vector<std::string> methods_;
  kube::HttpServer server_;
};

Server& server() {
  static Server instance;
  return instance;
}

class Connection {
 public:
  Connection() {
    // A tuple of addresses and ports that is still in TIME_WAIT lets no new connection through:
    // another one is tried then.
    for (int attempt = 0; attempt < 8 && !connect(); ++attempt)
      ::close(std::exchange(socket_, -1));
    check(socket_ >= 0, "connect");
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False where the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void end() { ::shutdown(socket_, SHUT_WR); }
  // All that comes until the server closes.
  std::string rest() {
    std::string out;
    std::array<char, 16 * 1024> buffer{};
    const auto deadline = Clock::now() + kPatience;
    for (;;) {
      pollfd waiting{socket_, POLLIN, 0};
      const int ready = ::poll(&waiting, 1, 1000);
      check(ready > 0 || Clock::now() < deadline, "the server answers or closes", out);
      if (ready <= 0) continue;
      const ssize_t got = ::recv(socket_, buffer.data(), buffer.size(), 0);
      if (got <= 0) return out;
      out.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  bool connect() {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    // From another address each time: of one, the ports would all be in TIME_WAIT after a minute.
    static std::uint32_t next = 0;
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(0x7F010000U + 1 + next++ % 60'000);
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    check(::bind(socket_, reinterpret_cast<sockaddr*>(&from), sizeof(from)) == 0, "bind",
          std::strerror(errno));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(server().port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
      if (errno != EINPROGRESS && errno != EINTR) return false;
      pollfd made{socket_, POLLOUT, 0};
      int ready = 0;
      do {  // libFuzzer's alarm interrupts
        ready = ::poll(&made, 1, 2000);
      } while (ready < 0 && errno == EINTR);
      int error = 0;
      socklen_t size = sizeof(error);
      if (ready != 1 || ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ||
          error != 0)
        return false;
    }
    ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL) & ~O_NONBLOCK);
    return true;
  }

  int socket_ = -1;
};

// One reply is taken from the front of `bytes`; its status.
int take_reply(std::string_view& bytes, bool to_head) {
  check(bytes.starts_with("HTTP/1.1 ") && bytes.size() > 12, "a reply begins like one", bytes);
  const std::size_t head = bytes.find("\r\n\r\n");
  check(head != std::string_view::npos, "a reply's head ends", bytes);
  const int status = std::atoi(std::string(bytes.substr(9, 3)).c_str());
  const std::string_view fields = bytes.substr(0, head + 2);
  bytes.remove_prefix(head + 4);
  if (status == 100) return status;
  const std::size_t at = fields.find("\r\nContent-Length: ");
  check(at != std::string_view::npos, "a reply says how long it is", fields);
  const auto length = std::strtoul(std::string(fields.substr(at + 18, 12)).c_str(), nullptr, 10);
  if (to_head) return status;
  check(length <= bytes.size(), "a reply is as long as it says", fields);
  bytes.remove_prefix(length);
  return status;
}

void check_replies(std::string_view bytes, const std::vector<std::string>& methods) {
  constexpr std::array kRefusals{400, 408, 413, 431, 501, 503, 505};
  const std::string_view all = bytes;
  std::size_t answered = 0;
  bool refused = false;
  while (!bytes.empty()) {
    check(!refused, "nothing comes after a refusal", bytes);
    const bool head = answered < methods.size() && methods[answered] == "HEAD";
    const int status = take_reply(bytes, head);
    if (status == 100) continue;
    if (answered < methods.size()) {
      check(status == 200, "a request that the handler saw has its answer");
      ++answered;
    } else {
      refused = true;
      check(std::ranges::find(kRefusals, status) != kRefusals.end(), "a refusal is a known one");
    }
  }
  check(answered == methods.size(), "every request that the handler saw was answered", all);
}

// Whether the head of the first request, as far as it is one, tells the body's length in two ways.
bool ambiguous(std::string_view bytes) {
  std::string head(bytes.substr(0, bytes.find("\r\n\r\n")));
  if (head.size() == bytes.size()) return false;
  std::ranges::transform(head, head.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return head.find("\r\ncontent-length:") != std::string::npos &&
         head.find("\r\ntransfer-encoding:") != std::string::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = palisade::fuzz::view(data, size);
  (void)server().take_methods();
  {
    Connection connection;
    // In pieces, whose places depend on the bytes alone so that a run can be repeated.
    std::size_t hash = 1469598103934665603ULL;
    for (const char c : bytes)
      hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    std::string_view left = bytes;
    for (std::size_t pieces = hash % 4; pieces > 0 && left.size() > 1; --pieces) {
      hash = hash * 6364136223846793005ULL + 1442695040888963407ULL;
      const std::size_t piece = 1 + (hash >> 33U) % (left.size() - 1);
      if (!connection.send(left.substr(0, piece))) break;
      left.remove_prefix(piece);
    }
    connection.send(left);
    connection.end();
    const std::string replies = connection.rest();
    const auto methods = server().take_methods();
    check_replies(replies, methods);
    check(!ambiguous(bytes) || methods.empty(), "two lengths of one body are no request");
  }
  for (const auto deadline = Clock::now() + kPatience; server().connections() > 0;) {
    check(Clock::now() < deadline, "a connection that was closed is let go");
    std::this_thread::yield();
  }
  static unsigned runs = 0;
  if (++runs % 64 == 0) {
    Connection connection;
    connection.send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    check(connection.rest().starts_with("HTTP/1.1 200 "), "the server goes on serving");
    (void)server().take_methods();
  }
  return 0;
}
