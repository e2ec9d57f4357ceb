#include "fetch.h"

#include <algorithm>

#include "advertisement.h"
#include "answer.h"
#include "body.h"
#include "refusal.h"
#include "report.h"

namespace palisade::gateway::git {

namespace {

constexpr std::uint64_t kMaxRequest = 16ULL << 20;  // of what a fetch wants and has
constexpr std::size_t kHeld = 1U << 20U;            // what is held to be sent whole, as git does
constexpr int kIdlesToReceiveWants = 30;

bool is_word(std::string_view text, std::string_view more, std::size_t most) {
  return !text.empty() && text.size() <= most && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           more.find(c) != std::string_view::npos;
  });
}

// A fetch's request: packets alone, bounded, held while it is small.
class FetchRequest {
 public:
  FetchRequest(Exchange& exchange, std::chrono::milliseconds longest)
      : body_(exchange, kMaxRequest, longest) {}

  [[nodiscard]] const Body& body() const { return body_; }
  Body& body() { return body_; }

  // Reads until it is whole or too large to be held.
  Task<std::expected<void, Refusal>> begin() {
    while (!whole_ && held_.size() < kHeld) {
      auto piece = co_await next();
      if (!piece) co_return std::unexpected(std::move(piece.error()));
      whole_ = piece->empty();
      held_ += *piece;
    }
    co_return std::expected<void, Refusal>();
  }

  [[nodiscard]] bool whole() const { return whole_; }
  [[nodiscard]] std::size_t held() const { return held_.size(); }

  Task<BodyResult> send(Call& call) {
    auto wrote = co_await call.write(held_);
    while (wrote && !whole_) {
      auto piece = co_await next();
      if (!piece) {
        std::optional<Refusal> why(std::move(piece.error()));
        co_return std::unexpected(std::move(why));
      }
      if (piece->empty()) break;
      wrote = co_await call.write(*piece);
    }
    if (!wrote) co_return std::unexpected(std::optional<Refusal>());
    co_return BodyResult();
  }

 private:
  Task<std::expected<std::string_view, Refusal>> next() {
    auto piece = co_await body_.next();
    if (!piece) co_return piece;
    for (std::string_view rest = *piece; !rest.empty();) {
      const auto pkt = packets_.next(rest);
      if (!pkt)
        co_return std::unexpected(refusal(400, "bad_request", "the request: " + pkt.error()));
      if (!*pkt) break;
    }
    if (piece->empty() && packets_.within())
      co_return std::unexpected(refusal(400, "bad_request", "the request is cut"));
    co_return piece;
  }

  Body body_;
  PktReader packets_;
  std::string held_;
  bool whole_ = false;
};

// Passes an answer on as it comes. The record's status is set where it came whole.
Task<void> pass_on(Exchange& exchange, Upstream& upstream, std::string type, std::uint64_t limit,
                   Line& line) {
  Fields fields = git_fields(std::move(type));
  std::uint64_t bytes = 0;
  auto wrote = co_await exchange.begin(200, std::move(fields), std::nullopt);
  while (wrote) {
    auto piece = co_await upstream.read();
    if (!piece) {
      line.failed(piece.error());
      break;  // begun and not ended: the client sees that it is cut
    }
    if (piece->empty()) {
      wrote = co_await exchange.end();
      if (wrote) line.allowed(200);
      break;
    }
    bytes += piece->size();
    if (bytes > limit) {
      line.refused(refusal(413, "reply_too_large",
                           "the answer is larger than " + std::to_string(limit) + " bytes"));
      break;
    }
    wrote = co_await exchange.write(*piece);
  }
  if (!wrote) line.failed(client_refusal(wrote.error()));
  line.set("replyBytes", bytes);
}

