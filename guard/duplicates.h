// Guard's duplicates of the agent's sockets that are neither connected nor listening, by inode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include <sys/socket.h>

#include "guard/proc.h"

namespace palisade::guard {

struct Duplicate {
  Fd fd;
  int family = AF_UNSPEC;
  std::uint64_t inode = 0;
};
using SharedDuplicate = std::shared_ptr<const Duplicate>;

// Bounded. Thread-safe.
class Duplicates {
 public:
  explicit Duplicates(std::size_t most) : most_(most) {}

  // Where it is full, those go first that the agent has closed, which nothing tells guard; then the
  // oldest quarter. True: some had to go that were open.
  bool add(SharedDuplicate socket);

  [[nodiscard]] SharedDuplicate find(std::uint64_t inode) const;
  void drop(std::uint64_t inode);
  [[nodiscard]] std::vector<SharedDuplicate> all() const;
  [[nodiscard]] std::size_t size() const;

 private:
  using Order = std::list<SharedDuplicate>;
  bool make_room();

  const std::size_t most_;
  mutable std::mutex mutex_;
  Order order_;  // oldest first
  std::unordered_map<std::uint64_t, Order::iterator> where_;
};

// The inodes of all sockets that another process has a descriptor of.
[[nodiscard]] std::set<std::uint64_t> sockets_held_elsewhere();

}  // namespace palisade::guard
