// JSON that is written as it goes: a record's line costs no tree. Strings come out fit for a log:
// what does not show is escaped, what is no UTF-8 is U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace palisade::guard {

// One object or a tree of them. Keys are written as they are: literals only.
class JsonText {
 public:
  explicit JsonText(bool ascii = false) : ascii_(ascii) {}

  JsonText& open(std::string_view key = "");  // {
  JsonText& close();                          // }
  JsonText& list(std::string_view key);       // [
  JsonText& end_list();                       // ]
  JsonText& number(std::string_view key, std::int64_t value);
  JsonText& boolean(std::string_view key, bool value);
  // At most `most` bytes between the quotes; a longer text is cut at a character and ends with
  // "...[N bytes]", N the whole's length.
  JsonText& text(std::string_view key, std::string_view value, std::size_t most);
  // The same; nothing where the text is empty.
  JsonText& some(std::string_view key, std::string_view value, std::size_t most);

  [[nodiscard]] const std::string& str() const { return out_; }

 private:
  void key(std::string_view name);
  bool ascii_;
  bool first_ = true;
  std::string out_;
};

}  // namespace palisade::guard
