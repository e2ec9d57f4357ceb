// An HTTP/1.1 server for webhooks, metrics and probes: TLS 1.2 and 1.3, keep-alive, every limit
// set. A request costs one read and one write. Full of slow peers, it lets the slowest go.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <kube/error.h>

namespace kube {

struct HttpRequest {
  std::string_view method;
  std::string_view target;        // path and query as sent
  std::string_view content_type;  // "" where absent
  std::string_view body;          // valid during the call only
  // An answer after this is of no use to the caller: its `?timeout=` less a tenth for the way, and
  // never longer than HttpServerOptions::answer_deadline.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  // False on the threads that serve everybody: see HttpResponse::must_wait().
  bool may_wait = true;
  // Header Host as sent, "" where absent: what the caller believes it speaks to. Of one given twice
  // the first counts.
  std::string_view host = "";  // NOLINT(readability-redundant-string-init): aggregates leave it out
  // Header traceparent as sent, "" where absent; see kube/tracing.h.
  std::string_view traceparent = "";  // NOLINT(readability-redundant-string-init): as above
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  bool waits = false;
  // Further headers, which live as long as the program: never a caller's text.
  const HttpHeaders* headers = nullptr;

  // The answer of a handler that was called with `may_wait` false and needs something that takes
  // time: it is called again, from the beginning, on a thread where waiting holds nobody up.
  [[nodiscard]] static HttpResponse must_wait() { return {0, {}, {}, true}; }
};

struct ServingCertificate {
  std::string certificate;  // PEM chain, leaf first
  std::string key;          // PEM
};

// Which clients may connect. Checked in each handshake: there are no sessions to resume.
struct ClientCertificates {
  std::string authorities;         // PEM
  std::vector<std::string> names;  // common names of the leaf's subject; empty: any
};

struct HttpServerOptions {
  std::string address = "0.0.0.0";
  std::uint16_t port = 0;                        // 0: any free one, see port()
  std::optional<ServingCertificate> tls;         // absent: plain HTTP
  std::optional<ClientCertificates> clients;     // with `tls` only
  std::size_t max_header_bytes = 16 * 1024;      // 431 above
  std::size_t max_body_bytes = 7 * 1024 * 1024;  // 413 above, without reading the rest
  // Of all large bodies at once, those above 64 KiB; 503 above, without reading the body. What
  // small ones take is bounded by max_connections.
  std::size_t max_bodies_bytes = 64 * 1024 * 1024;
  std::chrono::milliseconds handshake_deadline{5'000};
  std::chrono::milliseconds read_deadline{
      10'000};  // from the first byte of a request to its last; 408 and close
  // From a request's first byte to its answer; 503 where that cannot be kept.
  std::chrono::milliseconds answer_deadline{30'000};
  std::chrono::milliseconds idle_deadline{120'000};  // between requests of a connection
  std::chrono::milliseconds write_deadline{10'000};
  // Above: the connection that has been slow or idle longest makes room for the new one. Those that
  // have not brought a whole request yet go first, and one whose request is being answered never.
  std::size_t max_connections = 4096;
  int threads = 2;
  // Threads for handlers that asked to wait, and how many requests may queue for them; 503 above.
  // 0 threads: such a handler is called again at once, and holds up its server thread.
  int waiting_threads = 0;
  std::size_t max_waiting = 256;
};

// Called concurrently on the server's threads; with `may_wait` false it must not block. An
// exception becomes a 500 with an empty body and is logged.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// Counted since start().
struct HttpServerCounters {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;            // connections: nothing could make room
  std::uint64_t evicted = 0;            // connections that made room
  std::uint64_t failed_handshakes = 0;  // TLS, client certificates included
  std::uint64_t shed = 0;               // requests: 503 before the handler
  std::uint64_t late = 0;               // requests: 503 because the handler was too slow
};

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
  // The same for whom it lets in; only for a server that was started with `clients`.
  [[nodiscard]] Result<void> set_clients(const ClientCertificates& clients);
  // Goes on serving, but ends each connection with its next answer, so that clients go elsewhere
  // before stop() closes the door.
  void retire();
  // Stops accepting, answers requests in flight and those that come at once (Connection: close),
  // closes idle connections, and returns when all are gone or `drain` is over.
  void stop(std::chrono::milliseconds drain);
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] HttpServerCounters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
