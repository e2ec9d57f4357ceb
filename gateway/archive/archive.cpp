#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include <gateway/archive/archive.h>

#include "refusal.h"

namespace palisade::gateway::archive {

namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "/archive/";
// Of all sessions together: a relay sends one at a time.
constexpr int kMostPieces = 64;
constexpr std::size_t kLongestNumber = 19;

struct Asked {
  enum class What : std::uint8_t { kHeld, kAppend, kClose };
  What what = What::kHeld;
  Stream stream = Stream::kRecord;
  std::uint64_t offset = 0;
  Ends ends;
};

// "NAME=N", whole.
std::optional<std::uint64_t> number(std::string_view text, std::string_view name) {
  if (!text.starts_with(name) || text.size() <= name.size() || text[name.size()] != '=')
    return std::nullopt;
  text.remove_prefix(name.size() + 1);
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end != text.data() + text.size() || text.size() > kLongestNumber)
    return std::nullopt;
  return out;
}

std::expected<Asked, Refusal> asked_of(const RequestHead& request) {
  std::string_view path = request.path();
  path.remove_prefix(std::min(kPrefix.size(), path.size()));
  const std::string_view query = request.query();
  Asked out;
  if (path == "close") {
    out.what = Asked::What::kClose;
    const std::size_t middle = std::min(query.find('&'), query.size());
    const auto record = number(query.substr(0, middle), "record");
    const auto output =
        middle < query.size() ? number(query.substr(middle + 1), "output") : std::nullopt;
    if (request.method != "POST") return refused(405, "method", "the method must be POST");
    if (!record || !output)
      return refused(400, "bad_request", "the query must be record=N&output=N");
    out.ends = {*record, *output};
    return out;
  }
  if (path != "record" && path != "output")
    return refused(404, "no_such_path", "an archive has record, output and close");
  out.stream = path == "record" ? Stream::kRecord : Stream::kOutput;
  if (request.method == "GET") return out;
  if (request.method != "POST") return refused(405, "method", "the method must be GET or POST");
  out.what = Asked::What::kAppend;
  const auto offset = number(query, "offset");
  if (!offset) return refused(400, "bad_request", "the query must be offset=N");
  out.offset = *offset;
  return out;
}

// Room for one piece in memory, while there is any.
class Room {
 public:
  explicit Room(std::atomic<int>& taken) : taken_(taken), had_(++taken <= kMostPieces) {}
  ~Room() { --taken_; }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  [[nodiscard]] bool had() const { return had_; }

 private:
  std::atomic<int>& taken_;
  const bool had_;
};

}  // namespace

struct Archive::Impl {
  std::shared_ptr<Store> store;
  Services services;
  ArchiveCounting counting;
  std::atomic<int> pieces{0};

  void tell(const Caller& caller, const char* verdict, int status, const std::string& code,
            const json& more) const {
    json line{{"kind", "archive"}, {"namespace", caller.ns}, {"workspace", caller.workspace},
              {"pod", caller.pod}, {"verdict", verdict},     {"code", code},
              {"status", status}};
    line.update(more);
    services.record->write(std::move(line));
  }

  Task<void> refuse(Exchange& exchange, const Caller& caller, const Refusal& refusal) {
    tell(caller, refusal.status >= 500 ? "failed" : "refused", refusal.status, refusal.code,
         {{"reason", refusal.message}});
    Fields fields{{"Content-Type", "application/json"}};
    if (refusal.status == 503) fields.add("Retry-After", "1");
    const std::string body = json{{"code", refusal.code}, {"message", refusal.message}}.dump(
        -1, ' ', false, json::error_handler_t::replace);
    // A relay that has gone asks again.
    std::ignore = co_await exchange.reply(refusal.status, std::move(fields), body);
  }

  Task<void> answer(Exchange& exchange, const Held& held) {
    Fields fields{{"Content-Type", "application/json"}};
    const std::string body = json{{"bytes", held.bytes}, {"closed", held.closed}}.dump();
    std::ignore = co_await exchange.reply(200, std::move(fields), body);
  }

  Task<std::expected<Held, Refusal>> append(Exchange& exchange, const Place& place,
                                            const Asked& asked) {
    const Room room(pieces);
    if (!room.had()) co_return too_busy();
    const auto bytes = co_await exchange.read_all(kMostPiece);
    if (!bytes && bytes.error().fault == Fault::kTooLarge)
      co_return refused(413, "piece_too_large", "a piece has at most 262144 bytes");
    if (!bytes) co_return refused(400, "bad_request", "the piece is cut");
    auto held = co_await store->append(place, asked.stream, asked.offset, *bytes);
    if (held && held->added > 0) counting.kept(held->added);
    co_return held;
  }
};

Archive::Archive(std::shared_ptr<Store> store, Services services, ArchiveCounting counting)
    : impl_(std::make_unique<Impl>()) {
  impl_->store = std::move(store);
  impl_->services = std::move(services);
  impl_->counting = std::move(counting);
}

Archive::~Archive() = default;

Task<void> Archive::handle(Exchange& exchange, const Caller& caller) {
  if (!impl_->store) {
    const Refusal none{404, "no_archive", "this gateway has no archive (gateway.json's archive)"};
    co_await impl_->refuse(exchange, caller, none);
    co_return;
  }
  const auto asked = asked_of(exchange.request());
  if (!asked) {
    co_await impl_->refuse(exchange, caller, asked.error());
    co_return;
  }
  const auto place = place_of(caller);
  if (!place) {
    co_await impl_->refuse(exchange, caller, place.error());
    co_return;
  }
  if (asked->what == Asked::What::kClose) {
    const auto closed = co_await impl_->store->close(*place, asked->ends);
    if (!closed) {
      co_await impl_->refuse(exchange, caller, closed.error());
      co_return;
    }
    impl_->counting.closed();
    impl_->tell(caller, "allowed", 200, "complete",
                {{"location", place->path()},
                 {"recordBytes", asked->ends.record},
                 {"outputBytes", asked->ends.output}});
    co_await impl_->answer(exchange, Held{asked->ends.record + asked->ends.output, true});
    co_return;
  }
  std::expected<Held, Refusal> held;
  if (asked->what == Asked::What::kHeld)
    held = co_await impl_->store->held(*place, asked->stream);
  else
    held = co_await impl_->append(exchange, *place, *asked);
  if (!held) {
    co_await impl_->refuse(exchange, caller, held.error());
    co_return;
  }
  co_await impl_->answer(exchange, *held);
}

}  // namespace palisade::gateway::archive
