#include "upstream.h"

#include <algorithm>
#include <atomic>

#include "refusal.h"

namespace palisade::gateway::git {

namespace {

// git on the host may think for long before its first byte: it counts objects, it runs hooks.
constexpr int kIdlesToAnswer = 10;

std::string type_of(const ResponseHead& head) {
  std::string out(head.fields.get("Content-Type"));
  out.resize(std::min(out.size(), out.find_first_of("; ")));
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

}  // namespace

Refusal client_refusal(const NetError& error) {
  switch (error.fault) {
    case Fault::kTimeout:
      return refusal(408, "client_slow", "the request's body did not come in time");
    case Fault::kStopped:
      return refusal(503, "stopping", "the gateway is ending; try again");
    case Fault::kProtocol:
    case Fault::kTooLarge:
      return refusal(400, "bad_request", "the request's body is not HTTP as it must be");
    default:
      return refusal(499, "client_gone", "the client ended the connection");
  }
}

Upstream::Upstream(Exchange& exchange, const Caller& caller, const GitConfig& config,
                   const Keys& keys, Repository repository)
    : exchange_(exchange),
      caller_(caller),
      config_(config),
      keys_(keys),
      repository_(std::move(repository)) {
  repository_.origin.authorities = config_.authorities;
  repository_.origin.system_too = true;
  token_ = token();
  exchange_.when_gone([this] {
    gone_->store(true);
    if (call_ && !final_) call_->abort();
  });
}

Task<std::expected<ResponseHead, Refusal>> Upstream::ask(Question question) {
  const std::string_view answers = question.answers;
  bool newest = false;
  bool reconnected = false;
  while (true) {
    auto head = co_await attempt(question);
    if (!head) {
      if (head.error().again && !reconnected) {
        reconnected = true;
        continue;
      }
      co_return std::unexpected(std::move(head.error().refusal));
    }
    // The token may have been rotated since it was read.
    if (head->status == 401 && question.repeatable && !newest) {
      newest = true;
      std::optional<std::string> now = token();
      if (now && now != token_) {
        token_ = std::move(now);
        continue;
      }
    }
    if (auto good = judge(*head, answers); !good) {
      call_.reset();
      co_return std::unexpected(std::move(good.error()));
    }
    co_return std::move(*head);
  }
}

Task<std::expected<ResponseHead, Upstream::Failure>> Upstream::attempt(Question& question) {
  const auto failure = [&](const NetError& error, bool again) {
    call_.reset();
    return std::unexpected(Failure{net_refusal(error), again});
  };
  call_.reset();
  final_ = false;
  if (gone_->load()) {
    const NetError gone{Fault::kStopped, {}};
    co_return failure(gone, false);
  }
  auto opened = co_await exchange_.clients().open(repository_.origin, config_.idle_timeout);
  if (!opened) co_return failure(opened.error(), false);
  call_ = std::move(*opened);
  if (gone_->load()) {
    const NetError gone{Fault::kStopped, {}};
    co_return failure(gone, false);
  }
  const bool reused = call_->reused();

  RequestHead head;
  head.method = question.method;
  head.target = repository_.path + question.target;
  head.fields = question.fields;
  if (token_) {
    head.fields.set("Authorization",
                    basic_authorization(caller_.grant->repository->username, *token_));
  }
  auto begun = co_await call_->send(std::move(head), question.length);
  if (!begun) {
    const bool again = reused && begun.error().fault == Fault::kClosed;
    co_return failure(begun.error(), again);
  }
  if (question.body) {
    auto body = co_await question.body(*call_);
    if (!body && body.error()) {
      call_.reset();
      co_return std::unexpected(Failure{std::move(*body.error()), false});
    }
    if (body) {
      // From here on it may have been done, whatever becomes of the answer.
      final_ = question.once_sent_final;
      // Where this fails, the answer tells more.
      (void)co_await call_->finish();
    }
  }
  auto answer = co_await call_->response(kIdlesToAnswer * config_.idle_timeout);
  if (!answer) {
    const bool again = reused && answer.error().fault == Fault::kClosed && !final_ &&
                       (question.repeatable || !question.body);
    co_return failure(answer.error(), again);
  }
  co_return std::move(*answer);
}

std::expected<void, Refusal> Upstream::judge(const ResponseHead& head,
                                             std::string_view answers) const {
  const std::string& host = repository_.origin.host;
  const std::string said = host + " answered " + std::to_string(head.status);
  const int status = head.status;
  if (status == 200) {
    if (type_of(head) == answers) return {};
    return std::unexpected(refusal(502, "not_smart_http",
                                   host + " does not speak git's smart HTTP at this address; check "
                                          "spec.repository.url"));
  }
  if (status >= 300 && status < 400) {
    const std::string to = host_of_location(head.fields.get("Location"));
    std::string where = "another address";
    if (to == host)
      where = "another address of " + host;
    else if (!to.empty())
      where = "the host " + to + ", which is not the workspace's";
    return std::unexpected(
        refusal(502, "redirect",
                host + " redirects to " + where +
                    "; redirects are not followed: set spec.repository.url to the final address "
                    "(often the same with .git behind it)"));
  }
  if (status == 401) {
    return std::unexpected(
        token_
            ? refusal(
                  403, "token_refused",
                  host + " refuses the workspace's token (401): check spec.repository.credentials")
            : refusal(403, "token_missing",
                      host + " asks for credentials and the workspace has none: set "
                             "spec.repository.credentials"));
  }
  if (status == 403) {
    return std::unexpected(
        refusal(403, "host_forbids", said + ": the workspace's token may not do this"));
  }
  if (status == 404 || status == 410) {
    return std::unexpected(
        refusal(404, "not_found",
                said + ": there is no such repository, or the workspace's token may not see it"));
  }
  if (status == 413)
    return std::unexpected(refusal(413, "host_too_large", said + ": this is too large for it"));
  if (status == 429 || status == 503)
    return std::unexpected(refusal(503, "host_busy", said + "; try again later"));
  return std::unexpected(refusal(502, "host_failed", said));
}

Refusal Upstream::net_refusal(const NetError& error) const {
  const std::string& host = repository_.origin.host;
  if (gone_->load()) return refusal(499, "client_gone", "the client ended the connection");
  switch (error.fault) {
    case Fault::kConnect:
      return refusal(502, "host_unreachable",
                     host + " cannot be reached from the gateway; try again later");
    case Fault::kTls:
      return refusal(502, "host_not_trusted",
                     host +
                         " has no certificate that the gateway trusts: neither a public authority "
                         "nor one of git.authorities of the gateway's configuration signed it");
    case Fault::kTimeout:
      return refusal(504, "host_slow", host + " did not answer in time; try again later");
    case Fault::kClosed:
      return refusal(502, "host_closed", host + " ended the connection; try again");
    case Fault::kStopped:
      return refusal(503, "stopping", "the gateway is ending; try again");
    default:
      return refusal(502, "host_protocol", host + " does not answer as HTTP has it");
  }
}

Task<std::expected<std::string_view, Refusal>> Upstream::read() {
  auto piece = co_await call_->read(kIdlesToAnswer * config_.idle_timeout);
  if (!piece) {
    Refusal why = net_refusal(piece.error());
    call_.reset();
    co_return std::unexpected(std::move(why));
  }
  co_return *piece;
}

}  // namespace palisade::gateway::git
