#include <fstream>

#include <kube/files.h>

namespace kube {

namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;

}  // namespace

std::expected<std::string, std::string> read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) return std::unexpected(file.string() + ": cannot be read");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.empty()) return std::unexpected(file.string() + ": is empty or no file");
  if (text.size() > kMaxFile) return std::unexpected(file.string() + ": is larger than 1 MiB");
  return text;
}

}  // namespace kube
