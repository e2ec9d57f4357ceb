// Each thread owns one io_context and the connections that were given to it, so nothing of a
// connection is shared. Deadlines are kept by one ticker a thread: a request then sets a time point
// instead of arming a timer.
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>  // Asio 1.74 uses std::exchange without it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <openssl/ssl.h>
#include <spdlog/spdlog.h>

#include <kube/http_server.h>

namespace kube {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;

constexpr auto kTick = std::chrono::milliseconds(50);
constexpr auto kLinger = std::chrono::milliseconds(2000);
constexpr std::size_t kLingerBytes = 32 * 1024 * 1024;
constexpr std::size_t kReadAhead = 16 * 1024;
constexpr std::size_t kMaxKept = 4 * kReadAhead;  // buffers above are given back between requests
constexpr auto kGoodbye = std::chrono::milliseconds(500);  // for the peer's TLS close_notify

// What the ticker and the drain see of a connection; only its own thread touches it.
struct Watched {
  explicit Watched(tcp::socket& s) : socket(s) {}
  tcp::socket& socket;
  Clock::time_point deadline = Clock::time_point::max();
  bool late = false;
  bool idle = true;  // between requests: may be closed without harm

  void until(Clock::duration allowed) {
    deadline = Clock::now() + allowed;
    late = false;
  }
};

// The io_context goes before the set: coroutines destroyed with it leave the set as they go.
struct Context {
  std::unordered_set<Watched*> connections;
  bool draining = false;
  asio::io_context io{1};
  asio::steady_timer ticker{io};
};

// Keeps a connection in its context's set for as long as it lives, however it ends.
class Registered {
 public:
  Registered(Context& context, Watched& watched) : context_(context), watched_(watched) {
    context_.connections.insert(&watched_);
  }
  ~Registered() { context_.connections.erase(&watched_); }
  Registered(const Registered&) = delete;
  Registered& operator=(const Registered&) = delete;

 private:
  Context& context_;
  Watched& watched_;
};

std::unexpected<Error> server_error(std::string message) {
  return std::unexpected(Error{0, "ServerError", std::move(message), {}, {}});
}

Result<std::shared_ptr<ssl::context>> make_context(const ServingCertificate& certificate) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* raw = context->native_handle();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(
      raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS);
  // TLS 1.2 with forward secrecy and authenticated encryption only; 1.3 has nothing else.
  if (SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
    return server_error("OpenSSL has none of the cipher suites wanted");
  error_code ec;
  context->use_certificate_chain(asio::buffer(certificate.certificate), ec);
  if (ec) return server_error("serving certificate: " + ec.message());
  context->use_private_key(asio::buffer(certificate.key), ssl::context::pem, ec);
  if (ec) return server_error("serving key: " + ec.message());
  if (SSL_CTX_check_private_key(raw) != 1)
    return server_error("serving key does not belong to the serving certificate");
  return context;
}

// A request that cannot be answered by the handler: its status.
int status_of(const error_code& ec, bool late) {
  if (late) return 408;
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) return 431;
  if (ec == http::error::body_limit) return 413;
  if (ec == http::error::bad_version) return 505;
  if (ec == http::error::end_of_stream || ec == http::error::partial_message) return 0;
  if (ec.category() == http::make_error_code(http::error::bad_method).category()) return 400;
  return 0;  // the peer has gone
}

}  // namespace

struct HttpServer::Impl {
  HttpServerOptions options;
  HttpHandler handler;

  // A large body's share of max_bodies_bytes, for as long as the body lives.
  class Share {
   public:
    Share(Impl& server, std::size_t bytes) : server_(server), bytes_(bytes > kSmall ? bytes : 0) {
      granted_ = server_.bodies.fetch_add(bytes_) + bytes_ <= server_.options.max_bodies_bytes ||
                 bytes_ == 0;
    }
    ~Share() { server_.bodies -= bytes_; }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    [[nodiscard]] bool granted() const { return granted_; }

