// HTTP/1.1 over TLS (or plain TCP for loopback), as the API client needs it. Two implementations
// stand behind it, and one conformance suite (tests/kube/transport_conformance_test.cpp) runs the
// same cases on both.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <kube/error.h>

namespace kube {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Case-insensitive look-up of the first header of that name; "" where there is none.
[[nodiscard]] std::string_view header(const Headers& headers, std::string_view name);

struct Request {
  std::string method = "GET";
  std::string target = "/";  // origin-form: path and query, percent-encoded by the caller
  Headers headers;           // never Host
  std::string body;
  std::chrono::milliseconds deadline{
      30'000};  // for the whole exchange; for stream(): until the response header
};

struct Response {
  int status = 0;
  Headers headers;
  std::string body;
};

// PEM texts. An empty text means "none".
struct TlsMaterial {
  std::string ca;  // the only roots that are trusted; the system's are not, unless `ca` is empty
  std::string certificate;  // client certificate chain
  std::string key;
};

struct Login {
  std::string user;
  std::string password;
};

// What stands between us and the server, which it resolves the name of. It sees the server's name
// and port, and TLS: no request, and no credential but its own.
struct Proxy {
  enum class Kind : std::uint8_t {
    kHttp,    // asked to CONNECT
    kHttps,   // the same, over TLS with the proxy
    kSocks5,  // https://www.rfc-editor.org/rfc/rfc1928
  };
  Kind kind = Kind::kHttp;
  std::string host;
  std::string port;
  std::optional<Login> login;  // the proxy's

  // HOST:PORT, for messages.
  [[nodiscard]] std::string authority() const;
};

struct TransportOptions {
  std::string
      base_url;  // https://HOST:PORT or http://HOST:PORT (http: loopback and tests only), no path
  std::string server_name;  // TLS SNI and the name verified; empty: the host of base_url
  std::function<TlsMaterial()> tls_material;  // asked on each new connection, so that rotated files
                                              // are picked up; thread-safe
  bool insecure_skip_verify = false;          // kubeconfig's insecure-skip-tls-verify
  bool plain_http_anywhere = false;  // Beast only, where no credential goes: http:// to any host
  std::size_t max_response_bytes = 64 * 1024 * 1024;  // decoded
  // Beast only; not for http://. An https:// proxy proves itself by the system's authorities or
  // by tls_material's.
  std::optional<Proxy> proxy;
  // send() asks for gzip. Beast only: elsewhere a compressed answer is an error.
  bool accept_gzip = false;
  // Name look-up, connection and handshake together. Beast only: cpprestsdk does not tell when it
  // is connected, so there the request's deadline alone counts.
  std::chrono::milliseconds connect_timeout{10'000};
};

// Thread-safe. A request whose shape is wrong (a line break in a header, a target that does not
// begin with one /, a header that the transport sets itself) is refused as MalformedResponse before
// anything is sent. No compression is asked for unless the options say so, and a compressed answer
// that was not asked for is refused. Redirects are never followed (a 3xx is returned as it is), so
// no credential leaves for another host. A request that failed on a pooled connection before any
// byte of the response came (cpprestsdk: before its header was whole) is tried once more on a fresh
// one if its method is GET, HEAD, PUT or DELETE; never POST or PATCH. A pooled connection that is
// seen to have ended is thrown away before anything is written.
class Transport {
 public:
  // Called on the calling thread's behalf (maybe on another thread, never two at once) with each
  // piece of the body as it comes. Not returning holds the peer back (no unbounded buffering).
  // Returning false ends the stream without error.
  using ChunkSink = std::function<bool(std::string_view)>;

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // The whole exchange. Any status is a Response; an Error is a transport failure (code 0).
  [[nodiscard]] virtual Result<Response> send(const Request& request, std::stop_token stop) = 0;

  // A 2xx body goes to `sink` until it ends; any other status is returned with its body, `sink`
  // never called. `idle` is the longest silence allowed between pieces (DeadlineExceeded after it).
  // A clean end of the body is success; a cut one is ConnectionClosed. `stop` ends it within
  // milliseconds with Cancelled.
  [[nodiscard]] virtual Result<Response> stream(const Request& request, const ChunkSink& sink,
                                                std::chrono::milliseconds idle,
                                                std::stop_token stop) = 0;
};

// A bad `base_url` is an error of every call, not of these two.
// cpprestsdk's http_client behind guards (archived upstream: speaks to the API server only). It
// cannot resolve an IPv6 literal nor go through a proxy: for these, Beast is returned.
[[nodiscard]] std::unique_ptr<Transport> make_cpprest_transport(TransportOptions options);
// Boost.Beast: for every host that a user names, and able to replace the former.
[[nodiscard]] std::unique_ptr<Transport> make_beast_transport(TransportOptions options);

}  // namespace kube
