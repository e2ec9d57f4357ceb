#include "http_loop.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http_connection.h"

namespace kube {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kEventsPerRound = 256;
constexpr int kAcceptsPerRound = 64;
constexpr int kHandshakesPerRound = 8;  // each is the work of many reviews
constexpr std::size_t kHandshakesAtOnce = 64;
constexpr auto kStaleHandshake = 250ms;  // makes room for another where all are taken
constexpr auto kLongestSleep = 1000ms;
constexpr auto kShortestSleep = 5ms;  // between two looks at the clock
constexpr auto kDrainLook = 25ms;
constexpr auto kAcceptPause = 100ms;
// A client that has been quiet this long while the server drains has nothing under way.
constexpr auto kQuiet = 250ms;
constexpr auto kQuietNewcomer = 1000ms;

int checked(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return fd;
}

}  // namespace

void Descriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

BodyShare::BodyShare(std::atomic<std::size_t>& taken, std::size_t bytes, std::size_t limit) {
  constexpr std::size_t kSmall = 64 * 1024;
  if (bytes <= kSmall) return;
  taken_ = &taken;
  bytes_ = bytes;
  granted_ = taken.fetch_add(bytes) + bytes <= limit;
}

BodyShare::~BodyShare() {
  if (taken_ != nullptr) *taken_ -= bytes_;
}

BodyShare::BodyShare(BodyShare&& other) noexcept
    : taken_(std::exchange(other.taken_, nullptr)),
      bytes_(other.bytes_),
      granted_(other.granted_) {}

BodyShare& BodyShare::operator=(BodyShare&& other) noexcept {
  if (this == &other) return *this;
  if (taken_ != nullptr) *taken_ -= bytes_;
  taken_ = std::exchange(other.taken_, nullptr);
  bytes_ = other.bytes_;
  granted_ = other.granted_;
  return *this;
}

ServerContext HttpShared::tls() const {
  const std::scoped_lock lock(mutex_);
  return tls_;
}

void HttpShared::set_tls(ServerContext context) {
  const std::scoped_lock lock(mutex_);
  tls_ = std::move(context);
}

HttpResponse HttpShared::answer(const HttpRequest& request) const {
  try {
    return handler(request);
  } catch (const std::exception& error) {
    spdlog::error("{} {}: {}", request.method, request.target.substr(0, 200), error.what());
  } catch (...) {
    spdlog::error("{} {}: an exception of unknown type", request.method,
                  request.target.substr(0, 200));
  }
  return {500, "text/plain; charset=utf-8", ""};
}

HttpLoop::HttpLoop(HttpShared& shared, std::size_t max_connections)
    : shared_(shared),
      max_connections_(max_connections),
      epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      wake_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")),
      lists_(std::make_unique<std::array<List, kRanks>>()) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &wake_;
  checked(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event), "epoll_ctl");
}

HttpLoop::~HttpLoop() {
  for (List& list : *lists_) {
    while (!list.empty())
      close(list.front());
  }
}

void HttpLoop::listen(Descriptor listener) {
  listener_ = std::move(listener);
  listen_to(true);
}

void HttpLoop::listen_to(bool yes) {
  if (listener_.get() < 0 || yes == listening_) return;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &listener_;
  checked(::epoll_ctl(epoll_.get(), yes ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_.get(), &event),
          "epoll_ctl");
  listening_ = yes;
}

void HttpLoop::wake() {
  const std::uint64_t one = 1;
  // It fails only where it is awake already, 2^64 times over.
  std::ignore = ::write(wake_.get(), &one, sizeof one);
}

void HttpLoop::count_in() {
  ++open_;
  ++shared_.open;
}

void HttpLoop::count_out() {
  --open_;
  --shared_.open;
}

void HttpLoop::give(Descriptor socket) {
  count_in();
  {
    const std::scoped_lock lock(mutex_);
    new_sockets_.push_back(std::move(socket));
  }
  wake();
}

void HttpLoop::give(HttpAnswer answer) {
  {
    const std::scoped_lock lock(mutex_);
    new_answers_.push_back(std::move(answer));
  }
  wake();
}

void HttpLoop::drain() {
  {
    const std::scoped_lock lock(mutex_);
    drain_wanted_ = true;
  }
  wake();
}

void HttpLoop::stop() {
  stopped_ = true;
  wake();
}

void HttpLoop::run() {
  std::vector<epoll_event> events(kEventsPerRound);
  now_ = HttpClock::now();
  next_look_ = now_ + kLongestSleep;
  while (!stopped_) {
    const auto entered = HttpClock::now();
    const auto sleep =
        more_.empty()
            ? std::chrono::ceil<std::chrono::milliseconds>(
                  std::clamp<HttpClock::duration>(next_look_ - entered, 0ms, kLongestSleep))
            : 0ms;
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(sleep.count()));
    const auto left = HttpClock::now();
    // What was there at once may have come while the last round was at work.
    arrival_ = left - entered > 1ms ? left : now_;
    now_ = left;
    try {
      work({events.data(), static_cast<std::size_t>(std::max(count, 0))});
      if (now_ >= next_look_) look_at_clock();
    } catch (const std::exception& error) {
      spdlog::error("http server: {}", error.what());
    }
    closed_.clear();
  }
}