   private:
    static constexpr std::size_t kSmall = 64 * 1024;
    Impl& server_;
    const std::size_t bytes_;
    bool granted_ = false;
  };

  std::vector<std::unique_ptr<Context>> contexts;
  std::vector<std::jthread> threads;
  std::optional<tcp::acceptor> acceptor;
  std::uint16_t port = 0;
  std::size_t next_context = 0;
  std::atomic<std::size_t> open{0};
  std::atomic<std::size_t> bodies{0};
  std::atomic<bool> stopped{true};
  std::mutex mutex;
  std::shared_ptr<ssl::context> tls;  // guarded by mutex; null: plain

  asio::awaitable<void> accept() {
    while (acceptor->is_open()) {
      Context& context = *contexts[next_context++ % contexts.size()];
      tcp::socket socket(context.io);
      error_code ec;
      co_await acceptor->async_accept(socket, asio::redirect_error(asio::use_awaitable, ec));
      if (ec == asio::error::operation_aborted) co_return;
      if (!ec && open.load() >= options.max_connections)
        continue;  // the socket closes as it goes out of scope
      if (!ec) ec = take(context, std::move(socket));
      if (!ec) continue;
      // Out of descriptors or memory, most likely: wait for some to come free instead of spinning.
      spdlog::warn("accept: {}", ec.message());
      asio::steady_timer pause(acceptor->get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    }
  }

  // Starts a connection's coroutine on its own thread.
  error_code take(Context& context, tcp::socket socket) {
    error_code ignored;  // a latency setting: no harm if the kernel refuses
    socket.set_option(tcp::no_delay(true), ignored);
    std::shared_ptr<ssl::context> secured;
    {
      const std::scoped_lock lock(mutex);
      secured = tls;
    }
    ++open;
    try {
      asio::co_spawn(context.io, serve(context, std::move(socket), std::move(secured)),
                     asio::detached);
    } catch (const std::bad_alloc&) {
      --open;
      return asio::error::no_memory;
    }
    return {};
  }

  asio::awaitable<void> serve(Context& context, tcp::socket socket,
                              std::shared_ptr<ssl::context> secured) {
    try {
      if (secured) {
        ssl::stream<tcp::socket> stream(std::move(socket), *secured);
        Watched watched(stream.next_layer());
        const Registered registered(context, watched);
        watched.idle = false;
        watched.until(options.handshake_deadline);
        error_code ec;
        co_await stream.async_handshake(ssl::stream_base::server,
                                        asio::redirect_error(asio::use_awaitable, ec));
        if (!ec && co_await converse(context, stream, watched)) {
          // close_notify tells the peer that nothing was cut off.
          watched.idle = false;
          watched.until(kGoodbye);
          co_await stream.async_shutdown(asio::redirect_error(asio::use_awaitable, ec));
        }
      } else {
        Watched watched(socket);
        const Registered registered(context, watched);
        co_await converse(context, socket, watched);
      }
    } catch (const std::exception& error) {
      spdlog::error("connection: {}", error.what());
    }
    --open;
  }

  // Request after request. True where the end was ours and in order: a goodbye is then due.
  template <class Stream>
  asio::awaitable<bool> converse(Context& context, Stream& stream, Watched& watched) {
    beast::flat_buffer buffer;
    buffer.max_size(options.max_header_bytes + options.max_body_bytes + kReadAhead);
    std::string out;
    error_code ec;
    const auto token = [&ec] { return asio::redirect_error(asio::use_awaitable, ec); };
    while (true) {
      if (buffer.size() == 0) {
        if (context.draining) co_return true;
        watched.idle = true;
        watched.until(options.idle_deadline);
        const std::size_t got =
            co_await stream.async_read_some(buffer.prepare(kReadAhead), token());
        if (ec) co_return watched.late || context.draining;
        buffer.commit(got);
        watched.idle = false;
      }
      watched.until(options.read_deadline);
      http::request_parser<http::string_body> parser;
      parser.header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
      parser.body_limit(options.max_body_bytes);
      co_await http::async_read_header(stream, buffer, parser, token());
      // A coding that we do not know leaves no way to tell where the body ends.
      const bool strange =
          !ec && !parser.chunked() && parser.get().count(http::field::transfer_encoding) > 0;
      // Of a chunked body only the limit is known.
      const Share share(*this, ec ? 0
                                  : static_cast<std::size_t>(parser.content_length().value_or(
                                        parser.chunked() ? options.max_body_bytes : 0)));
      if (!share.granted()) {
        co_await refuse(stream, watched, buffer, 503, out);
        co_return false;
      }
      if (!ec && !strange && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
        static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        co_await asio::async_write(stream, asio::buffer(kContinue), token());
      }
      if (!ec && !strange) co_await http::async_read(stream, buffer, parser, token());
      if (ec || strange) {
        const int status = strange ? 501 : status_of(ec, watched.late);
        if (status != 0) co_await refuse(stream, watched, buffer, status, out);
        co_return false;
      }
      const auto& request = parser.get();
      const bool keep = request.keep_alive() && !context.draining;
      write_reply(out, answer(request), request.method() == http::verb::head,
                  keep ? (request.version() < 11 ? "Connection: keep-alive\r\n" : "")
                       : "Connection: close\r\n");
      watched.until(options.write_deadline);
      co_await asio::async_write(stream, asio::buffer(out), token());
      if (ec || !keep) co_return !ec;
      // What one large request or reply took is not kept for the life of the connection.
      if (buffer.size() == 0 && buffer.capacity() > kMaxKept) buffer.shrink_to_fit();
      if (out.capacity() > kMaxKept) std::string().swap(out);
    }
  }

  // Answers with an error and closes; reads on a little first, since closing over unread data would
  // take the answer away from the peer.
  template <class Stream>
  asio::awaitable<void> refuse(Stream& stream, Watched& watched, beast::flat_buffer& buffer,
                               int status, std::string& out) {
    error_code ec;
    const auto token = [&ec] { return asio::redirect_error(asio::use_awaitable, ec); };
    HttpResponse response;
    response.status = status;
    response.content_type = "text/plain; charset=utf-8";
    response.body = std::string(http::obsolete_reason(static_cast<http::status>(status))) + "\n";
    write_reply(out, response, false, "Connection: close\r\n");
    watched.until(options.write_deadline);
    co_await asio::async_write(stream, asio::buffer(out), token());
    if (ec) co_return;
    watched.socket.shutdown(tcp::socket::shutdown_send, ec);
    watched.until(kLinger);
    std::size_t left = kLingerBytes;
    while (!ec && left > 0) {
      buffer.clear();
      const std::size_t got =
          co_await watched.socket.async_read_some(buffer.prepare(kReadAhead), token());
      left -= std::min(left, std::max<std::size_t>(got, 1));
    }
  }

  HttpResponse answer(const http::request<http::string_body>& request) {
    const auto view = [](auto text) { return std::string_view(text.data(), text.size()); };
    try {
      return handler({view(request.method_string()), view(request.target()),
                      view(request[http::field::content_type]), request.body()});
    } catch (const std::exception& error) {
      spdlog::error("{} {}: {}", view(request.method_string()),
                    view(request.target()).substr(0, 200), error.what());
    } catch (...) {
      spdlog::error("{} {}: an exception of unknown type", view(request.method_string()),
                    view(request.target()).substr(0, 200));
    }
    return {500, "text/plain; charset=utf-8", ""};
  }

  // The whole reply in one buffer, so that it leaves in one write.
  static void write_reply(std::string& out, const HttpResponse& response, bool head_only,
                          std::string_view connection) {
    out.clear();
    const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
    const auto to = std::back_inserter(out);
    fmt::format_to(to, "HTTP/1.1 {} {}\r\n{}", response.status,
                   std::string_view(reason.data(), reason.size()), connection);
    // These have no body, and no length of one: RFC 9110, 8.6.
    if (response.status < 200 || response.status == 204 || response.status == 304) {
      out += "\r\n";
      return;
    }
    fmt::format_to(to, "Content-Type: {}\r\nContent-Length: {}\r\n\r\n", response.content_type,
                   response.body.size());
    if (!head_only) out += response.body;
  }

  // Ends what is late and, while draining, what is idle.
  asio::awaitable<void> tick(Context& context) {
    error_code ec;
    while (!stopped.load()) {
      context.ticker.expires_after(kTick);
      co_await context.ticker.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      const auto now = Clock::now();
      for (Watched* watched : context.connections) {
        const bool late = now >= watched->deadline;
        if ((late && !watched->late) || (context.draining && watched->idle)) {
          watched->late = watched->late || late;
          error_code ignored;  // an already closed socket cannot be cancelled
          watched->socket.cancel(ignored);
        }
      }
    }
  }
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler)
    : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  impl_->handler = std::move(handler);
}

