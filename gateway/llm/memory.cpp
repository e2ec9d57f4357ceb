#include "call.h"

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kStep = 64 * 1024;

}  // namespace

bool Memory::Hold::grow(std::size_t bytes) {
  needed_ += bytes;
  if (needed_ <= held_) return true;
  const std::size_t more = (needed_ - held_ + kStep - 1) / kStep * kStep;
  const std::lock_guard lock(memory_.mutex_);
  std::size_t& own = memory_.by_owner_[owner_];
  if (memory_.all_ + more > kMost || own + more > kMostOfOne) {
    needed_ -= bytes;
    if (own == 0) memory_.by_owner_.erase(owner_);
    return false;
  }
  memory_.all_ += more;
  own += more;
  held_ += more;
  return true;
}

void Memory::Hold::release() {
  needed_ = 0;
  if (held_ == 0) return;
  const std::lock_guard lock(memory_.mutex_);
  memory_.all_ -= held_;
  const auto own = memory_.by_owner_.find(owner_);
  own->second -= held_;
  if (own->second == 0) memory_.by_owner_.erase(own);
  held_ = 0;
}

}  // namespace palisade::gateway::llm
