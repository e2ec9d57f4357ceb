// The Transport on cpprestsdk's http_client, and the only file that includes it. The library is
// archived and has no security fixes: it speaks to the API server alone. What each guard below is
// for stands in README.md.
#define _TURN_OFF_PLATFORM_STRING  // the library's U() macro breaks other headers
#include <condition_variable>
#include <deque>
#include <mutex>

#include <boost/asio/ssl.hpp>
#include <cpprest/http_client.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pplx/threadpool.h>

#include <kube/transport.h>

#include "url.h"

namespace kube {

namespace {

namespace web_http = web::http;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxQueuedBytes = 256 * 1024;  // of a body whose reader is slow
constexpr int kPoolThreads = 4;

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

// What a failed exchange was, from the library's exceptions.
Error classify(const std::string& what, std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
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
    } else if (has("SSL") || has("certificate") || has("handshake")) {
      reason = kTransportReasonTls;
    } else if (has("Failed to read HTTP status line") || has("Failed to read") ||
               has("Failed to write") || code == std::errc::broken_pipe ||
               code == std::errc::connection_reset || code == std::errc::connection_aborted ||
               has("End of file")) {
      reason = kTransportReasonClosed;
    } else if (has("Invalid") || has("invalid") || has("malformed")) {
      reason = kTransportReasonProtocol;
    }
    return {0, reason, what + ": " + text, {}, {}};
  } catch (const std::exception& error) {
    return {0, kTransportReasonProtocol, what + ": " + error.what(), {}, {}};
  }
}

// One exchange in flight, shared with the library's continuations: they may end after the caller
// has given up.
struct Exchange {
  std::mutex mutex;
  std::condition_variable_any changed;
  bool has_header = false;
  bool done = false;
  std::optional<Error> error;
  Response response;
  pplx::cancellation_token_source cancel;
  std::shared_ptr<Pipe> pipe = std::make_shared<Pipe>();
};

class CpprestTransport final : public Transport {
 public:
  CpprestTransport(TransportOptions options, Url url)
      : options_(std::move(options)), url_(std::move(url)) {
    initialize_pool();
  }

