// Coroutines on Asio's executors. In a file that includes this, <utility> comes first: Asio 1.18
// uses std::exchange without including it.
#pragma once

#include <utility>

#include <boost/asio/awaitable.hpp>

namespace palisade::gateway {

template <class T>
using Task = boost::asio::awaitable<T>;

}  // namespace palisade::gateway
