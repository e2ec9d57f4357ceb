#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <nlohmann/json.hpp>

#include <kube/attach.h>
#include <kube/client.h>
#include <kube/percent.h>

#include "beast_io.h"
#include "erased_stream.h"
#include "host_lookup.h"
#include "identity.h"
#include "status_error.h"
#include "tls.h"
#include "tunnel.h"
#include "url.h"

namespace kube {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using nlohmann::json;

constexpr std::size_t kMostWaiting = 256 * 1024;
constexpr std::size_t kMostMessage = 1024 * 1024;
constexpr auto kConnect = std::chrono::seconds(10);
constexpr auto kGoodbye = std::chrono::seconds(2);
constexpr const char* kVersions = "v5.channel.k8s.io,v4.channel.k8s.io";

// The first byte of a message.
enum Channel : char { kInput = 0, kOutput = 1, kErrorOutput = 2, kStatus = 3, kSize = 4 };

// The server's answer to the upgrade.
Error refusal(const websocket::response_type& answer) {
  Response response;
  response.status = static_cast<int>(answer.result_int());
  for (const auto& field : answer)
    response.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  response.body = answer.body();
  Error out = error_of(response);
  if (out.message.empty()) out.message = "the server did not take the upgrade to a WebSocket";
  return out;
}

}  // namespace

struct Attachment::Impl {
  Impl(Config given, AttachOptions wanted) : config(std::move(given)), options(std::move(wanted)) {}

  const Config config;
  const AttachOptions options;
  asio::io_context io{1};

  std::mutex mutex;
  std::deque<std::string> waiting;  // messages with their channel
  std::size_t waiting_bytes = 0;
  std::stop_source closing;
  // Here and not in once(): its end waits for the resolver, and close() must not.
  std::optional<HostLookup> lookup;
  // What new messages and close() wake; touched by the thread of run() alone.
  std::function<void()> poke;

  bool put(std::string message, bool bounded) {
    const std::scoped_lock lock(mutex);
    if (bounded && waiting_bytes + message.size() > kMostWaiting) return false;
    waiting_bytes += message.size();
    waiting.push_back(std::move(message));
    wake();
    return true;
  }
  void wake() {
    asio::post(io, [this] {
      if (poke) poke();
    });
  }

  // One try with the credentials that are there.
  Result<AttachEnd> once(const std::function<void()>& opened,
                         const std::function<void(std::string_view)>& output);

  std::string target() const {
    return config.path_prefix + resources::kPods.path(options.ns, options.pod, "attach") +
           "?container=" + percent_encoded(options.container) +
           "&stdin=true&stdout=true&stderr=false&tty=true";
  }
};

namespace {

// Nothing is compressed.
using WebSocket = websocket::stream<ErasedStream, false>;

// One open connection; everything on the thread that runs `io`.
class Conversation {
 public:
  Conversation(asio::io_context& io, WebSocket& socket) : io_(io), socket_(socket) {}

