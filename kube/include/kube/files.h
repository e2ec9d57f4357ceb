// Small files that a program reads whole.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace kube {

// Up to 1 MiB and not empty. Errors name the file.
[[nodiscard]] std::expected<std::string, std::string> read_file(const std::filesystem::path& file);

// What `parse` (a string_view to std::expected<T, std::string>) makes of the file. Errors name it.
template <class Parse>
[[nodiscard]] auto parse_file(const std::filesystem::path& file, Parse parse)
    -> decltype(parse(std::string_view())) {
  const auto text = read_file(file);
  if (!text) return std::unexpected(text.error());
  auto parsed = parse(std::string_view(*text));
  if (!parsed) return std::unexpected(file.string() + ": " + parsed.error());
  return parsed;
}

}  // namespace kube
