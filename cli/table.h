// Columns for a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::cli {

struct Column {
  std::string name;
  bool right = false;  // numbers stand under one another by their last digit
};

// Code points of a text in UTF-8.
[[nodiscard]] std::size_t width_of(std::string_view utf8);

// The names first, then the rows, each with a cell for each column, `gap` spaces between the
// columns; no line ends in one. Cells are safe for a terminal already.
[[nodiscard]] std::string table(const std::vector<Column>& columns,
                                const std::vector<std::vector<std::string>>& rows, std::size_t gap);

}  // namespace palisade::cli
