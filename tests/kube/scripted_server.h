// A server that does to HTTP/1.1 over TLS (or plain TCP) exactly what a test says, byte by byte:
// the peer that the transports must survive. Link Boost::boost, OpenSSL::SSL, Threads::Threads.
#pragma once

#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "test_pki.h"

namespace scripted {

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

struct Options {
  std::optional<test_pki::Pair> identity;  // none: plain TCP
  std::string client_ca;                   // not empty: a client certificate of it is required
  bool ipv6 = false;                       // [::1] instead of 127.0.0.1
};

// One accepted connection, used by its own thread alone.
class Peer {
 public:
  Peer(tcp::socket socket, asio::ssl::context* context) : socket_(std::move(socket)) {
    if (context != nullptr) tls_.emplace(socket_, *context);
  }

  // False where the client gave up, or was refused.
  bool handshake() {
    if (!tls_) return true;
    error_code ec;
    tls_->handshake(asio::ssl::stream_base::server, ec);
    return !ec;
  }

  // Head and body of the next request; "" where the client has gone.
  std::string read_request() {
    std::string& text = pending_;
    std::size_t head = std::string::npos;
    while ((head = text.find("\r\n\r\n")) == std::string::npos) {
      if (!read_more()) return {};
    }
    const std::size_t size = head + 4 + content_length(text.substr(0, head));
    while (text.size() < size) {
      if (!read_more()) return {};
    }
    std::string request = text.substr(0, size);
    text.erase(0, size);
    return request;
  }

  // Exactly so many bytes; fewer where the client has gone.
  std::string read(std::size_t size) {
    while (pending_.size() < size && read_more()) {
    }
    const std::string out = pending_.substr(0, size);
    pending_.erase(0, size);
    return out;
  }
  // What has come; "" where the client has gone.
  std::string read_some() {
    if (pending_.empty()) read_more();
    return std::exchange(pending_, {});
  }
  // Something has come that is no longer in the socket.
  bool has_pending() {
    if (!pending_.empty() || !tls_) return !pending_.empty();
    SSL* ssl = tls_->native_handle();
    return SSL_has_pending(ssl) == 1 || BIO_ctrl_pending(SSL_get_rbio(ssl)) > 0;
  }

  // False where the client has gone.
  bool write(std::string_view bytes) {
    error_code ec;
    if (tls_) {
      asio::write(*tls_, asio::buffer(bytes), ec);
    } else {
      asio::write(socket_, asio::buffer(bytes), ec);
    }
    return !ec;
  }

  bool respond(std::string_view body, std::string_view status = "200 OK",
               std::string_view headers = "") {
    std::string text = "HTTP/1.1 ";
    text.append(status).append("\r\n").append(headers);
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    return write(text.append(body));
  }

  // Reads until the client closes.
  void wait_for_close() {
    while (read_more())
      pending_.clear();
  }
  void close() {  // with TLS's close_notify
    error_code ignored;
    if (tls_) {
      socket_.non_blocking(true, ignored);  // the client's own close_notify is not waited for
      tls_->shutdown(ignored);
    }
    cut();
  }
  void cut() {  // without
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_both, ignored);
    socket_.close(ignored);
  }
  void reset() {
    error_code ignored;
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
    socket_.close(ignored);
  }
  void small_send_buffer() {
    error_code ignored;
    socket_.set_option(asio::socket_base::send_buffer_size(64 * 1024), ignored);
  }

