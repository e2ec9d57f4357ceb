#include "record_queue.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

ExecStarted exec(const std::string& word) {
  ExecStarted event;
  event.by = {7, 1, "/usr/bin/python3"};
  event.requested = event.resolved = "/usr/bin/git";
  event.argv = {word};
  return event;
}

Refused refusal(const std::string& target) {
  Refused event;
  event.by = {7, 1, "/usr/bin/python3"};
  event.rule = "exec.allow";
  event.call = "execve";
  event.target = target;
  event.error = EACCES;
  return event;
}

class Queue : public ::testing::Test {
 protected:
  void SetUp() override {
    policy_.path = folder_.path() + "/record.jsonl";
    policy_.events_per_second = 1'000'000;
  }
  void open(RecordQueue::Hooks hooks = {}, RecordClock clock = {}) {
    auto recorder = FileRecorder::open(policy_, "", std::move(clock));
    ASSERT_TRUE(recorder) << recorder.error();
    recorder_ = std::move(*recorder);
    queue_.emplace(*recorder_, std::move(hooks));
  }
  std::vector<json> lines() const {
    std::vector<json> out;
    std::ifstream in(policy_.path);
    for (std::string line; std::getline(in, line);)
      out.push_back(json::parse(line));
    return out;
  }
  void await_lines(std::size_t count) const {
    for (int i = 0; i < 2000 && lines().size() < count; ++i)
      std::this_thread::sleep_for(5ms);
    EXPECT_EQ(lines().size(), count);
  }

  Folder folder_;
  RecordPolicy policy_;
  std::unique_ptr<FileRecorder> recorder_;
  std::optional<RecordQueue> queue_;
};

std::string word_of(const json& line) {
  return line.at("process").at("cmd_line");
}

TEST_F(Queue, WritesByItself) {
  open();
  EXPECT_TRUE(queue_->put(exec("one")));
  await_lines(1);
  EXPECT_TRUE(queue_->put(exec("two")));
  EXPECT_TRUE(queue_->put(exec("three")));
  await_lines(3);
}

TEST_F(Queue, ARefusalIsWrittenBeforePutReturnsAndAllBeforeItToo) {
  open();
  for (int round = 0; round < 50; ++round) {
    const auto before = lines().size();
    EXPECT_TRUE(queue_->put(exec("before")));
    EXPECT_TRUE(queue_->put(refusal(std::to_string(round))));
    const auto all = lines();
    ASSERT_EQ(all.size(), before + 2);
    EXPECT_EQ(all.back().at("unmapped").at("palisade").at("event"), "Refused");
  }
}

TEST_F(Queue, FlushLeavesNothing) {
  open();
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(queue_->put(exec(std::to_string(i))));
  queue_->flush();
  const auto all = lines();
  ASSERT_EQ(all.size(), 20U);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i].at("metadata").at("sequence"), i + 1);
}

TEST_F(Queue, ALineHasTheTimeOfItsEvent) {
  std::atomic<std::int64_t> milliseconds = 1'000;
  RecordClock clock;
  clock.wall = [&] {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(milliseconds.load()));
  };
  open({}, std::move(clock));
  EXPECT_TRUE(queue_->put(exec("early")));
  milliseconds = 9'000;
  EXPECT_TRUE(queue_->put(exec("late")));
  queue_->flush();
  const auto all = lines();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].at("time"), 1'000);
  EXPECT_EQ(all[1].at("time"), 9'000);
}

TEST_F(Queue, EachThreadsEventsKeepTheirOrderAndNoneIsLost) {
  open();
  std::vector<std::jthread> threads;
  constexpr int kEach = 400;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (int i = 0; i < kEach; ++i) {
        const auto word = std::to_string(thread) + "-" + std::to_string(i);
        EXPECT_TRUE(i % 40 == 0 ? queue_->put(refusal(word)) : queue_->put(exec(word)));
      }
    });
  }
  threads.clear();
  queue_->finish();
  std::vector<int> next(4);
  std::size_t sequence = 0;
  for (const auto& line : lines()) {
    EXPECT_EQ(line.at("metadata").at("sequence"), ++sequence);
    if (line.at("unmapped").at("palisade").at("event") != "ExecStarted") continue;
    const std::string word = word_of(line);
    const auto thread = static_cast<std::size_t>(word.at(0) - '0');
    const int number = std::stoi(word.substr(2));
    EXPECT_GE(number, next.at(thread));
    next.at(thread) = number + 1;
  }
  EXPECT_EQ(sequence, 4U * kEach);
}

TEST_F(Queue, AnEndIsToldAtOnceAndByWhoPutsIt) {
  std::vector<std::pair<pid_t, std::thread::id>> ended;
  open({[&](pid_t pid) { ended.emplace_back(pid, std::this_thread::get_id()); }, {}});
  EXPECT_TRUE(queue_->put(exec("git")));
  EXPECT_TRUE(
      queue_->put(ExecEnded{.pid = 5, .program = "/usr/bin/git", .took = 1ms, .status = 0}));
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].first, 5);
  EXPECT_EQ(ended[0].second, std::this_thread::get_id());
}

TEST_F(Queue, AfterItsEndItWritesAtOnce) {
  open();
  queue_->finish();
  EXPECT_TRUE(queue_->put(exec("late")));
  EXPECT_EQ(lines().size(), 1U);
  queue_->finish();
}

TEST_F(Queue, WhatTheDiskDoesNotTakeIsTold) {
  std::mutex mutex;
  std::condition_variable changed;
  int lost = 0;
  open({{}, [&] {
          const std::scoped_lock lock(mutex);
          ++lost;
          changed.notify_all();
        }});
  EXPECT_TRUE(queue_->put(refusal("first")));
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(sigaction(SIGXFSZ, &ignore, &before), 0);
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit small{std::filesystem::file_size(policy_.path) + 100, usual.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_TRUE(queue_->put(exec("nobody waits for it"))) << "it is not known yet";
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, 60s, [&] { return lost == 1; }));
  }
  EXPECT_FALSE(queue_->put(exec("next")));
  EXPECT_FALSE(queue_->put(refusal("next")));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  ASSERT_EQ(sigaction(SIGXFSZ, &before, nullptr), 0);
  queue_->finish();
  EXPECT_EQ(lost, 1);
}

}  // namespace
}  // namespace palisade::guard::testing
