#include "rotated.h"

#include <fstream>

namespace palisade::gateway::relay {

namespace {

constexpr auto kInterval = std::chrono::seconds(2);
constexpr std::size_t kMaxText = 1024 * 1024;

std::optional<std::string> read_small(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text;
  text.resize(kMaxText);
  if (!in) return std::nullopt;
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.eof()) return std::nullopt;
  text.resize(static_cast<std::size_t>(in.gcount()));
  constexpr const char* kBlank = " \t\r\n";
  const std::size_t last = text.find_last_not_of(kBlank);
  if (last == std::string::npos) return std::nullopt;
  return text.substr(text.find_first_not_of(kBlank), last + 1 - text.find_first_not_of(kBlank));
}

}  // namespace

const std::optional<std::string>& RotatedFile::text() {
  const auto now = std::chrono::steady_clock::now();
  if (text_ && now < next_) return text_;
  struct stat found {};
  if (::stat(file_.c_str(), &found) != 0) return text_;
  const bool same = text_ && found.st_ino == seen_.st_ino && found.st_size == seen_.st_size &&
                    found.st_mtim.tv_sec == seen_.st_mtim.tv_sec &&
                    found.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec;
  next_ = now + kInterval;
  if (same) return text_;
  if (auto fresh = read_small(file_)) {
    text_ = std::move(fresh);
    seen_ = found;
  }
  return text_;
}

}  // namespace palisade::gateway::relay
