// The Transport on Boost.Beast. One connection owns one io_context, run by the thread that makes
// the call: no thread of its own, and a cancelled or late call can only end its own connection.
#include <algorithm>
#include <array>
#include <limits>
#include <mutex>
#include <optional>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <kube/transport.h>

#include "beast_io.h"
#include "gzip.h"
#include "host_lookup.h"
#include "tls.h"
#include "tunnel.h"
#include "url.h"

namespace kube {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;
using Parser = http::response_parser<http::buffer_body>;

constexpr std::size_t kMaxIdleConnections = 16;
constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
constexpr std::size_t kPieceBytes = 32 * 1024;
// What is read ahead of the parser: room for the largest header, and an end to a chunk's extension.
constexpr std::size_t kMaxReadAhead = kMaxHeaderBytes + 64 * 1024;
constexpr int kMaxInterimAnswers = 8;  // 1xx before the real one
constexpr auto kIdleReuse =
    std::chrono::seconds(60);  // a connection idle for longer is not used again

struct Connection {
  asio::io_context io{1};
  std::shared_ptr<ssl::context> context;  // keeps what the stream was made from
  std::optional<beast::tcp_stream> plain;
  std::optional<beast::ssl_stream<TunnelStream>> secure;
  beast::flat_buffer buffer{kMaxReadAhead};
  Clock::time_point idle_since;
  std::uint64_t call = 0;  // a late cancel of an earlier call must not end this one
  bool cancelled = false;  // of this call; touched by the thread that runs `io` only

  beast::tcp_stream& lowest() { return secure ? secure->next_layer().tcp() : *plain; }

