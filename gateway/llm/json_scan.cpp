#include "json_scan.h"

#include <algorithm>
#include <deque>

#include <simdjson.h>

#include "ascii.h"

namespace palisade::gateway::llm {
namespace {

bool space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
int hex(char c) {
  if (digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  // False: fault() says why.
  bool run(std::vector<Member>* top) {
    top_ = top;
    if (!simdjson::validate_utf8(text_.data(), text_.size())) return wrong("it is not valid UTF-8");
    spaces();
    if (end()) return wrong("it is empty");
    if (!value()) return false;
    while (!open_.empty()) {
      if (!(open_.back().object ? in_object() : in_array())) return false;
    }
    spaces();
    return end() || wrong("there is more behind its end");
  }

  [[nodiscard]] JsonFault fault() const { return {at_, what_}; }
  [[nodiscard]] JsonType type() const { return type_; }

 private:
  struct Level {
    bool object;
    bool first;
    std::size_t names;  // names_ as it was
  };

  [[nodiscard]] bool end() const { return at_ >= text_.size(); }
  [[nodiscard]] char here() const { return end() ? '\0' : text_[at_]; }
  void spaces() {
    while (!end() && space(text_[at_]))
      ++at_;
  }
  bool wrong(std::string what) {
    what_ = std::move(what);
    return false;
  }

  // Opens a container or reads a scalar. What a container's end closes is told to `top_`.
  bool value() {
    const char c = here();
    type_ = c == '{'               ? JsonType::kObject
            : c == '['             ? JsonType::kArray
            : c == '"'             ? JsonType::kString
            : c == '-' || digit(c) ? JsonType::kNumber
            : c == 't' || c == 'f' ? JsonType::kBool
                                   : JsonType::kNull;
    if (open_.size() == 1 && top_ != nullptr && open_.back().object) {
      top_->back().type = type_;
      top_->back().value.begin = at_;
    }
    switch (type_) {
      case JsonType::kObject:
      case JsonType::kArray:
        if (open_.size() >= kMostDepth)
          return wrong("it is nested deeper than " + std::to_string(kMostDepth));
        open_.push_back({c == '{', true, names_.size()});
        ++at_;
        return true;
      case JsonType::kString:
        return string() && closed();
      case JsonType::kNumber:
        return number() && closed();
      default:
        return word(c == 't' ? "true" : c == 'f' ? "false" : "null") && closed();
    }
  }

  // A value has ended at at_.
  bool closed() {
    if (open_.size() == 1 && top_ != nullptr && open_.back().object) top_->back().value.end = at_;
    return true;
  }

  bool word(std::string_view text) {
    if (!text_.substr(at_).starts_with(text)) return wrong("a value was expected");
    at_ += text.size();
    return true;
  }

  bool number() {
    if (here() == '-') ++at_;
    if (here() == '0') {
      ++at_;
    } else if (!digits()) {
      return wrong("a number has no digits");
    }
    if (here() == '.') {
      ++at_;
      if (!digits()) return wrong("a number ends in its point");
    }
    if (here() == 'e' || here() == 'E') {
      ++at_;
      if (here() == '+' || here() == '-') ++at_;
      if (!digits()) return wrong("a number has an empty exponent");
    }
    return true;
  }
  bool digits() {
    const std::size_t from = at_;
    while (digit(here()))
      ++at_;
    return at_ > from;
  }

  bool string() {
    ++at_;
    for (;;) {
      while (!end() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20)
        ++at_;
      if (end()) return wrong("a string does not end");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c != '\\') return wrong("a string has a control character that is not escaped");
      ++at_;
      const char escape = here();
      if (escape == 'u') {
        for (std::size_t i = 1; i <= 4; ++i) {
          if (at_ + i >= text_.size() || hex(text_[at_ + i]) < 0)
            return wrong("a \\u in a string has not four hex digits");
        }
        at_ += 5;
      } else if (!end() && std::string_view("\"\\/bfnrt").find(escape) != std::string_view::npos) {
        ++at_;
      } else {
        return wrong("a string has an unknown escape");
      }
    }
  }

  bool in_object() {
    spaces();
    Level& level = open_.back();
    if (here() == '}') return close();
    if (!level.first) {
      if (here() != ',') return wrong("a , or } was expected");
      ++at_;
      spaces();
    }
    level.first = false;
    if (here() != '"') return wrong("a member's name was expected");
    const std::size_t from = at_;
    if (!string()) return false;
    std::string_view name = text_.substr(from + 1, at_ - from - 2);
    if (name.find('\\') != std::string_view::npos) {
      escaped_.push_back(decoded(text_.substr(from, at_ - from)));
      name = escaped_.back();
    }
    names_.push_back(name);
    if (open_.size() == 1 && top_ != nullptr)
      top_->push_back({std::string(name), JsonType::kNull, {}});
    spaces();
    if (here() != ':') return wrong("a : was expected");
    ++at_;
    spaces();
    return value();
  }

  bool in_array() {
    spaces();
    Level& level = open_.back();
    if (here() == ']') return close();
    if (!level.first) {
      if (here() != ',') return wrong("a , or ] was expected");
      ++at_;
      spaces();
    }
    level.first = false;
    return value();
  }

  bool close() {
    const Level level = open_.back();
    const auto from = names_.begin() + static_cast<std::ptrdiff_t>(level.names);
    std::sort(from, names_.end());
    if (std::adjacent_find(from, names_.end()) != names_.end())
      return wrong("a member's name is there twice");
    names_.erase(from, names_.end());
    open_.pop_back();
    ++at_;
    if (open_.empty()) type_ = level.object ? JsonType::kObject : JsonType::kArray;
    return closed();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string what_;
  JsonType type_ = JsonType::kNull;
  std::vector<Level> open_;
  std::vector<std::string_view> names_;
  std::deque<std::string> escaped_;
  std::vector<Member>* top_ = nullptr;
};

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6U));
    put(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12U));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  } else {
    put(0xF0U | (code >> 18U));
    put(0x80U | ((code >> 12U) & 0x3FU));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  }
}

