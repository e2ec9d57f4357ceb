#include "table.h"

#include <algorithm>

namespace palisade::cli {

std::size_t width_of(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::ranges::count_if(utf8, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string table(const std::vector<Column>& columns,
                  const std::vector<std::vector<std::string>>& rows, std::size_t gap) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    widths.push_back(width_of(columns[i].name));
    for (const auto& row : rows)
      widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  const auto add = [&](std::size_t i, const std::string& cell) {
    const std::size_t room = widths[i] - width_of(cell);
    const bool last = i + 1 == columns.size();
    if (columns[i].right) out.append(room, ' ');
    out += cell;
    if (!columns[i].right && !last) out.append(room, ' ');
    out.append(last ? 0 : gap, ' ');
    if (last) out += '\n';
  };
  for (std::size_t i = 0; i < columns.size(); ++i)
    add(i, columns[i].name);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns.size(); ++i)
      add(i, row[i]);
  }
  return out;
}

}  // namespace palisade::cli
