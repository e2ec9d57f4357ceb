// The Transport on cpprestsdk's http_client, and the only file that includes it. The library is
// archived and has no security fixes: it speaks to the API server alone. What each guard below is
// for stands in README.md.
// The library's U() macro breaks other headers. NOLINTNEXTLINE(bugprone-reserved-identifier)
#define _TURN_OFF_PLATFORM_STRING
#include <charconv>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <cpprest/http_client.h>
#include <cpprest/producerconsumerstream.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <pplx/threadpool.h>
#include <sys/socket.h>

#include <kube/transport.h>

#include "tls.h"
#include "url.h"

namespace kube {

namespace {

// cpprestsdk's pool of threads outlives main() and ends after OpenSSL's exit handler, which would
// take away what those threads still use; so there is no such handler. Before main(): the first
// initialisation decides.
[[maybe_unused]] const int kOpenSslStays = OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);

namespace web_http = web::http;
using Clock = std::chrono::steady_clock;
using TcpSocket = boost::asio::ip::tcp::socket;

constexpr std::size_t kMaxQueuedBytes = 256 * 1024;  // of a body whose reader is slow
// The library reads a chunk whole, and a negative chunk length as a huge one.
constexpr std::size_t kMaxPieceBytes = 64 * 1024 * 1024;
constexpr int kPoolThreads = 4;
constexpr int kMaxStaleConnections = 256;  // thrown out in a row by one call
// The library's own timeout is inactivity and would end idle watches: ours rule alone.
constexpr auto kLibraryTimeout = std::chrono::hours(24);

// The library's default pool has 40 threads, each with its stack: this runs before its first use.
void initialize_pool() {
  static std::once_flag once;
  std::call_once(once, [] { crossplat::threadpool::initialize_with_threads(kPoolThreads); });
}

// A bounded pipe from the library's threads to the caller's. The writer's tasks complete only as
// the reader takes: that holds the peer back.
class Pipe {
 public:
  // Completes once the piece has been taken in full or the reader has gone.
  pplx::task<std::size_t> write(const std::uint8_t* data, std::size_t count) {
    const std::scoped_lock lock(mutex_);
    const pplx::task_completion_event<std::size_t> taken;
    if (abandoned_) {
      taken.set_exception(std::make_exception_ptr(std::runtime_error("the reader has gone")));
    } else if (count > kMaxPieceBytes) {  // before `data` is touched
      taken.set_exception(std::make_exception_ptr(std::runtime_error("invalid length of a chunk")));
    } else {
      bytes_.append(reinterpret_cast<const char*>(data), count);
      if (bytes_.size() <= kMaxQueuedBytes) {
        taken.set(count);
      } else {
        waiting_.emplace_back(taken, count);
      }
      changed_.notify_all();
    }
    return pplx::create_task(taken);
  }

  void close() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  void abandon() {
    std::deque<std::pair<pplx::task_completion_event<std::size_t>, std::size_t>> waiting;
    {
      const std::scoped_lock lock(mutex_);
      abandoned_ = true;
      waiting.swap(waiting_);
    }
    for (auto& [event, count] : waiting)
      event.set_exception(std::make_exception_ptr(std::runtime_error("the reader has gone")));
  }

  enum class Got { kBytes, kEnd, kIdle, kStopped };
  Got read(std::string& piece, std::chrono::milliseconds idle, const std::stop_token& stop) {
    std::deque<std::pair<pplx::task_completion_event<std::size_t>, std::size_t>> waiting;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_for(lock, stop, idle, [this] { return !bytes_.empty() || closed_; })) {
        return stop.stop_requested() ? Got::kStopped : Got::kIdle;
      }
      if (stop.stop_requested()) return Got::kStopped;
      if (bytes_.empty()) return Got::kEnd;
      piece.swap(bytes_);
      bytes_.clear();
      waiting.swap(waiting_);
    }
    for (auto& [event, count] : waiting)
      event.set(count);
    return Got::kBytes;
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::string bytes_;
  std::deque<std::pair<pplx::task_completion_event<std::size_t>, std::size_t>> waiting_;
  bool closed_ = false;
  bool abandoned_ = false;
};