  Result<void> open(const std::string& host, const Request& upgrade, const AttachOptions& options,
                    const std::stop_token& stop) {
    websocket::stream_base::timeout limits{};
    limits.handshake_timeout = options.open_timeout;
    limits.idle_timeout = options.silence;
    limits.keep_alive_pings = true;
    socket_.set_option(limits);
    socket_.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
      request.set(http::field::sec_websocket_protocol, kVersions);
      request.set(http::field::user_agent, kUserAgent);
      for (const auto& [name, value] : upgrade.headers)
        request.insert(name, value);
    }));
    socket_.read_message_max(kMostMessage);
    socket_.binary(true);
    websocket::response_type response;
    const error_code ec = wait([&](auto done) {
      socket_.async_handshake(response, host, upgrade.target, std::move(done));
    });
    if (ec == websocket::error::upgrade_declined) return std::unexpected(refusal(response));
    if (ec) return std::unexpected(socket_error(ec, "attach", stop.stop_requested()));
    const auto version = response[http::field::sec_websocket_protocol];
    if (version != "v5.channel.k8s.io" && version != "v4.channel.k8s.io") {
      return transport_error(kTransportReasonProtocol,
                             "the server speaks neither v5.channel.k8s.io nor v4.channel.k8s.io");
    }
    return {};
  }

  template <class Initiate>
  error_code wait(Initiate&& initiate) {
    return run_to_end(io_, std::forward<Initiate>(initiate), [] {});
  }

  // Until the end. `next` gives a message that is to be sent; `closing` whether to say goodbye.
  AttachEnd talk(const std::function<std::optional<std::string>()>& next,
                 const std::function<bool()>& closing,
                 const std::function<void(std::string_view)>& output) {
    next_ = next;
    closing_ = closing;
    output_ = &output;
    io_.restart();
    read();
    write();
    io_.run();
    return std::move(end_);
  }
  void write() {
    if (writing_ || over_) return;
    if (auto message = next_()) {
      out_ = std::move(*message);
      writing_ = true;
      socket_.async_write(asio::buffer(out_), [this](error_code ec, std::size_t) {
        writing_ = false;
        if (ec) return;  // the reader hears of it too
        write();
      });
    } else if (closing_()) {
      over_ = true;
      end_ = {AttachEnd::Kind::kClosed, ""};
      // A peer that does not answer the goodbye is not waited for.
      websocket::stream_base::timeout limits{};
      limits.handshake_timeout = kGoodbye;
      limits.idle_timeout = kGoodbye;
      limits.keep_alive_pings = false;
      socket_.set_option(limits);
      socket_.async_close(websocket::close_code::normal, [this](error_code) { io_.stop(); });
    }
  }

 private:
  void read() {
    socket_.async_read(in_, [this](error_code ec, std::size_t) {
      if (ec) {
        lost(ec);
        return;
      }
      take();
      in_.consume(in_.size());
      read();
    });
  }
  void take() {
    const auto data = in_.data();
    const std::string_view message(static_cast<const char*>(data.data()), data.size());
    if (message.empty() || over_) return;
    const std::string_view rest = message.substr(1);
    if (message[0] == kOutput || message[0] == kErrorOutput) {
      if (!rest.empty()) (*output_)(rest);
    } else if (message[0] == kStatus) {
      const json status = json::parse(rest, nullptr, false);
      end_ = {AttachEnd::Kind::kEnded,
              status.is_discarded() ? std::string() : text_at(status, "message")};
      // A failure is the kubelet's: the container has not ended for all that is known.
      if (status.is_discarded() || text_at(status, "status") == "Failure")
        end_.kind = AttachEnd::Kind::kLost;
    }
  }
  void lost(const error_code& ec) {
    if (!over_ && end_.message.empty() && end_.kind == AttachEnd::Kind::kLost)
      end_.message = ec == websocket::error::closed ? "the server closed it" : ec.message();
    over_ = true;
    // The timer of the silence would be waited for.
    io_.stop();
  }

  asio::io_context& io_;
  WebSocket& socket_;
  std::function<std::optional<std::string>()> next_;
  std::function<bool()> closing_;
  const std::function<void(std::string_view)>* output_ = nullptr;
  beast::flat_buffer in_;
  std::string out_;
  bool writing_ = false;
  bool over_ = false;
  AttachEnd end_;
};

}  // namespace

Attachment::Attachment(Config config, AttachOptions options)
    : impl_(std::make_unique<Impl>(std::move(config), std::move(options))) {}

Attachment::~Attachment() = default;

bool Attachment::send(std::string_view input) {
  std::string message(1, kInput);
  message += input;
  return impl_->put(std::move(message), true);
}

void Attachment::resize(unsigned columns, unsigned rows) {
  std::string message(1, kSize);
  message += json{{"Width", columns}, {"Height", rows}}.dump();
  static_cast<void>(impl_->put(std::move(message), false));
}

void Attachment::close() {
  impl_->closing.request_stop();
  impl_->wake();
}

Result<AttachEnd> Attachment::run(const std::function<void()>& opened,
                                  const std::function<void(std::string_view)>& output) {
  const auto& credentials = impl_->config.credentials;
  for (bool again = false;; again = true) {
    std::uint64_t generation = 0;
    if (credentials) {
      auto obtained = credentials->obtain(impl_->closing.get_token());
      if (!obtained) return std::unexpected(std::move(obtained.error()));
      generation = *obtained;
    }
    auto end = impl_->once(opened, output);
    if (end || end.error().code != 401 || again || !credentials) return end;
    credentials->refuse(generation);
  }
}

