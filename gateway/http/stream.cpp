#include "stream.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <boost/asio/post.hpp>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace palisade::gateway {

namespace {

constexpr std::size_t kGather = 8 * 1024;
constexpr std::size_t kRemnant = 64;
constexpr std::size_t kRecord = SSL3_RT_MAX_PLAIN_LENGTH;

constexpr std::uint32_t kHangUp = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

}  // namespace

void Bury::operator()(Stream* stream) const {
  std::unique_ptr<Stream> owned(stream);
  stream->dead_ = true;
  stream->loop_->remove(*stream);
  ::close(stream->fd_);
  stream->fd_ = stream->wire_.fd = -1;
  stream->tls_.reset();
  stream->on_hang_up_ = nullptr;
  // Whoever waits here is a callback, or a coroutine that is being destroyed itself.
  stream->reader_.resume = nullptr;
  stream->writer_.resume = nullptr;
  stream->loop_->bury(std::move(owned));
}

StreamPtr Stream::make(Loop& loop, int fd, bool connecting) {
  std::unique_ptr<Stream> made(new Stream(loop, fd, connecting));
  loop.add(*made);
  return StreamPtr(made.release());
}

Stream::Stream(Loop& loop, int fd, bool connecting)
    : loop_(&loop), fd_(fd), writable_(!connecting) {
  wire_ = {fd, &readable_, &writable_, &hung_up_, false};
}

Stream::~Stream() {
  if (fd_ >= 0) ::close(fd_);
}

Task<Wake> Stream::wait(Waiter& waiter, Clock::time_point deadline) {
  return boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, void(Wake)>(
      [this, &waiter, deadline](auto handler) {
        if (aborted_ || loop_->aborted()) {
          boost::asio::post(loop_->io(),
                            [resume = std::move(handler)]() mutable { resume(Wake::kStopped); });
          return;
        }
        waiter.resume = std::move(handler);
        waiter.deadline = deadline;
        loop_->expect(deadline);
      },
      boost::asio::use_awaitable);
}

void Stream::call_when_readable(Clock::time_point deadline,
                                std::move_only_function<void(Wake)> callback) {
  reader_.resume = std::move(callback);
  reader_.deadline = deadline;
  loop_->expect(deadline);
}

void Stream::wake(Waiter& waiter, Wake why) {
  auto resume = std::exchange(waiter.resume, nullptr);
  if (resume) resume(why);
}

void Stream::wake_later(Waiter& waiter) {
  if (!waiter.resume) return;
  boost::asio::post(loop_->io(), [resume = std::exchange(waiter.resume, nullptr)]() mutable {
    resume(Wake::kStopped);
  });
}

void Stream::abort() {
  aborted_ = true;
  wake_later(reader_);
  wake_later(writer_);
}

Clock::time_point Stream::next_deadline() const {
  auto out = Clock::time_point::max();
  if (reader_.resume) out = reader_.deadline;
  if (writer_.resume) out = std::min(out, writer_.deadline);
  return out;
}

void Stream::late(Clock::time_point limit) {
  if (!dead_ && reader_.resume && reader_.deadline <= limit) wake(reader_, Wake::kTimeout);
  if (!dead_ && writer_.resume && writer_.deadline <= limit) wake(writer_, Wake::kTimeout);
}

