#include "api.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <kube/base64.h>

#include "text.h"

namespace palisade::op::tokens {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMaxHint = 200;
constexpr int kMostDepth = 32;
constexpr seconds kMostRetryAfter{3600};
constexpr seconds kSkew{60};  // a JWT is backdated by as much
const Json kNull;

std::optional<seconds> retry_after(const kube::Headers& headers, Time now) {
  const std::string_view text = kube::header(headers, "Retry-After");
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty())
    return std::clamp(seconds(count), seconds(1), kMostRetryAfter);
  if (const auto at = parse_http_date(std::string(text)))
    return std::clamp(std::chrono::ceil<seconds>(*at - now), seconds(1), kMostRetryAfter);
  // GitHub's primary limit tells when it is reset, not how long that is.
  const std::string_view reset = kube::header(headers, "X-RateLimit-Reset");
  const auto [last, fault] = std::from_chars(reset.data(), reset.data() + reset.size(), count);
  if (!reset.empty() && fault == std::errc() && last == reset.data() + reset.size()) {
    const auto epoch = std::chrono::floor<seconds>(now).time_since_epoch();
    // Compared as numbers: the host's may be any.
    if (count > epoch.count() && count - epoch.count() < kMostRetryAfter.count())
      return seconds(count - epoch.count());
    return kMostRetryAfter;
  }
  return std::nullopt;
}

bool rate_limited(const kube::Response& response) {
  if (response.status == 429) return true;
  return response.status == 403 && (!kube::header(response.headers, "Retry-After").empty() ||
                                    kube::header(response.headers, "X-RateLimit-Remaining") == "0");
}

// What the host says went wrong: GitHub and Gitea {"message"}, GitLab also {"message": {FIELD:
// [..]}}, {"error"} and {"error_description"}.
std::string said(const Json& body) {
  for (const char* key : {"error_description", "message", "error"}) {
    const Json& value = member_of(body, key);
    if (value.is_string()) return value.get<std::string>();
    if (value.is_object() || value.is_array()) {
      const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
      if (text.size() < 4 * kMaxHint) return text;
    }
  }
  return {};
}

std::string without(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    if (secret.empty()) continue;
    for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at))
      text.replace(at, secret.size(), "***");
  }
  return text;
}

std::string hint_of(const kube::Response& response, const Json& body,
                    const std::vector<std::string>& secrets, Time now) {
  std::string out;
  if (const std::string words = said(body); !words.empty())
    out = ": " + printable(without(words, secrets), kMaxHint);
  if (const auto date = parse_http_date(std::string(kube::header(response.headers, "Date")))) {
    const auto off = std::chrono::duration_cast<seconds>(now - *date);
    if (off > kSkew || off < -kSkew)
      out += fmt::format("; the clock here is {} s {} the host's, put the wrong one right",
                         std::abs(off.count()), off.count() > 0 ? "ahead of" : "behind");
  }
  return out;
}

}  // namespace

Problem transport_problem(const kube::Error& error, const std::string& what,
                          const std::string& host) {
  if (error.reason == kube::kTransportReasonTooLarge)
    return {"HostAnswerInvalid",
            fmt::format("{}: the answer to {} is larger than {} bytes", host, what, kMaxAnswer),
            {}};
  if (error.reason == kube::kTransportReasonProtocol)
    return {"HostAnswerInvalid",
            fmt::format("{}: the answer to {} is no HTTP that can be read: {}", host, what,
                        printable(error.message, kMaxHint)),
            {}};
  std::string fix = "it is tried again by itself";
  if (error.reason == kube::kTransportReasonTls)
    fix = "an authority of one's own goes into the chart's gitCA";
  return {"HostUnavailable",
          fmt::format("{}: {} failed: {}; {}", host, what, printable(error.text(), kMaxHint), fix),
          {}};
}

