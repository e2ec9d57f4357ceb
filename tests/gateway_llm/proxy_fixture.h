// The proxy behind a real server, its upstreams real servers that do as a test says, and the rest
// of the gateway in small.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gateway/llm/proxy.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "gateway_http/fixture.h"

namespace palisade::gateway::llm::testing {

using namespace std::chrono_literals;
using gateway::testing::eventually;
using gateway::testing::local;
using gateway::testing::pause;
using gateway::testing::ScriptedServer;
using gateway::testing::TestServer;
using gateway::testing::Wire;
using nlohmann::json;

inline constexpr std::string_view kKey =
    "sk-"
    "test-0123456789abcdefghijKLMNOP";

class SomeKeys final : public Keys {
 public:
  [[nodiscard]] std::optional<std::string> key(std::string_view secret,
                                               std::string_view key) const override {
    if (secret != "keys") return std::nullopt;
    if (key == "with-line-feed") return std::string(kKey) + "\n";
    if (key == "two-lines") return std::string(kKey) + "\nX-Evil: 1";
    return key == "api-key" ? std::optional<std::string>(kKey) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::string> git_token(const gateway::Caller&) const override {
    return "the-token-of-this-workspace";
  }
};

// What was set aside and what was settled, call by call.
class Ledger final : public Budgets {
 public:
  struct Entry {
    Spent reserved;
    std::optional<Spent> settled;
    bool ended = false;
  };
  [[nodiscard]] Task<std::expected<std::unique_ptr<Reservation>, Refusal>> reserve(
      const gateway::Caller&, const Spent& estimate) override {
    const std::lock_guard lock(mutex_);
    if (refusal) co_return std::unexpected(*refusal);
    entries_.push_back({estimate, std::nullopt, false});
    std::unique_ptr<Reservation> out = std::make_unique<One>(*this, entries_.size() - 1);
    co_return out;
  }
  [[nodiscard]] std::vector<Entry> entries() const {
    const std::lock_guard lock(mutex_);
    return entries_;
  }
  std::optional<Refusal> refusal;

 private:
  class One final : public Reservation {
   public:
    One(Ledger& ledger, std::size_t at) : ledger_(ledger), at_(at) {}
    ~One() override {
      const std::lock_guard lock(ledger_.mutex_);
      ledger_.entries_[at_].ended = true;
    }
    void settle(const Spent& spent) override {
      const std::lock_guard lock(ledger_.mutex_);
      EXPECT_FALSE(ledger_.entries_[at_].settled) << "settled once";
      ledger_.entries_[at_].settled = spent;
    }

   private:
    Ledger& ledger_;
    std::size_t at_;
  };
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

class Lines final : public Record {
 public:
  void write(json line) override {
    const std::string text = line.dump();  // throws for what is no UTF-8
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    texts_ += text + "\n";
  }
  [[nodiscard]] std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return lines_.size();
  }
  [[nodiscard]] json last() const {
    const std::lock_guard lock(mutex_);
    return lines_.empty() ? json() : lines_.back();
  }
  [[nodiscard]] std::string texts() const {
    const std::lock_guard lock(mutex_);
    return texts_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<json> lines_;
  std::string texts_;
};

// An upstream: what it was asked, and a handler for what it answers.
class FakeUpstream {
 public:
  struct Seen {
    RequestHead head;
    std::string body;
  };
  using Answer = std::function<Task<void>(Exchange&, const Seen&)>;
  explicit FakeUpstream(Answer answer)
      : answer_(std::move(answer)), server_([this](Exchange& e) { return serve(e); }) {}
  [[nodiscard]] std::uint16_t port() const { return server_.port(); }
  [[nodiscard]] std::size_t connections() const { return server_.server.connections(); }
  [[nodiscard]] std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  Task<void> serve(Exchange& exchange) {
    Seen seen;
    seen.head = exchange.request();
    auto body = co_await exchange.read_all(64 << 20);
    if (!body) co_return;
    seen.body = std::move(*body);
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(seen);
    }
    co_await answer_(exchange, seen);
  }

  Answer answer_;
  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
  TestServer server_;
};

// Answers with one body.
inline FakeUpstream::Answer fixed(int status, std::string body, Fields more = {},
                                  std::string type = "application/json") {
  return [=](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields = more;
    fields.set("Content-Type", type);
    std::ignore = co_await exchange.reply(status, std::move(fields), body);
  };
}

// Answers with pieces of a stream, one write each.
inline FakeUpstream::Answer streamed(std::vector<std::string> pieces) {
  return [=](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    for (const std::string& piece : pieces) {
      if (sent) sent = co_await exchange.write(piece);
    }
    if (sent) sent = co_await exchange.end();
  };
}

// One event of an OpenAI stream that says `text`.
inline std::string chunk(std::string_view text) {
  const json event{{"choices", {{{"index", 0}, {"delta", {{"content", text}}}}}}};
  return "data: " + event.dump() + "\n\n";
}
inline const std::string kStop =
    R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})"
    "\n\n";
inline const std::string kUsage =
    R"(data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}})"
    "\n\n";
inline const std::string kDone = "data: [DONE]\n\n";