void Stream::happened(std::uint32_t events) {
  if (dead_) return;
  const bool in = (events & (EPOLLIN | kHangUp)) != 0;
  readable_ = readable_ || in;
  writable_ = writable_ || (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
  if ((events & kHangUp) != 0 && !hung_up_) {
    hung_up_ = true;
    if (auto callback = std::exchange(on_hang_up_, nullptr)) callback();
  }
  if (in) wake(reader_, Wake::kReady);
  if (dead_ || !writable_) return;
  if (writer_.resume)
    wake(writer_, Wake::kReady);
  else if (!out_.empty())
    flush_now();
}

Task<NetResult<void>> Stream::secure(SSL_CTX* context, const std::string* host,
                                     Clock::time_point deadline) {
  auto tls = make_tls(context, wire_, host);
  if (!tls) co_return std::unexpected(std::move(tls.error()));
  tls_ = std::move(*tls);
  for (;;) {
    const int result = SSL_do_handshake(tls_.get());
    if (result == 1) co_return NetResult<void>();
    const int error = SSL_get_error(tls_.get(), result);
    Wake woken = Wake::kStopped;
    if (error == SSL_ERROR_WANT_READ) {
      woken = co_await readable(deadline);
    } else if (error == SSL_ERROR_WANT_WRITE) {
      woken = co_await writable(deadline);
    } else {
      unread_ = unsent_ = true;
      co_return std::unexpected(NetError{Fault::kTls, "TLS: " + tls_reason(tls_.get())});
    }
    if (woken == Wake::kTimeout)
      co_return std::unexpected(NetError{Fault::kTimeout, "TLS: no handshake within the deadline"});
    if (woken == Wake::kStopped) co_return std::unexpected(NetError{Fault::kStopped, "ended here"});
  }
}

Stream::Got Stream::try_read(char* into, std::size_t size) {
  if (aborted_ || unread_) return {Got::kCut, 0};
  if (!tls_) {
    const long got = receive(wire_, into, size);
    if (got > 0) return {Got::kSome, static_cast<std::size_t>(got)};
    if (got == 0) return {Got::kEnd, 0};
    if (errno == EAGAIN) return {Got::kNone, 0};
    unread_ = true;
    return {Got::kCut, 0};
  }
  const int got =
      SSL_read(tls_.get(), into, static_cast<int>(std::min<std::size_t>(size, kRecord)));
  if (got > 0) return {Got::kSome, static_cast<std::size_t>(got)};
  const int error = SSL_get_error(tls_.get(), got);
  if (error == SSL_ERROR_WANT_READ) return {Got::kNone, 0};
  ERR_clear_error();
  if (error == SSL_ERROR_ZERO_RETURN) return {Got::kEnd, 0};
  unread_ = true;
  return {Got::kCut, 0};
}

bool Stream::is_quiet() {
  if (aborted_ || broken() || hung_up_) return false;
  char byte = 0;
  readable_ = true;
  if (!tls_) return ::recv(fd_, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
  const int got = SSL_peek(tls_.get(), &byte, 1);
  const bool quiet = got <= 0 && SSL_get_error(tls_.get(), got) == SSL_ERROR_WANT_READ;
  ERR_clear_error();
  return quiet;
}

std::size_t Stream::send_some(std::string_view a, std::string_view b, std::string_view c) {
  if (tls_) {
    std::string_view record = a;
    if (a.size() < kRecord && b.size() + c.size() > 0) {
      // One record of what comes first of the three.
      std::string& scratch = loop_->scratch();
      scratch.assign(a);
      scratch.append(b.substr(0, kRecord - scratch.size()));
      scratch.append(c.substr(0, kRecord - scratch.size()));
      record = scratch;
    }
    const int put =
        SSL_write(tls_.get(), record.data(), static_cast<int>(std::min(record.size(), kRecord)));
    if (put > 0) return static_cast<std::size_t>(put);
    if (SSL_get_error(tls_.get(), put) != SSL_ERROR_WANT_WRITE) unsent_ = true;
    ERR_clear_error();
    return 0;
  }
  if (!writable_) return 0;
  std::array<iovec, 3> pieces{};
  std::size_t count = 0;
  for (const std::string_view piece : {a, b, c}) {
    if (!piece.empty()) pieces[count++] = {const_cast<char*>(piece.data()), piece.size()};
  }
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = count;
  ssize_t put = 0;
  do {
    put = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
  } while (put < 0 && errno == EINTR);
  if (put >= 0) return static_cast<std::size_t>(put);
  if (errno == EAGAIN)
    writable_ = false;
  else
    unsent_ = true;
  return 0;
}

void Stream::flush_now() {
  flushing_ = false;
  std::string_view left = out_;
  while (!left.empty() && !unsent_ && !writer_.resume) {
    const std::size_t sent = send_some(left, {}, {});
    if (sent == 0) break;
    left.remove_prefix(sent);
  }
  if (left.empty() || unsent_)
    std::string().swap(out_);
  else
    out_.erase(0, out_.size() - left.size());
}

bool Stream::put(std::string_view a, std::string_view b, std::string_view c) {
  const std::size_t size = a.size() + b.size() + c.size();
  if (unsent_ || aborted_ || out_.size() + size > kGather) return false;
  if (out_.empty()) out_.reserve(std::max<std::size_t>(size, 1024));
  out_.append(a).append(b).append(c);
  if (!flushing_ && writable_) {
    flushing_ = true;
    loop_->flush_soon(*this);
  }
  return true;
}

NetError Stream::closed() const {
  if (aborted_) return {Fault::kStopped, "ended here"};
  return {Fault::kClosed, "the connection was closed"};
}

Task<NetResult<void>> Stream::write(std::string_view a, std::string_view b, std::string_view c,
                                    std::chrono::milliseconds idle) {
  if (put(a, b, c)) co_return NetResult<void>();
  for (;;) {
    if (unsent_ || aborted_) co_return std::unexpected(closed());
    const std::string_view first = out_.empty() ? a : std::string_view(out_);
    std::size_t sent = out_.empty() ? send_some(a, b, c) : send_some(first, a, b);
    const bool any = sent > 0;
    const auto take = [&sent](std::string_view& piece) {
      const std::size_t part = std::min(sent, piece.size());
      piece.remove_prefix(part);
      sent -= part;
    };
    const std::size_t kept = std::min(sent, out_.size());
    out_.erase(0, kept);
    sent -= kept;
    take(a);
    take(b);
    take(c);
    if (a.empty() && b.empty() && c.empty()) co_return NetResult<void>();
    // The few bytes that a chunk's frame makes a record too long go along with what comes next, or
    // when the turn ends: alone they would cost what a whole one does.
    if (any && out_.empty() && a.size() + b.size() + c.size() <= kRemnant && put(a, b, c))
      co_return NetResult<void>();
    if (any && writable_) continue;
    if (unsent_) continue;
    if (out_.size() + a.size() + b.size() + c.size() <= kGather) {
      out_.append(a).append(b).append(c);
      co_return NetResult<void>();
    }
    const Wake woken = co_await writable(Loop::now() + idle);
    if (woken == Wake::kTimeout)
      co_return std::unexpected(NetError{Fault::kTimeout, "nothing was taken for too long"});
  }
}

Task<NetResult<void>> Stream::flush(std::chrono::milliseconds idle) {
  while (!out_.empty()) {
    if (unsent_ || aborted_) co_return std::unexpected(closed());
    flush_now();
    if (out_.empty() || unsent_) continue;
    const Wake woken = co_await writable(Loop::now() + idle);
    if (woken == Wake::kTimeout)
      co_return std::unexpected(NetError{Fault::kTimeout, "nothing was taken for too long"});
  }
  if (unsent_ || aborted_) co_return std::unexpected(closed());
  co_return NetResult<void>();
}

void Stream::reset() {
  const linger at_once{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

void Stream::finish() {
  if (tls_ && !unsent_) {
    SSL_shutdown(tls_.get());
    ERR_clear_error();
  }
  ::shutdown(fd_, SHUT_WR);
}

}  // namespace palisade::gateway
