#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include <gateway/serve/record.h>
#include <poll.h>
#include <unistd.h>

#include <kube/micro_time.h>

namespace palisade::gateway {

namespace {

using std::chrono::steady_clock;

// The line's end, with the time in it. The seconds' text is made once a second.
void append_time(std::string& line) {
  thread_local std::int64_t second = -1;
  thread_local std::string text;
  const auto now = std::chrono::system_clock::now();
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  constexpr std::int64_t kMillion = 1'000'000;
  if (micros / kMillion != second) {
    second = micros / kMillion;
    text = kube::micro_time(now);
  }
  // 2026-11-21T12:00:00.000000Z
  std::int64_t rest = micros % kMillion;
  for (std::size_t i = 0; i < 6; ++i, rest /= 10)
    text[text.size() - 2 - i] = static_cast<char>('0' + rest % 10);
  line.pop_back();  // the brace
  if (line.size() > 1) line += ',';
  line += "\"time\":\"";
  line += text;
  line += "\"}\n";
}

std::string text_of(nlohmann::json line) {
  line.erase("time");
  std::string out = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  append_time(out);
  return out;
}

}  // namespace

struct JsonRecord::Impl {
  explicit Impl(RecordOptions given) : options(given) {}

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      filled.wait(lock, [&] { return ending || !blocks.empty(); });
      if (blocks.empty()) return;
      // What comes meanwhile wakes nobody.
      if (blocks.size() == 1 && !ending) more.wait_for(lock, kGather, [&] { return ending; });
      const std::string batch = std::move(blocks.front());
      blocks.pop_front();
      lock.unlock();
      const bool written = put(batch);
      lock.lock();
      bytes -= batch.size();
      if (!written) return;
    }
  }

  void take(std::string_view text) {
    bool wake = false;
    {
      const std::scoped_lock lock(mutex);
      if (bytes + text.size() > options.max_bytes) {
        ++dropped;
        ++unsaid;
        return;
      }
      if (unsaid > 0) {
        wake = add(text_of({{"kind", "record"}, {"dropped", unsaid}}));
        unsaid = 0;
      }
      wake = add(text) || wake;
    }
    if (wake) filled.notify_one();
  }

  // Under the mutex. True where the writer is to be woken.
  bool add(std::string_view text) {
    const bool first = blocks.empty();
    if (first || blocks.back().size() + text.size() > kBatch) {
      blocks.emplace_back();
      blocks.back().reserve(std::min(kBatch, std::max(text.size(), kBatch / 8)));
    }
    blocks.back() += text;
    bytes += text.size();
    return first;
  }

  // False where nobody will ever read it: the end has come, or the pipe is broken.
  bool put(std::string_view text) {
    while (!text.empty()) {
      pollfd ready{options.fd, POLLOUT, 0};
      const int polled = ::poll(&ready, 1, 100);
      if (polled == 0 || (polled < 0 && errno == EINTR)) {
        const std::scoped_lock lock(mutex);
        if (ending && steady_clock::now() >= give_up) return false;
        continue;
      }
      const ssize_t count = ::write(options.fd, text.data(), std::min(text.size(), kPiece));
      if (count < 0 && errno != EINTR && errno != EAGAIN) return false;
      if (count > 0) text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  static constexpr std::size_t kBatch = 64 * 1024;
  static constexpr std::chrono::milliseconds kGather{5};
  // What a pipe that polls writable takes without blocking.
  static constexpr std::size_t kPiece = 4096;
  const RecordOptions options;
  std::mutex mutex;
  std::condition_variable filled, more;
  std::deque<std::string> blocks;  // of whole lines
  std::size_t bytes = 0;
  std::uint64_t dropped = 0;
  std::uint64_t unsaid = 0;  // dropped, and no line says so yet
  bool ending = false;
  steady_clock::time_point give_up;
  std::jthread thread;
};

JsonRecord::JsonRecord(RecordOptions options) : impl_(std::make_unique<Impl>(options)) {
  impl_->thread = std::jthread([this] { impl_->run(); });
}

JsonRecord::~JsonRecord() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->ending = true;
    impl_->give_up = steady_clock::now() + std::chrono::seconds(2);
  }
  impl_->filled.notify_all();
  impl_->more.notify_all();
}

void JsonRecord::write(nlohmann::json line) {
  impl_->take(text_of(std::move(line)));
}

void JsonRecord::write_text(const Counted&, std::string line) {
  append_time(line);
  impl_->take(line);
}

std::uint64_t JsonRecord::dropped() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->dropped;
}

}  // namespace palisade::gateway