// The stream buffer that the library writes a body to: only writing works.
class PipeBuffer final
    : public Concurrency::streams::details::streambuf_state_manager<std::uint8_t> {
 public:
  explicit PipeBuffer(std::shared_ptr<Pipe> pipe)
      : streambuf_state_manager(std::ios_base::out), pipe_(std::move(pipe)) {}
  ~PipeBuffer() override = default;

  bool can_seek() const override { return false; }
  bool has_size() const override { return false; }
  std::size_t buffer_size(std::ios_base::openmode) const override { return 0; }
  void set_buffer_size(std::size_t, std::ios_base::openmode) override {}
  std::size_t in_avail() const override { return 0; }
  pos_type getpos(std::ios_base::openmode) const override {
    return static_cast<pos_type>(traits::eof());
  }
  pos_type seekpos(pos_type, std::ios_base::openmode) override {
    return static_cast<pos_type>(traits::eof());
  }
  pos_type seekoff(off_type, std::ios_base::seekdir, std::ios_base::openmode) override {
    return static_cast<pos_type>(traits::eof());
  }
  bool acquire(std::uint8_t*& data, std::size_t& count) override {
    data = nullptr;
    count = 0;
    return false;
  }
  void release(std::uint8_t*, std::size_t) override {}

 protected:
  pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
  pplx::task<int_type> _putc(std::uint8_t byte) override {
    return pipe_->write(&byte, 1).then([byte](std::size_t) { return static_cast<int_type>(byte); });
  }
  pplx::task<std::size_t> _putn(const std::uint8_t* data, std::size_t count) override {
    return pipe_->write(data, count);
  }
  pplx::task<int_type> _bumpc() override { return eof_task(); }
  int_type _sbumpc() override { return traits::eof(); }
  pplx::task<int_type> _getc() override { return eof_task(); }
  int_type _sgetc() override { return traits::eof(); }
  pplx::task<int_type> _nextc() override { return eof_task(); }
  pplx::task<int_type> _ungetc() override { return eof_task(); }
  pplx::task<std::size_t> _getn(std::uint8_t*, std::size_t) override {
    return pplx::task_from_result<std::size_t>(0);
  }
  std::size_t _scopy(std::uint8_t*, std::size_t) override { return 0; }
  std::uint8_t* _alloc(std::size_t) override { return nullptr; }
  void _commit(std::size_t) override {}
  pplx::task<void> _close_write() override {
    m_stream_can_write = false;
    return pplx::task_from_result();
  }

 private:
  static pplx::task<int_type> eof_task() { return pplx::task_from_result<int_type>(traits::eof()); }
  std::shared_ptr<Pipe> pipe_;
};

// Thrown in the library before anything is written on a pooled connection that has ended.
struct StaleConnection : std::runtime_error {
  StaleConnection() : std::runtime_error("the pooled connection has ended") {}
};

// What a failed exchange was, from the library's exceptions: their texts are all it tells.
Error classify(const std::string& what, const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const pplx::task_canceled&) {
    return {0, kTransportReasonCancelled, what + ": cancelled", {}, {}};
  } catch (const web_http::http_exception& error) {
    const std::error_code code = error.error_code();
    const std::string text = error.what();
    const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
    const char* reason = kTransportReasonConnect;
    if (code == std::errc::operation_canceled) {
      reason = kTransportReasonCancelled;
    } else if (code == std::errc::timed_out) {
      reason = kTransportReasonTimeout;
    } else if (has("SSL handshake")) {
      reason = kTransportReasonTls;
    } else if (has("Invalid")) {
      reason = kTransportReasonProtocol;
    } else if (has("Failed to read") || has("Failed to write") || has("Retrieving message chunk") ||
               has("cannot rewind")) {
      reason = kTransportReasonClosed;
    }
    return {0, reason, what + ": " + text, {}, {}};
  } catch (const StaleConnection& error) {
    return {0, kTransportReasonClosed, what + ": " + error.what(), {}, {}};
  } catch (const std::exception& error) {
    return {0, kTransportReasonProtocol, what + ": " + error.what(), {}, {}};
  }
}

