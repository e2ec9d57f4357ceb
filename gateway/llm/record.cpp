#include "record.h"

#include <array>
#include <charconv>
#include <concepts>
#include <utility>

#include <policy/json_text.h>

#include "errors.h"
#include "json_scan.h"
#include "unicode.h"

namespace palisade::gateway::llm {
namespace {

constexpr std::size_t kMostNote = 600;
constexpr std::size_t kMostBody = 16 * 1024;

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllowed:
      return "allowed";
    case Verdict::kRefused:
      return "refused";
    case Verdict::kFailed:
      break;
  }
  return "failed";
}

// An object, member by member. Keys are the program's own.
class Line {
 public:
  void text(std::string_view key, std::string_view value) {
    name(key);
    policy::append_json(out_, value);
  }
  // What others chose: on one line, and not for ever.
  void foreign(std::string_view key, std::string_view value) {
    text(key, one_line(value, kMostNote));
  }
  template <std::integral Number>
  void number(std::string_view key, Number value) {
    name(key);
    std::array<char, 24> digits{};
    const auto [end, error] = std::to_chars(digits.begin(), digits.end(), value);
    out_.append(digits.data(), error == std::errc() ? end : digits.data());
  }
  void flag(std::string_view key, bool value) {
    name(key);
    out_ += value ? "true" : "false";
  }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    name(key);
    out_ += '[';
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out_ += ',';
      policy::append_json(out_, values[i]);
    }
    out_ += ']';
  }
  [[nodiscard]] std::string take() {
    out_ += '}';
    return std::move(out_);
  }

 private:
  void name(std::string_view key) {
    if (out_.empty()) out_.reserve(kUsual);
    out_ += out_.empty() ? "{\"" : ",\"";
    out_ += key;
    out_ += "\":";
  }

  static constexpr std::size_t kUsual = 640;
  std::string out_;
};

// Line feeds are a body's own; the writer escapes them.
std::string valid_text(std::string_view text) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    const CodePoint point = code_point(text, at);
    if (point.code == 0xFFFFFFFF) {
      out += "\xEF\xBF\xBD";
    } else {
      out += text.substr(at, point.length);
    }
    at += point.length;
  }
  return out;
}

}  // namespace

std::string body_excerpt(std::string_view body, const Secrets& secrets) {
  // A credential that begins before the cut is looked at as a whole.
  const std::string_view begin = cut(body, 2 * kMostBody);
  const std::string text = masked(begin, secrets);
  const std::string_view kept = cut(text, kMostBody);
  return valid_text(kept) + (kept.size() < text.size() || begin.size() < body.size() ? "..." : "");
}

Counted counted_of(const CallRecord& record) {
  return {"llm",
          verdict_name(record.verdict),
          record.code,
          record.upstream,
          record.duration.count(),
          record.prompt_tokens,
          record.completion_tokens,
          record.cost};
}

std::string record_line(const Caller& caller, const CallRecord& record) {
  Line line;
  line.text("kind", "llm");
  line.text("namespace", caller.ns);
  line.text("workspace", caller.workspace);
  line.text("pod", caller.pod);
  line.text("verdict", verdict_name(record.verdict));
  line.text("code", record.code);
  line.number("status", record.status);
  line.number("durationMs", record.duration.count());
  line.text("endpoint", record.endpoint);
  line.foreign("model", record.model);
  line.text("upstream", record.upstream);
  line.text("upstreamModel", record.upstream_model);
  line.flag("stream", record.stream);
  line.number("promptTokens", record.prompt_tokens);
  line.number("completionTokens", record.completion_tokens);
  line.number("costMicros", record.cost);
  line.number("requestBytes", record.request_bytes);
  line.number("replyBytes", record.reply_bytes);
  line.number("retries", record.retries);
  line.texts("flags", record.flags);
  if (record.first_byte) line.number("firstByteMs", record.first_byte->count());
  if (!record.message.empty()) line.foreign("message", record.message);
  if (!record.upstream_request.empty()) line.text("upstreamRequest", record.upstream_request);
  if (!record.findings.empty()) {
    std::vector<std::string> findings;
    findings.reserve(record.findings.size());
    for (const std::string& finding : record.findings)
      findings.push_back(one_line(finding, kMostNote));
    line.texts("findings", findings);
  }
  if (record.request_body) line.text("requestBody", *record.request_body);
  if (record.reply_body) line.text("replyBody", *record.reply_body);
  return line.take();
}

}  // namespace palisade::gateway::llm