Result<AttachEnd> Attachment::Impl::once(const std::function<void()>& opened,
                                         const std::function<void(std::string_view)>& output) {
  Impl& impl = *this;
  auto url = parse_base_url(impl.config.server);
  if (!url) return std::unexpected(std::move(url.error()));
  const std::string name = impl.config.server_name.empty() ? url->host : impl.config.server_name;
  const std::optional<Proxy>& proxy = impl.config.proxy;
  const std::string peer = proxy ? "the proxy " + proxy->authority() : url->authority();
  const std::stop_token stop = impl.closing.get_token();
  const auto cancelled = [&stop] { return stop.stop_requested(); };
  Request upgrade;
  upgrade.target = impl.target();
  upgrade.headers = identity_headers(impl.config);
  if (auto fit = check_request(upgrade); !fit) return std::unexpected(std::move(fit.error()));
  impl.lookup.emplace(proxy ? proxy->host : url->host, proxy ? proxy->port : url->port);
  auto endpoints = impl.lookup->find(std::chrono::steady_clock::now() + kConnect, stop);
  if (!endpoints) return std::unexpected(std::move(endpoints.error()));

  std::shared_ptr<ssl::context> proxy_tls;  // of an https:// proxy
  using Secure = std::function<error_code(Conversation&)>;
  const auto converse = [&](TunnelStream& tunnel, WebSocket& socket,
                            const Secure& secure) -> Result<AttachEnd> {
    Conversation conversation(impl.io, socket);
    auto& lowest = tunnel.tcp();
    // Until it is open: close() ends whatever is under way.
    impl.poke = [&lowest, &cancelled] {
      error_code unneeded;
      if (cancelled()) lowest.socket().close(unneeded);
    };
    struct Quiet {
      Impl& impl;
      ~Quiet() { impl.poke = nullptr; }
    } const quiet{impl};
    lowest.expires_after(kConnect);
    error_code ec =
        conversation.wait([&](auto done) { lowest.async_connect(*endpoints, std::move(done)); });
    if (ec) return std::unexpected(socket_error(ec, "connect to " + peer, cancelled()));
    if (proxy && url->tls) {
      auto open = open_tunnel(
          tunnel, *proxy, *url, proxy_tls,
          [&](const auto& begin) { return conversation.wait(begin); }, cancelled);
      if (!open) return std::unexpected(std::move(open.error()));
    }
    if ((ec = secure(conversation)))
      return std::unexpected(socket_error(ec, "TLS with " + url->authority(), cancelled()));
    lowest.expires_never();
    error_code ignored;  // a latency setting: no harm if the kernel refuses
    lowest.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    if (auto open = conversation.open(url->authority(), upgrade, impl.options, stop); !open)
      return std::unexpected(std::move(open.error()));
    opened();
    impl.poke = [&conversation] { conversation.write(); };
    const auto next = [&impl]() -> std::optional<std::string> {
      const std::scoped_lock lock(impl.mutex);
      if (impl.waiting.empty()) return std::nullopt;
      std::string message = std::move(impl.waiting.front());
      impl.waiting.pop_front();
      impl.waiting_bytes -= message.size();
      return message;
    };
    return conversation.talk(next, cancelled, output);
  };

  if (!url->tls) {
    TunnelStream tunnel(impl.io);
    WebSocket socket(impl.io, tunnel);
    return converse(tunnel, socket, [](Conversation&) { return error_code(); });
  }
  ssl::context context(ssl::context::tls_client);
  const TlsMaterial material =
      impl.config.tls_material ? impl.config.tls_material() : TlsMaterial{};
  const bool verify = !impl.config.insecure_skip_verify;
  auto ready = configure_client_tls(context.native_handle(), material, name, verify);
  if (!ready) return std::unexpected(std::move(ready.error()));
  auto through = proxy_context(proxy, material.ca, verify);
  if (!through) return std::unexpected(std::move(through.error()));
  proxy_tls = std::move(*through);
  beast::ssl_stream<TunnelStream> tls(impl.io, context);
  send_server_name(tls.native_handle(), name);
  WebSocket socket(impl.io, tls);
  return converse(tls.next_layer(), socket, [&](Conversation& conversation) {
    return conversation.wait(
        [&](auto done) { tls.async_handshake(ssl::stream_base::client, std::move(done)); });
  });
}

}  // namespace kube