bool is_stale(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const StaleConnection&) {
    return true;
  } catch (...) {  // NOLINT(bugprone-empty-catch): only a question of its type
    return false;
  }
}

// What every connection of one client is made with.
struct TlsState {
  TlsMaterial material;
  std::string name;  // that the server must prove
  bool verify = true;
  std::mutex mutex;
  std::string last_fault;  // of a certificate: the library's error does not say
};

int keep_verdict(int verdict, X509_STORE_CTX*) {
  return verdict;
}

// In place of the library's own verification, which knows the name in the URL alone and takes the
// subject for a name: OpenSSL's, with the name that configure_client_tls() has set.
int verify_natively(X509_STORE_CTX* store, void* argument) {
  X509_STORE_CTX_set_verify_cb(store, keep_verdict);
  const int verdict = X509_verify_cert(store);
  if (verdict != 1) {
    auto& state = *static_cast<TlsState*>(argument);
    const std::scoped_lock lock(state.mutex);
    state.last_fault = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
  }
  return verdict;
}

// Runs for each new connection, after the library has loaded the system's authorities.
void prepare_context(boost::asio::ssl::context& context, TlsState& state) {
  auto ready =
      configure_client_tls(context.native_handle(), state.material, state.name, state.verify);
  if (!ready) throw std::runtime_error(ready.error().message);
  // A handshake keeps its client alive, that its configuration, and that `state`.
  if (state.verify)
    SSL_CTX_set_cert_verify_callback(context.native_handle(), verify_natively, &state);
}

// Runs before each request is written, on a new connection before it is opened.
void prepare_connection(web_http::client::native_handle handle, bool tls, const std::string& name) {
  TcpSocket* socket = nullptr;
  if (tls) {
    auto* stream = static_cast<boost::asio::ssl::stream<TcpSocket&>*>(handle);
    SSL* ssl = stream->native_handle();
    socket = &stream->next_layer();
    // The library pools connections that it has closed itself after a failure.
    if (!socket->is_open() && SSL_in_before(ssl) == 0) throw StaleConnection();
    if (has_unread_bytes(ssl)) throw StaleConnection();
    if (!socket->is_open()) send_server_name(ssl, name);
  } else {
    socket = static_cast<TcpSocket*>(handle);
  }
  if (!socket->is_open()) return;
  // An idle connection with anything to read has been closed by the server, or has an answer that
  // nobody asked for.
  char byte = 0;
  const ssize_t got = recv(socket->native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) throw StaleConnection();
}

// One exchange in flight, shared with the library's continuations: they may end after the caller
// has given up.
struct Exchange {
  std::mutex mutex;
  std::condition_variable_any changed;
  bool has_header = false;
  bool done = false;
  bool stale = false;
  std::optional<Error> error;
  Response response;
  pplx::cancellation_token_source cancel;
  std::shared_ptr<Pipe> pipe = std::make_shared<Pipe>();

  void fail(Error failed, bool was_stale) {
    {
      const std::scoped_lock lock(mutex);
      error = std::move(failed);
      stale = was_stale;
    }
    finish();
  }
  void finish() {
    {
      const std::scoped_lock lock(mutex);
      done = true;
      changed.notify_all();
    }
    pipe->close();
  }
};

// Counts what the library still has under way: an exchange that its caller has left goes on until
// its tasks have seen that it was cancelled.
class Outstanding {
 public:
  // Counted until the last copy is gone. `self` outlives its transport by that.
  static std::shared_ptr<void> ticket(const std::shared_ptr<Outstanding>& self) {
    {
      const std::scoped_lock lock(self->mutex_);
      ++self->count_;
    }
    return {nullptr, [self](void*) {
              const std::scoped_lock locked(self->mutex_);
              --self->count_;
              self->changed_.notify_all();
            }};
  }
  void wait_for_none(std::chrono::milliseconds longest) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, longest, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// Ends the exchange when its caller leaves before its end, by an exception of the sink too.
class Abandon {
 public:
  explicit Abandon(std::shared_ptr<Exchange> flight) : flight_(std::move(flight)) {}
  Abandon(const Abandon&) = delete;
  Abandon& operator=(const Abandon&) = delete;
  ~Abandon() {
    if (!flight_) return;
    flight_->pipe->abandon();
    flight_->cancel.cancel();
  }
  void dismiss() { flight_.reset(); }

