#include "oidc.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include <nlohmann/json.hpp>

#include <kube/base64.h>
#include <kube/percent.h>

#include "kubeconfig_write.h"
#include "proxy.h"
#include "status_error.h"
#include "url.h"

namespace kube {

namespace {

using Json = nlohmann::json;
using Wall = std::chrono::system_clock;

constexpr auto kExpiryDelta = std::chrono::seconds(10);  // as client-go
constexpr std::size_t kMostAnswer = 1024UL * 1024;
constexpr std::size_t kMostQuoted = 200;
constexpr const char* kLogin =
    "log in again with what made this kubeconfig, or use users[].user.exec with a credential "
    "plugin in its place (kubelogin)";

// A URL as base and target, since a token endpoint may have a query.
struct Endpoint {
  std::string base;
  std::string target;
};

Result<Endpoint> endpoint_of(const std::string& url) {
  const auto scheme = url.find("://");
  const auto end = scheme == std::string::npos ? scheme : url.find_first_of("/?", scheme + 3);
  Endpoint out{url.substr(0, end), end == std::string::npos ? "/" : url.substr(end)};
  if (out.target.starts_with('?')) out.target.insert(0, "/");
  if (auto base = parse_base_url(out.base); !base) return std::unexpected(std::move(base.error()));
  return out;
}

// What a provider says of its refusal, safe in a message.
std::string said(const std::string& text) {
  std::string out = text.substr(0, kMostQuoted);
  std::ranges::replace_if(
      out, [](unsigned char c) { return c < ' ' || c >= 0x7f; }, '?');
  return out;
}

std::string form(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string out;
  for (const auto& [name, value] : fields)
    out += (out.empty() ? "" : "&") + name + "=" + percent_encoded(value);
  return out;
}

bool is_token(const std::string& text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

std::optional<Wall::time_point> end_of_id_token(const std::string& token) {
  if (!is_token(token) || std::ranges::count(token, '.') != 2) return std::nullopt;
  const auto first = token.find('.');
  const auto second = token.find('.', first + 1);
  const auto text = decode_base64url(token.substr(first + 1, second - first - 1));
  const Json claims = text ? Json::parse(*text, nullptr, false) : Json();
  const auto exp = claims.is_object() ? claims.find("exp") : claims.end();
  constexpr double kMost = 9'000'000'000;  // the year 2255; the clock counts to 2262
  if (exp == claims.end() || !exp->is_number()) return std::nullopt;
  const auto seconds = exp->get<double>();
  if (!(seconds >= 0 && seconds <= kMost)) return std::nullopt;
  return Wall::time_point(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

bool id_token_holds(Wall::time_point end) {
  return Wall::now() + kExpiryDelta < end;
}

struct OidcCredentials::State {
  std::mutex renewing;  // held while the provider is asked
  mutable std::mutex mutex;
  std::uint64_t generation = 0;  // 0: none yet
  std::string token;
  std::optional<Wall::time_point> end;
  // What the provider has given and the file has not got: the next obtain() tries again.
  std::vector<std::pair<std::string, std::string>> unwritten;  // under `renewing`
  bool in_file = true;

  // 0 where none holds.
  [[nodiscard]] std::uint64_t held() const {
    const std::scoped_lock lock(mutex);
    return in_file && end && id_token_holds(*end) ? generation : 0;
  }
  std::uint64_t adopt(const std::string& fresh, bool written) {
    const std::scoped_lock lock(mutex);
    if (token != fresh || generation == 0) ++generation;
    token = fresh;
    end = end_of_id_token(fresh);
    in_file = written;
    return generation;
  }
};

namespace {

// One renewal.
class Renewal {
 public:
  Renewal(const OidcProvider& provider, const std::stop_token& stop)
      : provider_(provider), stop_(stop) {}

  using Settings = std::vector<std::pair<std::string, std::string>>;
  Result<Settings> run(const std::string& refresh_token) {
    const std::string discovery = provider_.issuer + "/.well-known/openid-configuration";
    Request request;
    request.headers = {{"Accept", "application/json"}, {"User-Agent", kUserAgent}};
    auto found = ask(discovery, request);
    if (!found) return std::unexpected(std::move(found.error()));
    if (found->status != 200)
      return fault(".idp-issuer-url: " + discovery + " answers " + std::to_string(found->status) +
                   "; it must be the issuer of the tokens, as the API server's --oidc-issuer-url");
    const Json metadata = Json::parse(found->body, nullptr, false);
    const std::string url = text_at(metadata, "token_endpoint");
    if (url.empty())
      return fault(".idp-issuer-url: " + discovery +
                   " names no token_endpoint; it must be the "
                   "issuer of the tokens");
    bool in_header = !provider_.client_secret.empty() && takes_basic(metadata);
    auto answer = exchange(url, refresh_token, in_header);
    // The provider does not say how it wants to be told who asks: the other way once, as client-go.
    if (answer && in_header && (answer->status == 400 || answer->status == 401) &&
        text_at(Json::parse(answer->body, nullptr, false), "error") == "invalid_client")
      answer = exchange(url, refresh_token, in_header = false);
    if (!answer) return std::unexpected(std::move(answer.error()));
    return tokens(url, *answer, refresh_token);
  }

 private:
  std::unexpected<Error> fault(const std::string& why) const {
    return std::unexpected(Error{0, "InvalidConfiguration", provider_.where + why, {}, {}});
  }

  // client_secret_basic is what holds where nothing is said.
  static bool takes_basic(const Json& metadata) {
    const auto methods = metadata.find("token_endpoint_auth_methods_supported");
    return methods == metadata.end() || !methods->is_array() ||
           std::ranges::find(*methods, "client_secret_basic") != methods->end() ||
           std::ranges::find(*methods, "client_secret_post") == methods->end();
  }

  Result<Response> exchange(const std::string& url, const std::string& refresh_token,
                            bool in_header) {
    Settings fields{{"grant_type", "refresh_token"}, {"refresh_token", refresh_token}};
    Request request;
    request.method = "POST";
    request.headers = {{"Accept", "application/json"},
                       {"Content-Type", "application/x-www-form-urlencoded"},
                       {"User-Agent", kUserAgent}};
    if (in_header) {
      request.headers.emplace_back(
          "Authorization", "Basic " + encode_base64(percent_encoded(provider_.client_id) + ":" +
                                                    percent_encoded(provider_.client_secret)));
    } else {
      fields.emplace_back("client_id", provider_.client_id);
      if (!provider_.client_secret.empty())
        fields.emplace_back("client_secret", provider_.client_secret);
    }
    request.body = form(fields);
    return ask(url, std::move(request));
  }

  Result<Response> ask(const std::string& url, Request request) {
    auto where = endpoint_of(url);
    if (!where) return fault(".idp-issuer-url: " + where.error().message);
    TransportOptions options;
    options.base_url = where->base;
    options.tls_material = [ca = provider_.ca] { return TlsMaterial{ca, {}, {}}; };
    options.max_response_bytes = kMostAnswer;
    auto server = parse_base_url(where->base);
    if (!server) return std::unexpected(std::move(server.error()));
    auto proxy = proxy_of_environment(*server, environment_variable);
    if (!proxy) return std::unexpected(std::move(proxy.error()));
    options.proxy = std::move(*proxy);
    request.target = where->target;
    request.deadline = provider_.longest;
    auto answer = make_beast_transport(std::move(options))->send(request, stop_);
    if (answer) return answer;
    Error& error = answer.error();
    error.message = provider_.where + ": the identity provider " + where->base +
                    " cannot be asked for a new id-token: " + error.message;
    if (error.reason == kTransportReasonTls)
      error.message += "; .idp-certificate-authority names the authorities that it is proven by";
    return answer;
  }

  Result<Settings> tokens(const std::string& url, const Response& answer,
                          const std::string& refresh_token) const {
    const Json body = Json::parse(answer.body, nullptr, false);
    if (answer.status != 200) {
      const std::string error = said(text_at(body, "error"));
      const std::string why = said(text_at(body, "error_description"));
      const std::string what = std::to_string(answer.status) + (error.empty() ? "" : " " + error) +
                               (why.empty() ? "" : " (" + why + ")");
      if (error == "invalid_client")
        return fault(".client-id: " + url + " answers " + what +
                     "; client-id and client-secret must be those that it knows");
      return fault(".refresh-token is not taken: " + url + " answers " + what + "; " + kLogin);
    }
    const std::string id_token = text_at(body, "id_token");
    if (id_token.empty())
      return fault(": " + url +
                   " gives no id_token: the login must ask for the scope \"openid\", "
                   "and the provider must give one on a refresh too; " +
                   kLogin);
    const auto end = end_of_id_token(id_token);
    if (!end) return fault(": " + url + " gives an id_token that is none");
    if (!id_token_holds(*end))
      return fault(": " + url +
                   " gives an id_token that has ended; see that this machine's clock is right");
    Settings out{{"id-token", id_token}};
    const std::string next = text_at(body, "refresh_token");
    if (!next.empty() && next != refresh_token) out.emplace_back("refresh-token", next);
    return out;
  }

  const OidcProvider& provider_;
  const std::stop_token& stop_;
};

}  // namespace

OidcCredentials::OidcCredentials(OidcProvider provider, std::string id_token)
    : provider_(std::move(provider)), state_(std::make_unique<State>()) {
  if (!id_token.empty()) state_->adopt(id_token, true);
}
OidcCredentials::~OidcCredentials() = default;

std::string OidcCredentials::token() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->token;
}

void OidcCredentials::refuse(std::uint64_t) {}

Result<std::uint64_t> OidcCredentials::obtain(const std::stop_token& stop) {
  if (const auto held = state_->held(); held != 0) return held;
  const std::scoped_lock renewing(state_->renewing);
  if (const auto held = state_->held(); held != 0) return held;
  const auto fault = [&](const std::string& why) {
    return std::unexpected(Error{0, "InvalidConfiguration", provider_.where + why, {}, {}});
  };
  const auto write = [&]() -> Result<std::uint64_t> {
    auto lock = KubeconfigLock::take(provider_.file, provider_.longest_wait, stop);
    auto written = lock ? write_provider_settings(provider_.file, provider_.user, state_->unwritten)
                        : std::unexpected(std::move(lock.error()));
    if (!written) return fault(": new tokens cannot be kept: " + written.error().message);
    const std::string token = state_->unwritten.front().second;
    state_->unwritten.clear();
    return state_->adopt(token, true);
  };
  auto turn = KubeconfigTurn::take(provider_.file, provider_.longest_wait, stop);
  if (!turn) return std::unexpected(std::move(turn.error()));
  if (!state_->unwritten.empty()) {
    auto written = write();
    if (!written || state_->held() != 0) return written;
  }
  const auto now = provider_settings(provider_.file, provider_.user);
  if (!now) return std::unexpected(now.error());
  const std::string there = now->text("id-token");
  if (const auto end = end_of_id_token(there); end && id_token_holds(*end))
    return state_->adopt(there, true);
  const std::string refresh_token = now->text("refresh-token");
  if (refresh_token.empty())
    return fault(std::string(".id-token has ended, and .refresh-token is missing; ") + kLogin);
  // What cannot be written down must not be asked for: the old refresh-token may be void then.
  if (auto lock = KubeconfigLock::take(provider_.file, provider_.longest_wait, stop); !lock)
    return std::unexpected(std::move(lock.error()));
  auto tokens = Renewal(provider_, stop).run(refresh_token);
  if (!tokens) return std::unexpected(std::move(tokens.error()));
  state_->unwritten = std::move(*tokens);
  state_->adopt(state_->unwritten.front().second, false);
  return write();
}

}  // namespace kube
