#include "http_connection.h"

#include <algorithm>
#include <cerrno>

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "http_waiters.h"

namespace kube {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kReadAhead = 64 * 1024;
constexpr std::size_t kMaxKept = 256 * 1024;  // a thread's buffers above are given back
constexpr std::size_t kMaxReaders = 16;
constexpr int kRequestsPerTurn = 16;
constexpr auto kLinger = 2000ms;
constexpr std::size_t kLingerBytes = 32 * 1024 * 1024;
constexpr auto kGoodbye = 500ms;  // for the peer's own end

// Said at once instead of a verdict that nobody waits for any more. The connection goes on: a new
// one would cost an overloaded server more than this did.
HttpResponse overloaded() {
  return {503, "text/plain; charset=utf-8", "overloaded: this would be answered too late\n"};
}

}  // namespace

void HttpLoop::readable(Connection& connection) {
  using Phase = Connection::Phase;
  if (connection.has_more) return;  // its turn comes with what it has
  received_.resize(kReadAhead);
  const ssize_t got = ::recv(connection.socket.get(), received_.data(), received_.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return close(connection);
  const std::string_view bytes(received_.data(), static_cast<std::size_t>(got));
  if (connection.phase == Phase::kGoodbye) return;
  if (connection.phase == Phase::kLinger) {
    connection.linger_left -= std::min(connection.linger_left, bytes.size());
    if (connection.linger_left == 0) close(connection);
    return;
  }
  connection.arrival = arrival_;
  if (!shared_.options.tls && connection.kept.empty()) return serve(connection, bytes);

  // Behind what is kept, so that a request is in one piece.
  const std::size_t kept = connection.kept.size();
  const std::size_t room = kept + bytes.size() + TlsSession::kMaxRecord;
  if (plain_.size() < room) plain_.resize(std::max(room, kReadAhead + TlsSession::kMaxRecord));
  char* end = std::ranges::copy(connection.kept, plain_.data()).out;
  connection.kept.clear();
  if (!shared_.options.tls) {
    end = std::ranges::copy(bytes, end).out;
  } else {
    wire_.in = bytes;
    if (connection.phase == Phase::kHandshake && !shake_hands(connection)) return;
    const auto step = connection.tls->read(end);
    wire_.in = {};
    if (step == TlsSession::Step::kFailed) {
      flush(connection);  // an alert, as far as it goes
      return close(connection);
    }
    connection.peer_ended = step == TlsSession::Step::kEnded;
  }
  serve(connection, {plain_.data(), static_cast<std::size_t>(end - plain_.data())});
}

// True once the connection is secured.
bool HttpLoop::shake_hands(Connection& connection) {
  if (!connection.tls) {
    connection.tls = std::make_unique<TlsSession>(shared_.tls().get(), wire_);
    connection.shaking = true;
    ++shaking_;
    connection.since = now_;
    rank(connection, kShaking);
  }
  const auto step = connection.tls->handshake();
  if (step == TlsSession::Step::kDone) {
    connection.shaking = false;
    --shaking_;
    connection.phase = Connection::Phase::kIdle;
    connection.since = now_;
    rank(connection, kUnproven);
    until(connection, now_ + shared_.options.idle_deadline);
    return true;
  }
  wire_.in = {};
  flush(connection);
  if (step == TlsSession::Step::kFailed) {
    ++shared_.counts.failed_handshakes;
    close(connection);
  }
  return false;
}

void HttpLoop::serve_kept(Connection& connection) {
  const std::string bytes = std::exchange(connection.kept, {});
  serve(connection, bytes);
}

void HttpLoop::serve(Connection& connection, std::string_view bytes) {
  using Phase = Connection::Phase;
  read_requests(connection, bytes);
  if (connection.phase == Phase::kClosed) return;
  flush(connection);
  // It may still read what it asked for.
  if (connection.peer_ended && !connection.has_more &&
      (connection.phase == Phase::kIdle || connection.phase == Phase::kReading))
    end(connection, false);
}

void HttpLoop::read_requests(Connection& connection, std::string_view bytes) {
  using Phase = Connection::Phase;
  using State = RequestReader::State;
  for (int turn = 0; connection.phase == Phase::kIdle || connection.phase == Phase::kReading;) {
    if (connection.phase == Phase::kIdle) {
      if (bytes.empty()) return;
      if (turn++ == kRequestsPerTurn) {
        connection.has_more = true;
        more_.push_back(&connection);
        break;
      }
      begin_request(connection);
    }
    const State state = connection.reader->read(bytes);
    if (state == State::kRefused) return refuse(connection, connection.reader->status());
    if (state == State::kMore) {
      if (connection.proven && connection.since != connection.begun) rank(connection, kSlow);
      connection.since = connection.begun;
      until(connection, connection.begun + shared_.options.read_deadline);
      break;
    }
    if (state == State::kHeader) {
      connection.share = BodyShare(shared_.bodies, connection.reader->body_bound(),
                                   shared_.options.max_bodies_bytes);
      if (!connection.share.granted()) {
        ++shared_.counts.shed;
        return refuse(connection, 503);
      }
      if (connection.reader->parts().wants_continue)
        put(connection, "HTTP/1.1 100 Continue\r\n\r\n");
      continue;
    }
    answer(connection);
  }
  if (connection.phase == Phase::kClosed || bytes.empty()) return;
  connection.kept.assign(bytes);
}

void HttpLoop::begin_request(Connection& connection) {
  connection.phase = Connection::Phase::kReading;
  connection.begun = connection.arrival;
  connection.reader = take_reader();
}

void HttpLoop::answer(Connection& connection) {
  const RequestParts& parts = connection.reader->parts();
  connection.proven = true;
  connection.keep = parts.keep_alive && !draining_ && !shared_.retiring.load();
  HttpRequest request = parts.view();
  std::chrono::nanoseconds limit = shared_.options.answer_deadline;
  if (const auto asked = requested_timeout(parts.target))
    limit = std::min(limit, *asked - *asked / 10);
  request.deadline = connection.begun + limit;
  request.may_wait = false;
  if (HttpClock::now() >= request.deadline) {
    ++shared_.counts.shed;
    return reply(connection, overloaded());
  }
  HttpResponse response = shared_.answer(request);
  if (response.waits) {
    if (shared_.waiters) {
      if (hand_over(connection, request.deadline)) return;
      ++shared_.counts.shed;
      return reply(connection, overloaded());
    }
    request.may_wait = true;
    response = shared_.answer(request);
  }
  reply(connection, response);
}

// False, and the request still here, where it would be answered too late.
bool HttpLoop::hand_over(Connection& connection, HttpClock::time_point deadline) {
  RequestParts& parts = connection.reader->parts();
  if (parts.joined.empty()) {
    parts.joined.assign(parts.body);
    parts.body = parts.joined;
  }
  HttpJob job{this, connection.id, deadline, std::move(connection.reader),
              std::move(connection.share)};
  // First, as the answer may come at once; only this thread reads it.
  if (!shared_.waiters->submit(job)) {
    connection.reader = std::move(job.reader);
    connection.share = std::move(job.share);
    return false;
  }
  waiting_[connection.id] = &connection;
  connection.phase = Connection::Phase::kHandling;
  rank(connection, kBusy);
  until(connection, deadline);
  watch(connection, 0);
  return true;
}

void HttpLoop::answered(HttpAnswer answer) {
  using Phase = Connection::Phase;
  const auto found = waiting_.find(answer.connection);
  if (found == waiting_.end()) return give_back(std::move(answer.reader));  // given up by now
  Connection& connection = *found->second;
  waiting_.erase(found);
  connection.reader = std::move(answer.reader);
  connection.phase = Phase::kReading;
  if (!answer.response) ++shared_.counts.shed;
  reply(connection, answer.response ? *answer.response : overloaded());
  if (connection.phase == Phase::kIdle) watch(connection, EPOLLIN);
  if (connection.phase != Phase::kClosed) flush(connection);
  if (connection.phase == Phase::kIdle && !connection.kept.empty()) {
    connection.has_more = true;
    more_.push_back(&connection);
  }
}

void HttpLoop::reply(Connection& connection, const HttpResponse& response) {
  const bool keep = connection.keep && !draining_ && !shared_.retiring.load();
  reply_.clear();
  append_reply(reply_, response, connection.reader->parts(), keep);
  give_back(std::move(connection.reader));
  connection.share = {};
  connection.phase = Connection::Phase::kIdle;
  connection.since = now_;
  put(connection, reply_);
  if (reply_.capacity() > kMaxKept) std::string().swap(reply_);
  if (connection.phase == Connection::Phase::kClosed) return;
  rank(connection, kIdle);
  until(connection, now_ + shared_.options.idle_deadline);
  if (!keep) end(connection, false);
}

void HttpLoop::refuse(Connection& connection, int status) {
  connection.phase = Connection::Phase::kReading;
  give_back(std::move(connection.reader));
  connection.share = {};
  std::string text;
  append_refusal(text, status);
  put(connection, text);
  if (connection.phase != Connection::Phase::kClosed) end(connection, true);
}

void HttpLoop::put(Connection& connection, std::string_view bytes) {
  if (!connection.tls)
    wire_.out.append(bytes);
  else if (!connection.tls->write(bytes))
    close(connection);
}

// Nothing more will be said once what was said is written.
void HttpLoop::end(Connection& connection, bool linger) {
  using Phase = Connection::Phase;
  if (connection.tls) connection.tls->close();  // close_notify: nothing was cut off
  give_back(std::move(connection.reader));
  connection.share = {};
  std::string().swap(connection.kept);
  connection.phase = Phase::kWriting;
  connection.after_writing = linger ? Phase::kLinger : Phase::kGoodbye;
  flush(connection);
}

// Writes what the connection's turn has produced, in one go where the peer takes it.
void HttpLoop::flush(Connection& connection) {
  using Phase = Connection::Phase;
  std::string& bytes = wire_.out;
  if (!connection.out.empty()) {
    // writable() goes on with it.
    connection.out += bytes;
    bytes.clear();
    return hold_up(connection);
  }
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t put = ::send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (put > 0) {
      rest.remove_prefix(static_cast<std::size_t>(put));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) break;
    bytes.clear();
    return close(connection);
  }
  const bool all = rest.empty();
  if (!all) {
    connection.out.assign(rest);
    connection.written = 0;
    connection.since = now_;
    if (connection.proven && connection.phase != Phase::kHandling) rank(connection, kSlow);
    hold_up(connection);
    watch(connection, EPOLLOUT);
  }
  bytes.clear();
  if (bytes.capacity() > kMaxKept) std::string().swap(bytes);
  if (all && connection.phase == Phase::kWriting) sent(connection);
}

