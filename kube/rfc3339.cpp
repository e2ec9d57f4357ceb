#include <charconv>

#include <fmt/chrono.h>

#include <kube/rfc3339.h>

namespace kube {

namespace {

using std::chrono::system_clock;

// `text` at the digits of a pattern such as "0000-00-00T00:00:00".
std::optional<int> number(std::string_view text, std::size_t at, std::size_t digits) {
  int value = 0;
  const char* const begin = text.data() + at;
  const auto [end, error] = std::from_chars(begin, begin + digits, value);
  if (error != std::errc() || end != begin + digits || *begin == '-') return std::nullopt;
  return value;
}

}  // namespace

std::string rfc3339(system_clock::time_point at) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(system_clock::to_time_t(at)));
}

std::optional<system_clock::time_point> parse_rfc3339(std::string_view text) {
  constexpr std::string_view kPattern = "0000-00-00T00:00:00";
  if (text.size() <= kPattern.size()) return std::nullopt;
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    if (kPattern[i] != '0' && text[i] != kPattern[i]) return std::nullopt;
  }
  std::string_view rest = text.substr(kPattern.size());
  if (rest.starts_with('.')) {
    const auto end = rest.find_first_not_of("0123456789", 1);
    if (end == 1 || end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(end);
  }
  if (rest != "Z") return std::nullopt;
  const auto year = number(text, 0, 4);
  const auto month = number(text, 5, 2);
  const auto day = number(text, 8, 2);
  const auto hour = number(text, 11, 2);
  const auto minute = number(text, 14, 2);
  const auto second = number(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  // The clock counts nanoseconds in 64 bits: it has no year beyond these.
  if (!date.ok() || *year < 1900 || *year > 2200 || *hour > 23 || *minute > 59 || *second > 59)
    return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

}  // namespace kube
