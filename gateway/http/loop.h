// One thread's sockets: its io_context, and an epoll set of its own within it, so that waiting for
// a socket takes no system call, a deadline no timer, and what is written in one turn goes out at
// once. All of it is its thread's alone, but what says otherwise.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/epoll.h>

namespace palisade::gateway {

using Clock = std::chrono::steady_clock;

class Stream;
struct Bury;

// Memory for what is read, borrowed from the loop while there is something in it.
inline constexpr std::size_t kBlockBytes = 16 * 1024;
using Block = std::unique_ptr<char[]>;

class Loop {
 public:
  // Throws std::system_error where the kernel has no descriptors left.
  Loop();
  ~Loop();  // after shutdown()
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] boost::asio::io_context& io() { return *io_; }
  void run();   // until stop()
  void stop();  // from any thread
  // Ends what still waits, with all coroutines that do. After run(), before what they use goes.
  void shutdown();

  // To a few milliseconds.
  [[nodiscard]] static Clock::time_point now();

  // Wakes whoever waits on a socket with kStopped, now and from now on.
  void abort_all();
  [[nodiscard]] bool aborted() const { return aborted_; }

  [[nodiscard]] Block take_block();
  void give_back(Block block);
  // For use between two suspensions.
  [[nodiscard]] std::string& scratch() { return scratch_; }

 private:
  friend class Stream;
  friend struct Bury;

  void add(Stream& stream);
  void remove(Stream& stream);
  void bury(std::unique_ptr<Stream> stream);
  void flush_soon(Stream& stream);
  void flush_all();
  void expect(Clock::time_point deadline);
  void arm();
  void poll();
  void tick();

  std::unique_ptr<boost::asio::io_context> io_;
  std::optional<boost::asio::posix::stream_descriptor> epoll_;
  std::optional<boost::asio::steady_timer> timer_;
  Clock::time_point next_tick_ = Clock::time_point::max();

  std::vector<Stream*> streams_;
  std::vector<Stream*> to_flush_;
  // Streams that went while events of theirs may still be in hand.
  std::vector<std::unique_ptr<Stream>> buried_;
  bool in_turn_ = false;
  bool aborted_ = false;
  std::array<epoll_event, 128> events_{};
  std::vector<Block> blocks_;
  std::string scratch_;
};

}  // namespace palisade::gateway