inline std::string whole(std::string_view text) {
  const json body{{"id", "c1"},
                  {"choices", {{{"index", 0}, {"message", {{"content", text}}}}}},
                  {"usage", {{"prompt_tokens", 100}, {"completion_tokens", 50}}}};
  return body.dump();
}

struct Reply {
  int status = 0;
  std::map<std::string, std::string> fields;  // names in small letters
  std::string body;                           // decoded
  bool cut = false;                           // its end did not come
  [[nodiscard]] json read() const { return json::parse(body, nullptr, false); }
  [[nodiscard]] std::string code() const {
    const json document = read();
    return document.is_object() && document.contains("error") ? document["error"].value("code", "")
                                                              : "";
  }
};

inline Reply read_reply(std::string text) {
  Reply out;
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos) return out;
  out.status = std::stoi(text.substr(9, 3));
  std::size_t at = text.find("\r\n") + 2;
  while (at < end + 2) {
    const std::size_t line = text.find("\r\n", at);
    const std::size_t colon = text.find(':', at);
    std::string name = text.substr(at, colon - at);
    for (char& c : name)
      c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    out.fields[name] = text.substr(colon + 2, line - colon - 2);
    at = line + 2;
  }
  std::string_view body = std::string_view(text).substr(end + 4);
  if (!out.fields.contains("transfer-encoding")) {
    out.body = body;
    out.cut = out.body.size() != std::stoul(out.fields["content-length"]);
    return out;
  }
  out.cut = true;
  while (!body.empty()) {
    const std::size_t line = body.find("\r\n");
    if (line == std::string_view::npos) break;
    const std::size_t size = std::stoul(std::string(body.substr(0, line)), nullptr, 16);
    if (size == 0) {
      out.cut = false;
      break;
    }
    if (body.size() < line + 2 + size + 2) break;
    out.body += body.substr(line + 2, size);
    body.remove_prefix(line + 2 + size + 2);
  }
  return out;
}

class Gateway {
 public:
  // Fills in what every test needs alike.
  explicit Gateway(LlmConfig config, Grant grant = grant_of({"m"}))
      : proxy(std::move(config), {nullptr, keys, ledger, lines}),
        caller{"team-a",          "fix-login", "uid",
               "fix-login-agent", "pod-uid",   std::make_shared<const Grant>(std::move(grant))},
        front([this](Exchange& exchange) { return proxy.handle(exchange, caller); }) {}

  static Grant grant_of(std::vector<std::string> models) {
    Grant grant;
    grant.models = std::move(models);
    return grant;
  }
  // One model "m" on these upstreams, which know it as "up".
  static LlmConfig config(const std::vector<std::uint16_t>& ports, Kind kind = Kind::kOpenAi) {
    LlmConfig out;
    Model model;
    model.name = "m";
    model.aliases = {"alias"};
    model.price = Price{2'000'000, 10'000'000};
    for (const std::uint16_t port : ports) {
      Upstream upstream;
      upstream.name = "u" + std::to_string(out.upstreams.size());
      upstream.origin = gateway::testing::plain(port);
      upstream.path = "/base/v1";
      upstream.kind = kind;
      upstream.key = KeyReference{"keys", "api-key"};
      model.routes.push_back({out.upstreams.size(), "up", 1});
      out.upstreams.push_back(std::move(upstream));
    }
    out.models.push_back(std::move(model));
    out.limits.deadline = 60s;
    return out;
  }

  static std::string request(std::string_view path, std::string_view body,
                             std::string_view fields = "") {
    return "POST " + std::string(path) + " HTTP/1.1\r\nHost: g\r\nConnection: close\r\n" +
           "Content-Type: application/json\r\nAuthorization: Bearer of-the-agent\r\n" +
           std::string(fields) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           std::string(body);
  }
  Reply post(std::string_view path, std::string_view body, std::string_view fields = "") {
    const std::size_t before = lines->count();
    Wire wire(front.port());
    wire.send(request(path, body, fields));
    Reply reply = read_reply(wire.rest());
    EXPECT_TRUE(eventually([&] { return lines->count() == before + 1; })) << "one line a call";
    return reply;
  }
  Reply chat(std::string_view more = "", std::string_view content = "hello") {
    return post("/v1/chat/completions", body(more, content));
  }
  static std::string body(std::string_view more = "", std::string_view content = "hello") {
    return R"({"model":"m","messages":[{"role":"user","content":)" + json(content).dump() + "}]" +
           std::string(more) + "}";
  }
  // Of the last call.
  [[nodiscard]] Spent settled() const {
    const auto entries = ledger->entries();
    if (entries.empty() || !entries.back().settled) {
      ADD_FAILURE() << "nothing was settled";
      return {-1, -1};
    }
    EXPECT_TRUE(eventually([&] { return ledger->entries().back().ended; }));
    return *entries.back().settled;
  }

  std::shared_ptr<SomeKeys> keys = std::make_shared<SomeKeys>();
  std::shared_ptr<Ledger> ledger = std::make_shared<Ledger>();
  std::shared_ptr<Lines> lines = std::make_shared<Lines>();
  LlmProxy proxy;
  const gateway::Caller caller;
  TestServer front;
};

inline bool has_flag(const json& line, std::string_view flag) {
  for (const json& item : line["flags"]) {
    if (item == flag) return true;
  }
  return false;
}

}  // namespace palisade::gateway::llm::testing
