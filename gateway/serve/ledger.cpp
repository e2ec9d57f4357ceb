#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <gateway/serve/ledger.h>

namespace palisade::gateway {

namespace {

using Json = nlohmann::json;

struct Broken {
  std::string what;
};

std::int64_t amount(const Json& object, const std::string& path, const char* key,
                    std::int64_t least) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer())
    throw Broken{path + "." + key + ": is not a whole number"};
  if (found->is_number_unsigned() &&
      found->get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxAmount))
    throw Broken{path + "." + key + ": is too large"};
  const auto value = found->get<std::int64_t>();
  if (value < least || value > kMaxAmount) throw Broken{path + "." + key + ": is out of its range"};
  return value;
}

const Json& object_at(const Json& object, const std::string& path, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) throw Broken{path + key + ": is not an object"};
  return *found;
}

// Giving back twice, by mistake or by hand, must not make a budget larger than it is.
Spent spent(const Json& object, const std::string& path) {
  return {amount(object, path, "tokens", 0), amount(object, path, "cost", 0)};
}

Window window(const Json& object, const std::string& path) {
  return {amount(object, path, "minute", 0), amount(object, path, "requests", 0)};
}

Ledger read(const Json& root) {
  if (!root.is_object()) throw Broken{"is not an object"};
  Ledger out;
  const Json& workspaces = object_at(root, "", "workspaces");
  for (const auto& [uid, entry] : workspaces.items()) {
    const std::string path = "workspaces." + uid;
    if (!entry.is_object()) throw Broken{path + ": is not an object"};
    const auto name = entry.find("name");
    if (name == entry.end() || !name->is_string()) throw Broken{path + ".name: is not a text"};
    out.workspaces.emplace(
        uid, LedgerEntry{name->get<std::string>(), spent(entry, path), window(entry, path)});
  }
  const Json& days = object_at(root, "", "days");
  for (const auto& [text, entry] : days.items()) {
    const auto day = parse_day(text);
    if (!day) throw Broken{"days: " + day.error()};
    if (!entry.is_object()) throw Broken{"days." + text + ": is not an object"};
    out.days.emplace(*day, spent(entry, "days." + text));
  }
  if (out.workspaces.size() > Ledger::kMaxWorkspaces) throw Broken{"workspaces: are too many"};
  if (out.days.size() > Ledger::kMaxDays) throw Broken{"days: are too many"};
  out.window = window(object_at(root, "", "namespace"), "namespace");
  return out;
}

}  // namespace

std::int64_t plus(std::int64_t a, std::int64_t b) {
  std::int64_t out = 0;
  if (__builtin_add_overflow(a, b, &out)) out = a < 0 ? -kMaxAmount : kMaxAmount;
  return std::clamp(out, -kMaxAmount, kMaxAmount);
}

std::string day_text(std::int64_t day) {
  const std::chrono::year_month_day date{
      std::chrono::sys_days{std::chrono::days{static_cast<int>(day)}}};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::expected<std::int64_t, std::string> parse_day(std::string_view text) {
  const auto wrong = [&] {
    return std::unexpected("\"" + std::string(text.substr(0, 40)) + "\" is not a date");
  };
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return wrong();
  const auto number = [&](std::size_t at, std::size_t length) {
    int out = -1;
    const char* end = text.data() + at + length;
    const auto [stopped, error] = std::from_chars(text.data() + at, end, out);
    return error == std::errc() && stopped == end ? out : -1;
  };
  const int year = number(0, 4);
  const int month = number(5, 2);
  const int day = number(8, 2);
  if (year < 1970 || month < 1 || day < 1) return wrong();
  const std::chrono::year_month_day date{std::chrono::year{year},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return wrong();
  return std::chrono::sys_days{date}.time_since_epoch().count();
}

Spent* Ledger::day(std::int64_t day) {
  const auto found = days.find(day);
  if (found != days.end()) return &found->second;
  if (days.size() >= kMaxDays) {
    if (day < days.begin()->first) return nullptr;
    days.erase(days.begin());
  }
  return &days[day];
}

std::expected<Ledger, std::string> Ledger::parse(std::string_view json) {
  const Json root = Json::parse(json, nullptr, false);
  if (root.is_discarded()) return std::unexpected("is not JSON");
  try {
    return read(root);
  } catch (const Broken& broken) {
    return std::unexpected(broken.what);
  }
}

std::string Ledger::dump() const {
  Json root = {{"workspaces", Json::object()}, {"days", Json::object()}};
  for (const auto& [uid, entry] : workspaces) {
    root["workspaces"][uid] = {{"name", entry.name},
                               {"tokens", entry.taken.tokens},
                               {"cost", entry.taken.cost},
                               {"minute", entry.window.minute},
                               {"requests", entry.window.requests}};
  }
  for (const auto& [day, taken] : days)
    root["days"][day_text(day)] = {{"tokens", taken.tokens}, {"cost", taken.cost}};
  root["namespace"] = {{"minute", window.minute}, {"requests", window.requests}};
  return root.dump();
}

}  // namespace palisade::gateway
