#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <kube/workqueue.h>

namespace {

using namespace std::chrono_literals;
using kube::Priority;
using kube::WorkQueue;
using kube::WorkQueueOptions;
using Clock = std::chrono::steady_clock;

// The next key, or "" where none comes in time.
std::string take(WorkQueue& queue, std::chrono::milliseconds patience) {
  std::stop_source stop;
  std::jthread timer([&](const std::stop_token& over) {
    for (const auto end = Clock::now() + patience; Clock::now() < end && !over.stop_requested();)
      std::this_thread::sleep_for(1ms);
    stop.request_stop();
  });
  const auto key = queue.get(stop.get_token());
  return key.value_or("");
}

TEST(WorkQueueTest, KeysComeInTheOrderTheyWereAdded) {
  WorkQueue queue;
  for (const char* key : {"a", "b", "c"})
    queue.add(key);
  EXPECT_EQ(queue.size(), 3U);
  for (const char* key : {"a", "b", "c"})
    EXPECT_EQ(queue.get({}), key);
  EXPECT_EQ(queue.size(), 0U);
}

TEST(WorkQueueTest, KeyIsInItOnce) {
  WorkQueue queue;
  for (int i = 0; i < 5; ++i)
    queue.add("a");
  EXPECT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue.get({}), "a");
  queue.done("a");
  EXPECT_EQ(take(queue, 20ms), "");
}

TEST(WorkQueueTest, KeyAddedWhileProcessedRunsAgainAfterDoneAndNotBefore) {
  WorkQueue queue;
  queue.add("a");
  EXPECT_EQ(queue.get({}), "a");
  queue.add("a");
  queue.add("a");
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_EQ(take(queue, 20ms), "");
  queue.done("a");
  EXPECT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue.get({}), "a");
  queue.done("a");
  EXPECT_EQ(queue.size(), 0U);
}

TEST(WorkQueueTest, DoneTwiceAddsNothing) {
  WorkQueue queue;
  queue.add("a");
  EXPECT_EQ(queue.get({}), "a");
  queue.add("a");
  queue.done("a");
  queue.done("a");
  queue.done("never taken");
  EXPECT_EQ(queue.size(), 1U);
}

TEST(WorkQueueTest, DelayedKeyComesWhenItIsDue) {
  WorkQueue queue;
  const auto begun = Clock::now();
  queue.add_after("a", 50ms);
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_EQ(take(queue, 10s), "a");
  EXPECT_GE(Clock::now() - begun, 50ms);
}

TEST(WorkQueueTest, EarliestOfSeveralDelaysWins) {
  for (const bool short_first : {true, false}) {
    WorkQueue queue;
    const auto begun = Clock::now();
    queue.add_after("a", short_first ? 30ms : 60s);
    queue.add_after("a", short_first ? 60s : 30ms);
    EXPECT_EQ(take(queue, 10s), "a");
    EXPECT_GE(Clock::now() - begun, 30ms);
    queue.done("a");
    EXPECT_EQ(take(queue, 50ms), "");  // and the other is gone
  }
}

TEST(WorkQueueTest, ImmediateAddMakesADelayedKeyDueOnce) {
  WorkQueue queue;
  queue.add_after("a", 40ms);
  queue.add("a");
  EXPECT_EQ(take(queue, 10s), "a");
  queue.done("a");
  EXPECT_EQ(take(queue, 100ms), "");
}

TEST(WorkQueueTest, NoDelayOrLessIsNow) {
  WorkQueue queue;
  queue.add_after("a", 0ms);
  queue.add_after("b", -5s);
  EXPECT_EQ(queue.size(), 2U);
}

TEST(WorkQueueTest, DelayedKeysComeInTheOrderOfTheirTimes) {
  WorkQueue queue;
  queue.add_after("third", 90ms);
  queue.add_after("first", 30ms);
  queue.add_after("second", 60ms);
  EXPECT_EQ(take(queue, 10s), "first");
  EXPECT_EQ(take(queue, 10s), "second");
  EXPECT_EQ(take(queue, 10s), "third");
}

