#include "duplicates.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

#include "guard/processes.h"

namespace palisade::guard {

bool Duplicates::make_room() {
  const auto held = sockets_held_elsewhere();
  for (const auto& socket : all()) {
    if (!held.contains(socket->inode)) drop(socket->inode);
  }
  if (size() < most_) return false;
  const auto oldest = all();
  // A quarter, so that not every socket that is made from now on has /proc searched.
  for (std::size_t i = 0; i < std::max<std::size_t>(most_ / 4, 1) && i < oldest.size(); ++i) {
    drop(oldest[i]->inode);
  }
  return true;
}

bool Duplicates::add(SharedDuplicate socket) {
  const auto inode = socket->inode;
  drop(inode);  // the kernel counts inodes round: an older one is not this one
  const bool crowded = size() >= most_ && make_room();
  std::lock_guard lock(mutex_);
  order_.push_back(std::move(socket));
  where_[inode] = std::prev(order_.end());
  return crowded;
}

SharedDuplicate Duplicates::find(std::uint64_t inode) const {
  std::lock_guard lock(mutex_);
  const auto at = where_.find(inode);
  return at == where_.end() ? nullptr : *at->second;
}

void Duplicates::drop(std::uint64_t inode) {
  SharedDuplicate dropped;
  std::lock_guard lock(mutex_);
  const auto at = where_.find(inode);
  if (at == where_.end()) return;
  dropped = std::move(*at->second);
  order_.erase(at->second);
  where_.erase(at);
}

std::vector<SharedDuplicate> Duplicates::all() const {
  std::lock_guard lock(mutex_);
  return {order_.begin(), order_.end()};
}

std::size_t Duplicates::size() const {
  std::lock_guard lock(mutex_);
  return order_.size();
}

std::set<std::uint64_t> sockets_held_elsewhere() {
  std::set<std::uint64_t> held;
  for (const auto& process : all_processes()) {
    if (process.pid == getpid()) continue;
    const auto table = "/proc/" + std::to_string(process.pid) + "/fd";
    std::error_code error;
    std::filesystem::directory_iterator at{table, error};
    for (; !error && at != std::filesystem::directory_iterator{}; at.increment(error)) {
      struct stat about {};
      if (stat(at->path().c_str(), &about) == 0 && S_ISSOCK(about.st_mode)) {
        held.insert(about.st_ino);
      }
    }
  }
  return held;
}

}  // namespace palisade::guard