HttpServer::~HttpServer() {
  stop(std::chrono::milliseconds(0));
}

Result<void> HttpServer::start() {
  Impl& impl = *impl_;
  if (impl.options.tls) {
    auto context = make_context(*impl.options.tls);
    if (!context) return std::unexpected(std::move(context.error()));
    impl.tls = std::move(*context);
  }
  impl.contexts.clear();
  for (int i = 0; i < std::max(1, impl.options.threads); ++i)
    impl.contexts.push_back(std::make_unique<Context>());

  error_code ec;
  const auto address = asio::ip::make_address(impl.options.address, ec);
  if (ec) return server_error("listen address \"" + impl.options.address + "\": " + ec.message());
  const tcp::endpoint endpoint(address, impl.options.port);
  impl.acceptor.emplace(impl.contexts.front()->io);
  impl.acceptor->open(endpoint.protocol(), ec);
  if (!ec) impl.acceptor->set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) impl.acceptor->bind(endpoint, ec);
  if (!ec) impl.acceptor->listen(1024, ec);
  if (ec) {
    impl.acceptor.reset();
    return server_error(
        fmt::format("listen on {}:{}: {}", impl.options.address, impl.options.port, ec.message()));
  }
  impl.port = impl.acceptor->local_endpoint().port();
  impl.stopped = false;
  asio::co_spawn(impl.contexts.front()->io, impl.accept(), asio::detached);
  for (auto& context : impl.contexts) {
    asio::co_spawn(context->io, impl.tick(*context), asio::detached);
    impl.threads.emplace_back([&io = context->io] { io.run(); });
    pthread_setname_np(impl.threads.back().native_handle(), "http");
  }
  return {};
}

std::uint16_t HttpServer::port() const {
  return impl_->port;
}

Result<void> HttpServer::set_certificate(const ServingCertificate& certificate) {
  if (!impl_->options.tls) return server_error("the server was made for plain HTTP");
  auto context = make_context(certificate);
  if (!context) return std::unexpected(std::move(context.error()));
  const std::scoped_lock lock(impl_->mutex);
  impl_->tls = std::move(*context);
  return {};
}

void HttpServer::stop(std::chrono::milliseconds drain) {
  Impl& impl = *impl_;
  if (impl.stopped.load()) return;
  asio::post(impl.contexts.front()->io, [&impl] {
    error_code ignored;  // nothing is left to do about a listener that will not close
    impl.acceptor->close(ignored);
  });
  for (auto& context : impl.contexts) {
    asio::post(context->io, [&context = *context] { context.draining = true; });
  }
  const auto deadline = Clock::now() + drain;
  while (impl.open.load() > 0 && Clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  impl.stopped = true;
  for (auto& context : impl.contexts)
    context->io.stop();
  impl.threads.clear();  // joins
  impl.acceptor.reset();
  impl.contexts.clear();
  impl.open = 0;
}

std::size_t HttpServer::connections() const {
  return impl_->open;
}

}  // namespace kube
