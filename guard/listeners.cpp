#include "listeners.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace palisade::guard {

namespace {

// A line of /proc/net/tcp: "sl local remote state queues timer retransmits uid timeout inode".
bool listens(const std::string& line, std::uint64_t inode) {
  std::istringstream fields(line);
  std::string ignored;
  std::string state;
  std::uint64_t found = 0;
  fields >> ignored >> ignored >> ignored >> state >> ignored >> ignored >> ignored >> ignored >>
      ignored >> found;
  return fields && state == "0A" && found == inode;
}

bool listening(std::uint64_t inode) {
  for (const char* path : {"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"}) {
    std::ifstream table(path);
    std::string line;
    std::getline(table, line);  // the heading
    while (std::getline(table, line)) {
      if (listens(line, inode)) return true;
    }
  }
  return false;
}

}  // namespace

void Listeners::add(std::uint64_t inode, const Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  listeners_.push_back({inode, endpoint});
  if (listeners_.size() > most_) listeners_.pop_front();
}

bool Listeners::knows(std::uint64_t inode) const {
  std::lock_guard lock(mutex_);
  return std::any_of(listeners_.begin(), listeners_.end(),
                     [&](const auto& one) { return one.inode == inode; });
}

bool Listeners::at(const Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  const auto closed = std::remove_if(listeners_.begin(), listeners_.end(), [&](const auto& one) {
    return one.endpoint == endpoint && !listening(one.inode);
  });
  listeners_.erase(closed, listeners_.end());
  return std::any_of(listeners_.begin(), listeners_.end(),
                     [&](const auto& one) { return one.endpoint == endpoint; });
}

}  // namespace palisade::guard
