#include "json_text.h"

#include <array>
#include <charconv>

#include "unicode.h"

namespace palisade::guard {
namespace {

void escape_unit(std::string& out, std::uint32_t unit) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u";
  for (const unsigned shift : {12U, 8U, 4U, 0U})
    out += kHex[(unit >> shift) & 0xFU];
}

void append_number(std::string& out, std::int64_t value) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

void append_point(std::string& out, const unicode::Point& point, bool ascii) {
  std::uint32_t code = point.code == unicode::kInvalid ? 0xFFFD : point.code;
  if (code == '"' || code == '\\') {
    out += '\\';
    out += static_cast<char>(code);
  } else if (code >= 0x20 && code < 0x7F) {
    out += static_cast<char>(code);
  } else if (!ascii && unicode::kind_of(code) == unicode::Kind::kShown) {
    unicode::append(out, code);
  } else if (code < 0x10000) {
    escape_unit(out, code);
  } else {
    code -= 0x10000;
    escape_unit(out, 0xD800U + (code >> 10U));
    escape_unit(out, 0xDC00U + (code & 0x3FFU));
  }
}

}  // namespace

void JsonText::key(std::string_view name) {
  if (!first_) out_ += ',';
  first_ = false;
  if (name.empty()) return;
  out_ += '"';
  out_ += name;
  out_ += "\":";
}

JsonText& JsonText::open(std::string_view name) {
  key(name);
  out_ += '{';
  first_ = true;
  return *this;
}

JsonText& JsonText::close() {
  out_ += '}';
  first_ = false;
  return *this;
}

JsonText& JsonText::list(std::string_view name) {
  key(name);
  out_ += '[';
  first_ = true;
  return *this;
}

JsonText& JsonText::end_list() {
  out_ += ']';
  first_ = false;
  return *this;
}

JsonText& JsonText::number(std::string_view name, std::int64_t value) {
  key(name);
  append_number(out_, value);
  return *this;
}

JsonText& JsonText::boolean(std::string_view name, bool value) {
  key(name);
  out_ += value ? "true" : "false";
  return *this;
}

JsonText& JsonText::text(std::string_view name, std::string_view value, std::size_t most) {
  constexpr std::size_t kMark = 36;  // "...[18446744073709551615 bytes]"
  key(name);
  out_ += '"';
  const std::size_t from = out_.size();
  std::size_t fits = from;  // up to here there is room for the mark
  for (std::size_t at = 0; at < value.size();) {
    const unicode::Point point = unicode::decode(value, at);
    append_point(out_, point, ascii_);
    at += point.length;
    const std::size_t size = out_.size() - from;
    if (size + kMark <= most) fits = out_.size();
    if (size <= most) continue;
    out_.resize(fits);
    out_ += "...[";
    append_number(out_, static_cast<std::int64_t>(value.size()));
    out_ += " bytes]";
    break;
  }
  out_ += '"';
  return *this;
}

JsonText& JsonText::some(std::string_view name, std::string_view value, std::size_t most) {
  return value.empty() ? *this : text(name, value, most);
}

}  // namespace palisade::guard
