#include "alike.h"

#include <algorithm>

namespace palisade::guard {

bool Alike::admit(const Refused& refused, Steady now) {
  Kind kind{refused.by.program, refused.rule,  refused.call,
            refused.target,     refused.error, refused.argv};
  auto found = kinds_.find(kind);
  if (found == kinds_.end()) {
    if (kinds_.size() >= kKinds) return true;
    if (kinds_.empty()) next_ = now + kWindow;
    found = kinds_.emplace(std::move(kind), Seen{now, 0, 0, {}}).first;
  }
  Seen& seen = found->second;
  if (seen.written < kOneByOne) {
    ++seen.written;
    return true;
  }
  if (seen.held++ == 0) {
    seen.last = refused;
  } else {
    seen.last.by = refused.by;
  }
  return false;
}

std::vector<Refused> Alike::due(Steady now, bool all) {
  std::vector<Refused> out;
  if (kinds_.empty() || (!all && now < next_)) return out;
  Steady earliest = now;
  for (auto kind = kinds_.begin(); kind != kinds_.end();) {
    Seen& seen = kind->second;
    if (!all && now - seen.since < kWindow) {
      earliest = std::min(earliest, seen.since);
      ++kind;
      continue;
    }
    if (seen.held > 0) {
      seen.last.count = seen.held;
      seen.last.within = std::chrono::ceil<std::chrono::seconds>(now - seen.since);
      out.push_back(std::move(seen.last));
    }
    kind = kinds_.erase(kind);
  }
  next_ = earliest + kWindow;
  return out;
}

}  // namespace palisade::guard