 private:
  std::shared_ptr<Exchange> flight_;
};

// A body that cannot be rewound: the library sends one that can a second time by itself.
void set_body_once(web_http::http_request& message, const std::string& body) {
  Concurrency::streams::producer_consumer_buffer<std::uint8_t> buffer;
  if (!body.empty())
    buffer.putn_nocopy(reinterpret_cast<const std::uint8_t*>(body.data()), body.size()).wait();
  buffer.close(std::ios_base::out).wait();
  message.set_body(buffer.create_istream(), body.size(), "application/json");
}

web_http::http_request make_message(const Request& request) {
  web_http::http_request message(request.method);
  message.set_request_uri(web::uri(request.target));
  if (!may_repeat(request.method)) {
    set_body_once(message, request.body);
  } else if (!request.body.empty()) {
    message.set_body(std::vector<unsigned char>(request.body.begin(), request.body.end()));
  }
  web_http::http_headers given;
  for (const auto& [name, value] : request.headers) {
    if (given.has(name))
      throw std::runtime_error("header " + name + " comes twice, which cpprestsdk cannot send");
    given.add(name, value);
    message.headers()[name] = value;  // also over the Content-Type that came with the body
  }
  return message;
}

// Sends the request; its continuations fill `flight` and hold `ticket`. Every task's failure is
// observed there: an unobserved one would end the process.
void start(web_http::client::http_client& client, const Request& request,
           const std::shared_ptr<Exchange>& flight, const std::shared_ptr<void>& ticket) {
  const std::string what = brief(request);
  try {
    web_http::http_request message = make_message(request);
    const auto buffer = std::make_shared<PipeBuffer>(flight->pipe);
    message.set_response_stream(
        Concurrency::streams::streambuf<std::uint8_t>(buffer).create_ostream());
    client.request(message, flight->cancel.get_token())
        .then([flight, ticket](const web_http::http_response& answer) {
          {
            const std::scoped_lock lock(flight->mutex);
            flight->response.status = answer.status_code();
            for (const auto& [name, value] : answer.headers())
              flight->response.headers.emplace_back(name, value);
            flight->has_header = true;
            flight->changed.notify_all();
          }
          return answer.content_ready();
        })
        .then([flight, ticket, what](const pplx::task<web_http::http_response>& finished) {
          try {
            finished.get();
            flight->finish();
          } catch (...) {
            const auto thrown = std::current_exception();
            flight->fail(classify(what, thrown), is_stale(thrown));
          }
        });
  } catch (...) {
    flight->fail(classify(what, std::current_exception()), false);
  }
}

// The Content-Length, 0 where there is none; nothing where it is no number: the library takes that
// for 0.
std::optional<std::uint64_t> announced_length(const Headers& headers) {
  const std::string_view text = header(headers, "Content-Length");
  if (text.empty()) return 0;
  std::uint64_t length = 0;
  const char* last = text.data() + text.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its length is in `last`.
  const auto [end, ec] = std::from_chars(text.data(), last, length);
  if (end != last) return std::nullopt;
  return ec == std::errc() ? length : std::numeric_limits<std::uint64_t>::max();
}

class CpprestTransport final : public Transport {
 public:
  CpprestTransport(TransportOptions options, Url url)
      : options_(std::move(options)), url_(std::move(url)) {
    initialize_pool();
  }
  // What is left has been cancelled; its end is waited for, so that a program that ends here leaves
  // no task of the library half done.
  ~CpprestTransport() override { outstanding_->wait_for_none(std::chrono::seconds(2)); }
  CpprestTransport(const CpprestTransport&) = delete;
  CpprestTransport& operator=(const CpprestTransport&) = delete;

  Result<Response> send(const Request& request, std::stop_token stop) override {
    return exchange({request, nullptr, {}, Clock::now() + request.deadline, stop});
  }
  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return exchange({request, &sink, idle, Clock::now() + request.deadline, stop});
  }

