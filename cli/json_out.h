#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace palisade::cli {

// A document as every command prints it: indented, keys sorted, ASCII only, so that it is safe on a
// terminal too; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] inline std::string json_text(const nlohmann::json& document) {
  return document.dump(2, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace palisade::cli
