#include "connector.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "errno_fault.h"

namespace palisade::guard {

namespace {

// How soon a thread is freed whose caller has died.
constexpr int kLookMilliseconds = 100;
constexpr std::uint64_t kEvent = 0;  // no socket has this inode

// The signal does nothing but end a system call.
void prepare_signal() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGURG, &action, nullptr) != 0) throw_errno("sigaction");
}

void take_signal() {
  sigset_t set;
  sigfillset(&set);
  sigdelset(&set, SIGURG);
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
}

// A thread that starts here inherits a mask that blocks everything.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// SO_ERROR would take the error away from the agent, so the state is asked for.
int tcp_state(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
  return info.tcpi_state;
}

}  // namespace

Connector::Connector(std::size_t workers, std::size_t waiting, std::size_t watched,
                     std::function<void(std::uint64_t)> made)
    : workers_most_(workers),
      waiting_most_(waiting),
      watched_most_(watched),
      made_(std::move(made)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_) throw_errno("epoll_create1");
  if (!event_) throw_errno("eventfd");
  prepare_signal();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kEvent;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &event) != 0) throw_errno("epoll_ctl");
  SignalsBlocked blocked;
  watcher_ = std::thread([this] { look_after(); });
}

Connector::~Connector() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    queue_.clear();
  }
  ready_.notify_all();
  wake();
  // The watcher goes last: it is what gets the workers out of their connects.
  for (auto& worker : workers_)
    worker.thread.join();
  {
    std::lock_guard lock(mutex_);
    watched_.clear();
    workers_.clear();
  }
  wake();
  watcher_.join();
}

bool Connector::submit(Job job) {
  std::lock_guard lock(mutex_);
  if (stop_ || queue_.size() >= waiting_most_) return false;
  queue_.push_back(std::move(job));
  if (idle_ < queue_.size() && workers_.size() < workers_most_) {
    SignalsBlocked blocked;
    auto& worker = workers_.emplace_back();
    try {
      worker.thread = std::thread([this, &worker] { work(worker); });
    } catch (const std::system_error&) {
      workers_.pop_back();
      if (workers_.empty()) {
        queue_.pop_back();
        return false;
      }
    }
  }
  ready_.notify_one();
  return true;
}

void Connector::work(Worker& self) {
  take_signal();
  pthread_setname_np(pthread_self(), "connect");
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    ready_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    --idle_;
    if (stop_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    self.job = &job;
    if (busy_++ == 0) wake();
    lock.unlock();
    run_job(self, job);
    lock.lock();
  }
}

void Connector::run_job(Worker& self, Job& job) {
  const Notification caller{job.call, job.listener};
  int error = EINTR;
  while (error == EINTR && caller.alive()) {
    {
      std::lock_guard lock(mutex_);
      if (stop_) break;
    }
    error = connect(job.socket->fd.get(), reinterpret_cast<const sockaddr*>(&job.address),
                    job.size) == 0
                ? 0
                : errno;
  }
  {
    std::lock_guard lock(mutex_);
    self.job = nullptr;
    --busy_;
  }
  const Answer answer = job.done(error);
  // Before the caller can go on: its close(2) must be the last.
  job.socket.reset();
  job.path = Fd{};
  caller.reply(answer);
}

void Connector::watch(const SharedDuplicate& socket) {
  SharedDuplicate oldest;  // closed after the lock is gone
  std::lock_guard lock(mutex_);
  epoll_event event{};
  event.events = EPOLLOUT | EPOLLONESHOT;
  event.data.u64 = socket->inode;
  const auto known = std::find(watched_.begin(), watched_.end(), socket);
  if (known != watched_.end()) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket->fd.get(), &event);
    return;
  }
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket->fd.get(), &event) != 0) return;
  watched_.push_back(socket);
  if (watched_.size() > watched_most_) {
    oldest = std::move(watched_.front());
    watched_.pop_front();
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, oldest->fd.get(), nullptr);
  }
}

void Connector::forget(std::uint64_t inode) {
  SharedDuplicate found;
  std::lock_guard lock(mutex_);
  const auto at = std::find_if(watched_.begin(), watched_.end(),
                               [&](const auto& socket) { return socket->inode == inode; });
  if (at == watched_.end()) return;
  found = std::move(*at);
  watched_.erase(at);
  // Closing is not enough: the agent's descriptor keeps the socket in the set.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->fd.get(), nullptr);
}

void Connector::look_at(std::uint64_t inode) {
  SharedDuplicate socket;
  {
    std::lock_guard lock(mutex_);
    const auto at = std::find_if(watched_.begin(), watched_.end(),
                                 [&](const auto& one) { return one->inode == inode; });
    if (at == watched_.end()) return;
    socket = *at;
  }
  switch (tcp_state(socket->fd.get())) {
    case TCP_SYN_SENT:
    case TCP_SYN_RECV:
      watch(socket);
      return;
    case TCP_CLOSE:  // it failed: the agent may try again
      forget(inode);
      return;
    default:
      forget(inode);
      made_(inode);
  }
}

void Connector::wake() const {
  const std::uint64_t one = 1;
  // Nothing to do where it fails: then it is full, and the thread is awake.
  [[maybe_unused]] const auto put = write(event_.get(), &one, sizeof one);
}

// Whether any thread is at work, so that it is worth looking again.
bool Connector::interrupt_the_dead() {
  std::lock_guard lock(mutex_);
  for (auto& worker : workers_) {
    if (worker.job == nullptr) continue;
    // Sent again and again: the first may come before the thread has entered connect(2).
    if (stop_ || !Notification{worker.job->call, worker.job->listener}.alive()) {
      pthread_kill(worker.thread.native_handle(), SIGURG);
    }
  }
  return busy_ > 0;
}

void Connector::look_after() {
  pthread_setname_np(pthread_self(), "connected");
  std::array<epoll_event, 64> events{};
  bool busy = false;
  while (true) {
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 busy ? kLookMilliseconds : -1);
    for (int i = 0; i < count; ++i) {
      const auto inode = events.at(static_cast<std::size_t>(i)).data.u64;
      if (inode == kEvent) {
        std::uint64_t ignored = 0;
        [[maybe_unused]] const auto got = read(event_.get(), &ignored, sizeof ignored);
      } else {
        look_at(inode);
      }
    }
    busy = interrupt_the_dead();
    std::lock_guard lock(mutex_);
    if (stop_ && workers_.empty()) return;
  }
}

}  // namespace palisade::guard
