// The Transport on Boost.Beast. One connection owns one io_context, run by the thread that makes
// the call: no thread of its own, and a cancelled or late call can only end its own connection.
#include <array>
#include <limits>
#include <mutex>
#include <optional>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <kube/transport.h>

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

constexpr std::size_t kMaxIdleConnections = 16;
constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
constexpr std::size_t kPieceBytes = 32 * 1024;
constexpr auto kIdleReuse =
    std::chrono::seconds(60);  // a connection idle for longer is not used again

struct Connection {
  asio::io_context io{1};
  tcp::resolver resolver{io};
  std::shared_ptr<ssl::context> context;  // keeps what the stream was made from
  std::optional<beast::tcp_stream> plain;
  std::optional<beast::ssl_stream<beast::tcp_stream>> secure;
  beast::flat_buffer buffer;
  bool reused = false;
  Clock::time_point idle_since;
  std::uint64_t call = 0;  // a late cancel of an earlier call must not end this one

  beast::tcp_stream& lowest() { return secure ? beast::get_lowest_layer(*secure) : *plain; }
};

Error classify(const error_code& ec, std::string_view doing, bool stopped) {
  if (stopped) return {0, kTransportReasonCancelled, std::string(doing) + ": cancelled", {}, {}};
  const char* reason = kTransportReasonConnect;
  if (ec == beast::error::timeout || ec == asio::error::timed_out) {
    reason = kTransportReasonTimeout;
  } else if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
             ec == asio::error::eof || ec == asio::error::connection_reset ||
             ec == asio::error::broken_pipe || ec == ssl::error::stream_truncated) {
    reason = kTransportReasonClosed;
  } else if (ec == http::error::body_limit || ec == http::error::header_limit ||
             ec == http::error::buffer_overflow) {
    reason = kTransportReasonTooLarge;
  } else if (ec.category() == http::make_error_code(http::error::bad_method).category()) {
    reason = kTransportReasonProtocol;
  } else if (ec.category() == asio::error::get_ssl_category()) {
    reason = kTransportReasonTls;
  }
  std::string message = ec.message();
  if (ec == beast::error::timeout) message = "no answer within the deadline";
  return {0, reason, std::string(doing) + ": " + message, {}, {}};
}

bool may_repeat(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE";
}

Headers headers_of(const http::fields& fields) {
  Headers out;
  for (const auto& field : fields) {
    out.emplace_back(std::string(field.name_string().data(), field.name_string().size()),
                     std::string(field.value().data(), field.value().size()));
  }
  return out;
}

class BeastTransport final : public Transport {
 public:
  BeastTransport(TransportOptions options, Url url)
      : options_(std::move(options)), url_(std::move(url)) {}