TEST(WorkQueueTest, EachFailureDoublesTheDelayUpToTheMost) {
  WorkQueueOptions options;
  options.backoff_base = 10ms;
  options.backoff_max = 45ms;
  WorkQueue queue(options);
  for (const auto expected : {10ms, 20ms, 40ms, 45ms, 45ms}) {
    const auto begun = Clock::now();
    queue.add_rate_limited("a");
    ASSERT_EQ(take(queue, 10s), "a");
    const auto waited = Clock::now() - begun;
    EXPECT_GE(waited, expected);
    EXPECT_LT(waited, expected + 500ms);
    queue.done("a");
  }
  EXPECT_EQ(queue.failures("a"), 5U);
  EXPECT_EQ(queue.failures("b"), 0U);
  queue.forget("a");
  EXPECT_EQ(queue.failures("a"), 0U);
  const auto begun = Clock::now();
  queue.add_rate_limited("a");
  ASSERT_EQ(take(queue, 10s), "a");
  EXPECT_LT(Clock::now() - begun, 500ms);
}

TEST(WorkQueueTest, VeryManyFailuresDoNotOverflow) {
  WorkQueueOptions options;
  options.backoff_base = 1ms;
  options.backoff_max = 2ms;
  WorkQueue queue(options);
  for (int i = 0; i < 200; ++i) {
    queue.add_rate_limited("a");
    ASSERT_EQ(take(queue, 10s), "a");
    queue.done("a");
  }
  EXPECT_EQ(queue.failures("a"), 200U);
}

TEST(WorkQueueTest, ShutDownWakesWaitersAndIgnoresLaterAdds) {
  WorkQueue queue;
  std::vector<std::thread> waiters;
  std::atomic<int> woken{0};
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      EXPECT_FALSE(queue.get({}));
      ++woken;
    });
  }
  queue.add_after("later", 60s);
  std::this_thread::sleep_for(20ms);
  queue.shut_down();
  for (auto& waiter : waiters)
    waiter.join();
  EXPECT_EQ(woken, 3);
  queue.add("a");
  queue.add_after("b", 1ms);
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_FALSE(queue.get({}));
}

TEST(WorkQueueTest, StopTokenWakesItsWaiterAlone) {
  WorkQueue queue;
  std::stop_source stop;
  std::thread stopped([&] { EXPECT_FALSE(queue.get(stop.get_token())); });
  std::thread other([&] { EXPECT_EQ(queue.get({}), "a"); });
  std::this_thread::sleep_for(20ms);
  stop.request_stop();
  stopped.join();
  queue.add("a");
  other.join();
}

// A worker that is busy with one delayed key must not keep the next from another worker.
TEST(WorkQueueTest, SecondDelayedKeyFindsTheOtherWorker) {
  WorkQueue queue;
  std::atomic<int> taken{0};
  std::stop_source stop;
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([&] {
      while (queue.get(stop.get_token())) {
        ++taken;
        std::this_thread::sleep_for(3s);
      }
    });
  }
  std::this_thread::sleep_for(50ms);  // both wait, with nothing delayed
  queue.add_after("first", 30ms);
  queue.add_after("second", 60ms);
  const auto deadline = Clock::now() + 2s;
  while (taken < 2 && Clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  EXPECT_EQ(taken, 2);
  stop.request_stop();
  for (auto& worker : workers)
    worker.join();
}

// Many producers and workers: no key is ever with two workers at a time, and whatever was added
// last is seen by a later run.
TEST(WorkQueueTest, NoKeyIsLostOrWithTwoWorkersAtATime) {
  constexpr int kKeys = 20;
  WorkQueueOptions options;
  options.backoff_base = 1ms;
  options.backoff_max = 4ms;
  WorkQueue queue(options);
  std::array<std::atomic<int>, kKeys> wanted{};
  std::array<std::atomic<int>, kKeys> seen{};
  std::array<std::atomic<bool>, kKeys> held{};
  std::atomic<int> doubled{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      while (const auto key = queue.get({})) {
        const auto k = static_cast<std::size_t>(std::stoi(*key));
        if (held[k].exchange(true)) ++doubled;
        seen[k] = wanted[k].load();
        std::this_thread::yield();
        held[k] = false;
        queue.done(*key);
      }
    });
  }
  std::vector<std::thread> producers;
  for (unsigned p = 0; p < 3; ++p) {
    producers.emplace_back([&, p] {
      std::minstd_rand random(p + 1);
      for (int i = 0; i < 3000; ++i) {
        const std::size_t k = random() % kKeys;
        ++wanted[k];
        switch (random() % 3) {
          case 0:
            queue.add(std::to_string(k));
            break;
          case 1:
            queue.add_after(std::to_string(k), std::chrono::milliseconds(random() % 4));
            break;
          default:
            queue.add_rate_limited(std::to_string(k));
        }
      }
    });
  }
  for (auto& producer : producers)
    producer.join();
  const auto all_seen = [&] {
    for (std::size_t k = 0; k < kKeys; ++k) {
      if (seen[k] != wanted[k]) return false;
    }
    return true;
  };
  const auto deadline = Clock::now() + 10s;
  while (!all_seen() && Clock::now() < deadline)
    std::this_thread::sleep_for(2ms);
  EXPECT_TRUE(all_seen());
  EXPECT_EQ(doubled, 0);
  queue.shut_down();
  for (auto& worker : workers)
    worker.join();
}

