// The reconcile in random interleavings with everything else that happens in a cluster, against a
// model API server (simulation_api.h): watches that lag each by itself or begin anew, requests that
// fail or lose their answers, crashes between any two requests, several workers, another process
// that stands by and takes over with whatever it has heard of, users, meddlers and kubelet at any
// time. A quarter of the worlds have a pool whose pods workspaces take (simulation_pools.cpp), a
// quarter workspaces with a setup (simulation_setups.cpp). After every write the promises hold;
// once all is quiet each workspace and each pool is exactly as its spec says.
//
// Two processes do not work at once, as the Lease has it (operator/fence.h): two with an old view
// of a workspace could write against each other without end. What the Lease leaves open is here: a
// write that an ended leader had sent is carried out at any time later (World::Late). Even then no
// live pod's network grows.
//
// PALISADE_TEST_SEED chooses a run, PALISADE_TEST_INTERLEAVINGS sets how many there are (10000 take
// two minutes in an optimised build), and PALISADE_TEST_INTERLEAVING=N runs that one alone. One
// that fails is cut down to what it takes.
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "operator/fixture.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {
namespace {

using Clock = std::chrono::steady_clock;
using Tape = std::vector<std::uint32_t>;

// What came about in all interleavings.
struct Seen {
  int taken = 0, set_up = 0;
};

std::string run(Choices choices, Tape* tape = nullptr, std::vector<std::string>* history = nullptr,
                Seen* seen = nullptr) {
  World world(choices, history != nullptr);
  std::string out = world.run();
  if (seen != nullptr) {
    seen->taken += world.api().taken;
    seen->set_up += world.api().set_up;
  }
  if (tape != nullptr) *tape = choices.tape();
  if (history != nullptr) *history = world.history();
  return out;
}

// Leaves out and quietens whatever the failure does not need.
Tape shrink(Tape tape, const std::string& why) {
  const auto until = Clock::now() + std::chrono::seconds(60);
  const auto fails = [&](const Tape& candidate) { return run(Choices(candidate)) == why; };
  for (bool better = true; better && Clock::now() < until;) {
    better = false;
    for (std::size_t length = 64; length > 0; length /= 2) {
      for (std::size_t at = 0; at < tape.size() && Clock::now() < until;) {
        const auto upto = std::min(tape.size(), at + length);
        Tape without(tape.begin(), tape.begin() + static_cast<std::ptrdiff_t>(at));
        without.insert(without.end(), tape.begin() + static_cast<std::ptrdiff_t>(upto), tape.end());
        Tape quiet = tape;
        std::fill(quiet.begin() + static_cast<std::ptrdiff_t>(at),
                  quiet.begin() + static_cast<std::ptrdiff_t>(upto), 0U);
        if (fails(without)) {
          tape = std::move(without);
          better = true;
        } else if (quiet != tape && fails(quiet)) {
          tape = std::move(quiet);
          better = true;
        } else {
          at += length;
        }
      }
    }
  }
  return tape;
}

std::string told(const Tape& tape) {
  std::vector<std::string> history;
  std::string out = run(Choices(tape), nullptr, &history) + "\n";
  for (const std::string& line : history)
    out += "  " + line + "\n";
  return out;
}

TEST(Simulation, EveryInterleavingKeepsThePromisesAndComesToRest) {
  spdlog::set_level(spdlog::level::off);
  const std::uint64_t seed = from_environment("PALISADE_TEST_SEED", 20268);
  const std::uint64_t only = from_environment("PALISADE_TEST_INTERLEAVING", ~0ULL);
  const std::uint64_t first = only == ~0ULL ? from_environment("PALISADE_TEST_FIRST", 0) : only;
  const std::uint64_t count =
      only == ~0ULL ? from_environment("PALISADE_TEST_INTERLEAVINGS", 150) : first + 1;
  std::printf("PALISADE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Seen seen;
  for (std::uint64_t number = first; number < count; ++number) {
    Tape tape;
    const std::string why = run(Choices(seed * 1'000'003 + number), &tape, nullptr, &seen);
    if (!why.empty()) {
      FAIL() << "PALISADE_TEST_SEED=" << seed << " PALISADE_TEST_INTERLEAVING=" << number << ": "
             << why << "\ncut down to:\n"
             << told(shrink(std::move(tape), why));
    }
  }
  std::printf("%llu interleavings, %d pods taken out of pools, %d setups completed\n",
              static_cast<unsigned long long>(count - first), seen.taken, seen.set_up);
  if (count - first < 100) return;
  EXPECT_GT(seen.taken, 0);
  EXPECT_GT(seen.set_up, 0);
}

}  // namespace
}  // namespace palisade::op::testing
