#include "shipper.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <random>
#include <utility>

#include <fcntl.h>
#include <gateway/http/client_thread.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "passage.h"
#include "rotated.h"

namespace palisade::gateway::relay {

namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto kReachWithin = 10s;
constexpr auto kAnswerWithin = 30s;
constexpr std::size_t kPiece = 256UL * 1024;
constexpr std::size_t kMostAnswer = 16UL * 1024;
// Until the archive has said where a stream ends.
constexpr std::uint64_t kUnknown = UINT64_MAX;

struct Source {
  const char* name;
  std::filesystem::path file;
  std::uint64_t end = kUnknown;  // of what the archive has
  std::string lost;              // why nothing can be added to it any more
};

struct Answer {
  int status = 0;
  std::uint64_t bytes = 0;
  std::string code;
  std::string message;
};

enum class Step : std::uint8_t { kNothing, kSent, kFailed };

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  const int fd_;
};

// What the file has from there on, up to a piece; nullopt where it has less than that, or cannot be
// read, which `why` then says. One that is not there yet is empty.
std::optional<std::string> piece_at(const std::filesystem::path& file, std::uint64_t offset,
                                    std::string& why) {
  const Descriptor opened(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK));
  struct stat found {};
  if (opened.get() < 0 && errno == ENOENT && offset == 0) return std::string();
  if (opened.get() < 0 || ::fstat(opened.get(), &found) != 0) {
    why = std::string("cannot be read: ") + std::strerror(errno);
    return std::nullopt;
  }
  if (!S_ISREG(found.st_mode) || static_cast<std::uint64_t>(found.st_size) < offset) {
    why = "is shorter than what was archived of it";
    return std::nullopt;
  }
  std::string out(
      std::min<std::uint64_t>(kPiece, static_cast<std::uint64_t>(found.st_size) - offset), '\0');
  std::size_t filled = 0;
  while (filled < out.size()) {
    const ssize_t got = ::pread(opened.get(), out.data() + filled, out.size() - filled,
                                static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      why = std::string("cannot be read: ") + std::strerror(errno);
      return std::nullopt;
    }
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  out.resize(filled);
  return out;
}

Answer read_answer(int status, const std::string& body) {
  Answer out{status, 0, {}, {}};
  const json said = json::parse(body, nullptr, false);
  if (!said.is_object()) return out;
  const auto bytes = said.find("bytes");
  if (bytes != said.end() && bytes->is_number_unsigned()) out.bytes = bytes->get<std::uint64_t>();
  for (const auto& [field, text] : {std::pair{"code", &out.code}, {"message", &out.message}}) {
    const auto found = said.find(field);
    if (found != said.end() && found->is_string()) *text = found->get<std::string>();
  }
  if (status == 200 && bytes == said.end()) out.status = 502;
  return out;
}

}  // namespace

std::string to_json(const Shipped& shipped) {
  nlohmann::ordered_json out{{"bytes", shipped.bytes}, {"complete", shipped.complete}};
  if (!shipped.trouble.empty()) out["trouble"] = shipped.trouble.substr(0, 400);
  return out.dump(-1, ' ', true, json::error_handler_t::replace);
}

struct Shipper::Impl {
  Impl(ArchiveRoute its_route, ShipperPace its_pace)
      : route(std::move(its_route)),
        pace(its_pace),
        token(route.token_file),
        authorities(route.ca_file) {
    origin.tls = route.url.tls;
    origin.host = route.url.host;
    origin.port = route.url.port;
    origin.address = route.connect_to;
    sources[0].file = route.record;
    sources[1].file = route.output;
  }

  const ArchiveRoute route;
  const ShipperPace pace;
  Origin origin;
  RotatedFile token;
  RotatedFile authorities;
  std::array<Source, 2> sources{{{"record", {}, kUnknown, {}}, {"output", {}, kUnknown, {}}}};
  std::string failure;  // the last one that may pass
  std::minstd_rand random{std::random_device{}()};
  std::atomic<bool> ending{false};
  mutable std::mutex mutex;
  Shipped told;
  std::unique_ptr<ClientThread> thread;  // last: it uses what stands above

