// A client that says exactly the bytes it is told, over TCP or TLS, and waits with a deadline.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace raw {

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
};

class Client {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // `tls`: negotiates TLS at once (the certificate is not verified; see peer_name()).
  // `configure` sees the context before the handshake.
  Client(std::uint16_t port, bool tls, int max_version = TLS1_3_VERSION,
         const std::function<void(SSL_CTX*)>& configure = {})
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      ::close(socket_);
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
    }
    if (!tls) return;
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_security_level(context_.get(), 0);  // old versions are offered in earnest
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), max_version);
    if (configure) configure(context_.get());
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket_);
    timeval patience{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    secured_ = SSL_connect(ssl_.get()) == 1;
  }
  ~Client() {
    ssl_.reset();
    ::close(socket_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] bool secured() const { return secured_; }

  // The common name of the server's certificate.
  [[nodiscard]] std::string peer_name() const {
    const std::unique_ptr<X509, decltype(&X509_free)> peer(SSL_get1_peer_certificate(ssl_.get()),
                                                           X509_free);
    std::array<char, 128> name{};
    if (!peer || X509_NAME_get_text_by_NID(X509_get_subject_name(peer.get()), NID_commonName,
                                           name.data(), static_cast<int>(name.size())) < 0) {
      return {};
    }
    return name.data();
  }

  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }
  [[nodiscard]] int socket() const { return socket_; }

  // False once the peer has gone.
  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ssl_ ? static_cast<ssize_t>(SSL_write(ssl_.get(), bytes.data(),
                                                              static_cast<int>(bytes.size())))
                             : ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // The next reply; nothing where none came in time or the connection ended within it.
  std::optional<Reply> reply(Milliseconds patience = Milliseconds(10'000), bool head_only = false) {
    const auto deadline = Clock::now() + patience;
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!more(deadline)) return std::nullopt;
    }
    Reply out;
    out.head = pending_.substr(0, end + 2);
    pending_.erase(0, end + 4);
    if (out.head.size() < 12) return std::nullopt;
    out.status = std::stoi(out.head.substr(9, 3));
    std::size_t length = 0;
    if (const auto at = out.head.find("Content-Length: "); at != std::string::npos)
      length = std::stoul(out.head.substr(at + 16));
    if (head_only) return out;
    while (pending_.size() < length) {
      if (!more(deadline)) return std::nullopt;
    }
    out.body = pending_.substr(0, length);
    pending_.erase(0, length);
    return out;
  }

  // True where the peer closes within `patience` and sends nothing more before that.
  bool closed(Milliseconds patience = Milliseconds(10'000)) {
    if (!pending_.empty()) return false;
    const auto deadline = Clock::now() + patience;
    while (more(deadline)) {
      if (!pending_.empty()) return false;
    }
    return ended_;
  }
  // After closed(): TLS was ended in order (close_notify).
  [[nodiscard]] bool ended_in_order() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Reads some; false at the deadline or at the end.
  bool more(Clock::time_point deadline) {
    if (!ssl_ || SSL_pending(ssl_.get()) == 0) {
      pollfd wait{socket_, POLLIN, 0};
      const auto left = std::chrono::ceil<Milliseconds>(deadline - Clock::now()).count();
      if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) <= 0) return false;
    }
    std::array<char, 16384> piece{};
    ssize_t got = 0;
    if (ssl_) {
      got = SSL_read(ssl_.get(), piece.data(), static_cast<int>(piece.size()));
      // A session ticket is no data.
      if (got <= 0 && SSL_get_error(ssl_.get(), static_cast<int>(got)) == SSL_ERROR_WANT_READ)
        return true;
    } else {
      got = ::recv(socket_, piece.data(), piece.size(), 0);
    }
    if (got <= 0) {
      ended_ = true;
      return false;
    }
    pending_.append(piece.data(), static_cast<std::size_t>(got));
    return true;
  }

  int socket_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  bool secured_ = false;
  bool ended_ = false;
  std::string pending_;
};

}  // namespace raw