  Result<Response> send(const Request& request, std::stop_token stop) override {
    return exchange(request, nullptr, std::chrono::milliseconds(0), stop);
  }

  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return exchange(request, &sink, idle, stop);
  }

 private:
  // Runs one asynchronous operation on the connection to its end, on this thread.
  template <class Initiate>
  static error_code run(Connection& connection, Initiate&& initiate) {
    error_code result = asio::error::would_block;
    connection.io.restart();
    initiate([&result](error_code ec, auto&&...) { result = ec; });
    connection.io.run();
    return result;
  }

  Result<Response> exchange(const Request& request, const ChunkSink* sink,
                            std::chrono::milliseconds idle, const std::stop_token& stop) {
    const auto deadline = Clock::now() + request.deadline;
    bool answered = false;
    auto connection = take_idle();
    if (connection) {
      auto result = exchange_on(connection, request, sink, idle, deadline, stop, answered);
      if (result || answered || !may_repeat(request.method) || result.error().is_cancelled() ||
          result.error().reason == kTransportReasonTimeout) {
        return result;
      }
    }
    auto fresh = connect(deadline, stop);
    if (!fresh) return std::unexpected(std::move(fresh.error()));
    connection = std::move(*fresh);
    return exchange_on(connection, request, sink, idle, deadline, stop, answered);
  }

  // Cancels whatever the connection is doing once `stop` is asked for.
  auto cancel_on(Connection& connection, const std::stop_token& stop) {
    const std::uint64_t call = ++connection.call;
    return std::stop_callback(stop, [&connection, call] {
      asio::post(connection.io, [&connection, call] {
        if (connection.call != call) return;
        connection.resolver.cancel();
        if (connection.plain || connection.secure) connection.lowest().cancel();
      });
    });
  }

  Result<std::unique_ptr<Connection>> connect(Clock::time_point deadline,
                                              const std::stop_token& stop) {
    auto connection = std::make_unique<Connection>();
    Connection& c = *connection;
    const auto limit = std::min(deadline, Clock::now() + options_.connect_timeout);
    const std::string where = "connect to " + url_.authority();
    if (url_.tls) {
      auto context = tls_context();
      if (!context) return std::unexpected(std::move(context.error()));
      c.context = std::move(*context);
      c.secure.emplace(c.io, *c.context);
      const std::string& name = options_.server_name.empty() ? url_.host : options_.server_name;
      auto named = expect_name(c.secure->native_handle(), name);
      if (!named) return std::unexpected(std::move(named.error()));
    } else {
      c.plain.emplace(c.io);
    }
    const auto guard = cancel_on(c, stop);
    if (stop.stop_requested()) return std::unexpected(classify({}, where, true));

    tcp::resolver::results_type addresses;
    asio::steady_timer timer(c.io, limit);
    error_code ec = run(c, [&](auto done) {
      timer.async_wait([&](error_code waited) {
        if (!waited) c.resolver.cancel();
      });
      c.resolver.async_resolve(url_.host, url_.port,
                               [&, done](error_code resolved, tcp::resolver::results_type found) {
                                 timer.cancel();
                                 addresses = std::move(found);
                                 done(resolved);
                               });
    });
    if (ec == asio::error::operation_aborted && !stop.stop_requested()) ec = beast::error::timeout;
    if (ec) return std::unexpected(classify(ec, where, stop.stop_requested()));

    c.lowest().expires_at(limit);
    ec = run(c, [&](auto done) { c.lowest().async_connect(addresses, done); });
    if (ec) return std::unexpected(classify(ec, where, stop.stop_requested()));
    error_code ignored;  // a latency setting: no harm if the kernel refuses
    c.lowest().socket().set_option(tcp::no_delay(true), ignored);
    if (c.secure) {
      ec = run(c, [&](auto done) { c.secure->async_handshake(ssl::stream_base::client, done); });
      if (ec) {
        Error error = classify(ec, "TLS with " + url_.authority(), stop.stop_requested());
        const long verified = SSL_get_verify_result(c.secure->native_handle());
        if (verified != X509_V_OK && !stop.stop_requested()) {
          error.reason = kTransportReasonTls;
          error.message += std::string(" (") + X509_verify_cert_error_string(verified) + ")";
        }
        return std::unexpected(std::move(error));
      }
    }
    return connection;
  }

  // Made anew when the material has changed, so that rotated files are picked up by the next
  // connection.
  Result<std::shared_ptr<ssl::context>> tls_context() {
    TlsMaterial material = options_.tls_material ? options_.tls_material() : TlsMaterial{};
    const std::scoped_lock lock(mutex_);
    if (context_ && material.ca == material_.ca && material.certificate == material_.certificate &&
        material.key == material_.key) {
      return context_;
    }
    auto context = std::make_shared<ssl::context>(ssl::context::tls_client);
    SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
    error_code ec;
    const auto fail = [&](std::string_view what) {
      return transport_error(kTransportReasonTls, std::string(what) + ": " + ec.message());
    };
    if (material.ca.empty()) {
      context->set_default_verify_paths(ec);
      if (ec) return fail("the system's certificate authorities cannot be read");
    } else {
      context->add_certificate_authority(asio::buffer(material.ca), ec);
      if (ec) return fail("the certificate authority is not valid PEM");
    }
    context->set_verify_mode(options_.insecure_skip_verify ? ssl::verify_none : ssl::verify_peer);
    if (!material.certificate.empty()) {
      context->use_certificate_chain(asio::buffer(material.certificate), ec);
      if (ec) return fail("the client certificate is not valid PEM");
      context->use_private_key(asio::buffer(material.key), ssl::context::pem, ec);
      if (ec) return fail("the client key does not fit its certificate or is not valid PEM");
    }
    context_ = std::move(context);
    material_ = std::move(material);
    return context_;
  }

  Result<void> expect_name(SSL* handle, const std::string& name) const {
    if (options_.insecure_skip_verify) return {};
    bool ok = false;
    if (is_ip_literal(name)) {
      ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(handle), name.c_str()) == 1;
    } else {
      // SSL_set_tlsext_host_name is a macro with an old-style cast.
      ok = SSL_ctrl(handle, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    const_cast<char*>(name.c_str())) == 1 &&
           SSL_set1_host(handle, name.c_str()) == 1;
    }
    if (!ok)
      return transport_error(kTransportReasonTls,
                             "\"" + name + "\" cannot be verified as a server name");
    return {};
  }

  std::unique_ptr<Connection> take_idle() {
    const std::scoped_lock lock(mutex_);
    while (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      if (Clock::now() - connection->idle_since < kIdleReuse) {
        connection->reused = true;
        return connection;
      }
    }
    return nullptr;
  }

  void give_back(std::unique_ptr<Connection> connection) {
    connection->idle_since = Clock::now();
    connection->lowest().expires_never();
    const std::scoped_lock lock(mutex_);
    if (idle_.size() < kMaxIdleConnections) idle_.push_back(std::move(connection));
  }

  Result<Response> exchange_on(std::unique_ptr<Connection>& connection, const Request& request,
                               const ChunkSink* sink, std::chrono::milliseconds idle,
                               Clock::time_point deadline, const std::stop_token& stop,
                               bool& answered) {
    Connection& c = *connection;
    bool keep = false;
    auto result = [&]() -> Result<Response> {
      const auto guard = cancel_on(c, stop);
      if (stop.stop_requested()) return std::unexpected(classify({}, request.method, true));
      return c.secure ? converse(c, *c.secure, request, sink, idle, deadline, stop, answered, keep)
                      : converse(c, *c.plain, request, sink, idle, deadline, stop, answered, keep);
    }();
    ++c.call;  // a cancel that is still queued is void
    if (result && keep) {
      give_back(std::move(connection));
    } else {
      connection.reset();
    }
    return result;
  }

  template <class Stream>
  Result<Response> converse(Connection& c, Stream& stream, const Request& request,
                            const ChunkSink* sink, std::chrono::milliseconds idle,
                            Clock::time_point deadline, const std::stop_token& stop, bool& answered,
                            bool& keep) {
    const std::string what =
        request.method + " " +
        std::string(std::string_view(request.target).substr(0, request.target.find('?')));
    http::request<http::string_body> message;
    message.method_string(request.method);
    message.target(request.target);
    message.version(11);
    message.set(http::field::host, url_.authority());
    for (const auto& [name, value] : request.headers)
      message.set(name, value);
    message.body() = request.body;
    if (!request.body.empty() || request.method == "POST" || request.method == "PUT" ||
        request.method == "PATCH") {
      message.content_length(request.body.size());
    }
    c.lowest().expires_at(deadline);
    error_code ec = run(c, [&](auto done) { http::async_write(stream, message, done); });
    if (ec) return std::unexpected(classify(ec, what, stop.stop_requested()));

    http::response_parser<http::buffer_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    // Counted below. Not boost::none: Beast 1.74 takes any Content-Length to be above that.
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    parser.skip(request.method == "HEAD");
    ec = run(c, [&](auto done) { http::async_read_header(stream, c.buffer, parser, done); });
    answered = answered || parser.got_some();
    if (ec) return std::unexpected(classify(ec, what, stop.stop_requested()));

    Response response;
    response.status = static_cast<int>(parser.get().result_int());
    response.headers = headers_of(parser.get().base());
    const bool to_sink = sink != nullptr && response.status >= 200 && response.status < 300;
    std::array<char, kPieceBytes>
        piece;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by the parser
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      parser.get().body().more = true;
      if (to_sink) c.lowest().expires_after(idle);
      ec = run(c, [&](auto done) { http::async_read_some(stream, c.buffer, parser, done); });
      if (ec == http::error::need_buffer) ec = {};
      const std::string_view got(piece.data(), piece.size() - parser.get().body().size);
      if (!got.empty()) {
        if (to_sink) {
          if (!(*sink)(got)) return response;  // the rest is unread: the connection is not kept
        } else {
          if (response.body.size() + got.size() > options_.max_response_bytes) {
            return transport_error(kTransportReasonTooLarge,
                                   what + ": the answer is larger than " +
                                       std::to_string(options_.max_response_bytes) + " bytes");
          }
          response.body.append(got);
        }
      }
      if (ec == http::error::end_of_stream && parser.is_done()) break;
      if (ec) {
        // A body without a length ends with the connection; the parser then says so itself.
        return std::unexpected(classify(ec, what, stop.stop_requested()));
      }
    }
    keep = parser.get().keep_alive() && parser.is_done();
    return response;
  }

  const TransportOptions options_;
  const Url url_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::shared_ptr<ssl::context> context_;
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
  Error error_;
};

}  // namespace

std::unique_ptr<Transport> make_beast_transport(TransportOptions options) {
  auto url = parse_url(options.base_url);
  if (!url) return std::make_unique<BrokenTransport>(std::move(url.error()));
  return std::make_unique<BeastTransport>(std::move(options), std::move(*url));
}

}  // namespace kube
