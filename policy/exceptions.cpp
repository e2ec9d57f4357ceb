#include <algorithm>

#include <policy/exceptions.h>

#include "object_reader.h"

namespace palisade::policy {

using simdjson::dom::element;

namespace {

// Days since 1970-01-01 in the proleptic Gregorian calendar.
std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<unsigned>(year - era * 400);
  const unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 +
         static_cast<std::int64_t>(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

class Digits {
 public:
  explicit Digits(std::string_view text) : text_(text) {}
  // Exactly `count` digits.
  bool number(std::size_t count, unsigned& out) {
    if (text_.size() < count) return false;
    out = 0;
    for (const char c : text_.substr(0, count)) {
      if (c < '0' || c > '9') return false;
      out = out * 10 + static_cast<unsigned>(c - '0');
    }
    text_.remove_prefix(count);
    return true;
  }
  bool any_of(std::string_view characters, char& out) {
    if (text_.empty() || characters.find(text_.front()) == std::string_view::npos) return false;
    out = text_.front();
    text_.remove_prefix(1);
    return true;
  }
  bool one(char wanted) {
    char c = 0;
    return any_of(std::string_view(&wanted, 1), c);
  }
  [[nodiscard]] bool done() const { return text_.empty(); }

 private:
  std::string_view text_;
};

unsigned days_in(unsigned year, unsigned month) {
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month == 2) return leap ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

}  // namespace

std::expected<std::int64_t, std::string> parse_rfc3339(std::string_view text) {
  const auto wrong = [] {
    return std::unexpected(std::string("a time such as 2027-01-31T12:00:00Z"));
  };
  Digits in(text);
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  char c = 0;
  const bool good = in.number(4, year) && in.one('-') && in.number(2, month) && in.one('-') &&
                    in.number(2, day) && in.any_of("Tt", c) && in.number(2, hour) && in.one(':') &&
                    in.number(2, minute) && in.one(':') && in.number(2, second);
  if (!good || month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 ||
      minute > 59 || second > 60) {
    return wrong();
  }
  if (in.one('.')) {
    unsigned digit = 0;
    if (!in.number(1, digit)) return wrong();
    while (in.number(1, digit)) {
    }
  }
  std::int64_t offset = 0;
  if (!in.any_of("Zz+-", c)) return wrong();
  if (c == '+' || c == '-') {
    unsigned hours = 0, minutes = 0;
    if (!in.number(2, hours) || !in.one(':') || !in.number(2, minutes) || hours > 23 ||
        minutes > 59)
      return wrong();
    offset = static_cast<std::int64_t>(hours) * 3600 + minutes * 60LL;
    if (c == '-') offset = -offset;
  }
  if (!in.done()) return wrong();
  return days_from_civil(year, month, day) * 86400 + hour * 3600LL + minute * 60LL + second -
         offset;
}

bool HardeningException::covers(std::string_view control, std::string_view ns, const Labels& pod,
                                std::int64_t now) const {
  return now < expires && std::ranges::find(controls, control) != controls.end() &&
         std::ranges::find(namespaces, ns) != namespaces.end() && pods.matches(pod);
}

std::expected<HardeningException, std::string> parse_exception(element object) {
  HardeningException out;
  std::string_view text;
  if (object.at_pointer("/metadata/name").get(text) == simdjson::SUCCESS) out.name = text;
  if (object.at_pointer("/metadata/uid").get(text) == simdjson::SUCCESS) out.uid = text;
  element spec;
  if (object["spec"].get(spec) != simdjson::SUCCESS) return std::unexpected("spec is missing");
  const auto read = read_members(
      spec, "spec",
      {{"namespaces", [&](element v) { return read_texts(v, out.namespaces); }},
       {"podSelector",
        [&](element v) -> std::string {
          auto selector = Selector::parse(v, "spec.podSelector");
          if (!selector) return selector.error();
          out.pods = std::move(*selector);
          return {};
        }},
       {"controls",
        [&](element v) -> std::string {
          if (std::string wanted = read_texts(v, out.controls); !wanted.empty()) return wanted;
          for (const std::string& id : out.controls) {
            const Control* const control = find_control(id);
            if (control == nullptr)
              return "made of controls (docs/controls.md lists them), and \"" + shown(id, 64) +
                     "\" is none";
            if (control->is_guard)
              return "made of controls of pods, and " + id +
                     " is a guard, which nothing is excepted from";
          }
          return {};
        }},
       {"reason", [&](element v) { return read_text(v, out.reason); }},
       {"ticket", [&](element v) { return read_text(v, out.ticket); }},
       {"approver", [&](element v) { return read_text(v, out.approver); }},
       {"expires", [&](element v) -> std::string {
          std::string time;
          const auto seconds = read_text(v, time).empty()
                                   ? parse_rfc3339(time)
                                   : std::unexpected(std::string("a time, as RFC 3339 writes it"));
          if (!seconds) return seconds.error();
          out.expires = *seconds;
          return {};
        }}});
  if (!read) return std::unexpected(read.error());
  const auto missing = [&](bool there, const char* field) {
    return there ? std::string() : std::string("spec.") + field + " is missing";
  };
  for (const std::string& problem :
       {missing(!out.namespaces.empty(), "namespaces"), missing(!out.controls.empty(), "controls"),
        missing(!out.reason.empty(), "reason"), missing(!out.ticket.empty(), "ticket"),
        missing(!out.approver.empty(), "approver"), missing(out.expires != 0, "expires")}) {
    if (!problem.empty()) return std::unexpected(problem);
  }
  return out;
}

}  // namespace palisade::policy
