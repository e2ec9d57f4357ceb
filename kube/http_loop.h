// One server thread: its epoll, the connections that were given to it and what is done about those
// that are slow. Nothing of a connection is touched by another thread; what comes from elsewhere
// (sockets, answers of handlers that waited) goes through the inbox.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <kube/http_server.h>

#include "http_message.h"
#include "http_tls.h"

struct epoll_event;

namespace kube {

using HttpClock = std::chrono::steady_clock;

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  [[nodiscard]] int get() const { return fd_; }
  void reset();

 private:
  int fd_;
};

// A large body's share of HttpServerOptions::max_bodies_bytes, for as long as the body lives.
class BodyShare {
 public:
  BodyShare() = default;
  BodyShare(std::atomic<std::size_t>& taken, std::size_t bytes, std::size_t limit);
  ~BodyShare();
  BodyShare(BodyShare&& other) noexcept;
  BodyShare& operator=(BodyShare&& other) noexcept;
  [[nodiscard]] bool granted() const { return granted_; }

 private:
  std::atomic<std::size_t>* taken_ = nullptr;
  std::size_t bytes_ = 0;
  bool granted_ = true;
};

struct HttpCounts {
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> evicted{0};
  std::atomic<std::uint64_t> failed_handshakes{0};
  std::atomic<std::uint64_t> shed{0};
  std::atomic<std::uint64_t> late{0};
};

class HttpLoop;
class HttpWaiters;

// What the threads of a server have in common.
struct HttpShared {
  HttpServerOptions options;
  HttpHandler handler;
  HttpCounts counts;
  std::atomic<std::size_t> bodies{0};
  std::atomic<std::size_t> open{0};  // connections
  std::atomic<bool> retiring{false};
  std::vector<std::unique_ptr<HttpLoop>> loops;
  std::unique_ptr<HttpWaiters> waiters;  // null: none

  [[nodiscard]] ServerContext tls() const;
  void set_tls(ServerContext context);
  // The handler's answer; a 500 for what it throws.
  [[nodiscard]] HttpResponse answer(const HttpRequest& request) const;

 private:
  mutable std::mutex mutex_;
  ServerContext tls_;
};

// A request that waits for a handler that waits.
struct HttpJob {
  HttpLoop* loop = nullptr;
  std::uint64_t connection = 0;
  HttpClock::time_point deadline;
  std::unique_ptr<RequestReader> reader;  // holds the request
  BodyShare share;
};

struct HttpAnswer {
  std::uint64_t connection = 0;
  std::optional<HttpResponse> response;  // nullopt: its time was over before its turn
  std::unique_ptr<RequestReader> reader;
};

class HttpLoop {
 public:
  // Throws std::system_error where the kernel has no descriptors left.
  HttpLoop(HttpShared& shared, std::size_t max_connections);
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

  // Accepts for all loops. Before run().
  void listen(Descriptor listener);
  void run();  // until stop()

  // From any thread.
  void give(Descriptor socket);
  void give(HttpAnswer answer);
  void drain();
  void stop();
  // Sockets given and not yet closed, in thousandths of what it may hold.
  [[nodiscard]] std::size_t fullness() const { return open_ * 1000 / max_connections_; }

 private:
  struct Link;
  struct Connection;
  // kUnproven: silent, or secured and nothing more. kShaking: in a handshake.
  enum Rank : std::uint8_t { kUnproven, kShaking, kSlow, kIdle, kBusy };
  static constexpr std::size_t kRanks = 5;
  class List;

  // http_loop.cpp: sockets, time and room.
  void count_in();
  void count_out();
  void wake();
  void work(std::span<const epoll_event> events);
  bool accept_some();
  void listen_to(bool yes);
  void take(Descriptor socket);
  bool make_room();
  bool may_shake();
  void shake_or_queue(Connection& connection);
  void unqueue();
  void rank(Connection& connection, Rank rank, bool first = false);
  void watch(Connection& connection, std::uint32_t events);
  void until(Connection& connection, HttpClock::time_point deadline);
  void close(Connection& connection);
  void read_inbox();
  void look_at_clock();
  void late(Connection& connection);

  // http_connection.cpp: bytes.
  void readable(Connection& connection);
  void writable(Connection& connection);
  bool shake_hands(Connection& connection);
  void serve_kept(Connection& connection);
  void serve(Connection& connection, std::string_view bytes);
  void read_requests(Connection& connection, std::string_view bytes);
  void begin_request(Connection& connection);
  void answer(Connection& connection);
  void reply(Connection& connection, const HttpResponse& response);
  void answered(HttpAnswer answer);
  bool hand_over(Connection& connection, HttpClock::time_point deadline);
  void refuse(Connection& connection, int status);
  void put(Connection& connection, std::string_view bytes);
  void end(Connection& connection, bool linger);
  void flush(Connection& connection);
  void hold_up(Connection& connection);
  void sent(Connection& connection);
  std::unique_ptr<RequestReader> take_reader();
  void give_back(std::unique_ptr<RequestReader> reader);

  HttpShared& shared_;
  const std::size_t max_connections_;
  std::atomic<std::size_t> open_{0};
  Descriptor epoll_;
  Descriptor wake_;
  Descriptor listener_;
  bool listening_ = false;  // the listener is in the epoll set
  HttpClock::time_point listen_again_;
  std::size_t next_loop_ = 0;
  bool draining_ = false;
  HttpClock::time_point drained_since_;

  // The times of this round and of the one before: a request came between the two at the earliest.
  HttpClock::time_point now_;
  HttpClock::time_point arrival_;
  HttpClock::time_point next_look_;
  std::uint64_t next_id_ = 1;

  std::unique_ptr<std::array<List, kRanks>> lists_;
  std::vector<std::unique_ptr<Connection>> closed_;  // their events may still be in the round
  std::vector<Connection*> more_;                    // with requests that have come already
  // Handshakes hold the largest buffers, so only some are under way at once. Who waits for its turn
  // is not read; the newest is next, as it is the least likely to be one of many that crawl.
  std::vector<Connection*> queued_;
  std::size_t shaking_ = 0;
  std::unordered_map<std::uint64_t, Connection*> waiting_;  // for an HttpAnswer

  // One connection at a time has its turn, so these are the thread's.
  std::vector<char> received_;
  std::vector<char> plain_;
  std::string reply_;
  Wire wire_;
  std::vector<std::unique_ptr<RequestReader>> readers_;

  std::mutex mutex_;
  std::vector<Descriptor> new_sockets_;
  std::vector<HttpAnswer> new_answers_;
  bool drain_wanted_ = false;
  std::atomic<bool> stopped_{false};
};

}  // namespace kube
