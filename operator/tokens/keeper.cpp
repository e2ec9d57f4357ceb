#include <algorithm>
#include <array>
#include <stdexcept>

#include <fmt/format.h>
#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <kube/log.h>
#include <operator/tokens/keeper.h>

namespace palisade::op::tokens {

namespace {

const char* name_of(Job::Kind kind) {
  switch (kind) {
    case Job::Kind::kHold:
      return "keeping the git token";
    case Job::Kind::kEnd:
      return "revoking the git tokens";
    case Job::Kind::kInspect:
      return "asking what the git token may do";
    case Job::Kind::kMergeRequest:
      return "opening a merge request";
  }
  return "";
}

void log(const Job& job, const Memory& memory) {
  const auto& trouble =
      job.kind == Job::Kind::kMergeRequest ? memory.merge_trouble : memory.trouble;
  const bool failed = job.kind != Job::Kind::kInspect && trouble.has_value();
  if (failed) {
    spdlog::warn("{}: {} failed: {}", job.workspace(), name_of(job.kind), trouble->problem.message);
  } else {
    spdlog::info("{}: {} is done", job.workspace(), name_of(job.kind));
  }
}

}  // namespace

std::string new_process_id() {
  std::array<unsigned char, 4> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    throw std::runtime_error("no random numbers are to be had");
  std::string out;
  for (const unsigned char byte : bytes)
    out += fmt::format("{:02x}", byte);
  return out;
}

Keeper::Keeper(std::unique_ptr<const Steward> steward, KeeperOptions options)
    : steward_(std::move(steward)), options_(std::move(options)) {}

Keeper::~Keeper() {
  stop();
}

void Keeper::start() {
  for (int i = 0; i < std::max(1, options_.threads); ++i)
    threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

void Keeper::stop() {
  for (std::jthread& thread : threads_)
    thread.request_stop();
  threads_.clear();  // joins
  const std::scoped_lock lock(mutex_);
  waiting_.clear();
}

void Keeper::submit(Job job) {
  const std::scoped_lock lock(mutex_);
  Entry& entry = entries_[job.workspace()];
  if (entry.memory.busy) return;
  if (entry.uid != job.uid) entry = Entry{job.uid, {}, false};
  entry.memory.busy = true;
  waiting_.push_back(std::move(job));
  changed_.notify_all();
}

Memory Keeper::recall(const std::string& key, const std::string& uid) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return {};
  if (found->second.uid == uid) return found->second.memory;
  Memory other;
  other.busy = found->second.memory.busy;  // its job would be dropped
  return other;
}

void Keeper::forget(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  if (found->second.memory.busy) {
    found->second.forgotten = true;
  } else {
    entries_.erase(found);
  }
}

void Keeper::told(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(key);
  if (found != entries_.end() && !found->second.memory.busy) found->second.memory.lost.clear();
}

void Keeper::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  for (;;) {
    std::deque<Job>::iterator next;
    const auto runnable = [&] {
      next = std::ranges::find_if(waiting_, [&](const Job& job) {
        const auto running = running_.find(job.ns);
        return running == running_.end() || running->second < options_.per_namespace;
      });
      return next != waiting_.end();
    };
    if (!changed_.wait(lock, stop, runnable) || stop.stop_requested()) return;
    const Job job = std::move(*next);
    waiting_.erase(next);
    ++running_[job.ns];
    const kube::LogFields fields{{"namespace", job.ns}, {"workspace", job.name}};
    Memory before = entries_[job.workspace()].memory;
    lock.unlock();
    Memory after = before;
    try {
      after = steward_->run(job, std::move(before), stop);
      if (!stop.stop_requested()) log(job, after);
    } catch (const std::exception& error) {
      spdlog::error("{}: {}: {}", job.workspace(), name_of(job.kind), error.what());
      after.trouble = after_failure(after.trouble, {"InternalError", error.what(), {}},
                                    std::chrono::system_clock::now());
    }
    lock.lock();
    if (--running_[job.ns] == 0) running_.erase(job.ns);
    Entry& entry = entries_[job.workspace()];
    after.busy = false;
    entry.memory = std::move(after);
    if (entry.forgotten) entries_.erase(job.workspace());
    changed_.notify_all();
    if (!options_.done || stop.stop_requested()) continue;
    lock.unlock();
    options_.done(job.workspace());
    lock.lock();
  }
}

}  // namespace palisade::op::tokens