 private:
  // One call: what it asks for and what ends it.
  struct Call {
    const Request& request;
    const ChunkSink* sink;  // null for send()
    std::chrono::milliseconds idle;
    Clock::time_point deadline;
    const std::stop_token& stop;
  };

  Result<Response> exchange(const Call& call) {
    if (auto fit = check_request(call.request); !fit)
      return std::unexpected(std::move(fit.error()));
    bool repeated = false;
    for (int stale = 0;;) {
      auto flight = std::make_shared<Exchange>();
      auto result = attempt(call, flight);
      if (result) return result;
      const bool closed = result.error().reason == kTransportReasonClosed;
      const std::scoped_lock lock(flight->mutex);
      // The library may pool a connection that has failed: its client goes, and the pool with it.
      if (!flight->stale && (closed || result.error().reason == kTransportReasonProtocol))
        drop_client();
      if (!closed) return result;
      if (flight->stale && stale < kMaxStaleConnections) {
        ++stale;  // nothing was written: any method may go again
      } else if (!flight->has_header && !repeated && may_repeat(call.request.method) &&
                 result.error().message.find("Failed to write") != std::string::npos) {
        repeated =
            true;  // closed by the server just now; what fails in reading the library repeats
      } else {
        return result;
      }
    }
  }

  [[nodiscard]] static Error ended(const Call& call, const char* late) {
    const std::string what = brief(call.request);
    if (call.stop.stop_requested())
      return {0, kTransportReasonCancelled, what + ": cancelled", {}, {}};
    return {0, kTransportReasonTimeout, what + ": " + late, {}, {}};
  }

  Result<Response> attempt(const Call& call, const std::shared_ptr<Exchange>& flight) {
    if (call.stop.stop_requested()) return std::unexpected(ended(call, ""));
    std::shared_ptr<TlsState> tls;
    auto client = make_client(tls);
    if (!client) return std::unexpected(std::move(client.error()));
    Abandon abandon(flight);
    start(**client, call.request, flight, Outstanding::ticket(outstanding_));

    std::unique_lock lock(flight->mutex);
    const bool answered = flight->changed.wait_until(
        lock, call.stop, call.deadline, [&] { return flight->has_header || flight->done; });
    if (!answered || call.stop.stop_requested()) {
      lock.unlock();
      return std::unexpected(ended(call, "no answer within the deadline"));
    }
    if (!flight->has_header) {
      abandon.dismiss();
      Error error = flight->error.value_or(
          Error{0, kTransportReasonClosed, brief(call.request) + ": no answer", {}, {}});
      lock.unlock();
      if (error.reason == kTransportReasonTls) {
        const std::scoped_lock fault_lock(tls->mutex);
        if (!tls->last_fault.empty()) error.message += " (" + tls->last_fault + ")";
      }
      return std::unexpected(std::move(error));
    }
    Response response = std::move(flight->response);
    lock.unlock();
    if (auto failed = read_body(call, *flight, response)) {
      if (failed->message.empty()) return response;  // the sink wants no more
      return std::unexpected(std::move(*failed));
    }
    abandon.dismiss();
    return response;
  }

