// What the transport and attach share of Boost.Beast: a step run to its end, what a failed one was,
// and the way through a proxy.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <kube/error.h>

#include "proxy.h"
#include "url.h"

namespace kube {

// A failed step as an Error without code; where the call was cancelled, that.
[[nodiscard]] Error socket_error(const boost::system::error_code& ec, std::string_view doing,
                                 bool cancelled);

// Runs one asynchronous operation to its end, on this thread; `between` is called after each
// step that was not the last.
template <class Initiate, class Between>
boost::system::error_code run_to_end(boost::asio::io_context& io, Initiate&& initiate,
                                     Between&& between) {
  std::optional<boost::system::error_code> result;
  io.restart();
  std::forward<Initiate>(initiate)(
      [&result](boost::system::error_code ec, auto&&...) { result = ec; });
  while (!result && io.run_one() > 0) {
    if (!result) between();
  }
  return result.value_or(boost::asio::error::operation_aborted);
}

// What the proxy has answered to CONNECT; `rest` bytes of it were not its header.
[[nodiscard]] Result<void> check_tunnel(const Proxy& proxy, unsigned status, std::size_t rest);

// Asks the proxy that `stream` is connected to for a connection to `server`. `run` takes an
// initiation as run_to_end() does; `cancelled` says whether the call was.
// Source: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6
template <class Stream, class Run, class Cancelled>
Result<void> open_tunnel(Stream& stream, const Proxy& proxy, const Url& server, Run&& run,
                         Cancelled&& cancelled) {
  namespace http = boost::beast::http;
  constexpr std::size_t kMaxReply = 16UL * 1024;
  http::request<http::empty_body> ask(http::verb::connect, server.authority_with_port(), 11);
  ask.set(http::field::host, server.authority_with_port());
  ask.set(http::field::user_agent, kUserAgent);
  if (!proxy.authorization.empty()) ask.set(http::field::proxy_authorization, proxy.authorization);
  const std::string doing = "CONNECT by the proxy " + proxy.authority();
  boost::system::error_code ec =
      run([&](auto done) { http::async_write(stream, ask, std::move(done)); });
  if (ec) return std::unexpected(socket_error(ec, doing, cancelled()));
  boost::beast::flat_buffer buffer(kMaxReply);
  http::response_parser<http::empty_body> parser;
  parser.header_limit(kMaxReply);
  parser.skip(true);
  ec = run([&](auto done) { http::async_read_header(stream, buffer, parser, std::move(done)); });
  if (ec) return std::unexpected(socket_error(ec, doing, cancelled()));
  return check_tunnel(proxy, parser.get().result_int(), buffer.size());
}

}  // namespace kube