  // An idle connection with anything to read has been closed by the server, or has an answer that
  // nobody asked for.
  bool is_stale() {
    char byte = 0;
    // It does not block. NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
    const ssize_t got = recv(lowest().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return true;
    return buffer.size() > 0 || (secure && (has_unread_bytes(secure->native_handle()) ||
                                            secure->next_layer().has_unread()));
  }
};

// One call: what it asks for and what ends it.
struct Call {
  const Request& request;
  const Transport::ChunkSink* sink;  // null for send()
  std::chrono::milliseconds idle;
  Clock::time_point deadline;
  const std::stop_token& stop;
  bool answered = false;  // a byte of the response has come
  bool keep = false;      // the connection may serve another call
};

Error classify(const error_code& ec, std::string_view doing, const std::stop_token& stop) {
  return socket_error(ec, doing, stop.stop_requested());
}

Headers headers_of(const http::fields& fields) {
  Headers out;
  for (const auto& field : fields) {
    out.emplace_back(std::string(field.name_string().data(), field.name_string().size()),
                     std::string(field.value().data(), field.value().size()));
  }
  return out;
}

// Runs one asynchronous operation on the connection to its end, on this thread. A composed
// operation may start a new step just as it is cancelled: so a cancelled one is cancelled again
// after each step.
template <class Initiate>
error_code run(Connection& connection, Initiate&& initiate) {
  if (connection.cancelled) return asio::error::operation_aborted;
  return run_to_end(connection.io, std::forward<Initiate>(initiate), [&connection] {
    if (connection.cancelled) connection.lowest().cancel();
  });
}

// Cancels what the connection is doing once `stop` is asked for, while the returned object lives.
auto cancel_on(Connection& connection, const std::stop_token& stop) {
  connection.cancelled = false;
  const std::uint64_t call = ++connection.call;
  return std::stop_callback(stop, [&connection, call] {
    asio::post(connection.io, [&connection, call] {
      if (connection.call == call) connection.cancelled = true;
    });
  });
}

template <class Stream>
error_code write_request(Connection& c, Stream& stream, const Request& request,
                         const std::string& host, bool gzip) {
  http::request<http::string_body> message;
  message.method_string(request.method);
  message.target(request.target);
  message.version(11);
  message.set(http::field::host, host);
  for (const auto& [name, value] : request.headers)
    message.insert(name, value);
  if (gzip) message.set(http::field::accept_encoding, "gzip");
  message.body() = request.body;
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
      request.method == "PATCH") {
    message.content_length(request.body.size());
  }
  return run(c, [&](auto done) { http::async_write(stream, message, done); });
}

// The header of the answer, interim ones (1xx) left out.
template <class Stream>
error_code read_header(Connection& c, Stream& stream, bool head, std::optional<Parser>& parser) {
  for (int i = 0; i <= kMaxInterimAnswers; ++i) {
    parser.emplace();
    parser->header_limit(kMaxHeaderBytes);
    // Counted by the caller. Not boost::none: Beast 1.74 takes any Content-Length to be above that.
    parser->body_limit(std::numeric_limits<std::uint64_t>::max());
    parser->skip(head);
    const error_code ec =
        run(c, [&](auto done) { http::async_read_header(stream, c.buffer, *parser, done); });
    const unsigned status = parser->get().result_int();
    if (ec || status >= 200 || status == 101) return ec;
  }
  return http::error::bad_status;
}

// The body, to the sink if `to_sink`, else into `response`, decoded where there is a `decoder`.
template <class Stream>
std::optional<Error> read_body(Connection& c, Stream& stream, Parser& parser, Call& call,
                               bool to_sink, std::size_t limit, Gunzip* decoder,
                               Response& response) {
  const std::string what = brief(call.request);
  const auto too_large = [&] {
    return Error{0,
                 kTransportReasonTooLarge,
                 what + ": the answer is larger than " + std::to_string(limit) + " bytes",
                 {},
                 {}};
  };
  const auto broken = [&] {
    return Error{0, kTransportReasonProtocol, what + ": its gzip is broken", {}, {}};
  };
  if (!to_sink && parser.content_length() && *parser.content_length() > limit) return too_large();
  std::array<char, kPieceBytes> piece{};
  while (!parser.is_done()) {
    auto& body = parser.get().body();
    body.data = piece.data();
    body.size = piece.size();
    body.more = true;
    if (to_sink) c.lowest().expires_after(call.idle);
    error_code ec =
        run(c, [&](auto done) { http::async_read_some(stream, c.buffer, parser, done); });
    if (ec == http::error::need_buffer) ec = {};
    const std::string_view got(piece.data(), piece.size() - body.size);
    if (to_sink && !got.empty()) {
      // The rest stays unread: the connection is not kept.
      if (call.stop.stop_requested()) return classify({}, what, call.stop);
      if (!(*call.sink)(got)) return std::nullopt;
    } else if (decoder != nullptr && !got.empty()) {
      const auto state = decoder->append(got, limit, response.body);
      if (state == Gunzip::State::kTooLarge) return too_large();
      if (state == Gunzip::State::kBroken) return broken();
    } else if (!got.empty()) {
      if (response.body.size() + got.size() > limit) return too_large();
      response.body.append(got);
    }
    if (ec) return classify(ec, what, call.stop);
  }
  if (decoder != nullptr && !decoder->ended()) return broken();
  call.keep = parser.get().keep_alive() && c.buffer.size() == 0;
  return std::nullopt;
}

// What new connections are secured with.
struct Contexts {
  std::shared_ptr<ssl::context> server;
  std::shared_ptr<ssl::context> proxy;  // null where that has no TLS of its own
};

class BeastTransport final : public Transport {
 public:
  BeastTransport(TransportOptions options, const Url& url)
      : options_(std::move(options)),
        url_(url),
        name_(options_.server_name.empty() ? url.host : options_.server_name),
        lookup_(options_.proxy ? options_.proxy->host : url.host,
                options_.proxy ? options_.proxy->port : url.port) {}

  Result<Response> send(const Request& request, std::stop_token stop) override {
    return exchange({request, nullptr, {}, Clock::now() + request.deadline, stop});
  }

  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return exchange({request, &sink, idle, Clock::now() + request.deadline, stop});
  }

