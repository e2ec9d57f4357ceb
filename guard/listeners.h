// What the agent listens on itself. Guard keeps no descriptor of it, so a listener is told by its
// socket's inode in /proc/net/tcp: once it is closed, its address is nobody's again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#include "guard/address.h"

namespace palisade::guard {

// Thread-safe.
class Listeners {
 public:
  explicit Listeners(std::size_t most) : most_(most) {}

  // `endpoint` without a port: a Unix socket. The oldest goes where there are too many.
  void add(std::uint64_t inode, const Endpoint& endpoint);
  // Whether the socket was put to listening here.
  [[nodiscard]] bool knows(std::uint64_t inode) const;
  // Whether one of them is listening at this address now.
  [[nodiscard]] bool at(const Endpoint& endpoint);

 private:
  struct Listener {
    std::uint64_t inode;
    Endpoint endpoint;
  };
  const std::size_t most_;
  mutable std::mutex mutex_;
  std::deque<Listener> listeners_;
};

}  // namespace palisade::guard
