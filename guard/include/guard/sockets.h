// The agent's sockets are made by guard, and connected, bound and put to listening by guard. What
// is judged is a copy that the agent cannot change, and what is acted on is guard's own duplicate
// of the socket: neither the caller's memory nor its table of descriptors is looked at twice.
//
// socket(2) is answered by a socket of guard's, handed over by SECCOMP_IOCTL_NOTIF_ADDFD; guard
// keeps a duplicate, found again by the socket's inode (/proc/PID/fd/N), until the socket is
// connected or listens: from then on a duplicate would only hide the agent's close(2) from the
// peer. connect(2) never runs on the thread that calls these functions: whether it blocks is
// decided by flags that the agent can change at any instant. See seccomp_unotify(2), connect(2),
// unix(7).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "guard/event.h"
#include "guard/notification.h"
#include "guard/policy.h"

namespace palisade::guard {

struct SocketBounds {
  // Duplicates kept; beyond, those that are closed go, then the oldest, and a Finding says so.
  std::size_t unconnected = 1024;

  std::size_t listeners = 256;  // own listeners remembered
  std::size_t workers = 16;     // connects that can be under way at once
  std::size_t waiting = 256;    // connects that wait for a worker; beyond: EAGAIN
};

// The judges of socket, socketpair, connect, bind and listen. Rules on record:
//   network.family         neither AF_INET, AF_INET6 nor AF_UNIX               EAFNOSUPPORT
//   network.type           no TCP; AF_UNIX but no stream or packet stream      EPROTONOSUPPORT
//   network.connect        an address that the policy does not name; a family that is not the
//                          socket's; a scope id; AF_UNSPEC; a Unix socket outside files.write
//                          EACCES
//   network.bind           not loopback, or not allowed at all; a Unix path outside files.write
//   network.listen         as bind; a socket that is not bound
//   network.unix-abstract  an abstract Unix address, or autobind               EACCES
// Every connect that is let through is a Connected event with its outcome. In Mode::kAudit what is
// refused here is recorded with enforced = false and goes through; guard still connects by itself
// what it made.
//
// connect(2) is answered later, by a thread of this object: the judge's answer is then kDone. A
// signal that the caller handles does not interrupt it (only its death does).
//
// Where the record cannot be kept any more (Recorder::put says false) everything is refused.
// Thread-safe. The destructor ends the threads and closes all duplicates; what waits gets no
// answer, so the listener is to be closed, or the agent's processes ended, before it.
class Sockets {
 public:
  // `policy` and `recorder` outlive this object. `activity` is called at every allowed connect,
  // from any thread. Signal SIGURG is taken: the worker threads use it to leave a connect whose
  // caller has died. Errors: std::system_error where an epoll descriptor cannot be made;
  // std::runtime_error for an unreadable CIDR.
  Sockets(const Policy& policy, Recorder& recorder, std::function<void()> activity = {},
          SocketBounds bounds = {});
  ~Sockets();
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  [[nodiscard]] Answer socket(const Notification& notification);
  [[nodiscard]] Answer socketpair(const Notification& notification);
  [[nodiscard]] Answer connect(const Notification& notification);
  [[nodiscard]] Answer bind(const Notification& notification);
  [[nodiscard]] Answer listen(const Notification& notification);

  [[nodiscard]] std::size_t kept() const;  // duplicates at present

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::guard
