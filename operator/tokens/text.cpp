#include "text.h"

#include <algorithm>
#include <ctime>
#include <regex>

#include <fmt/format.h>

#include <kube/base64.h>
#include <kube/rfc3339.h>

namespace palisade::op::tokens {

namespace {

constexpr std::size_t kMaxBase64 = 64 * 1024;
constexpr std::time_t kLatestSecond = 7'258'118'400;  // 2200-01-01

std::optional<Time> from_utc(std::tm parts) {
  const std::tm asked = parts;
  const std::time_t time = timegm(&parts);
  // timegm() turns the 31st of February into the 3rd of March.
  if (parts.tm_mday != asked.tm_mday || parts.tm_mon != asked.tm_mon ||
      parts.tm_hour != asked.tm_hour || parts.tm_min != asked.tm_min)
    return std::nullopt;
  // The clock counts nanoseconds: the year 9999 is none of its times.
  return std::chrono::system_clock::from_time_t(std::clamp<std::time_t>(time, 0, kLatestSecond));
}

}  // namespace

std::string base64_url(std::string_view bytes) {
  std::string out = kube::encode_base64(bytes);
  std::ranges::replace(out, '+', '-');
  std::ranges::replace(out, '/', '_');
  while (out.ends_with('='))
    out.pop_back();
  return out;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() > kMaxBase64) return std::nullopt;
  return kube::decode_base64(text);
}

std::string segment(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string printable(std::string_view text, std::size_t most) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (out.size() >= most) {
      out += "...";
      break;
    }
    out += byte >= 0x20 && byte < 0x7f ? c : '?';
  }
  return out;
}

std::optional<Time> parse_time(const std::string& text) {
  static const std::regex kShape(
      R"((\d{4})-(\d\d)-(\d\d)(?:[Tt](\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(?:[Zz]|([+-])(\d\d):(\d\d)))?)");
  std::smatch found;
  if (text.size() > 40 || !std::regex_match(text, found, kShape)) return std::nullopt;
  const auto number = [&](std::size_t i) { return found[i].matched ? std::stoi(found[i]) : 0; };
  std::tm parts{};
  parts.tm_year = number(1) - 1900;
  parts.tm_mon = number(2) - 1;
  parts.tm_mday = number(3);
  parts.tm_hour = number(4);
  parts.tm_min = number(5);
  parts.tm_sec = std::min(number(6), 59);  // a leap second
  if (number(6) > 60 || number(8) > 23 || number(9) > 59) return std::nullopt;
  auto at = from_utc(parts);
  if (!at || !found[7].matched) return at;
  const auto offset = std::chrono::hours(number(8)) + std::chrono::minutes(number(9));
  return found[7] == "+" ? *at - offset : *at + offset;
}

std::string format_time(Time at) {
  return kube::rfc3339(at);
}

std::string format_date(Time at) {
  return kube::rfc3339(at).substr(0, std::string_view("0000-00-00").size());
}

std::optional<Time> parse_http_date(const std::string& text) {
  std::tm parts{};
  if (text.size() > 40) return std::nullopt;
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return from_utc(parts);
}

bool is_word(std::string_view text, std::size_t most) {
  return !text.empty() && text.size() <= most &&
         std::ranges::all_of(text, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace palisade::op::tokens
