#include "capabilities.h"

#include <algorithm>
#include <array>

namespace palisade::gateway::git {

namespace {

constexpr std::size_t kMaxValue = 256;

// Those that carry no value, and those that carry one.
constexpr std::array<std::string_view, 6> kBare = {
    "report-status", "report-status-v2", "side-band-64k", "quiet", "atomic", "ofs-delta"};
constexpr std::array<std::string_view, 3> kValued = {"object-format", "agent", "session-id"};

bool is_plain(std::string_view value) {
  return !value.empty() && value.size() <= kMaxValue &&
         std::ranges::all_of(value, [](char c) { return c > ' ' && c < '\x7f'; });
}

// For a message: a client's word may hold anything.
std::string shown(std::string_view name) {
  std::string out(name.substr(0, 40));
  std::ranges::replace_if(
      out, [](char c) { return c <= ' ' || c >= '\x7f'; }, '?');
  return out;
}

}  // namespace

std::vector<Capability> read_capabilities(std::string_view text) {
  std::vector<Capability> out;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find_first_of(" \n"));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    const std::size_t equals = word.find('=');
    out.push_back({word.substr(0, equals), equals == std::string_view::npos
                                               ? std::string_view()
                                               : word.substr(equals + 1)});
  }
  return out;
}

bool is_checkable(const Capability& capability) {
  if (std::ranges::find(kBare, capability.name) != kBare.end()) return capability.value.empty();
  if (std::ranges::find(kValued, capability.name) == kValued.end()) return false;
  if (capability.name == "object-format") return object_format(capability.value).has_value();
  return is_plain(capability.value);
}

std::string offered(std::string_view hosts) {
  std::string out = "no-thin";
  for (const Capability& capability : read_capabilities(hosts)) {
    const bool deletes = capability.name == "delete-refs" && capability.value.empty();
    if (!is_checkable(capability) && !deletes) continue;
    out += ' ';
    out += capability.name;
    if (!capability.value.empty()) {
      out += '=';
      out += capability.value;
    }
  }
  return out;
}

std::expected<Choice, std::string> read_choice(std::string_view clients) {
  Choice out;
  bool format_given = false;
  for (const Capability& capability : read_capabilities(clients)) {
    if (!is_checkable(capability)) return std::unexpected(shown(capability.name));
    if (capability.name == "report-status" || capability.name == "report-status-v2")
      out.report_status = true;
    if (capability.name == "side-band-64k") out.side_band = true;
    if (capability.name == "object-format") {
      if (format_given) return std::unexpected("object-format, twice");
      format_given = true;
      out.format = *object_format(capability.value);
    }
    out.text += out.text.empty() ? "" : " ";
    out.text += capability.name;
    if (!capability.value.empty()) {
      out.text += '=';
      out.text += capability.value;
    }
  }
  return out;
}

}  // namespace palisade::gateway::git
