// The connection that a server's TLS runs over: TCP to it, or what a proxy passes on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include <kube/error.h>
#include <kube/transport.h>

#include "tls.h"
#include "url.h"

namespace kube {

// An asynchronous stream of Boost.Beast: bytes go to the socket, or into the TLS with the proxy.
class TunnelStream {
 public:
  using Tcp = boost::beast::tcp_stream;
  using Tls = boost::asio::ssl::stream<Tcp&>;
  using executor_type = Tcp::executor_type;
  using lowest_layer_type = Tcp::socket_type;

  explicit TunnelStream(boost::asio::io_context& io) : tcp_(io) {}
  TunnelStream(const TunnelStream&) = delete;
  TunnelStream& operator=(const TunnelStream&) = delete;

  executor_type get_executor() { return tcp_.get_executor(); }
  lowest_layer_type& lowest_layer() { return tcp_.socket(); }
  Tcp& tcp() { return tcp_; }

  // All that follows goes through TLS with the proxy, whose handshake is the caller's.
  Tls& secure(std::shared_ptr<boost::asio::ssl::context> context) {
    context_ = std::move(context);
    return tls_.emplace(tcp_, *context_);
  }
  // Bytes of the peer wait here, off the socket.
  [[nodiscard]] bool has_unread() { return tls_ && has_unread_bytes(tls_->native_handle()); }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    } else {
      tcp_.async_read_some(buffers, std::forward<Handler>(handler));
    }
  }
  template <class Buffers, class Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_) {
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    } else {
      tcp_.async_write_some(buffers, std::forward<Handler>(handler));
    }
  }

  // What Beast's WebSocket ends a stream with.
  friend void beast_close_socket(TunnelStream& stream) { stream.tcp_.close(); }
  template <class Handler>
  friend void async_teardown(boost::beast::role_type role, TunnelStream& stream,
                             Handler&& handler) {
    boost::beast::websocket::async_teardown(role, stream.tcp_.socket(),
                                            std::forward<Handler>(handler));
  }

 private:
  Tcp tcp_;
  std::shared_ptr<boost::asio::ssl::context> context_;
  std::optional<Tls> tls_;
};

// Runs the operation that it begins to its end, as run_to_end() does.
using TunnelDone = std::function<void(boost::system::error_code, std::size_t)>;
using TunnelRun =
    std::function<boost::system::error_code(const std::function<void(TunnelDone)>& begin)>;

// What an https:// proxy is met with, and null for any other. `ca` as in configure_proxy_tls().
[[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> proxy_context(
    const std::optional<Proxy>& proxy, const std::string& ca, bool verify);

// Asks the proxy that `stream` is connected to for a connection to `server`; `context` is
// proxy_context()'s, `cancelled` says whether the call was.
// Sources: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6,
// https://www.rfc-editor.org/rfc/rfc1928 and https://www.rfc-editor.org/rfc/rfc1929
[[nodiscard]] Result<void> open_tunnel(TunnelStream& stream, const Proxy& proxy, const Url& server,
                                       std::shared_ptr<boost::asio::ssl::context> context,
                                       const TunnelRun& run,
                                       const std::function<bool()>& cancelled);

}  // namespace kube
