#include "routes.h"

#include <algorithm>
#include <chrono>

#include <spdlog/spdlog.h>

namespace palisade::gateway {

namespace {

using nlohmann::json;
using std::chrono::steady_clock;

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

enum class Side : std::uint8_t { kNone, kLlm, kGit, kArchive };

Side side_of(std::string_view path) {
  if (path.starts_with("/v1/")) return Side::kLlm;
  if (path.starts_with("/git/")) return Side::kGit;
  if (path.starts_with("/archive/")) return Side::kArchive;
  return Side::kNone;
}

const char* name_of(Side side) {
  if (side == Side::kArchive) return "archive";
  return side == Side::kGit ? "git" : "llm";
}

// As OpenAI's clients, and git, show it to their users.
std::string body_of(Side side, const Refusal& refusal) {
  if (side == Side::kGit) return refusal.message + "\n";
  if (side == Side::kArchive)
    return json{{"code", refusal.code}, {"message", refusal.message}}.dump(
        -1, ' ', false, json::error_handler_t::replace);
  const char* type = refusal.status >= 500 ? "server_error" : "invalid_request_error";
  const json error = {{"message", refusal.message},
                      {"type", refusal.status == 401 ? "authentication_error" : type},
                      {"param", nullptr},
                      {"code", refusal.code}};
  return json{{"error", error}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

Task<void> refuse(Exchange& exchange, Side side, const Refusal& refusal) {
  const std::string body = body_of(side, refusal);
  Fields fields;
  fields.add("Content-Type", side == Side::kLlm || side == Side::kArchive
                                 ? "application/json"
                                 : "text/plain; charset=utf-8");
  if (refusal.status == 401) fields.add("WWW-Authenticate", "Bearer");
  if (refusal.status == 503) fields.add("Retry-After", "1");
  const auto sent = co_await exchange.reply(refusal.status, std::move(fields), body);
  if (!sent) spdlog::debug("refusal to {}: {}", exchange.client(), sent.error().message);
}

json line_of(Side side, const Refusal& refusal, std::string_view client,
             steady_clock::time_point began) {
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - began);
  return {{"kind", name_of(side)},      {"verdict", refusal.status >= 500 ? "failed" : "refused"},
          {"code", refusal.code},       {"status", refusal.status},
          {"message", refusal.message}, {"client", client},
          {"durationMs", took.count()}};
}

class InFlight {
 public:
  explicit InFlight(MeteredRecord& record) : record_(record) { record_.begin(); }
  ~InFlight() { record_.end(); }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  MeteredRecord& record_;
};

}  // namespace

std::string bearer_of(const Fields& fields) {
  if (fields.count("Authorization") != 1) return {};
  const std::string_view value = fields.get("Authorization");
  constexpr std::string_view kScheme = "Bearer";
  if (value.size() <= kScheme.size() || !same_word(value.substr(0, kScheme.size()), kScheme) ||
      value[kScheme.size()] != ' ')
    return {};
  return std::string(value.substr(kScheme.size() + 1));
}

void Routes::use(std::shared_ptr<Sides> sides) {
  const std::scoped_lock lock(mutex_);
  sides_ = std::move(sides);
}

std::shared_ptr<Sides> Routes::sides() const {
  const std::scoped_lock lock(mutex_);
  return sides_;
}

Caller Routes::with_username(Caller caller) const {
  if (!caller.grant->repository) return caller;
  const auto username = git_username_(caller);
  if (!username || *username == caller.grant->repository->username) return caller;
  auto grant = std::make_shared<Grant>(*caller.grant);
  grant->repository->username = *username;
  caller.grant = std::move(grant);
  return caller;
}

Task<void> Routes::handle(Exchange& exchange) {
  const InFlight counted(*record_);
  const auto began = steady_clock::now();
  const Side side = side_of(exchange.request().path());
  if (side == Side::kNone) {
    const Refusal refusal{404, "not_found", "there is nothing here but /v1/, /git/ and /archive/"};
    co_await refuse(exchange, side, refusal);
    co_return;
  }
  const std::string bearer = bearer_of(exchange.request().fields);
  auto caller = co_await services_.identity->identify(bearer);
  if (!caller) {
    const Refusal refusal = std::move(caller.error());
    services_.record->write(line_of(side, refusal, exchange.client(), began));
    co_await refuse(exchange, side, refusal);
    co_return;
  }
  // Kept to the end of this request, whatever the configuration becomes meanwhile.
  const std::shared_ptr<Sides> sides_now = sides();
  if (side == Side::kLlm) {
    co_await sides_now->llm(exchange, *caller);
  } else if (side == Side::kArchive) {
    co_await sides_now->archive(exchange, *caller);
  } else {
    const Caller with_name = with_username(std::move(*caller));
    co_await sides_now->git(exchange, with_name);
  }
}

}  // namespace palisade::gateway
