// Makes connections on threads of its own, so that nothing that an address does (be silent, have a
// full backlog) keeps anybody else waiting; and notices when a connection that is under way is
// made.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <linux/seccomp.h>
#include <sys/socket.h>

#include "duplicates.h"
#include "guard/notification.h"
#include "guard/proc.h"

namespace palisade::guard {

class Connector {
 public:
  struct Job {
    seccomp_notif call{};
    int listener = -1;
    SharedDuplicate socket;
    sockaddr_storage address{};
    socklen_t size = 0;
    Fd path;  // what `address` names by its number
    // What the caller is told; called with connect(2)'s errno on a thread of the connector.
    std::function<Answer(int error)> done;
  };

  // `made` is called when a watched socket has become connected. Errors: std::system_error.
  Connector(std::size_t workers, std::size_t waiting, std::size_t watched,
            std::function<void(std::uint64_t inode)> made);
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  // Connects as soon as a thread is free, then replies to the caller. False: too many wait already.
  [[nodiscard]] bool submit(Job job);

  // Looks after a socket whose connection is under way. The oldest is forgotten where there are
  // more than `watched`.
  void watch(const SharedDuplicate& socket);
  void forget(std::uint64_t inode);

 private:
  struct Worker {
    std::thread thread;
    Job* job = nullptr;  // at work on; guarded by mutex_
  };

  void work(Worker& self);
  void run_job(Worker& self, Job& job);
  void look_after();
  void look_at(std::uint64_t inode);
  void wake() const;
  bool interrupt_the_dead();

  const std::size_t workers_most_;
  const std::size_t waiting_most_;
  const std::size_t watched_most_;
  const std::function<void(std::uint64_t)> made_;
  Fd epoll_;
  Fd event_;

  std::mutex mutex_;
  std::condition_variable ready_;
  bool stop_ = false;
  std::size_t idle_ = 0;
  std::size_t busy_ = 0;
  std::list<Worker> workers_;
  std::deque<Job> queue_;
  std::deque<SharedDuplicate> watched_;  // oldest first
  std::thread watcher_;
};

}  // namespace palisade::guard