 private:
  Result<Response> exchange(Call call) {
    if (auto fit = check_request(call.request); !fit)
      return std::unexpected(std::move(fit.error()));
    Contexts contexts;
    if (url_.tls) {
      auto made = tls_contexts();
      if (!made) return std::unexpected(std::move(made.error()));
      contexts = std::move(*made);
    }
    if (auto pooled = take_idle(contexts.server.get())) {
      auto result = exchange_on(std::move(pooled), call);
      // The server may have closed it just now.
      if (result || call.answered || result.error().reason != kTransportReasonClosed ||
          !may_repeat(call.request.method)) {
        return result;
      }
    }
    auto fresh = connect(std::move(contexts), call.deadline, call.stop);
    if (!fresh) return std::unexpected(std::move(fresh.error()));
    return exchange_on(std::move(*fresh), call);
  }

  Result<std::unique_ptr<Connection>> connect(Contexts contexts, Clock::time_point deadline,
                                              const std::stop_token& stop) {
    const auto limit = std::min(deadline, Clock::now() + options_.connect_timeout);
    const std::string where =
        "connect to " +
        (options_.proxy ? "the proxy " + options_.proxy->authority() : url_.authority());
    if (stop.stop_requested()) return std::unexpected(classify({}, where, stop));
    auto connection = std::make_unique<Connection>();
    Connection& c = *connection;
    if (url_.tls) {
      c.context = std::move(contexts.server);
      c.secure.emplace(c.io, *c.context);
      send_server_name(c.secure->native_handle(), name_);
    } else {
      c.plain.emplace(c.io);
    }
    auto endpoints = lookup_.find(limit, stop);
    if (!endpoints) return std::unexpected(std::move(endpoints.error()));

    const auto guard = cancel_on(c, stop);
    c.lowest().expires_at(limit);
    error_code ec = run(c, [&](auto done) { c.lowest().async_connect(*endpoints, done); });
    if (ec) return std::unexpected(classify(ec, where, stop));
    error_code ignored;  // a latency setting: no harm if the kernel refuses
    c.lowest().socket().set_option(tcp::no_delay(true), ignored);
    if (!c.secure) return connection;
    if (options_.proxy) {
      auto open = open_tunnel(
          c.secure->next_layer(), *options_.proxy, url_, std::move(contexts.proxy),
          [&c](const auto& begin) { return run(c, begin); },
          [&stop] { return stop.stop_requested(); });
      if (!open) return std::unexpected(std::move(open.error()));
    }
    ec = run(c, [&](auto done) { c.secure->async_handshake(ssl::stream_base::client, done); });
    if (!ec) return connection;
    Error error = classify(ec, "TLS with " + url_.authority(), stop);
    if (!error.is_cancelled() && error.reason != kTransportReasonTimeout) {
      error.reason = kTransportReasonTls;
      const long verified = SSL_get_verify_result(c.secure->native_handle());
      if (verified != X509_V_OK)
        error.message += std::string(" (") + X509_verify_cert_error_string(verified) + ")";
    }
    return std::unexpected(std::move(error));
  }

  // Made anew when the material has changed: no connection that was made with the old serves on.
  Result<Contexts> tls_contexts() {
    TlsMaterial material = options_.tls_material ? options_.tls_material() : TlsMaterial{};
    const std::scoped_lock lock(mutex_);
    if (contexts_.server && material.ca == material_.ca &&
        material.certificate == material_.certificate && material.key == material_.key) {
      return contexts_;
    }
    const bool verify = !options_.insecure_skip_verify;
    auto server = std::make_shared<ssl::context>(ssl::context::tls_client);
    auto ready = configure_client_tls(server->native_handle(), material, name_, verify);
    if (!ready) return std::unexpected(std::move(ready.error()));
    auto proxy = proxy_context(options_.proxy, material.ca, verify);
    if (!proxy) return std::unexpected(std::move(proxy.error()));
    contexts_ = {std::move(server), std::move(*proxy)};
    material_ = std::move(material);
    return contexts_;
  }

