#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include <spdlog/spdlog.h>

#include <kube/events.h>
#include <kube/micro_time.h>

#include "json_access.h"

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxQueued = 1000;
constexpr std::size_t kMaxKnown = 4096;
constexpr std::size_t kMaxNote = 1024;
constexpr auto kSeriesWindow = std::chrono::minutes(10);
constexpr int kWriteTries = 4;

// At most `limit` bytes of valid UTF-8: what is none becomes U+FFFD, and no character is cut.
std::string fitted(std::string_view text, std::size_t limit) {
  const auto cut = [limit](std::string_view from) {
    std::size_t end = std::min(limit, from.size());
    while (end > 0 && end < from.size() && (static_cast<unsigned char>(from[end]) & 0xc0U) == 0x80U)
      --end;
    return std::string(from.substr(0, end));
  };
  const std::string valid = Json(cut(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
  return cut(Json::parse(valid).get<std::string>());  // a replacement may have made it longer
}

struct Pending {
  std::string ns;
  std::string key;  // what makes two events one series
  Json event;
};

struct Known {
  std::string ns;
  std::string name;
  int count = 1;
  Clock::time_point seen;
};

}  // namespace

struct EventRecorder::Impl {
  std::shared_ptr<const Client> client;
  std::string controller;
  std::string instance;

  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<Pending> queue;
  bool writing = false;
  std::atomic<std::uint64_t> dropped{0};
  std::uint64_t serial = 0;
  std::map<std::string, Known> known;  // only the thread's
  std::jthread thread;

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, stop, [this] { return !queue.empty(); });
      if (queue.empty()) return;
      Pending next = std::move(queue.front());
      queue.pop_front();
      writing = true;
      lock.unlock();
      write(next, stop);
      lock.lock();
      writing = false;
    }
  }

  void write(const Pending& next, const std::stop_token& stop) {
    const auto now = Clock::now();
    std::erase_if(known,
                  [&](const auto& entry) { return now - entry.second.seen > kSeriesWindow; });
    if (known.size() > kMaxKnown) known.clear();
    Error last;
    for (int attempt = 0; attempt < kWriteTries; ++attempt) {
      const auto before = known.find(next.key);
      Result<Json> written;
      if (before != known.end()) {
        Known& series = before->second;
        const Json patch{
            {"series",
             {{"count", series.count + 1}, {"lastObservedTime", next.event["eventTime"]}}}};
        written = client->patch(resources::kEvents, series.ns, series.name, PatchType::kMerge,
                                patch, "", stop);
        if (written) {
          ++series.count;
          series.seen = now;
          return;
        }
        if (written.error().is_not_found()) {
          known.erase(before);
          continue;
        }
      } else {
        written = client->create(resources::kEvents, next.ns, next.event, stop);
        if (written || written.error().is_already_exists()) {
          known[next.key] = {next.ns, next.event["metadata"]["name"].get<std::string>(), 1, now};
          return;
        }
      }
      last = written.error();
      // A namespace on its way out takes no events; nobody is left to read them.
      if (!last.is_retriable() || stop.stop_requested()) break;
      std::unique_lock lock(mutex);
      changed.wait_for(lock, stop, std::chrono::milliseconds(200) * (1 << attempt),
                       [] { return false; });
    }
    spdlog::warn("event {} not written: {}", text_at(next.event, "reason"), last.text());
  }
};

EventRecorder::EventRecorder(std::shared_ptr<const Client> client, std::string controller,
                             std::string instance)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = std::move(client);
  impl_->controller = std::move(controller);
  impl_->instance = std::move(instance);
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
}

EventRecorder::~EventRecorder() {
  const auto deadline = Clock::now() + std::chrono::seconds(2);
  while (Clock::now() < deadline) {
    {
      const std::scoped_lock lock(impl_->mutex);
      if (impl_->queue.empty() && !impl_->writing) break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->dropped += impl_->queue.size();
    impl_->queue.clear();
  }
  impl_->thread.request_stop();
}

void EventRecorder::record(const Json& regarding, EventType type, std::string_view reason,
                           std::string_view action, std::string_view note) {
  const Json metadata = regarding.value("metadata", Json::object());
  const std::string uid = text_at(metadata, "uid");
  std::string ns = text_at(metadata, "namespace");
  if (ns.empty()) ns = "default";
  const char* type_text = type == EventType::kNormal ? "Normal" : "Warning";
  const std::string text = fitted(note, kMaxNote);
  const auto now = std::chrono::system_clock::now();

  const std::scoped_lock lock(impl_->mutex);
  const std::string name = fmt::format(
      "{}.{:x}{:04x}", text_at(metadata, "name").substr(0, 200),
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count(),
      impl_->serial++ & 0xffffU);
  Pending next;
  next.ns = ns;
  next.key = fmt::format("{}|{}|{}|{}", uid, type_text, reason, text);
  next.event = {{"apiVersion", "events.k8s.io/v1"},
                {"kind", "Event"},
                {"metadata", {{"name", name}, {"namespace", ns}}},
                {"eventTime", micro_time(now)},
                {"reportingController", impl_->controller},
                {"reportingInstance", impl_->instance},
                {"type", type_text},
                {"reason", reason.substr(0, 128)},
                {"action", action.substr(0, 128)},
                {"note", text},
                {"regarding",
                 {{"apiVersion", text_at(regarding, "apiVersion")},
                  {"kind", text_at(regarding, "kind")},
                  {"name", text_at(metadata, "name")},
                  {"namespace", text_at(metadata, "namespace")},
                  {"uid", uid}}}};
  if (impl_->queue.size() >= kMaxQueued) {
    impl_->queue.pop_front();
    ++impl_->dropped;
  }
  impl_->queue.push_back(std::move(next));
  impl_->changed.notify_one();
}

std::uint64_t EventRecorder::dropped() const {
  return impl_->dropped;
}

}  // namespace kube
