#include "places.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace palisade::cli {
namespace {

// As policy writes paths: such keys follow a dot, all others stand in ["..."].
bool plain(std::string_view key) {
  return !key.empty() && key.size() <= 253 && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::string quoted(std::string_view key) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "[\"";
  for (const char c : key.substr(0, 253)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xFU];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + "\"]";
}

// Takes "[12]" off the path.
std::optional<std::size_t> take_index(std::string_view& path) {
  if (!path.starts_with('[')) return std::nullopt;
  std::size_t index = 0;
  const char* const first = path.data() + 1;
  const char* const last = path.data() + path.size();
  const auto [end, error] = std::from_chars(first, last, index);
  if (error != std::errc() || end == last || *end != ']') return std::nullopt;
  path.remove_prefix(static_cast<std::size_t>(end - path.data()) + 1);
  return index;
}

bool take_member(std::string_view& path, std::string_view key) {
  std::string_view rest = path;
  if (plain(key)) {
    if (rest.starts_with('.')) rest.remove_prefix(1);
    if (!rest.starts_with(key)) return false;
    rest.remove_prefix(key.size());
  } else {
    const std::string written = quoted(key);
    if (!rest.starts_with(written)) return false;
    rest.remove_prefix(written.size());
  }
  if (!rest.empty() && rest.front() != '.' && rest.front() != '[') return false;
  path = rest;
  return true;
}

}  // namespace

void Places::set(Id id, Place place) {
  nodes_.at(id).line = static_cast<std::uint32_t>(place.line);
  nodes_.at(id).column = static_cast<std::uint32_t>(place.column);
}

Places::Id Places::add(Id parent, std::string_view key, Place place) {
  const auto id = static_cast<Id>(nodes_.size());
  nodes_.at(parent).children.push_back(id);
  nodes_.emplace_back().key = key;
  set(id, place);
  return id;
}

Places::Id Places::add_member(Id object, std::string_view key, Place place) {
  return add(object, key, place);
}

Places::Id Places::add_item(Id list, Place place) {
  return add(list, {}, place);
}

Place Places::find(std::string_view path) const {
  const Node* at = &nodes_.front();
  while (!path.empty()) {
    const Node* next = nullptr;
    if (const auto index = take_index(path)) {
      if (*index < at->children.size()) next = &nodes_[at->children[*index]];
    } else {
      for (const Id child : at->children) {
        if (!take_member(path, nodes_[child].key)) continue;
        next = &nodes_[child];
        break;
      }
    }
    if (next == nullptr) break;
    at = next;
  }
  return {at->line, at->column};
}

}  // namespace palisade::cli
