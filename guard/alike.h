// Refusals that are alike: a loop on one refused call must not fill the record. The first ones of a
// window are written one by one, the others counted and written as one line that stands for them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <guard/event.h>

namespace palisade::guard {

class Alike {
 public:
  using Steady = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kWindow{10};
  static constexpr std::uint64_t kOneByOne = 20;  // of a kind, in a window
  static constexpr std::size_t kKinds = 256;      // followed at once; others are written one by one

  // Whether it is to be written itself. Alike are those of one program, rule, call, target, answer
  // and arguments; the processes may differ.
  [[nodiscard]] bool admit(const Refused& refused, Steady now);
  // What was counted in windows that are over (`all`: in every one), the newest of each kind with
  // `count` and `within`; forgets it.
  [[nodiscard]] std::vector<Refused> due(Steady now, bool all);

 private:
  using Kind =
      std::tuple<std::string, std::string, std::string, std::string, int, std::vector<std::string>>;
  struct Seen {
    Steady since;
    std::uint64_t written = 0;
    std::uint64_t held = 0;
    Refused last;  // where some are held
  };
  std::map<Kind, Seen> kinds_;
  Steady next_{};  // no window is over before
};

}  // namespace palisade::guard
