#include "setup_mirrors.h"

#include <algorithm>

#include "cidr.h"
#include "object_reader.h"

namespace palisade::policy {

using simdjson::dom::element;

namespace {

constexpr std::size_t kMostMirrors = 32;
constexpr std::size_t kMostAddresses = 8;
constexpr std::size_t kLongestName = 253;

// A DNS name: it stands in a hosts file, and for nothing there but itself.
bool is_host(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || name == "localhost") return false;
  char before = '.';
  for (const char c : name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!word && c != '-' && c != '.') return false;
    if ((c == '-' && before == '.') || (c == '.' && (before == '.' || before == '-'))) return false;
    before = c;
  }
  return before != '.' && before != '-';
}

bool is_address(const std::string& text) {
  if (text.find('/') != std::string::npos) return false;
  return parse_cidr(text + (text.find(':') == std::string::npos ? "/32" : "/128")).has_value();
}

std::string read_port(element value, std::uint16_t& out) {
  std::int64_t number = 0;
  if (value.get(number) != simdjson::SUCCESS || number < 1 || number > 65535)
    return "a port from 1 to 65535";
  out = static_cast<std::uint16_t>(number);
  return {};
}

std::string read_mirror(element value, const std::string& at, SetupMirror& out) {
  const auto read =
      read_members(value, at,
                   {{"name", [&](element v) { return read_text(v, out.name); }},
                    {"addresses", [&](element v) { return read_texts(v, out.addresses); }},
                    {"port", [&](element v) { return read_port(v, out.port); }}});
  if (!read) return read.error();
  if (!is_host(out.name))
    return at + ".name must be a host's name in lower case, such as pypi.example.com";
  if (out.addresses.empty() || out.addresses.size() > kMostAddresses ||
      !std::ranges::all_of(out.addresses, is_address))
    return at + ".addresses must be 1 to 8 addresses of " + out.name +
           ", such as 192.0.2.10; a setup's pod has no DNS";
  return {};
}

}  // namespace

std::string read_setup_mirrors(element value, std::string_view at, std::vector<SetupMirror>& out) {
  out.clear();
  const std::string path(at);
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS || list.size() > kMostMirrors)
    return path + " must be a list of at most 32";
  std::size_t index = 0;
  for (const element item : list) {
    const std::string one = path + "[" + std::to_string(index++) + "]";
    if (std::string wrong = read_mirror(item, one, out.emplace_back()); !wrong.empty())
      return wrong;
    const std::string& name = out.back().name;
    if (std::ranges::count(out, name, &SetupMirror::name) > 1)
      return one + ".name is given twice: " + name;
  }
  return {};
}

}  // namespace palisade::policy