  // Nothing where the body has come in full; an Error without a message where the sink has ended
  // it.
  std::optional<Error> read_body(const Call& call, Exchange& flight, Response& response) const {
    const std::string what = brief(call.request);
    const auto malformed = [&](const std::string& why) {
      return Error{0, kTransportReasonProtocol, what + ": " + why, {}, {}};
    };
    if (response.status < 200 || response.status > 599)
      return malformed("status " + std::to_string(response.status));
    if (const std::string fault = encoding_fault(response.headers); !fault.empty())
      return malformed(fault);
    const bool to_sink = call.sink != nullptr && response.status < 300;
    const auto too_large = [&] {
      return Error{0,
                   kTransportReasonTooLarge,
                   what + ": the answer is larger than " +
                       std::to_string(options_.max_response_bytes) + " bytes",
                   {},
                   {}};
    };
    // The library hands over 64 KiB at once and could wait for them in vain.
    const auto announced = announced_length(response.headers);
    if (!announced) return malformed("its Content-Length is no number");
    if (!to_sink && *announced > options_.max_response_bytes) return too_large();
    std::string piece;
    while (true) {
      const auto patience =
          to_sink
              ? call.idle
              : std::chrono::duration_cast<std::chrono::milliseconds>(call.deadline - Clock::now());
      piece.clear();
      const Pipe::Got got =
          flight.pipe->read(piece, std::max(patience, std::chrono::milliseconds(0)), call.stop);
      if (got == Pipe::Got::kEnd) break;
      if (got != Pipe::Got::kBytes) return ended(call, "the body has stalled");
      if (to_sink) {
        if (!(*call.sink)(piece)) return Error{};
      } else if (response.body.size() + piece.size() > options_.max_response_bytes) {
        return too_large();
      } else {
        response.body += piece;
      }
    }
    if (call.stop.stop_requested()) return ended(call, "");
    const std::scoped_lock lock(flight.mutex);
    if (!flight.error) return std::nullopt;
    Error error = *flight.error;
    // After the header only a cut or broken body is left.
    if (error.reason == kTransportReasonConnect) error.reason = kTransportReasonClosed;
    return error;
  }

  // The client is made anew when the TLS material has changed: its pooled connections were made
  // with the old.
  Result<std::shared_ptr<web_http::client::http_client>> make_client(
      std::shared_ptr<TlsState>& tls) {
    TlsMaterial material = options_.tls_material ? options_.tls_material() : TlsMaterial{};
    const std::scoped_lock lock(mutex_);
    tls = tls_;
    if (client_ && material.ca == tls_->material.ca &&
        material.certificate == tls_->material.certificate && material.key == tls_->material.key) {
      return client_;
    }
    auto state = std::make_shared<TlsState>();
    state->material = std::move(material);
    state->name = options_.server_name.empty() ? url_.host : options_.server_name;
    state->verify = !options_.insecure_skip_verify;
    if (url_.tls) {  // once here, so that bad material has a good error
      boost::asio::ssl::context probe(boost::asio::ssl::context::tls_client);
      auto ready =
          configure_client_tls(probe.native_handle(), state->material, state->name, state->verify);
      if (!ready) return std::unexpected(std::move(ready.error()));
    }
    web_http::client::http_client_config config;
    config.set_max_redirects(0);
    config.set_timeout(kLibraryTimeout);
    config.set_validate_certificates(state->verify);
    config.set_tlsext_sni_enabled(false);  // the library knows the name in the URL alone
    config.set_ssl_context_callback(
        [state](boost::asio::ssl::context& context) { prepare_context(context, *state); });
    config.set_nativehandle_options(
        [is_tls = url_.tls, name = state->name](web_http::client::native_handle handle) {
          prepare_connection(handle, is_tls, name);
        });
    try {
      client_ = std::make_shared<web_http::client::http_client>(
          (url_.tls ? "https://" : "http://") + url_.authority(), config);
    } catch (const std::exception& error) {
      return transport_error(kTransportReasonConnect, error.what());
    }
    tls_ = tls = std::move(state);
    return client_;
  }

  void drop_client() {
    const std::scoped_lock lock(mutex_);
    client_.reset();
  }

  const TransportOptions options_;
  const Url url_;
  const std::shared_ptr<Outstanding> outstanding_ = std::make_shared<Outstanding>();
  std::mutex mutex_;
  std::shared_ptr<web_http::client::http_client> client_;
  std::shared_ptr<TlsState> tls_;  // client_'s
};

}  // namespace

std::unique_ptr<Transport> make_cpprest_transport(TransportOptions options) {
  auto url = parse_base_url(options.base_url);
  // The other transport says on each call what is wrong with a URL, reaches the IPv6 literals that
  // the library cannot resolve, and goes through a proxy.
  if (!url || url->host.find(':') != std::string::npos || options.proxy)
    return make_beast_transport(std::move(options));
  return std::make_unique<CpprestTransport>(std::move(options), std::move(*url));
}

}  // namespace kube
