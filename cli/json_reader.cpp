// JSON with places: nlohmann's parser drives, this handler writes the document again, and a
// counting iterator knows how far it has read.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <policy/json_text.h>

#include "yaml_json.h"
#include "yaml_scalar.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

// Counts the bytes that were taken, in a counter that its copies share.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* taken) : at_(at), taken_(taken) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*taken_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* taken_;
};

class Handler : public nlohmann::json_sax<json> {
 public:
  // `text` begins where `taken` is 0.
  Handler(std::string_view text, const std::size_t& taken) : text_(text), taken_(taken) {}

  std::string json_text;
  Places places;        // columns are offsets, lines are not known yet
  std::string problem;  // and where it is:
  std::size_t problem_at = 0;

  bool null() override { return scalar("null"); }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return scalar(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(std::to_string(value)); }
  bool number_float(number_float_t value, const string_t& source) override {
    if (!std::isfinite(value)) return refuse("this number is too large");
    // An integer above 2^64 arrives here; other readers take it only with an exponent.
    if (source.find_first_of(".eE") == string_t::npos) return scalar(source + "e0");
    return scalar(source);
  }
  bool string(string_t& value) override {
    if (!begin_value(string_began())) return false;
    policy::append_json(json_text, value);
    return true;
  }
  bool binary(binary_t& /*value*/) override { return refuse("binary values are not JSON"); }
  bool start_object(std::size_t /*size*/) override { return open('{'); }
  bool end_object() override { return close('}'); }
  bool start_array(std::size_t /*size*/) override { return open('['); }
  bool end_array() override { return close(']'); }
  bool key(string_t& value) override {
    Level& level = levels_.back();
    if (!level.keys.insert(value).second) {
      return refuse("the key \"" + value + "\" is given twice");
    }
    if (level.any) json_text += ',';
    level.any = true;
    policy::append_json(json_text, value);
    json_text += ':';
    pending_ = places.add_member(level.place, value, {0, string_began()});
    after_key_ = true;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    problem = error.what();
    // "[json.exception.parse_error.101] parse error at line 1, column 2: the reason"
    if (const auto colon = problem.find(": "); colon != std::string::npos) {
      problem.erase(0, colon + 2);
    }
    problem_at = position;
    return false;
  }

 private:
  struct Level {
    Places::Id place = Places::kRoot;
    bool any = false;
    std::set<std::string> keys;
  };

  bool refuse(std::string message) {
    problem = std::move(message);
    problem_at = taken_;
    return false;
  }
  // `began` is the value's offset.
  bool begin_value(std::size_t began) {
    if (++values_ > kMaxValues) {
      return refuse("the document has more than " + std::to_string(kMaxValues) + " values");
    }
    if (after_key_) {
      after_key_ = false;
    } else if (!levels_.empty()) {
      if (levels_.back().any) json_text += ',';
      levels_.back().any = true;
      pending_ = places.add_item(levels_.back().place, {0, began});
    }
    return true;
  }
  // The offset of the string whose closing quote was read last.
  [[nodiscard]] std::size_t string_began() const {
    std::size_t at = taken_ - 1;
    while (at > 0) {
      at = text_.rfind('"', at - 1);
      if (at == std::string_view::npos) return 0;
      std::size_t slashes = 0;
      while (slashes < at && text_[at - slashes - 1] == '\\')
        ++slashes;
      if (slashes % 2 == 0) break;
    }
    return at;
  }
  bool scalar(std::string_view text) {
    // Its last byte, or the one behind it: a number ends where something else begins.
    if (!begin_value(taken_ - std::min(taken_, text.size()))) return false;
    json_text += text;
    return true;
  }
  bool open(char bracket) {
    if (levels_.size() >= kMaxDepth) {
      return refuse("the document is nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    if (!begin_value(taken_ - 1)) return false;
    json_text += bracket;
    levels_.emplace_back().place = pending_;
    return true;
  }
  bool close(char bracket) {
    json_text += bracket;
    levels_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::size_t& taken_;
  Places::Id pending_ = Places::kRoot;  // of the value that comes next
  std::vector<Level> levels_;
  std::size_t values_ = 0;
  bool after_key_ = false;
};

// Line and column of the byte before `offset`, which is the last one that was read.
ReadError error_at(std::string_view text, std::size_t offset, std::string message) {
  const std::size_t last = std::min(offset > 0 ? offset - 1 : 0, text.size());
  ReadError error{1, 1, std::move(message)};
  for (const char c : text.substr(0, last)) {
    if (c == '\n') {
      ++error.line;
      error.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
      ++error.column;
    }
  }
  return error;
}

// Offsets behind `from`, which is in `line`, to lines and columns. Values are in the text's order.
void resolve(Places& places, std::string_view text, std::size_t from, std::size_t line) {
  const auto start = text.rfind('\n', from);
  std::size_t at = start == std::string_view::npos ? 0 : start + 1;  // of the column's beginning
  std::uint32_t column = 1;
  auto row = static_cast<std::uint32_t>(line);
  places.change_all([&](std::uint32_t& out_line, std::uint32_t& out_column) {
    for (const std::size_t end = from + out_column; at < end; ++at) {
      if (text[at] == '\n') {
        ++row;
        column = 1;
      } else if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U) {
        ++column;
      }
    }
    out_line = row;
    out_column = column;
  });
}

}  // namespace

std::expected<std::vector<Document>, ReadError> read_json(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::vector<Document> out;
  std::size_t from = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  std::size_t line = 1;
  for (;;) {
    while (from < text.size() &&
           std::string_view(" \t\r\n").find(text[from]) != std::string_view::npos) {
      if (text[from] == '\n') ++line;
      ++from;
    }
    if (from == text.size()) return out;
    if (text[from] != '{' && text[from] != '[') {
      return std::unexpected(error_at(text, from + 1, "an object or a list must begin here"));
    }
    std::size_t taken = 0;
    Handler handler(text.substr(from), taken);
    const char* const end = text.data() + text.size();
    const bool good =
        json::sax_parse(CountingIterator(text.data() + from, &taken), CountingIterator(end, &taken),
                        &handler, json::input_format_t::json, false);
    if (!good) {
      return std::unexpected(error_at(text, from + handler.problem_at, handler.problem));
    }
    if (handler.json_text != "null") {
      resolve(handler.places, text, from, line);
      out.push_back({line, std::move(handler.json_text), std::move(handler.places)});
    }
    for (const char c : text.substr(from, taken)) {
      if (c == '\n') ++line;
    }
    from += taken;
  }
}

}  // namespace palisade::cli
