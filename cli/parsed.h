// An object as the policy reads it: its text parsed once more.
#pragma once

#include <string_view>

#include <simdjson.h>

namespace palisade::cli {

class Parsed {
 public:
  explicit Parsed(std::string_view json) : text_(json) {
    good_ = parser_.parse(text_).get(element_) == simdjson::SUCCESS;
  }
  [[nodiscard]] bool good() const { return good_; }
  // Of a good one alone; valid as long as this is.
  [[nodiscard]] simdjson::dom::element element() const { return element_; }

 private:
  simdjson::padded_string text_;
  simdjson::dom::parser parser_;
  simdjson::dom::element element_;
  bool good_ = false;
};

}  // namespace palisade::cli
