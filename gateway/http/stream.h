// A connection's bytes: a socket that never blocks, with TLS on it or not.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/async_result.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/message.h>
#include <gateway/http/task.h>

#include "loop.h"
#include "tls.h"

namespace palisade::gateway {

enum class Wake : std::uint8_t { kReady, kTimeout, kStopped };

class Stream;
struct Bury {
  void operator()(Stream* stream) const;
};
using StreamPtr = std::unique_ptr<Stream, Bury>;

// At most one coroutine waits to read and one to write. What is written is gathered until the
// loop's turn ends, or until it is much; what then cannot be sent fails the next write.
class Stream {
 public:
  // Takes `fd`, which is non-blocking. `connecting`: not writable before it is connected. Throws
  // std::system_error where the kernel has no room for it.
  static StreamPtr make(Loop& loop, int fd, bool connecting = false);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  [[nodiscard]] Loop& loop() { return *loop_; }
  [[nodiscard]] int fd() const { return fd_; }
  // The peer's end has come, in order or not. Bytes may still be there to read.
  [[nodiscard]] bool hung_up() const { return hung_up_; }
  // Called once, when the peer's end comes; {} for nobody. It may neither resume nor destroy.
  void when_hung_up(std::function<void()> callback) { on_hang_up_ = std::move(callback); }

  // To the end of the handshake. `host`: of a client, the name that the server must prove.
  [[nodiscard]] Task<NetResult<void>> secure(SSL_CTX* context, const std::string* host,
                                             Clock::time_point deadline);

  struct Got {
    enum Kind : std::uint8_t { kSome, kNone, kEnd, kCut } kind = kNone;
    std::size_t bytes = 0;
  };
  [[nodiscard]] Got try_read(char* into, std::size_t size);
  // Surely nothing to read, as far as events have told.
  [[nodiscard]] bool drained() const {
    return !readable_ && !(tls_ && SSL_has_pending(tls_.get()) == 1);
  }
  // Nothing to read, and no end: what a connection that waits for its next use must be.
  [[nodiscard]] bool is_quiet();
  // kReady says no more than that it is worth another try.
  [[nodiscard]] Task<Wake> readable(Clock::time_point deadline) { return wait(reader_, deadline); }
  [[nodiscard]] Task<Wake> writable(Clock::time_point deadline) { return wait(writer_, deadline); }
  // As readable(), without a coroutine.
  void call_when_readable(Clock::time_point deadline, std::move_only_function<void(Wake)> callback);
  void forget_call() { reader_.resume = nullptr; }

  // What is small is kept until the turn ends. The views must live until it returns.
  [[nodiscard]] Task<NetResult<void>> write(std::string_view a, std::string_view b,
                                            std::string_view c, std::chrono::milliseconds idle);
  // Without a coroutine; false where it must be written as above.
  [[nodiscard]] bool put(std::string_view a, std::string_view b = {}, std::string_view c = {});
  // Until all is with the kernel.
  [[nodiscard]] Task<NetResult<void>> flush(std::chrono::milliseconds idle);
  // Says that nothing more comes: close_notify and FIN. After flush().
  void finish();
  // Its end will look like a failure to the peer, not like an end.
  void reset();

  // Wakes those who wait with kStopped, now and from now on. From the loop's thread.
  void abort();
  // Of abort(), the reader's half, once.
  void stop_reader() { wake_later(reader_); }
  [[nodiscard]] bool aborted() const { return aborted_; }
  [[nodiscard]] bool broken() const { return unread_ || unsent_; }

 private:
  friend class Loop;
  friend struct Bury;

  struct Waiter {
    std::move_only_function<void(Wake)> resume;
    Clock::time_point deadline;
  };

  Stream(Loop& loop, int fd, bool connecting);
  [[nodiscard]] Task<Wake> wait(Waiter& waiter, Clock::time_point deadline);
  static void wake(Waiter& waiter, Wake why);
  void wake_later(Waiter& waiter);
  void happened(std::uint32_t events);
  void late(Clock::time_point limit);
  [[nodiscard]] Clock::time_point next_deadline() const;
  void flush_now();
  // Sends from the front of the three; how many bytes went. Sets unsent_ where none can.
  std::size_t send_some(std::string_view a, std::string_view b, std::string_view c);
  [[nodiscard]] NetError closed() const;

  Loop* loop_;
  int fd_;
  std::size_t index_ = 0;  // in the loop's list
  bool readable_ = false;
  bool writable_;
  bool hung_up_ = false;
  // What failed. What came before a sending failed may still be read: an answer, often.
  bool unread_ = false;
  bool unsent_ = false;
  bool aborted_ = false;
  bool dead_ = false;
  bool flushing_ = false;  // in the loop's list of those
  TlsPtr tls_;
  TlsWire wire_;
  Waiter reader_;
  Waiter writer_;
  std::function<void()> on_hang_up_;
  std::string out_;
};

}  // namespace palisade::gateway