  void tell(bool complete) {
    Shipped now;
    now.complete = complete;
    for (const Source& source : sources) {
      if (source.end != kUnknown) now.bytes += source.end;
      if (!source.lost.empty() && now.trouble.empty()) now.trouble = source.lost;
    }
    if (now.trouble.empty()) now.trouble = failure;
    const std::scoped_lock lock(mutex);
    told = std::move(now);
  }

  // Everything but a missing answer is one. `body`: null for a GET.
  Task<std::optional<Answer>> ask(ClientThread& at, std::string target, const std::string* body) {
    RequestHead head{body == nullptr ? "GET" : "POST", route.url.path + std::move(target), {}};
    const auto& text = token.text();
    auto value = text ? bearer(*text) : std::nullopt;
    if (!value && !route.token_file.empty()) {
      failure = "the session's token cannot be read";
      co_return std::nullopt;
    }
    if (value) head.fields.add("Authorization", std::move(*value));
    if (!route.ca_file.empty()) {
      const auto& trusted = authorities.text();
      if (!trusted) {
        failure = "the gateway's authorities cannot be read";
        co_return std::nullopt;
      }
      if (*trusted != origin.authorities) origin.authorities = *trusted;
    }
    if (body != nullptr) head.fields.add("Content-Type", "application/octet-stream");
    // A kept connection may just have been closed. Whatever is asked for may be asked twice.
    for (bool again = true;; again = false) {
      auto call = co_await at.clients().open(origin, kReachWithin);
      if (!call) {
        failure = "the gateway cannot be reached: " + call.error().message;
        co_return std::nullopt;
      }
      const bool reused = (*call)->reused();
      auto answer = co_await exchange(**call, head, body);
      if (answer) co_return std::move(*answer);
      if (again && reused && answer.error().fault == Fault::kClosed) continue;
      failure = "the gateway does not answer: " + answer.error().message;
      co_return std::nullopt;
    }
  }

  static Task<NetResult<Answer>> exchange(Call& call, RequestHead head, const std::string* body) {
    const std::uint64_t length = body == nullptr ? 0 : body->size();
    const auto sent = co_await call.send(std::move(head), length);
    if (!sent) co_return std::unexpected(sent.error());
    if (length > 0) {
      // Where it is not taken the answer says why: it may have come early.
      auto taken = co_await call.write(*body);
      if (taken) taken = co_await call.finish();
    }
    const auto answered = co_await call.response(kAnswerWithin);
    if (!answered) co_return std::unexpected(answered.error());
    std::string text;
    for (;;) {
      const auto piece = co_await call.read(kAnswerWithin);
      if (!piece) co_return std::unexpected(piece.error());
      if (piece->empty()) break;
      text += *piece;
      if (text.size() > kMostAnswer)
        co_return std::unexpected(NetError{Fault::kTooLarge, "the answer is too long"});
    }
    co_return read_answer(answered->status, text);
  }

  // Of an answer that is no 200. Where it says that a piece never will be taken, `source` is lost.
  Step refused(Source& source, const Answer& answer) {
    const std::string why = answer.message.empty()
                                ? "the gateway's archive answers " + std::to_string(answer.status)
                                : answer.message;
    // What the archive had is not there any more: it says where it ends now.
    if (answer.code == "gap") {
      source.end = kUnknown;
      failure = why;
      return Step::kFailed;
    }
    if (answer.code == "rewrite" || answer.code == "closed" || answer.code == "quota") {
      source.lost = std::string(source.name) + ": " + why;
      return Step::kNothing;
    }
    failure = why;
    return Step::kFailed;
  }

