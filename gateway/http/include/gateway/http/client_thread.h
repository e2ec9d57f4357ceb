// Calls to others from a thread of their own, for what answers nobody's request.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <gateway/http/client.h>
#include <gateway/http/task.h>

namespace palisade::gateway {

class ClientThread {
 public:
  // A coroutine on the thread, which may block it: nobody else is there. An exception ends it.
  using Work = std::function<Task<void>(ClientThread&)>;
  explicit ClientThread(Work work);  // begins at once
  ~ClientThread();                   // stop()
  ClientThread(const ClientThread&) = delete;
  ClientThread& operator=(const ClientThread&) = delete;

  // For Work alone.
  [[nodiscard]] Clients& clients();
  [[nodiscard]] bool stopping() const;
  // Until then, or until wake() or stop().
  [[nodiscard]] Task<void> pause(std::chrono::milliseconds length);

  // From any other thread. wake() before a pause makes that pause none.
  void wake();
  [[nodiscard]] bool wait(std::chrono::milliseconds within);  // whether Work has ended
  // Ends what Work waits for (calls with kStopped) and returns once it has ended.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
