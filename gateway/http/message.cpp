#include <algorithm>
#include <array>
#include <charconv>

#include <gateway/http/message.h>

#include "text.h"

namespace palisade::gateway {

std::string_view name_of(Fault fault) {
  switch (fault) {
    case Fault::kClosed:
      return "closed";
    case Fault::kTimeout:
      return "timeout";
    case Fault::kConnect:
      return "connect";
    case Fault::kTls:
      return "tls";
    case Fault::kProtocol:
      return "protocol";
    case Fault::kTooLarge:
      return "too_large";
    case Fault::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view Fields::get(std::string_view name) const {
  for (const Field& field : fields_) {
    if (same_word(field.name, name)) return field.value;
  }
  return {};
}

bool Fields::has(std::string_view name) const {
  return count(name) > 0;
}

std::size_t Fields::count(std::string_view name) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      fields_, [name](const Field& field) { return same_word(field.name, name); }));
}

void Fields::add(std::string name, std::string value) {
  fields_.push_back({std::move(name), std::move(value)});
}

void Fields::set(std::string_view name, std::string value) {
  remove(name);
  add(std::string(name), std::move(value));
}

void Fields::remove(std::string_view name) {
  std::erase_if(fields_, [name](const Field& field) { return same_word(field.name, name); });
}

void Fields::remove_hop_by_hop() {
  // Copied, as what they name may be the Connection fields themselves.
  std::string named;
  for (const Field& field : fields_) {
    if (same_word(field.name, "connection")) named += "," + field.value;
  }
  for_each_word(named, [this](std::string_view word) {
    remove(word);
    return true;
  });
  static constexpr std::array<std::string_view, 7> kHop{
      "connection", "keep-alive",    "te", "trailer", "transfer-encoding",
      "upgrade",    "content-length"};
  std::erase_if(fields_, [](const Field& field) {
    return std::ranges::any_of(kHop,
                               [&](std::string_view hop) { return same_word(field.name, hop); }) ||
           same_word(std::string_view(field.name).substr(0, 6), "proxy-");
  });
}

std::optional<std::uint64_t> content_length(const Fields& fields) {
  const std::string_view text = fields.get("content-length");
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

std::string_view RequestHead::path() const {
  const std::string_view all = target;
  return all.substr(0, all.find('?'));
}

std::string_view RequestHead::query() const {
  const std::string_view all = target;
  const std::size_t at = all.find('?');
  return at == std::string_view::npos ? std::string_view() : all.substr(at + 1);
}

}  // namespace palisade::gateway
