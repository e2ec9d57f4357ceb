#include "loop.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <system_error>

#include <boost/asio/post.hpp>
#include <unistd.h>

#include "stream.h"

namespace palisade::gateway {

namespace {

constexpr int kRoundsAtOnce = 16;        // before others on the io_context have their turn
constexpr std::size_t kBlocksKept = 16;  // 256 KiB
constexpr auto kTickSlack = std::chrono::milliseconds(20);

}  // namespace

Loop::Loop() : io_(std::make_unique<boost::asio::io_context>(1)) {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll");
  epoll_.emplace(*io_, fd);
  timer_.emplace(*io_);
  arm();
}

Loop::~Loop() {
  shutdown();
}

void Loop::run() {
  const auto work = boost::asio::make_work_guard(*io_);
  io_->run();
}

void Loop::stop() {
  io_->stop();
}

void Loop::shutdown() {
  aborted_ = true;
  in_turn_ = false;
  timer_.reset();
  epoll_.reset();
  io_.reset();
  buried_.clear();
}

Clock::time_point Loop::now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return Clock::time_point(std::chrono::seconds(time.tv_sec) +
                           std::chrono::nanoseconds(time.tv_nsec));
}

void Loop::add(Stream& stream) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &stream;
  if (::epoll_ctl(epoll_->native_handle(), EPOLL_CTL_ADD, stream.fd_, &event) != 0)
    throw std::system_error(errno, std::generic_category(), "epoll");
  stream.index_ = streams_.size();
  streams_.push_back(&stream);
}

void Loop::remove(Stream& stream) {
  streams_[stream.index_] = streams_.back();
  streams_[stream.index_]->index_ = stream.index_;
  streams_.pop_back();
  std::erase(to_flush_, &stream);
}

void Loop::bury(std::unique_ptr<Stream> stream) {
  if (in_turn_) buried_.push_back(std::move(stream));
}

Block Loop::take_block() {
  if (blocks_.empty()) return std::make_unique_for_overwrite<char[]>(kBlockBytes);
  Block block = std::move(blocks_.back());
  blocks_.pop_back();
  return block;
}

void Loop::give_back(Block block) {
  if (blocks_.size() < kBlocksKept) blocks_.push_back(std::move(block));
}

void Loop::flush_soon(Stream& stream) {
  if (to_flush_.empty() && !in_turn_ && io_) {
    boost::asio::post(*io_, [this] { flush_all(); });
  }
  to_flush_.push_back(&stream);
}

void Loop::flush_all() {
  // A flush neither resumes nor ends anything.
  for (Stream* stream : to_flush_)
    stream->flush_now();
  to_flush_.clear();
}

void Loop::arm() {
  epoll_->async_wait(boost::asio::posix::descriptor_base::wait_read,
                     [this](const boost::system::error_code& error) {
                       if (!error) poll();
                     });
}

void Loop::poll() {
  for (int round = 0; round < kRoundsAtOnce && !io_->stopped(); ++round) {
    const int count =
        ::epoll_wait(epoll_->native_handle(), events_.data(), static_cast<int>(events_.size()), 0);
    if (count <= 0) return arm();
    in_turn_ = true;
    for (int i = 0; i < count; ++i) {
      auto* stream = static_cast<Stream*>(events_[static_cast<std::size_t>(i)].data.ptr);
      stream->happened(events_[static_cast<std::size_t>(i)].events);
      if (!to_flush_.empty()) flush_all();
    }
    in_turn_ = false;
    buried_.clear();
  }
  boost::asio::post(*io_, [this] { poll(); });
}

void Loop::expect(Clock::time_point deadline) {
  if (deadline >= next_tick_ || !timer_) return;
  next_tick_ = deadline;
  timer_->expires_at(deadline);
  timer_->async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

void Loop::tick() {
  const auto limit = now() + kTickSlack;
  std::vector<Stream*> due;
  auto next = Clock::time_point::max();
  for (Stream* stream : streams_) {
    const auto deadline = stream->next_deadline();
    if (deadline <= limit)
      due.push_back(stream);
    else
      next = std::min(next, deadline);
  }
  next_tick_ = Clock::time_point::max();
  in_turn_ = true;
  for (Stream* stream : due)
    stream->late(limit);
  flush_all();
  in_turn_ = false;
  buried_.clear();
  if (next != Clock::time_point::max()) expect(std::max(next, now() + kTickSlack));
}

void Loop::abort_all() {
  aborted_ = true;
  for (Stream* stream : streams_)
    stream->abort();
}

}  // namespace palisade::gateway
