#include "beast_io.h"

#include <boost/asio/ssl/error.hpp>

namespace kube {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

}  // namespace

Error socket_error(const boost::system::error_code& ec, std::string_view doing, bool cancelled) {
  if (cancelled) return {0, kTransportReasonCancelled, std::string(doing) + ": cancelled", {}, {}};
  const bool late = ec == beast::error::timeout || ec == asio::error::timed_out;
  const char* reason = kTransportReasonConnect;
  if (late) {
    reason = kTransportReasonTimeout;
  } else if (ec == http::error::end_of_stream || ec == http::error::partial_message ||
             ec == asio::error::eof || ec == asio::error::connection_reset ||
             ec == asio::error::connection_aborted || ec == asio::error::broken_pipe ||
             ec == asio::ssl::error::stream_truncated) {
    reason = kTransportReasonClosed;
  } else if (ec == http::error::body_limit || ec == http::error::header_limit ||
             ec == http::error::buffer_overflow) {
    reason = kTransportReasonTooLarge;
  } else if (ec.category() == http::make_error_code(http::error::bad_method).category()) {
    reason = kTransportReasonProtocol;
  } else if (ec.category() == asio::error::get_ssl_category()) {
    reason = kTransportReasonTls;
  }
  return {0,
          reason,
          std::string(doing) + ": " + (late ? "no answer within the deadline" : ec.message()),
          {},
          {}};
}

Result<void> check_tunnel(const Proxy& proxy, unsigned status, std::size_t rest) {
  const std::string who = "the proxy " + proxy.authority();
  if (status == 407)
    return transport_error(
        kTransportReasonConnect,
        who + (proxy.authorization.empty()
                   ? " wants a user and a password: http://USER:PASSWORD@HOST:PORT"
                   : " does not take the user and the password of its URL"));
  if (status < 200 || status > 299)
    return transport_error(kTransportReasonConnect,
                           who + " answers " + std::to_string(status) +
                               " to CONNECT: it must allow the API server's host and port, or "
                               "NO_PROXY must name the host");
  if (rest > 0)
    return transport_error(kTransportReasonProtocol, who + " speaks before the server is asked");
  return {};
}

}  // namespace kube