// Nothing new until the peer has taken what there is.
void HttpLoop::hold_up(Connection& connection) {
  using Phase = Connection::Phase;
  if (connection.phase != Phase::kIdle && connection.phase != Phase::kReading) {
    if (connection.phase == Phase::kWriting && connection.after_writing != Phase::kIdle)
      until(connection, now_ + shared_.options.write_deadline);
    return;
  }
  connection.after_writing = Phase::kIdle;
  connection.phase = Phase::kWriting;
  until(connection, now_ + shared_.options.write_deadline);
}

void HttpLoop::writable(Connection& connection) {
  while (connection.written < connection.out.size()) {
    const ssize_t put = ::send(connection.socket.get(), connection.out.data() + connection.written,
                               connection.out.size() - connection.written, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return;
    if (put <= 0) return close(connection);
    connection.written += static_cast<std::size_t>(put);
  }
  std::string().swap(connection.out);
  connection.written = 0;
  sent(connection);
}

// All that was to be written is; what comes after it.
void HttpLoop::sent(Connection& connection) {
  using Phase = Connection::Phase;
  watch(connection, connection.phase == Phase::kHandling ? 0U : EPOLLIN);
  if (connection.phase == Phase::kHandshake || connection.phase == Phase::kHandling) return;
  if (connection.after_writing == Phase::kIdle) {
    const bool within = connection.reader != nullptr;
    connection.phase = within ? Phase::kReading : Phase::kIdle;
    connection.since = now_;
    until(connection, within ? connection.begun + shared_.options.read_deadline
                             : now_ + shared_.options.idle_deadline);
    if (!within) rank(connection, kIdle);
    if (!within && !connection.kept.empty()) {
      connection.has_more = true;
      more_.push_back(&connection);
    }
    return;
  }
  ::shutdown(connection.socket.get(), SHUT_WR);
  connection.phase = connection.after_writing;
  connection.linger_left = kLingerBytes;
  connection.since = now_;
  until(connection,
        now_ + (connection.phase == Phase::kLinger ? HttpClock::duration(kLinger) : kGoodbye));
  connection.tls.reset();
  rank(connection, kUnproven, true);  // the first to make room
}

std::unique_ptr<RequestReader> HttpLoop::take_reader() {
  if (readers_.empty()) {
    return std::make_unique<RequestReader>(
        MessageLimits{shared_.options.max_header_bytes, shared_.options.max_body_bytes});
  }
  auto reader = std::move(readers_.back());
  readers_.pop_back();
  reader->restart();
  return reader;
}

void HttpLoop::give_back(std::unique_ptr<RequestReader> reader) {
  // What one large request took is not kept.
  if (reader && readers_.size() < kMaxReaders && reader->parts().joined.capacity() <= kMaxKept)
    readers_.push_back(std::move(reader));
}

}  // namespace kube