Outcome<Answer> read_answer(const kube::Response& response, const std::string& what,
                            const std::string& host, const std::vector<std::string>& secrets,
                            Time now) {
  Answer out;
  out.status = response.status;
  out.headers = response.headers;
  if (rate_limited(response)) {
    const auto wait = retry_after(response.headers, now).value_or(seconds(60));
    return std::unexpected(Problem{
        "HostRateLimited",
        fmt::format("{} refuses {} for now ({}: too many requests); it is tried again in {} s",
                    host, what, response.status, wait.count()),
        wait});
  }
  if (response.status >= 500) {
    return std::unexpected(Problem{"HostUnavailable",
                                   fmt::format("{} failed at {} ({}); it is tried again by itself",
                                               host, what, response.status),
                                   retry_after(response.headers, now)});
  }
  if (response.status >= 300 && response.status < 400) {
    return std::unexpected(
        Problem{"HostAnswerInvalid",
                fmt::format("{} answers {} with a redirect ({}), which is not followed: set apiUrl "
                            "to where the API is, and spec.repository.url to the repository's "
                            "present name",
                            host, what, response.status),
                {}});
  }
  if (response.status < 200) {
    return std::unexpected(
        Problem{"HostAnswerInvalid",
                fmt::format("{} answers {} with {}", host, what, response.status),
                {}});
  }
  if (!response.body.empty()) {
    out.body = parse_json(response.body);
    if (out.body.is_null() && out.ok()) {
      return std::unexpected(Problem{
          "HostAnswerInvalid",
          fmt::format("{} answers {} with {} and no JSON: is apiUrl the address of its API?", host,
                      what, response.status),
          {}});
    }
  }
  if (!out.ok()) out.hint = hint_of(response, out.body, secrets, now);
  return out;
}

Api::Api(std::shared_ptr<kube::Transport> transport, const std::string& base, kube::Headers common,
         std::vector<std::string> secrets)
    : transport_(std::move(transport)), common_(std::move(common)), secrets_(std::move(secrets)) {
  const auto slash = base.find('/', base.find("://") + 3);
  host_ = base.substr(base.find("://") + 3,
                      slash == std::string::npos ? slash : slash - base.find("://") - 3);
  if (slash != std::string::npos) prefix_ = base.substr(slash);
  while (prefix_.ends_with('/'))
    prefix_.pop_back();
}

Outcome<Answer> Api::call(const std::string& what, const std::string& method,
                          const std::string& path, const kube::Headers& authorization,
                          const Json& body, Time now, const std::stop_token& stop) {
  kube::Request request;
  request.method = method;
  request.target = prefix_ + path;
  request.headers = common_;
  request.headers.insert(request.headers.end(), authorization.begin(), authorization.end());
  request.headers.emplace_back("User-Agent", "palisade/" PALISADE_VERSION);
  if (!body.is_null()) {
    request.headers.emplace_back("Content-Type", "application/json");
    request.body = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  request.deadline = kCallDeadline;
  const auto response = transport_->send(request, stop);
  if (!response) return std::unexpected(transport_problem(response.error(), what, host_));
  return read_answer(*response, what, host_, secrets_, now);
}

std::unexpected<Problem> refused(const char* reason, const Api& api, const std::string& what,
                                 const Answer& answer, const std::string& fix) {
  return std::unexpected(Problem{
      reason,
      fmt::format("{} refuses {} ({}{}): {}", api.host(), what, answer.status, answer.hint, fix),
      {}});
}

std::unexpected<Problem> invalid(const Api& api, const std::string& what, const std::string& why) {
  return std::unexpected(Problem{
      "HostAnswerInvalid", fmt::format("{}: the answer to {} {}", api.host(), what, why), {}});
}

Json parse_json(const std::string& text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMostDepth) return nullptr;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  Json out = Json::parse(text, nullptr, false);
  return out.is_discarded() ? Json() : out;
}

const Json& member_of(const Json& object, const char* key) {
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string text_of(const Json& object, const char* key) {
  const Json& value = member_of(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<std::int64_t> number_of(const Json& object, const char* key) {
  const Json& value = member_of(object, key);
  // An unsigned one that does not fit would wrap.
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() &&
       value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  const auto number = value.get<std::int64_t>();
  return number > 0 ? std::optional(number) : std::nullopt;
}

std::optional<std::int64_t> matching(const std::vector<Listed>& listed,
                                     const MergeRequestWish& wish) {
  const auto open = std::ranges::find_if(listed, &Listed::open);
  if (open != listed.end()) return open->number;
  const auto same = std::ranges::find_if(listed, [&](const Listed& entry) {
    return !wish.commit.empty() && entry.commit == wish.commit;
  });
  return same == listed.end() ? std::nullopt : std::optional(same->number);
}

kube::Headers basic_authorization(const std::string& user, const std::string& password) {
  return {{"Authorization", "Basic " + kube::encode_base64(user + ":" + password)}};
}

kube::Headers bearer(const std::string& token) {
  return {{"Authorization", "Bearer " + token}};
}

}  // namespace palisade::op::tokens