  // One piece of one stream, or one question about it.
  Task<Step> step(ClientThread& at, Source& source) {
    if (!source.lost.empty()) co_return Step::kNothing;
    const std::string target = std::string("/") + source.name;
    if (source.end == kUnknown) {
      const auto held = co_await ask(at, target, nullptr);
      if (!held) co_return Step::kFailed;
      if (held->status != 200) co_return refused(source, *held);
      // What is sent once more is compared there: it is still the same record.
      source.end = held->bytes - std::min<std::uint64_t>(held->bytes, kPiece);
      co_return Step::kSent;
    }
    std::string why;
    const auto piece = piece_at(source.file, source.end, why);
    if (!piece) {
      source.lost = source.file.filename().string() + " " + why;
      co_return Step::kNothing;
    }
    if (piece->empty()) co_return Step::kNothing;
    const auto taken = co_await ask(at, target + "?offset=" + std::to_string(source.end), &*piece);
    if (!taken) co_return Step::kFailed;
    if (taken->status != 200) co_return refused(source, *taken);
    if (taken->bytes < source.end + piece->size()) {
      failure = "the archive's answer is none";
      co_return Step::kFailed;
    }
    source.end += piece->size();
    co_return Step::kSent;
  }

  // All that is there now. False: something has failed and is to be tried again.
  Task<bool> round(ClientThread& at) {
    bool good = true;
    for (Source& source : sources) {
      for (;;) {
        const Step done = co_await step(at, source);
        if (done == Step::kFailed) good = false;
        if (done != Step::kSent) break;
        tell(false);
      }
    }
    if (good) failure.clear();
    tell(false);
    co_return good;
  }

  // Whether there is nothing left to do.
  Task<bool> close(ClientThread& at) {
    for (const Source& source : sources) {
      if (!source.lost.empty()) co_return true;
    }
    const std::string nothing;
    const auto closed = co_await ask(at,
                                     "/close?record=" + std::to_string(sources[0].end) +
                                         "&output=" + std::to_string(sources[1].end),
                                     &nothing);
    if (!closed) co_return false;
    if (closed->status == 200) {
      failure.clear();
      tell(true);
      co_return true;
    }
    failure = closed->message;
    // Of a gap the next round learns.
    if (closed->code == "gap") {
      for (Source& source : sources)
        source.end = kUnknown;
    }
    tell(false);
    co_return closed->code == "rewrite";
  }

  Task<void> work(ClientThread& at) {
    std::chrono::milliseconds pause = pace.first_pause;
    while (!at.stopping()) {
      // What is there once the session is over is all that there will be.
      const bool last = ending;
      const bool good = co_await round(at);
      if (good && last) {
        const bool done = co_await close(at);
        if (done) co_return;
      }
      if (good && !last) {
        pause = pace.first_pause;
        co_await at.pause(pace.every);
        continue;
      }
      // Not all relays at the same time, once a gateway is back; and sooner where little is left.
      const auto longest = ending ? pace.first_pause : pace.longest_pause;
      const auto now = std::min(pause, longest);
      const auto spread = static_cast<std::int64_t>(random() % 512) * now.count() / 1024;
      co_await at.pause(now + std::chrono::milliseconds(spread));
      pause = std::min(2 * pause, pace.longest_pause);
    }
  }
};

Shipper::Shipper(ArchiveRoute route, ShipperPace pace)
    : impl_(std::make_unique<Impl>(std::move(route), pace)) {
  impl_->thread = std::make_unique<ClientThread>(
      [impl = impl_.get()](ClientThread& at) { return impl->work(at); });
}

Shipper::~Shipper() {
  impl_->thread->stop();
}

void Shipper::finish(std::chrono::milliseconds within) {
  impl_->ending = true;
  impl_->thread->wake();
  if (impl_->thread->wait(within)) return;
  impl_->thread->stop();
  const std::scoped_lock lock(impl_->mutex);
  if (impl_->told.trouble.empty())
    impl_->told.trouble = "the archive took too long for what was left at the session's end";
}

Shipped Shipper::shipped() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->told;
}

}  // namespace palisade::gateway::relay