  std::unique_ptr<Connection> take_idle(const ssl::context* context) {
    const std::scoped_lock lock(mutex_);
    while (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      if (connection->context.get() != context) continue;
      if (Clock::now() - connection->idle_since < kIdleReuse && !connection->is_stale())
        return connection;
    }
    return nullptr;
  }

  void give_back(std::unique_ptr<Connection> connection) {
    const auto now = Clock::now();
    connection->idle_since = now;
    connection->lowest().expires_never();
    const std::scoped_lock lock(mutex_);
    std::erase_if(idle_, [now](const auto& old) { return now - old->idle_since >= kIdleReuse; });
    if (idle_.size() < kMaxIdleConnections) idle_.push_back(std::move(connection));
  }

  Result<Response> exchange_on(std::unique_ptr<Connection> connection, Call& call) {
    Connection& c = *connection;
    call.keep = false;
    auto result = [&] {
      const auto guard = cancel_on(c, call.stop);
      return c.secure ? converse(c, *c.secure, call) : converse(c, *c.plain, call);
    }();
    ++c.call;  // a cancel that is still queued is void
    if (result && call.keep) give_back(std::move(connection));
    return result;
  }

  template <class Stream>
  Result<Response> converse(Connection& c, Stream& stream, Call& call) {
    const std::string what = brief(call.request);
    if (call.stop.stop_requested()) return std::unexpected(classify({}, what, call.stop));
    c.lowest().expires_at(call.deadline);
    const bool gzip = options_.accept_gzip && call.sink == nullptr && call.request.method != "HEAD";
    if (const error_code ec = write_request(c, stream, call.request, url_.authority(), gzip))
      return std::unexpected(classify(ec, what, call.stop));
    std::optional<Parser> parser;
    const error_code ec = read_header(c, stream, call.request.method == "HEAD", parser);
    call.answered = parser->got_some();
    if (ec) return std::unexpected(classify(ec, what, call.stop));

    Response response;
    response.status = static_cast<int>(parser->get().result_int());
    response.headers = headers_of(parser->get().base());
    if (response.status < 200 || response.status > 599)
      return transport_error(kTransportReasonProtocol,
                             what + ": status " + std::to_string(response.status));
    std::optional<Gunzip> decoder;
    if (gzip && is_gzip(response.headers)) {
      decoder.emplace();
    } else if (const std::string fault = encoding_fault(response.headers); !fault.empty()) {
      return transport_error(kTransportReasonProtocol, what + ": " + fault);
    }
    const bool to_sink = call.sink != nullptr && response.status >= 200 && response.status < 300;
    if (auto failed = read_body(c, stream, *parser, call, to_sink, options_.max_response_bytes,
                                decoder ? &*decoder : nullptr, response))
      return std::unexpected(std::move(*failed));
    return response;
  }

  const TransportOptions options_;
  const Url url_;
  const std::string name_;  // that the server must prove
  HostLookup lookup_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
  Contexts contexts_;
  TlsMaterial material_;
};

// A transport that could not be made says so on each call.
class BrokenTransport final : public Transport {
 public:
  explicit BrokenTransport(Error error) : error_(std::move(error)) {}
  Result<Response> send(const Request&, std::stop_token) override {
    return std::unexpected(error_);
  }
  Result<Response> stream(const Request&, const ChunkSink&, std::chrono::milliseconds,
                          std::stop_token) override {
    return std::unexpected(error_);
  }

 private:
  const Error error_;
};

}  // namespace

std::unique_ptr<Transport> make_beast_transport(TransportOptions options) {
  auto url = parse_base_url(options.base_url, options.plain_http_anywhere);
  if (!url) return std::make_unique<BrokenTransport>(std::move(url.error()));
  return std::make_unique<BeastTransport>(std::move(options), *url);
}

}  // namespace kube
