#include "tunnel.h"

#include <array>
#include <charconv>

#include <arpa/inet.h>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <openssl/ssl.h>

#include <kube/base64.h>

#include "beast_io.h"

namespace kube {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kMostOfASocksText = 255;

const char* refusal_of_socks(unsigned char code) {
  switch (code) {
    case 1:
      return "fails";
    case 2:
      return "does not allow it: it must allow the API server's host and port, or NO_PROXY must "
             "name the host";
    case 3:
      return "does not reach the server's network";
    case 4:
      return "does not reach the server: it must know its name";
    case 5:
      return "finds the connection refused: is the server up?";
    case 6:
      return "does not reach the server in time";
    case 7:
      return "knows no CONNECT";
    case 8:
      return "knows no address of that kind";
    default:
      return "refuses for a reason of its own";
  }
}

// One proxy asked for one server.
class Opening {
 public:
  Opening(TunnelStream& stream, const Proxy& proxy, const Url& server, const TunnelRun& run,
          const std::function<bool()>& cancelled)
      : stream_(stream), proxy_(proxy), server_(server), run_(run), cancelled_(cancelled) {}

  Result<void> secure(std::shared_ptr<asio::ssl::context> context) {
    auto& tls = stream_.secure(std::move(context));
    send_server_name(tls.native_handle(), proxy_.host);
    const error_code ec = run_([&](TunnelDone done) {
      tls.async_handshake(asio::ssl::stream_base::client,
                          [done = std::move(done)](error_code failed) { done(failed, 0); });
    });
    if (!ec) return {};
    Error error = socket_error(ec, "TLS with " + who(), cancelled_());
    if (!error.is_cancelled() && error.reason != kTransportReasonTimeout) {
      error.reason = kTransportReasonTls;
      const long verified = SSL_get_verify_result(tls.native_handle());
      if (verified != X509_V_OK)
        error.message += std::string(" (") + X509_verify_cert_error_string(verified) + ")";
    }
    return std::unexpected(std::move(error));
  }

  Result<void> connect() {
    constexpr std::size_t kMaxReply = 16UL * 1024;
    const std::string target = server_.authority_with_port();
    http::request<http::empty_body> ask(http::verb::connect, target, 11);
    ask.set(http::field::host, target);
    ask.set(http::field::user_agent, kUserAgent);
    if (proxy_.login)
      ask.set(http::field::proxy_authorization,
              "Basic " + encode_base64(proxy_.login->user + ":" + proxy_.login->password));
    const std::string doing = "CONNECT by " + who();
    error_code ec =
        run_([&](TunnelDone done) { http::async_write(stream_, ask, std::move(done)); });
    if (ec) return std::unexpected(socket_error(ec, doing, cancelled_()));
    boost::beast::flat_buffer buffer(kMaxReply);
    http::response_parser<http::empty_body> parser;
    parser.header_limit(kMaxReply);
    parser.skip(true);
    ec = run_([&](TunnelDone done) {
      http::async_read_header(stream_, buffer, parser, std::move(done));
    });
    if (ec) return std::unexpected(socket_error(ec, doing, cancelled_()));
    const unsigned status = parser.get().result_int();
    if (status == 407) return refused(login_advice());
    if (status < 200 || status > 299)
      return refused(" answers " + std::to_string(status) +
                     " to CONNECT: it must allow the API server's host and port, or NO_PROXY must "
                     "name the host");
    if (buffer.size() > 0) return broken(" speaks before the server is asked");
    return {};
  }

  Result<void> socks() {
    // No login, and ours where there is one.
    auto met = exchange(
        proxy_.login ? std::string("\x05\x02\x00\x02", 4) : std::string("\x05\x01\x00", 3), 2);
    if (!met) return std::unexpected(std::move(met.error()));
    const char method = (*met)[1];
    if ((*met)[0] != 5) return broken(" does not speak SOCKS 5; http:// and https:// name others");
    if (method == 2 && proxy_.login) {
      if (auto known = socks_login(); !known) return known;
    } else if (method != 0) {
      return refused(login_advice());
    }
    auto target = socks_target();
    if (!target) return std::unexpected(std::move(target.error()));
    auto head = exchange(*target, 4);
    if (!head) return std::unexpected(std::move(head.error()));
    if ((*head)[0] != 5) return broken(" does not speak SOCKS 5");
    const auto code = static_cast<unsigned char>((*head)[1]);
    if (code != 0) return refused(std::string(" ") + refusal_of_socks(code));
    // Where it is connected from: of no use, but in the way.
    std::size_t rest = 0;
    const char kind = (*head)[3];
    if (kind == 3) {
      auto length = exchange("", 1);
      if (!length) return std::unexpected(std::move(length.error()));
      rest = static_cast<unsigned char>((*length)[0]);
    } else if (kind == 1 || kind == 4) {
      rest = kind == 1 ? 4 : 16;
    } else {
      return broken(" answers with an address of no kind");
    }
    auto bound = exchange("", rest + 2);
    if (!bound) return std::unexpected(std::move(bound.error()));
    return {};
  }

