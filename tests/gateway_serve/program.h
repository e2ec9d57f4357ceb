// The real palisade-gateway as a process of a test, an upstream for it, and clients that speak TLS
// to it as relays do.
#pragma once

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>
#include <envtest_process.h>
#include <gateway/http/server.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway_serve/cluster.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::testing {

inline constexpr const char* kServerName = "palisade-gateway.palisade-gateway.svc";

inline std::uint16_t free_port() {
  const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (::bind(probe, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("no free port");
  ::close(probe);
  return ntohs(address.sin_port);
}

// TLS, or plain where there are no authorities. Every read has a deadline.
class Wire {
 public:
  Wire(std::uint16_t port, const std::string& authorities)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    timeval patience{20, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    good_ = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    if (!good_ || authorities.empty()) return;
    context_.reset(SSL_CTX_new(TLS_client_method()));
    const std::unique_ptr<BIO, decltype(&BIO_free)> pem(
        BIO_new_mem_buf(authorities.data(), static_cast<int>(authorities.size())), BIO_free);
    X509_STORE* store = SSL_CTX_get_cert_store(context_.get());
    while (X509* one = PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr)) {
      X509_STORE_add_cert(store, one);
      X509_free(one);
    }
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket_);
    std::string name = kServerName;
    SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl_.get()), kServerName, 0);
    good_ = SSL_connect(ssl_.get()) == 1;
  }
  ~Wire() {
    ssl_.reset();
    ::close(socket_);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  [[nodiscard]] bool good() const { return good_; }

  void send(std::string_view bytes) {
    while (good_ && !bytes.empty()) {
      const ssize_t sent = ssl_
                               ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                               : ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      good_ = sent > 0;
      if (good_) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  // Up to and with `end`; "" where the peer ends or is silent before.
  std::string until(std::string_view end) {
    while (read_.find(end) == std::string::npos) {
      if (!more()) return {};
    }
    return taken(read_.find(end) + end.size());
  }
  std::string exactly(std::size_t size) {
    while (read_.size() < size) {
      if (!more()) return {};
    }
    return taken(size);
  }

 private:
  std::string taken(std::size_t size) {
    std::string out = read_.substr(0, size);
    read_.erase(0, size);
    return out;
  }
  bool more() {
    if (!good_) return false;
    std::array<char, 16384> piece{};
    const ssize_t got = ssl_ ? SSL_read(ssl_.get(), piece.data(), static_cast<int>(piece.size()))
                             : ::recv(socket_, piece.data(), piece.size(), 0);
    good_ = got > 0;
    if (good_) read_.append(piece.data(), static_cast<std::size_t>(got));
    return good_;
  }

  int socket_;
  bool good_ = false;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  std::string read_;
};

struct Reply {
  int status = 0;  // 0: none came
  std::string head;
  std::string body;
  bool whole = false;
  [[nodiscard]] Json json() const { return Json::parse(body, nullptr, false); }
};

inline std::string request(const std::string& method, const std::string& path,
                           const std::string& token, const std::string& body) {
  std::string out = method + " " + path + " HTTP/1.1\r\nHost: " + kServerName + "\r\n";
  if (!token.empty()) out += "Authorization: Bearer " + token + "\r\n";
  if (method == "POST")
    out +=
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return out + "\r\n" + body;
}

inline Reply read_head(Wire& wire) {
  Reply out;
  out.head = wire.until("\r\n\r\n");
  if (out.head.size() > 12) out.status = std::stoi(out.head.substr(9, 3));
  return out;
}

inline void read_body(Wire& wire, Reply& reply) {
  std::string lower = reply.head;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (const auto at = lower.find("content-length: "); at != std::string::npos) {
    const auto length = std::stoul(lower.substr(at + 16));
    reply.body = wire.exactly(length);
    reply.whole = reply.body.size() == length;
    return;
  }
  while (true) {
    const std::string line = wire.until("\r\n");
    if (line.empty()) return;
    const auto size = std::stoul(line, nullptr, 16);
    const std::string piece = wire.exactly(size + 2);
    if (piece.empty()) return;
    if (size == 0) break;
    reply.body += piece.substr(0, size);
  }
  reply.whole = true;
}

inline Reply call(Wire& wire, const std::string& method, const std::string& path,
                  const std::string& token, const std::string& body = {}) {
  wire.send(request(method, path, token, body));
  Reply out = read_head(wire);
  if (out.status != 0) read_body(wire, out);
  return out;
}

// An OpenAI-compatible API: each answer takes 10 tokens of the prompt and 20 of its own. Streams of
// model "slow" wait, after their first chunk, until they are let go.
class Upstream {
 public:
  Upstream() : server_(options(), [this](Exchange& exchange) { return serve(exchange); }) {
    if (const auto started = server_.start(); !started)
      throw std::runtime_error(started.error().message);
  }
  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(server_.port()) + "/v1";
  }
  [[nodiscard]] std::string authorization() const {
    const std::scoped_lock lock(mutex_);
    return authorization_;
  }
  void let_go() { held_ = false; }
  void hold() { held_ = true; }
  std::atomic<int> requests{0};
  std::atomic<int> streaming{0};

 private:
  static ServerOptions options() {
    ServerOptions out;
    out.address = "127.0.0.1";
    return out;
  }

  static std::string event(const Json& data) { return "data: " + data.dump() + "\n\n"; }
  static Json chunk(const std::string& text) {
    return {{"id", "c"},
            {"object", "chat.completion.chunk"},
            {"model", "m"},
            {"choices",
             Json::array(
                 {{{"index", 0}, {"delta", {{"content", text}}}, {"finish_reason", nullptr}}})}};
  }
  static Json usage() {
    return {{"prompt_tokens", 10}, {"completion_tokens", 20}, {"total_tokens", 30}};
  }

  Task<void> serve(Exchange& exchange) {
    ++requests;
    {
      const std::scoped_lock lock(mutex_);
      authorization_ = exchange.request().fields.get("Authorization");
    }
    auto body = co_await exchange.read_all(1 << 20);
    if (!body) co_return;
    const Json asked = Json::parse(*body, nullptr, false);
    if (asked.value("stream", false)) {
      co_await stream(exchange, asked.value("model", "") == "slow");
      co_return;
    }
    const Json answer = {
        {"id", "c"},
        {"object", "chat.completion"},
        {"model", "m"},
        {"choices", Json::array({{{"index", 0},
                                  {"message", {{"role", "assistant"}, {"content", "hello"}}},
                                  {"finish_reason", "stop"}}})},
        {"usage", usage()}};
    const std::string text = answer.dump();
    Fields fields;
    fields.add("Content-Type", "application/json");
    const auto sent = co_await exchange.reply(200, std::move(fields), text);
    static_cast<void>(sent);
  }

  Task<void> stream(Exchange& exchange, bool slow) {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    const auto begun = co_await exchange.begin(200, std::move(fields), std::nullopt);
    if (!begun) co_return;
    const std::string first = event(chunk("one "));
    const auto wrote = co_await exchange.write(first);
    if (!wrote) co_return;
    ++streaming;
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    while (slow && held_) {
      timer.expires_after(std::chrono::milliseconds(50));
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    --streaming;
    Json last = chunk("two");
    last["choices"][0]["finish_reason"] = "stop";
    Json counted = chunk("");
    counted["choices"] = Json::array();
    counted["usage"] = usage();
    const std::string rest = event(last) + event(counted) + "data: [DONE]\n\n";
    const auto ended = co_await exchange.write(rest);
    if (!ended) co_return;
    const auto over = co_await exchange.end();
    static_cast<void>(over);
  }

  mutable std::mutex mutex_;
  std::string authorization_;
  std::atomic<bool> held_{true};
  Server server_;  // last: its handlers use what stands above
};

class Gateway {
 public:
  struct Options {
    std::string kubeconfig;
    std::filesystem::path config;
    std::filesystem::path log;
    int drain_seconds = 5;
  };
  explicit Gateway(Options options)
      : options_(std::move(options)), port_(free_port()), metrics_port_(free_port()) {
    // No leak check at its end: cpprestsdk's threads are stopped there with tasks of their own
    // under way.
    const auto started = process_.start({"/usr/bin/env",
                                         "ASAN_OPTIONS=detect_leaks=0",
                                         PALISADE_GATEWAY_PROGRAM,
                                         "--kubeconfig",
                                         options_.kubeconfig,
                                         "--config",
                                         options_.config.string(),
                                         "--address",
                                         "127.0.0.1",
                                         "--port",
                                         std::to_string(port_),
                                         "--namespace",
                                         kOwnNamespace,
                                         "--metrics-address",
                                         "127.0.0.1",
                                         "--metrics-port",
                                         std::to_string(metrics_port_),
                                         "--certificate-overlap-seconds",
                                         "1",
                                         "--drain-seconds",
                                         std::to_string(options_.drain_seconds)},
                                        options_.log);
    if (!started) throw std::runtime_error(started.error().text());
  }

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] Reply page(const std::string& path) const {
    Wire wire(metrics_port_, "");
    return call(wire, "GET", path, "");
  }
  bool becomes_ready() {
    return eventually([&] { return !process_.running() || page("/readyz").status == 200; },
                      std::chrono::seconds(60)) &&
           process_.running();
  }
  void signal(int number, std::chrono::seconds patience = std::chrono::seconds(30)) {
    process_.stop(number, patience);
  }
  [[nodiscard]] const std::string& ending() const { return process_.ending(); }
  [[nodiscard]] bool running() { return process_.running(); }
  // Record and log, line by line.
  [[nodiscard]] std::string log() const {
    std::ifstream in(options_.log);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }

 private:
  const Options options_;
  const std::uint16_t port_;
  const std::uint16_t metrics_port_;
  kube::envtest::Process process_;
};

}  // namespace palisade::gateway::testing
