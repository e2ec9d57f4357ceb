#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include <gateway/archive/s3.h>

#include "chain.h"
#include "on_worker.h"

namespace palisade::gateway::archive {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

// They wait for the bucket most of the time.
constexpr int kThreads = 16;
constexpr std::size_t kMaxWaiting = 256;
// A relay waits for 30 s.
constexpr auto kOperation = 25s;
constexpr const char* kProbe = "palisade-probe";
constexpr const char* kProbed =
    "Palisade's gateway puts this object to see that the server does not overwrite.\n";
// Between two tries at a server that overwrites.
constexpr auto kProbeAgain = 1min;

}  // namespace

struct S3Store::Impl {
  // All of what work on another thread uses.
  struct Shared {
    explicit Shared(const ArchiveConfig& given)
        : bucket(given.s3.value()), most(given.session_bytes) {}

    [[nodiscard]] Patience patience() const {
      return {steady_clock::now() + kOperation, stop.get_token()};
    }
    Session session(const Place& place, const Patience& patience) {
      return {bucket, bucket.config().key(place.path()), memory, patience};
    }

    // That the server keeps what is there. Once it has shown that, nothing is asked; whoever waited
    // for another's probe has its result.
    Outcome<void> probe(const Patience& patience) {
      const auto asked = steady_clock::now();
      const std::scoped_lock lock(mutex);
      if (keeps) return {};
      if (ended > asked) return last;
      if (!overwrites || asked >= *overwrites + kProbeAgain) {
        last = look(patience);
        ended = steady_clock::now();
      }
      return last;
    }

    const Bucket bucket;
    const std::uint64_t most;
    Memory memory;
    std::stop_source stop;

   private:
    Outcome<void> look(const Patience& patience) {
      overwrites.reset();
      const std::string key = bucket.config().key(kProbe);
      for (int i = 0; i < 2; ++i) {
        const auto made = bucket.put_new(key, kProbed, patience);
        if (!made) return std::unexpected(made.error());
        keeps = !*made;
        if (keeps) return {};
      }
      overwrites = steady_clock::now();
      return refused(503, "archive_unavailable",
                     "the archive's bucket cannot be used: " + bucket.config().endpoint +
                         " overwrites an object though it is put with If-None-Match: *; an archive "
                         "needs a server that refuses to");
    }

    std::mutex mutex;  // one probe at a time
    bool keeps = false;
    Outcome<void> last;
    steady_clock::time_point ended;
    std::optional<steady_clock::time_point> overwrites;
  };

  Impl(const ArchiveConfig& config, std::function<void(const std::string&)> log)
      : shared(std::make_shared<Shared>(config)),
        workers(kThreads, kMaxWaiting),
        first([with = shared, say = std::move(log)] {
          if (const auto good = with->probe(with->patience());
              !good && !with->stop.stop_requested())
            say(good.error().message);
        }) {}
  ~Impl() { shared->stop.request_stop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const std::shared_ptr<Shared> shared;
  Workers workers;
  std::jthread first;
};

S3Store::S3Store(const ArchiveConfig& config, std::function<void(const std::string&)> log)
    : impl_(std::make_unique<Impl>(config, std::move(log))) {}

S3Store::~S3Store() = default;

Task<Outcome<Held>> S3Store::held(const Place& place, Stream stream) {
  std::function<Outcome<Held>()> work = [with = impl_->shared, place, stream]() -> Outcome<Held> {
    const Patience patience = with->patience();
    if (const auto good = with->probe(patience); !good) return std::unexpected(good.error());
    return with->session(place, patience).held(stream);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

Task<Outcome<Held>> S3Store::append(const Place& place, Stream stream, std::uint64_t offset,
                                    std::string_view bytes) {
  std::function<Outcome<Held>()> work = [with = impl_->shared, place, stream, offset,
                                         piece = std::string(bytes)]() -> Outcome<Held> {
    const Patience patience = with->patience();
    if (const auto good = with->probe(patience); !good) return std::unexpected(good.error());
    return with->session(place, patience).append(stream, offset, piece, with->most);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

Task<Outcome<void>> S3Store::close(const Place& place, const Ends& ends) {
  std::function<Outcome<void>()> work = [with = impl_->shared, place, ends]() -> Outcome<void> {
    const Patience patience = with->patience();
    if (const auto good = with->probe(patience); !good) return std::unexpected(good.error());
    return with->session(place, patience).close(ends);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

}  // namespace palisade::gateway::archive
