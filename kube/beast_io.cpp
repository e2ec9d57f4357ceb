#include "beast_io.h"

#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>

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

}  // namespace kube