std::uint32_t four_hex(std::string_view text, std::size_t at) {
  std::uint32_t code = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const int value = at + i < text.size() ? hex(text[at + i]) : 0;
    code = code * 16 + static_cast<std::uint32_t>(value < 0 ? 0 : value);
  }
  return code;
}

}  // namespace

std::expected<std::vector<Member>, JsonFault> read_object(std::string_view text) {
  std::vector<Member> members;
  Scanner scanner(text);
  if (!scanner.run(&members)) return std::unexpected(scanner.fault());
  if (scanner.type() != JsonType::kObject)
    return std::unexpected(JsonFault{0, "it is not an object"});
  return members;
}

std::expected<JsonType, JsonFault> check_json(std::string_view text) {
  Scanner scanner(text);
  if (!scanner.run(nullptr)) return std::unexpected(scanner.fault());
  return scanner.type();
}

const Member* find_member(const std::vector<Member>& members, std::string_view key) {
  const auto found = std::ranges::find(members, key, &Member::key);
  return found == members.end() ? nullptr : &*found;
}

std::optional<Span> next_string(std::string_view text, std::size_t from) {
  const std::size_t begin = text.find('"', from);
  if (begin == std::string_view::npos) return std::nullopt;
  std::size_t at = begin + 1;
  while (at < text.size() && text[at] != '"')
    at += text[at] == '\\' ? 2 : 1;
  if (at >= text.size()) return std::nullopt;
  return Span{begin, at + 1};
}

std::string decoded(std::string_view string) {
  std::string out;
  if (string.size() < 2) return out;
  string = string.substr(1, string.size() - 2);
  out.reserve(string.size());
  std::size_t at = 0;
  while (at < string.size()) {
    const std::size_t slash = std::min(string.find('\\', at), string.size());
    out.append(string.substr(at, slash - at));
    if (slash + 1 >= string.size()) break;
    const char escape = string[slash + 1];
    at = slash + 2;
    if (escape != 'u') {
      constexpr std::string_view kNames = "bfnrt";
      constexpr std::string_view kMeanings = "\b\f\n\r\t";
      const std::size_t named = kNames.find(escape);
      out += named == std::string_view::npos ? escape : kMeanings[named];
      continue;
    }
    std::uint32_t code = four_hex(string, at);
    at += 4;
    if (code >= 0xD800 && code < 0xDC00 &&
        string.substr(std::min(at, string.size())).starts_with("\\u")) {
      const std::uint32_t low = four_hex(string, at + 2);
      if (low >= 0xDC00 && low < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
        at += 6;
      }
    }
    append_utf8(out, code >= 0xD800 && code < 0xE000 ? 0xFFFD : code);
  }
  return out;
}

bool is_name(std::string_view text, Span string) {
  const std::size_t next = text.find_first_not_of(" \t\r\n", string.end);
  return next != std::string_view::npos && text[next] == ':';
}

std::string path_at(std::string_view text, std::size_t at) {
  struct Level {
    bool object;
    std::size_t index;
    std::string name;
  };
  std::vector<Level> open;
  std::size_t i = 0;
  while (i < text.size() && i <= at) {
    const char c = text[i];
    if (c == '"') {
      const auto string = next_string(text, i);
      if (!string) break;
      if (!open.empty() && open.back().object && is_name(text, *string)) {
        const std::string name = decoded(string->of(text));
        const bool plain =
            !name.empty() && name.size() <= 40 && std::ranges::all_of(name, [](char n) {
              return digit(n) || n == '_' || n == '-' || (n >= 'a' && n <= 'z') ||
                     (n >= 'A' && n <= 'Z');
            });
        open.back().name = plain ? name : "?";
      }
      i = string->end;
      continue;
    }
    if (c == '{' || c == '[') open.push_back({c == '{', 0, ""});
    if ((c == '}' || c == ']') && !open.empty()) open.pop_back();
    if (c == ',' && !open.empty()) ++open.back().index;
    ++i;
  }
  std::string path;
  for (const Level& level : open) {
    if (level.object) {
      path += (path.empty() ? "" : ".") + level.name;
    } else {
      path += "[" + std::to_string(level.index) + "]";
    }
  }
  return path;
}

std::string edited(std::string_view text, const std::vector<Edit>& edits) {
  std::string out;
  std::size_t size = text.size();
  for (const Edit& edit : edits)
    size += edit.text.size();
  out.reserve(size);
  std::size_t at = 0;
  for (const Edit& edit : edits) {
    out += text.substr(at, edit.span.begin - at);
    out += edit.text;
    at = edit.span.end;
  }
  out += text.substr(at);
  return out;
}

}  // namespace palisade::gateway::llm
