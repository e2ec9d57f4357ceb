// A client whose socket calls are notified, as an agent's are, and the guard that serves them: the
// client is a forked child behind a raw filter, the test is guard.
#pragma once

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "guard/notification.h"
#include "guard/proc.h"
#include "guard/sockets.h"

namespace palisade::guard {

class Supervised {
 public:
  // `client` runs in a child without privileges; what it returns is its exit code.
  Supervised(const Policy& policy, const std::function<int()>& client, SocketBounds bounds = {}) {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw std::runtime_error("socketpair");
    }
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(ends[0]);
      // 65534 need not be there in a namespace of its own.
      if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0) && errno != EINVAL)
        _exit(101);
      prctl(PR_SET_DUMPABLE, 1);
      const int listener = filter();
      if (listener < 0) _exit(102);
      if (!hand_over(ends[1], listener)) _exit(103);
      close(listener);
      close(ends[1]);
      _exit(client());
    }
    close(ends[1]);
    listener_ = take_over(ends[0]);
    close(ends[0]);
    if (!listener_) throw std::runtime_error("the client gave no listener");
    stop_ = Fd{eventfd(0, EFD_CLOEXEC)};
    sockets_ = std::make_unique<Sockets>(
        policy, events, [this] { ++activities; }, bounds);
    thread_ = std::thread([this] { serve(); });
  }
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;
  ~Supervised() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    finish();
  }

  // The client's exit code, 1000 + N for a signal.
  int wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  // Ends the guard; its events are all there then.
  void finish() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof one), ssize_t{sizeof one});
    thread_.join();
    sockets_.reset();
  }
  [[nodiscard]] pid_t child() const { return child_; }
  Sockets& sockets() { return *sockets_; }

  Events events;
  std::atomic<int> activities = 0;
  std::atomic<int> notified = 0;

 private:
  static int filter() {
    const auto notify = [](unsigned call, std::uint8_t distance) {
      return sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, distance, 0);
    };
    std::array<sock_filter, 8> code{
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        notify(SYS_socket, 5),
        notify(SYS_connect, 4),
        notify(SYS_bind, 3),
        notify(SYS_listen, 2),
        notify(SYS_socketpair, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)};
    sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    constexpr unsigned long kWaitKillable = 1UL << 5;
    return static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                    SECCOMP_FILTER_FLAG_NEW_LISTENER | kWaitKillable, &program));
  }

 public:
  static bool hand_over(int socket, int fd) {
    std::array<char, CMSG_SPACE(sizeof fd)> control{};
    char byte = 'x';
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
  }
  static Fd take_over(int socket) {
    std::array<char, CMSG_SPACE(sizeof(int))> control{};
    char byte = 0;
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return {};
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) return {};
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return Fd{fd};
  }

 private:
  Answer judge(const Notification& notification) {
    switch (notification.call.data.nr) {
      case SYS_socket:
        return sockets_->socket(notification);
      case SYS_socketpair:
        return sockets_->socketpair(notification);
      case SYS_connect:
        return sockets_->connect(notification);
      case SYS_bind:
        return sockets_->bind(notification);
      case SYS_listen:
        return sockets_->listen(notification);
      default:
        return Answer::refuse(ENOSYS);
    }
  }
  void serve() {
    while (true) {
      std::array<pollfd, 2> ready{pollfd{listener_.get(), POLLIN, 0},
                                  pollfd{stop_.get(), POLLIN, 0}};
      if (poll(ready.data(), ready.size(), -1) < 0 && errno != EINTR) return;
      if ((ready[0].revents & POLLIN) == 0) {
        if (ready[1].revents != 0) return;
        if ((ready[0].revents & (POLLHUP | POLLERR)) != 0) {
          // Everybody behind the filter has gone.
          poll(ready.data() + 1, 1, -1);
          return;
        }
        continue;
      }
      seccomp_notif call{};
      if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;
      ++notified;
      const Notification notification{call, listener_.get()};
      notification.reply(judge(notification));
    }
  }

  pid_t child_ = -1;
  Fd listener_;
  Fd stop_;
  std::unique_ptr<Sockets> sockets_;
  std::thread thread_;
};

}  // namespace palisade::guard
