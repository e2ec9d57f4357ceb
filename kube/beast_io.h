// What the transport and attach share of Boost.Beast: a step run to its end, and what a failed one
// was.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/error_code.hpp>

#include <kube/error.h>

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

}  // namespace kube
