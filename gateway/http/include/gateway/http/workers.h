// A few threads for what blocks (the API server's client, a disk), awaited from coroutines.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include <gateway/http/message.h>
#include <gateway/http/task.h>

namespace palisade::gateway {

class Workers {
 public:
  Workers(int threads, std::size_t max_waiting);
  ~Workers();  // finishes what runs, drops what waits
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Runs `work` on one of the threads and resumes the caller on its own executor. kTooLarge where
  // more than `max_waiting` wait, kStopped at the end. An exception of `work` is thrown here. Name
  // a `work` that captures more than references and plain values: GCC 12 destroys twice what a
  // lambda within a co_await expression has captured.
  [[nodiscard]] Task<NetResult<void>> run(std::function<void()> work);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