 private:
  [[nodiscard]] std::string who() const { return "the proxy " + proxy_.authority(); }
  [[nodiscard]] std::string login_advice() const {
    return proxy_.login ? " does not take the user and the password of its URL"
                        : " wants a user and a password: SCHEME://USER:PASSWORD@HOST:PORT";
  }
  [[nodiscard]] std::unexpected<Error> refused(const std::string& why) const {
    return transport_error(kTransportReasonConnect, who() + why);
  }
  [[nodiscard]] std::unexpected<Error> broken(const std::string& why) const {
    return transport_error(kTransportReasonProtocol, who() + why);
  }

  // Says `text`, then hears `size` bytes.
  Result<std::string> exchange(const std::string& text, std::size_t size) {
    std::string out(size, '\0');
    error_code ec;
    if (!text.empty())
      ec = run_([&](TunnelDone done) {
        asio::async_write(stream_, asio::buffer(text), std::move(done));
      });
    if (!ec)
      ec = run_(
          [&](TunnelDone done) { asio::async_read(stream_, asio::buffer(out), std::move(done)); });
    if (ec) return std::unexpected(socket_error(ec, "SOCKS with " + who(), cancelled_()));
    return out;
  }

  Result<void> socks_login() {
    const auto& [user, password] = *proxy_.login;
    if (user.empty() || user.size() > kMostOfASocksText || password.size() > kMostOfASocksText)
      return refused(": a SOCKS user and password have 1 to 255 bytes each");
    std::string text(1, '\x01');
    for (const std::string& part : {user, password})
      text += static_cast<char>(part.size()) + part;
    const auto answer = exchange(text, 2);
    if (!answer) return std::unexpected(answer.error());
    if ((*answer)[1] != 0) return refused(login_advice());
    return {};
  }

  Result<std::string> socks_target() const {
    std::string out("\x05\x01\x00", 3);
    std::array<char, 16> address{};
    if (inet_pton(AF_INET, server_.host.c_str(), address.data()) == 1) {
      out += '\x01';
      out.append(address.data(), 4);
    } else if (inet_pton(AF_INET6, server_.host.c_str(), address.data()) == 1) {
      out += '\x04';
      out.append(address.data(), 16);
    } else if (server_.host.size() <= kMostOfASocksText) {
      out += '\x03';
      out += static_cast<char>(server_.host.size());
      out += server_.host;
    } else {
      return refused(": the server's name is longer than 255 bytes");
    }
    unsigned port = 0;
    std::from_chars(server_.port.data(), server_.port.data() + server_.port.size(), port);
    out += static_cast<char>(port >> 8U);
    out += static_cast<char>(port & 0xFFU);
    return out;
  }

  TunnelStream& stream_;
  const Proxy& proxy_;
  const Url& server_;
  const TunnelRun& run_;
  const std::function<bool()>& cancelled_;
};

}  // namespace

Result<std::shared_ptr<asio::ssl::context>> proxy_context(const std::optional<Proxy>& proxy,
                                                          const std::string& ca, bool verify) {
  if (!proxy || proxy->kind != Proxy::Kind::kHttps) return nullptr;
  auto out = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  if (auto ready = configure_proxy_tls(out->native_handle(), ca, proxy->host, verify); !ready)
    return std::unexpected(std::move(ready.error()));
  return out;
}

Result<void> open_tunnel(TunnelStream& stream, const Proxy& proxy, const Url& server,
                         std::shared_ptr<asio::ssl::context> context, const TunnelRun& run,
                         const std::function<bool()>& cancelled) {
  Opening opening(stream, proxy, server, run, cancelled);
  if (proxy.kind == Proxy::Kind::kSocks5) return opening.socks();
  if (proxy.kind == Proxy::Kind::kHttps) {
    if (auto secured = opening.secure(std::move(context)); !secured) return secured;
  }
  return opening.connect();
}

}  // namespace kube
