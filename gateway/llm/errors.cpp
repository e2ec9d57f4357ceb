#include "errors.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include <policy/json_text.h>

#include "credentials.h"
#include "json_scan.h"
#include "unicode.h"

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kMostMessage = 500;
constexpr std::size_t kMostId = 128;

std::string_view openai_type(const Refusal& refusal) {
  if (refusal.code == "budget_exceeded") return "insufficient_quota";
  if (refusal.status == 429) return "rate_limit_error";
  if (refusal.status == 401) return "authentication_error";
  if (refusal.status == 403) return "permission_error";
  return refusal.status >= 500 ? "server_error" : "invalid_request_error";
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
    case 529:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

void member(std::string& out, std::string_view name, std::string_view value) {
  policy::append_json(out, name);
  out += ':';
  policy::append_json(out, value);
}

// Some run of the key that is long enough to mean it.
bool repeats(std::string_view text, std::string_view key) {
  constexpr std::size_t kRun = 6;
  if (key.size() < kRun) return false;
  for (std::size_t at = 0; at + kRun <= key.size(); ++at) {
    const std::string_view run = key.substr(at, kRun);
    // The prefixes of vendors are no secret.
    if (run.starts_with("sk-") && at == 0) continue;
    if (text.find(run) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

std::string error_body(Kind kind, const Refusal& refusal) {
  std::string out;
  if (kind == Kind::kAnthropic) {
    out += R"({"type":"error","error":{)";
    member(out, "type", anthropic_type(refusal.status));
    out += ',';
    member(out, "message", refusal.message);
    return out + "}}";
  }
  out += R"({"error":{)";
  member(out, "message", refusal.message);
  out += ',';
  member(out, "type", openai_type(refusal));
  out += R"(,"param":null,)";
  member(out, "code", refusal.code);
  return out + "}}";
}

std::string error_event(Kind kind, const Refusal& refusal) {
  return std::string(kind == Kind::kAnthropic ? "event: error\n" : "") +
         "data: " + error_body(kind, refusal) + "\n\n";
}

std::string one_line(std::string_view text, std::size_t limit) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint point = code_point(text, at);
    const bool line = point.code == '\n' || point.code == '\r' || point.code == '\t';
    if (line) {
      out += ' ';
    } else if (point.code == 0xFFFFFFFF || is_control(point.code) || is_directional(point.code) ||
               is_invisible(point.code)) {
      out += '?';
    } else {
      out += text.substr(at, point.length);
    }
    at += point.length;
    if (out.size() > limit) return std::string(cut(out, limit)) + "...";
  }
  return out;
}

std::string upstream_message(std::string_view body, std::string_view key) {
  const auto document = check_json(body) ? nlohmann::json::parse(body, nullptr, false)
                                         : nlohmann::json(nlohmann::json::value_t::discarded);
  if (!document.is_object()) return {};
  const nlohmann::json* message = nullptr;
  const auto look = [&](const nlohmann::json& object) {
    const auto found = object.find("message");
    if (message == nullptr && found != object.end() && found->is_string()) message = &*found;
  };
  if (const auto error = document.find("error"); error != document.end()) {
    if (error->is_object()) look(*error);
    if (error->is_string()) message = &*error;
  }
  look(document);
  if (message == nullptr) return {};
  const auto& text = message->get_ref<const std::string&>();
  if (repeats(text, key)) return {};
  return one_line(masked(std::string_view(text).substr(0, 16 * kMostMessage), {}), kMostMessage);
}

Refusal upstream_refusal(std::string_view upstream, int status, std::string_view message) {
  const std::string who = "the upstream " + std::string(upstream);
  if (status == 401)  // their message quotes the key
    return {401, "upstream_unauthorized", who + " did not take the gateway's key"};
  const std::string said = message.empty() ? "" : ": " + std::string(message);
  if (status >= 300 && status < 400)
    return {502, "upstream_redirect", who + " answered with a redirect, which is not followed"};
  if (status == 429)
    return {429, "upstream_rate_limited", who + " has no room for more now" + said};
  if (status >= 400 && status < 500)
    return {status, "upstream_refused",
            who + " refused the request (" + std::to_string(status) + ")" + said};
  if (status >= 500 && status < 600)
    return {status, "upstream_failed", who + " failed (" + std::to_string(status) + ")" + said};
  return {502, "upstream_bad_answer",
          who + " answered with status " + std::to_string(status) + ", which means nothing here"};
}

std::string plain_id(std::string_view value) {
  const bool plain =
      !value.empty() && value.size() <= kMostId && std::ranges::all_of(value, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.';
      });
  return plain ? std::string(value) : std::string();
}

}  // namespace palisade::gateway::llm
