// What the agent of a task printed last, for the termination message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::guard {

// Not thread-safe.
class LastLines {
 public:
  void add(std::string_view bytes);
  // The last lines that are not empty, in their order: UTF-8 without control characters and escape
  // sequences, with what looks like a token masked, each at most kLongest bytes.
  [[nodiscard]] std::vector<std::string> lines() const;

  static constexpr std::size_t kMost = 20;
  static constexpr std::size_t kLongest = 200;

 private:
  std::string tail_;
  bool cut_ = false;  // its first line is the end of one
};

}  // namespace palisade::guard
