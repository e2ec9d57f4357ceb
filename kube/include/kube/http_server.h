// An HTTP/1.1 server on Boost.Beast for webhooks, metrics and probes: TLS 1.2 and 1.3, keep-alive,
// every limit set.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <kube/error.h>

namespace kube {

struct HttpRequest {
  std::string_view method;
  std::string_view target;        // path and query as sent
  std::string_view content_type;  // "" where absent
  std::string_view body;          // valid during the call only
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

struct ServingCertificate {
  std::string certificate;  // PEM chain, leaf first
  std::string key;          // PEM
};

struct HttpServerOptions {
  std::string address = "0.0.0.0";
  std::uint16_t port = 0;                        // 0: any free one, see port()
  std::optional<ServingCertificate> tls;         // absent: plain HTTP
  std::size_t max_header_bytes = 16 * 1024;      // 431 above
  std::size_t max_body_bytes = 7 * 1024 * 1024;  // 413 above, without reading the rest
  // Of all large bodies at once, those above 64 KiB; 503 above, without reading the body. What
  // small ones take is bounded by max_connections.
  std::size_t max_bodies_bytes = 64 * 1024 * 1024;
  std::chrono::milliseconds handshake_deadline{5'000};
  std::chrono::milliseconds read_deadline{
      10'000};  // from the first byte of a request to its last; 408 and close
  std::chrono::milliseconds idle_deadline{120'000};  // between requests of a connection
  std::chrono::milliseconds write_deadline{10'000};
  std::size_t max_connections = 4096;  // above: accepted and closed at once
  int threads = 2;
};

// Called concurrently on the server's threads; must not block. An exception becomes a 500 with an
// empty body and is logged.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

class HttpServer {
 public:
  HttpServer(HttpServerOptions options, HttpHandler handler);
  ~HttpServer();  // stop(0)
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds and starts the threads. Errors: address in use, broken certificate.
  [[nodiscard]] Result<void> start();
  [[nodiscard]] std::uint16_t port() const;
  // New connections use it; open ones go on with the old. Errors leave the old in place.
  [[nodiscard]] Result<void> set_certificate(const ServingCertificate& certificate);
  // Stops accepting, answers requests in flight (Connection: close), closes idle connections, and
  // returns when all are gone or `drain` is over.
  void stop(std::chrono::milliseconds drain);
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