  Result<Response> send(const Request& request, std::stop_token stop) override {
    return exchange(request, nullptr, std::chrono::milliseconds(0), stop);
  }
  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return exchange(request, &sink, idle, stop);
  }

 private:
  Result<Response> exchange(const Request& request, const ChunkSink* sink,
                            std::chrono::milliseconds idle, const std::stop_token& stop) {
    const auto deadline = Clock::now() + request.deadline;
    bool first_bytes = false;
    auto result = attempt(request, sink, idle, deadline, stop, first_bytes);
    const bool may_repeat = request.method == "GET" || request.method == "HEAD" ||
                            request.method == "PUT" || request.method == "DELETE";
    // A pooled connection that the server has closed fails the first request on it: once more,
    // where twice does no harm.
    if (!result && result.error().reason == kTransportReasonClosed && !first_bytes && may_repeat &&
        !stop.stop_requested()) {
      result = attempt(request, sink, idle, deadline, stop, first_bytes);
    }
    return result;
  }

  Result<Response> attempt(const Request& request, const ChunkSink* sink,
                           std::chrono::milliseconds idle, Clock::time_point deadline,
                           const std::stop_token& stop, bool& first_bytes) {
    const std::string what =
        request.method + " " + request.target.substr(0, request.target.find('?'));
    if (stop.stop_requested())
      return transport_error(kTransportReasonCancelled, what + ": cancelled");
    auto client =
        make_client(sink != nullptr ? std::max(idle, request.deadline) : request.deadline);
    if (!client) return std::unexpected(std::move(client.error()));
    auto flight = std::make_shared<Exchange>();
    start(**client, request, flight);
    const std::stop_callback cancel_on_stop(stop, [flight] { flight->cancel.cancel(); });

    std::unique_lock lock(flight->mutex);
    const bool answered = flight->changed.wait_until(
        lock, stop, deadline, [&] { return flight->has_header || flight->done; });
    if (!answered) {
      lock.unlock();
      give_up(*flight);
      return stop.stop_requested()
                 ? transport_error(kTransportReasonCancelled, what + ": cancelled")
                 : transport_error(kTransportReasonTimeout,
                                   what + ": no answer within the deadline");
    }
    if (!flight->has_header)
      return std::unexpected(
          flight->error.value_or(Error{0, kTransportReasonClosed, what + ": no answer", {}, {}}));
    first_bytes = true;
    Response response = std::move(flight->response);
    lock.unlock();

    const bool deliver = sink != nullptr && response.status >= 200 && response.status < 300;
    std::string piece;
    while (true) {
      const auto patience =
          deliver ? idle
                  : std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      piece.clear();
      const Pipe::Got got =
          flight->pipe->read(piece, std::max(patience, std::chrono::milliseconds(0)), stop);
      if (got == Pipe::Got::kEnd) break;
      if (got != Pipe::Got::kBytes) {
        give_up(*flight);
        return got == Pipe::Got::kStopped
                   ? transport_error(kTransportReasonCancelled, what + ": cancelled")
                   : transport_error(kTransportReasonTimeout, what + ": the body has stalled");
      }
      if (deliver) {
        if (!(*sink)(piece)) {
          give_up(*flight);
          return response;
        }
      } else {
        if (response.body.size() + piece.size() > options_.max_response_bytes) {
          give_up(*flight);
          return transport_error(kTransportReasonTooLarge,
                                 what + ": the answer is larger than " +
                                     std::to_string(options_.max_response_bytes) + " bytes");
        }
        response.body += piece;
      }
    }
    lock.lock();
    flight->changed.wait_for(lock, std::chrono::seconds(5), [&] { return flight->done; });
    if (flight->error) {
      Error error = *flight->error;
      // After the header only a cut or broken body is left.
      if (error.reason == kTransportReasonConnect) error.reason = kTransportReasonClosed;
      return std::unexpected(std::move(error));
    }
    if (const auto length = header(response.headers, "Content-Length");
        !length.empty() && !deliver && request.method != "HEAD" &&
        std::to_string(response.body.size()) != length) {
      return transport_error(kTransportReasonClosed, what + ": the body was cut");
    }
    return response;
  }

  static void give_up(Exchange& flight) {
    flight.pipe->abandon();
    flight.cancel.cancel();
  }

  // Sends the request; its continuations fill `flight`. Every task's failure is observed there: an
  // unobserved one would end the process.
  static void start(web_http::client::http_client& client, const Request& request,
                    const std::shared_ptr<Exchange>& flight) {
    web_http::http_request message(request.method);
    message.set_request_uri(web::uri(request.target));
    for (const auto& [name, value] : request.headers)
      message.headers().add(name, value);
    if (!request.body.empty()) {
      const auto type = header(request.headers, "Content-Type");
      message.set_body(std::vector<unsigned char>(request.body.begin(), request.body.end()));
      message.headers().remove("Content-Type");
      message.headers().add("Content-Type",
                            type.empty() ? std::string("application/json") : std::string(type));
    }
    const auto buffer = std::make_shared<PipeBuffer>(flight->pipe);
    message.set_response_stream(
        Concurrency::streams::streambuf<std::uint8_t>(buffer).create_ostream());
    const std::string what =
        request.method + " " + request.target.substr(0, request.target.find('?'));
    client.request(message, flight->cancel.get_token())
        .then([flight](const web_http::http_response& answer) {
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
        .then([flight, what](const pplx::task<web_http::http_response>& finished) {
          std::optional<Error> failed;
          try {
            finished.get();
          } catch (...) {
            failed = classify(what, std::current_exception());
          }
          {
            const std::scoped_lock lock(flight->mutex);
            flight->error = std::move(failed);
            flight->done = true;
            flight->changed.notify_all();
          }
          flight->pipe->close();
        });
  }

  // The client is made anew when the TLS material has changed: its pooled connections were made
  // with the old.
  Result<std::shared_ptr<web_http::client::http_client>> make_client(
      std::chrono::milliseconds inactivity) {
    TlsMaterial material = options_.tls_material ? options_.tls_material() : TlsMaterial{};
    const std::scoped_lock lock(mutex_);
    if (client_ && inactivity == inactivity_ && material.ca == material_.ca &&
        material.certificate == material_.certificate && material.key == material_.key) {
      return client_;
    }
    web_http::client::http_client_config config;
    config.set_max_redirects(0);
    config.set_timeout(std::max(inactivity, std::chrono::milliseconds(1)) +
                       std::chrono::seconds(5));  // ours ends first
    config.set_validate_certificates(!options_.insecure_skip_verify);
    const std::string name = options_.server_name.empty() ? url_.host : options_.server_name;
    const bool verify = !options_.insecure_skip_verify;
    config.set_ssl_context_callback([material, verify](boost::asio::ssl::context& context) {
      configure(context, material, verify);
    });
    config.set_tlsext_sni_enabled(!is_ip_literal(name));
    try {
      client_ = std::make_shared<web_http::client::http_client>(
          (url_.tls ? "https://" : "http://") + url_.authority(), config);
    } catch (const std::exception& error) {
      return transport_error(kTransportReasonConnect, error.what());
    }
    material_ = std::move(material);
    inactivity_ = inactivity;
    return client_;
  }

  // Runs for each new connection. A store of its own takes the place of the library's: the system's
  // authorities are not trusted.
  static void configure(boost::asio::ssl::context& context, const TlsMaterial& material,
                        bool verify) {
    SSL_CTX* raw = context.native_handle();
    SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
    if (!material.ca.empty()) {
      SSL_CTX_set_cert_store(raw, X509_STORE_new());
      context.add_certificate_authority(boost::asio::buffer(material.ca));
    }
    if (verify) context.set_verify_mode(boost::asio::ssl::verify_peer);
    if (!material.certificate.empty()) {
      context.use_certificate_chain(boost::asio::buffer(material.certificate));
      context.use_private_key(boost::asio::buffer(material.key), boost::asio::ssl::context::pem);
    }
  }

  const TransportOptions options_;
  const Url url_;
  std::mutex mutex_;
  std::shared_ptr<web_http::client::http_client> client_;
  std::chrono::milliseconds inactivity_{0};
  TlsMaterial material_;
};

}  // namespace

std::unique_ptr<Transport> make_cpprest_transport(TransportOptions options) {
  auto url = parse_url(options.base_url);
  if (!url)
    return make_beast_transport(
        std::move(options));  // which says on each call what is wrong with the URL
  return std::make_unique<CpprestTransport>(std::move(options), std::move(*url));
}

}  // namespace kube