void HttpLoop::work(std::span<const epoll_event> events) {
  using Phase = Connection::Phase;
  const auto each = [&](auto visit) {
    for (const epoll_event& event : events) {
      if (event.data.ptr == &wake_ || event.data.ptr == &listener_) continue;
      auto& connection = *static_cast<Connection*>(event.data.ptr);
      if (connection.phase == Phase::kClosed) continue;
      try {
        visit(connection, event.events);
      } catch (const std::exception& error) {  // no memory, most likely
        spdlog::error("connection: {}", error.what());
        close(connection);
      }
    }
  };
  const auto turn = [&](Connection& connection, std::uint32_t what) {
    if ((what & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && (connection.watched & EPOLLIN) != 0)
      readable(connection);
    else if ((what & EPOLLOUT) != 0)
      writable(connection);
    else if ((what & (EPOLLHUP | EPOLLERR)) != 0)
      close(connection);  // gone while nothing was expected of it
    // Else it came in while what was kept of it was served: it is read when its turn comes.
  };
  // Those whose handshake is over first, then those that have begun one: many that come do not hold
  // them up.
  std::vector<Connection*> served;
  std::swap(served, more_);
  for (Connection* connection : served) {
    connection->has_more = false;
    if (connection->phase != Phase::kClosed) serve_kept(*connection);
  }
  each([&](Connection& connection, std::uint32_t what) {
    if (connection.phase != Phase::kHandshake) turn(connection, what);
  });
  each([&](Connection& connection, std::uint32_t what) {
    if (connection.phase == Phase::kHandshake && connection.tls) turn(connection, what);
  });
  int begun = 0;
  each([&](Connection& connection, std::uint32_t what) {
    if (connection.phase != Phase::kHandshake || connection.tls) return;
    if ((connection.watched & EPOLLIN) == 0)
      turn(connection, what);
    else if (begun++ < kHandshakesPerRound)
      shake_or_queue(connection);
  });
  unqueue();
  for (const epoll_event& event : events) {
    if (event.data.ptr == &wake_) read_inbox();
    if (event.data.ptr == &listener_ && listening_) accept_some();
  }
}

// False once nobody is at the door.
bool HttpLoop::accept_some() {
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.get() < 0) {
      if (errno == EAGAIN) return false;
      if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
      // Out of descriptors or memory.
      spdlog::warn("accept: {}", std::generic_category().message(errno));
      if (make_room()) continue;
      listen_to(false);
      listen_again_ = now_ + kAcceptPause;
      next_look_ = std::min(next_look_, listen_again_);
      return false;
    }
    ++shared_.counts.accepted;
    // Answers that wait for an acknowledgement are late, but they are answers.
    if (const int yes = 1;
        ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0) {
      spdlog::warn("TCP_NODELAY: {}", std::generic_category().message(errno));
    }
    const auto& loops = shared_.loops;
    HttpLoop* least = loops[next_loop_++ % loops.size()].get();
    for (const auto& loop : loops) {
      if (loop->fullness() < least->fullness()) least = loop.get();
    }
    if (least == this) {
      count_in();
      take(std::move(socket));
    } else {
      least->give(std::move(socket));
    }
  }
  return true;
}

void HttpLoop::take(Descriptor socket) {
  if (open_ > max_connections_ && !make_room()) {
    ++shared_.counts.refused;
    count_out();
    return;  // closes it
  }
  auto connection = std::make_unique<Connection>();
  connection->id = next_id_++;
  connection->since = now_;
  epoll_event event{};
  event.events = connection->watched = EPOLLIN;
  event.data.ptr = connection.get();
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) {
    spdlog::warn("epoll_ctl: {}", std::generic_category().message(errno));
    count_out();
    return;
  }
  connection->socket = std::move(socket);
  if (shared_.options.tls) {
    until(*connection, now_ + shared_.options.handshake_deadline);
  } else {
    connection->phase = Connection::Phase::kIdle;
    until(*connection, now_ + shared_.options.idle_deadline);
  }
  (*lists_)[kUnproven].push_back(*connection.release());  // close() takes it back
}

bool HttpLoop::make_room() {
  const auto& lists = *lists_;
  Rank from = kUnproven;
  if (!lists[kShaking].empty() &&
      (lists[from].empty() || lists[kShaking].front().since < lists[from].front().since))
    from = kShaking;
  while (from < kBusy && lists[from].empty())
    from = static_cast<Rank>(from + 1);
  if (from == kBusy) return false;
  ++shared_.counts.evicted;
  close(lists[from].front());
  return true;
}