std::vector<std::string> drain(WorkQueue& queue, std::size_t count) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(queue.get({}).value_or("none"));
    queue.done(out.back());
  }
  return out;
}

TEST(WorkQueueOrder, NamespacesTakeTurns) {
  WorkQueue queue;
  for (const char* key : {"a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "c/1"})
    queue.add(key);
  EXPECT_EQ(drain(queue, 7),
            (std::vector<std::string>{"a/1", "b/1", "c/1", "a/2", "b/2", "a/3", "a/4"}));
}

TEST(WorkQueueOrder, FreshChangesGoFirstAndRoutineStillMoves) {
  WorkQueue queue;
  queue.add("a/routine", Priority::kRoutine);
  queue.add("a/raised", Priority::kRoutine);
  for (int i = 0; i < 20; ++i)
    queue.add("b/" + std::to_string(i));
  queue.add("a/raised");
  const auto order = drain(queue, 22);
  const auto place = [&](const std::string& key) {
    return std::ranges::find(order, key) - order.begin();
  };
  EXPECT_EQ(place("a/raised"), 1) << "it takes its namespace's first turn";
  EXPECT_EQ(place("a/routine"), 8) << "after eight fresh ones";
  EXPECT_EQ(queue.size(), 0U);
}

TEST(WorkQueueOrder, AKeyRaisedWhileItWaitsOrRunsComesOnce) {
  WorkQueue queue;
  queue.add("a/1", Priority::kRoutine);
  queue.add("a/1");
  EXPECT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue.get({}), "a/1");
  queue.add("a/1", Priority::kRoutine);
  queue.add("a/1");
  EXPECT_EQ(queue.size(), 0U) << "it is being processed";
  queue.done("a/1");
  EXPECT_EQ(queue.size(), 1U);
  EXPECT_EQ(drain(queue, 1), std::vector<std::string>{"a/1"});
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_EQ(queue.snapshot().routine + queue.snapshot().fresh, 0U);
}

TEST(WorkQueueRate, RetriesOfAllKeysTogetherAreLimited) {
  WorkQueueOptions options;
  options.backoff_base = std::chrono::milliseconds(1);
  options.rate_per_second = 0.01;
  options.burst = 3;
  WorkQueue queue(options);
  for (int i = 0; i < 5; ++i)
    queue.add_rate_limited("a/" + std::to_string(i));
  const auto held = queue.snapshot();
  ASSERT_GE(held.delayed.size(), 2U);
  const auto& last = held.delayed.back();
  EXPECT_EQ(last.key, "a/4");
  EXPECT_GT(last.due, std::chrono::seconds(150)) << "two tokens at a hundred seconds each";
  EXPECT_LE(last.due, std::chrono::seconds(200));
  EXPECT_EQ(last.failures, 1U);
  // The first three come by their own back-off alone.
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(queue.get({}).has_value());
}

TEST(WorkQueueSnapshotTest, TellsWhatWaitsRunsAndIsDelayed) {
  WorkQueue queue;
  queue.add("a/1");
  queue.add("a/2");
  queue.add("b/1", Priority::kRoutine);
  queue.add_after("a/3", std::chrono::hours(1));
  EXPECT_EQ(queue.get({}), "a/1");
  const auto seen = queue.snapshot();
  EXPECT_EQ(seen.fresh, 1U);
  EXPECT_EQ(seen.routine, 1U);
  EXPECT_EQ(seen.delayed_total, 1U);
  ASSERT_EQ(seen.processing.size(), 1U);
  EXPECT_EQ(seen.processing[0].key, "a/1");
  EXPECT_EQ(queue.stuck(std::chrono::hours(1)), "");
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_EQ(queue.stuck(std::chrono::milliseconds(1)), "a/1");
  queue.done("a/1");
  EXPECT_EQ(queue.stuck(std::chrono::milliseconds(0)), "");
  EXPECT_EQ(queue.snapshot(0).delayed.size(), 0U);
}

}  // namespace