// The same for a push's refs: every packet is read, and the first ref's is edited.
Task<void> pass_on_edited(Exchange& exchange, Upstream& upstream, std::string type, Line& line) {
  PktReader packets;
  Advertisement advertisement;
  std::string out;
  std::uint64_t bytes = 0;
  std::optional<Refusal> why;
  bool ended = false;
  while (!ended && !why) {
    auto piece = co_await upstream.read();
    if (!piece) {
      why = std::move(piece.error());
      break;
    }
    ended = piece->empty();
    bytes += piece->size();
    std::string wrong = bytes > kMaxRefs ? "it is too large" : "";
    if (ended && !advertisement.complete()) wrong = "it is cut";
    for (std::string_view rest = *piece; wrong.empty() && !rest.empty();) {
      const auto pkt = packets.next(rest);
      if (!pkt) wrong = pkt.error();
      if (!pkt || !*pkt) break;
      auto edited = advertisement.take(**pkt);
      if (edited)
        out += *edited;
      else
        wrong = edited.error();
    }
    if (!wrong.empty()) {
      why = refusal(502, "bad_advertisement",
                    upstream.host() + "'s list of refs cannot be read: " + wrong);
      break;
    }
    if (!advertisement.in_refs()) continue;
    if (!exchange.begun()) {
      Fields fields = git_fields(type);
      auto begun = co_await exchange.begin(200, std::move(fields), std::nullopt);
      if (!begun) why = client_refusal(begun.error());
    }
    if (!why && !out.empty()) {
      auto wrote = co_await exchange.write(out);
      if (!wrote) why = client_refusal(wrote.error());
      out.clear();
    }
  }
  line.set("replyBytes", bytes);
  if (why) {
    note(line, *why);
    if (!exchange.begun()) co_await answer_text(exchange, std::move(*why));
    co_return;
  }
  auto done = co_await exchange.end();
  if (done)
    line.allowed(200);
  else
    line.failed(client_refusal(done.error()));
}

}  // namespace

Fields host_fields(const RequestHead& request) {
  Fields out;
  const std::string_view agent = request.fields.get("User-Agent");
  const bool known = agent.starts_with("git/") && is_word(agent, " ./()-_+:;,", 200);
  out.add("User-Agent", known ? std::string(agent) : "git/palisade");
  const std::string_view protocol = request.fields.get("Git-Protocol");
  if (request.fields.count("Git-Protocol") == 1 && is_word(protocol, "=:.-_", 64))
    out.add("Git-Protocol", std::string(protocol));
  return out;
}

Question refs_question(std::string_view service, Fields fields) {
  Question out;
  out.target = "/info/refs?service=" + std::string(service);
  out.fields = std::move(fields);
  out.fields.add("Accept", "*/*");
  out.answers = service == kReceivePack ? "application/x-git-receive-pack-advertisement"
                                        : "application/x-git-upload-pack-advertisement";
  return out;
}

Task<void> serve_refs(Exchange& exchange, Upstream& upstream, std::string_view service,
                      Line& line) {
  Question question = refs_question(service, host_fields(exchange.request()));
  std::string type(question.answers);
  auto head = co_await upstream.ask(std::move(question));
  if (!head) {
    note(line, head.error());
    co_await answer_text(exchange, std::move(head.error()));
  } else if (service == kReceivePack) {
    co_await pass_on_edited(exchange, upstream, std::move(type), line);
  } else {
    co_await pass_on(exchange, upstream, std::move(type), kMaxRefs, line);
  }
}

Task<void> serve_fetch(Exchange& exchange, Upstream& upstream, const GitConfig& config,
                       Line& line) {
  FetchRequest request(exchange, kIdlesToReceiveWants * config.idle_timeout);
  auto fit = request.body().check("application/x-git-upload-pack-request");
  if (!fit) {
    note(line, fit.error());
    co_await answer_text(exchange, std::move(fit.error()));
    co_return;
  }
  std::optional<Refusal> why;
  auto begun = co_await request.begin();
  if (!begun) {
    why = std::move(begun.error());
  } else {
    Question question;
    question.method = "POST";
    question.target = "/git-upload-pack";
    question.fields = host_fields(exchange.request());
    question.fields.add("Content-Type", "application/x-git-upload-pack-request");
    question.fields.add("Accept", "application/x-git-upload-pack-result");
    if (request.whole())
      question.length = request.held();
    else
      question.length.reset();
    question.repeatable = request.whole();
    question.body = [&request](Call& call) { return request.send(call); };
    question.answers = "application/x-git-upload-pack-result";
    auto head = co_await upstream.ask(std::move(question));
    if (!head) why = std::move(head.error());
  }
  line.set("requestBytes", request.body().received());
  if (!why) {
    co_await pass_on(exchange, upstream, "application/x-git-upload-pack-result",
                     config.max_fetch_bytes, line);
    co_return;
  }
  note(line, *why);
  // Of a status that is not 200 git shows the number alone; this it shows whole.
  co_await request.body().drain(kMaxRequest);
  std::string body = pkt("ERR " + shown_reason(why->message));
  co_await answer_git(exchange, "application/x-git-upload-pack-result", std::move(body));
}

}  // namespace palisade::gateway::git