bool HttpLoop::may_shake() {
  if (shaking_ < kHandshakesAtOnce) return true;
  Connection& oldest = (*lists_)[kShaking].front();
  if (now_ - oldest.since < kStaleHandshake) return false;
  ++shared_.counts.evicted;
  close(oldest);
  return true;
}

void HttpLoop::shake_or_queue(Connection& connection) {
  if (may_shake()) return readable(connection);
  connection.queued = true;
  queued_.push_back(&connection);
  watch(connection, 0);
}

void HttpLoop::unqueue() {
  for (int begun = 0; !queued_.empty() && may_shake(); ++begun) {
    if (begun == kHandshakesPerRound) {
      next_look_ = now_;
      return;
    }
    Connection& next = *queued_.back();
    queued_.pop_back();
    next.queued = false;
    watch(next, EPOLLIN);
    readable(next);
  }
  if (!queued_.empty())
    next_look_ = std::min(next_look_, (*lists_)[kShaking].front().since + kStaleHandshake);
}

void HttpLoop::rank(Connection& connection, Rank rank, bool first) {
  List::remove(connection);
  first ? (*lists_)[rank].push_front(connection) : (*lists_)[rank].push_back(connection);
}

void HttpLoop::watch(Connection& connection, std::uint32_t events) {
  if (connection.watched == events) return;
  epoll_event event{};
  event.events = connection.watched = events;
  event.data.ptr = &connection;
  checked(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.socket.get(), &event), "epoll_ctl");
}

void HttpLoop::until(Connection& connection, HttpClock::time_point deadline) {
  connection.deadline = deadline;
  next_look_ = std::min(next_look_, deadline);
}

void HttpLoop::close(Connection& connection) {
  if (connection.phase == Connection::Phase::kClosed) return;
  if (connection.phase == Connection::Phase::kHandling) waiting_.erase(connection.id);
  if (connection.has_more) std::erase(more_, &connection);
  if (connection.queued) std::erase(queued_, &connection);
  if (connection.shaking) --shaking_;
  // What its turn has produced is nobody else's.
  wire_.in = {};
  wire_.out.clear();
  connection.phase = Connection::Phase::kClosed;
  connection.socket.reset();
  connection.tls.reset();
  connection.share = {};
  List::remove(connection);
  count_out();
  closed_.emplace_back(&connection);
}

void HttpLoop::read_inbox() {
  std::uint64_t ignored = 0;
  std::ignore = ::read(wake_.get(), &ignored, sizeof ignored);
  std::vector<Descriptor> sockets;
  std::vector<HttpAnswer> answers;
  bool begin_drain = false;
  {
    const std::scoped_lock lock(mutex_);
    std::swap(sockets, new_sockets_);
    std::swap(answers, new_answers_);
    begin_drain = drain_wanted_ && !draining_;
  }
  for (auto& answer : answers)
    answered(std::move(answer));
  for (auto& socket : sockets)
    take(std::move(socket));
  if (!begin_drain) return;
  draining_ = true;
  drained_since_ = now_;
  next_look_ = now_;
  if (listener_.get() < 0) return;
  while (accept_some()) {  // who is at the door already
  }
  listen_to(false);
  listener_.reset();
}

void HttpLoop::look_at_clock() {
  using Phase = Connection::Phase;
  std::vector<Connection*> overdue;
  auto next = now_ + (draining_ ? HttpClock::duration(kDrainLook) : kLongestSleep);
  for (const List& list : *lists_) {
    list.each([&](Connection& connection) {
      const auto quiet_since =
          connection.proven ? connection.since : std::max(connection.since, drained_since_);
      const bool quiet =
          draining_ &&
          (connection.phase == Phase::kIdle || connection.phase == Phase::kHandshake) &&
          now_ - quiet_since >= (connection.proven ? kQuiet : kQuietNewcomer);
      if (quiet || connection.deadline <= now_)
        overdue.push_back(&connection);
      else
        next = std::min(next, connection.deadline);
    });
  }
  next_look_ = std::max(next, now_ + kShortestSleep);
  for (Connection* connection : overdue)
    late(*connection);
  if (!listening_ && listener_.get() >= 0) {
    if (now_ >= listen_again_)
      listen_to(true);
    else
      next_look_ = std::min(next_look_, listen_again_);
  }
}

void HttpLoop::late(Connection& connection) {
  using Phase = Connection::Phase;
  switch (connection.phase) {
    case Phase::kIdle:
      return end(connection, false);
    case Phase::kReading:
      return refuse(connection, 408);
    case Phase::kHandling:
      ++shared_.counts.late;
      waiting_.erase(connection.id);
      return refuse(connection, 503);
    case Phase::kHandshake:
      ++shared_.counts.failed_handshakes;
      [[fallthrough]];
    case Phase::kWriting:
    case Phase::kGoodbye:
    case Phase::kLinger:
      return close(connection);
    case Phase::kClosed:
      return;
  }
}

}  // namespace kube