  std::string server_name() {
    const char* name =
        tls_ ? SSL_get_servername(tls_->native_handle(), TLSEXT_NAMETYPE_host_name) : nullptr;
    return name != nullptr ? name : "";
  }
  std::string client_name() {
    if (!tls_) return {};
    const kube::CertificatePtr certificate(SSL_get1_peer_certificate(tls_->native_handle()));
    if (!certificate) return {};
    char text[256] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, text,
                              sizeof text);
    return text;
  }
  int handle() { return socket_.native_handle(); }

 private:
  static std::size_t content_length(const std::string& head) {
    std::string lower = head;
    for (char& c : lower)
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const auto at = lower.find("\r\ncontent-length:");
    if (at == std::string::npos) return 0;
    const auto first = lower.find_first_not_of(' ', at + 17);
    std::size_t length = 0;
    std::from_chars(lower.data() + first, lower.data() + lower.size(), length);
    return length;
  }
  bool read_more() {
    char bytes[16 * 1024];
    error_code ec;
    const std::size_t got = tls_ ? tls_->read_some(asio::buffer(bytes), ec)
                                 : socket_.read_some(asio::buffer(bytes), ec);
    pending_.append(bytes, got);
    return !ec;
  }
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  std::string pending_;
};

// Accepts until destroyed; each connection runs `script(peer, number)` (numbers from 0) on a thread
// of its own, after a successful handshake. The destructor cuts what is open and joins.
class Server {
 public:
  using Script = std::function<void(Peer&, int)>;

  explicit Server(Options options, Script script)
      : options_(std::move(options)),
        script_(std::move(script)),
        acceptor_(io_,
                  tcp::endpoint(options_.ipv6 ? asio::ip::address(asio::ip::address_v6::loopback())
                                              : asio::ip::address(asio::ip::address_v4::loopback()),
                                0)) {
    if (options_.identity) {
      context_.emplace(asio::ssl::context::tls_server);
      context_->use_certificate_chain(asio::buffer(options_.identity->certificate));
      context_->use_private_key(asio::buffer(options_.identity->key), asio::ssl::context::pem);
      if (!options_.client_ca.empty()) {
        context_->add_certificate_authority(asio::buffer(options_.client_ca));
        context_->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
      }
    }
    port_ = acceptor_.local_endpoint().port();
    accepting_ = std::jthread([this] { accept(); });
  }
  ~Server() {
    stopping_ = true;
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);  // wakes accept()
    accepting_.join();
    std::vector<std::jthread> threads;
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& peer : peers_)
        ::shutdown(peer->handle(), SHUT_RDWR);
      threads.swap(threads_);
      changed_.notify_all();
    }
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::string port() const { return std::to_string(port_); }
  [[nodiscard]] std::string url(const std::string& host = "") const {
    const std::string own = options_.ipv6 ? "[::1]" : "127.0.0.1";
    return (context_ ? "https://" : "http://") + (host.empty() ? own : host) + ":" + port();
  }

  // What scripts tell the test, and wait for.
  void note(const std::string& text) {
    const std::scoped_lock lock(mutex_);
    notes_.push_back(text);
    changed_.notify_all();
  }
  [[nodiscard]] std::vector<std::string> notes() {
    const std::scoped_lock lock(mutex_);
    return notes_;
  }
  [[nodiscard]] bool wait_for_notes(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return notes_.size() >= count; });
  }
  // Returns early when the server is being destroyed.
  void pause(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [this] { return stopping_.load(); });
  }
  [[nodiscard]] int accepted() const { return accepted_; }
  [[nodiscard]] bool stopping() const { return stopping_; }

 private:
  void accept() {
    while (!stopping_) {
      error_code ec;
      tcp::socket socket(io_);
      acceptor_.accept(socket, ec);
      if (ec || stopping_) continue;
      socket.set_option(tcp::no_delay(true), ec);  // what is written is sent at once
      const int number = accepted_++;
      const std::scoped_lock lock(mutex_);
      peers_.push_back(std::make_unique<Peer>(std::move(socket), context_ ? &*context_ : nullptr));
      Peer& peer = *peers_.back();
      threads_.emplace_back([this, &peer, number] {
        if (peer.handshake()) script_(peer, number);
      });
    }
  }

  const Options options_;
  const Script script_;
  asio::io_context io_;
  std::optional<asio::ssl::context> context_;
  tcp::acceptor acceptor_;
  unsigned short port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> accepted_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<std::string> notes_;
  std::vector<std::jthread> threads_;
  std::jthread accepting_;
};

}  // namespace scripted
