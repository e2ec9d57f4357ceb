// A store's blocking work, awaited.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <gateway/http/workers.h>

#include "refusal.h"

namespace palisade::gateway::archive {

// `work` on a thread that may block. It owns all that it uses: whoever waits may be gone before it
// is done.
template <class T>
Task<Outcome<T>> on_worker(Workers& workers, std::function<Outcome<T>()> work) {
  struct Job {
    std::function<Outcome<T>()> work;
    std::optional<Outcome<T>> out;
  };
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  const std::function<void()> run = [job] { job->out.emplace(job->work()); };
  const auto ran = co_await workers.run(run);
  if (!ran) co_return too_busy();
  co_return std::move(*job->out);
}

}  // namespace palisade::gateway::archive
