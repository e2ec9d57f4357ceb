#include "rotated.h"

#include <fstream>

#include "tls.h"

namespace kube {

namespace {

constexpr std::size_t kMaxSmallFile = 4 * 1024 * 1024;

}  // namespace

Result<std::string> read_small_file(const std::filesystem::path& file) {
  const auto failed = [&](const char* why) {
    return std::unexpected(Error{0, "InvalidConfiguration", file.string() + ": " + why, {}, {}});
  };
  std::error_code ignored;  // then it is not a file that can be read
  if (std::filesystem::is_directory(file, ignored)) return failed("is a directory");
  std::ifstream in(file, std::ios::binary);
  if (!in) return failed("cannot be read");
  std::string text(kMaxSmallFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return failed("cannot be read");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxSmallFile) return failed("is larger than 4 MiB");
  return text;
}

std::string trimmed(std::string text) {
  constexpr const char* kBlank = " \t\r\n";
  const auto last = text.find_last_not_of(kBlank);
  text.erase(last == std::string::npos ? 0 : last + 1);
  text.erase(0, std::min(text.find_first_not_of(kBlank), text.size()));
  return text;
}

std::string RotatedFile::text() {
  const std::scoped_lock lock(mutex_);
  if (minute_.due()) {
    if (auto fresh = read_small_file(file_); fresh && !fresh->empty() && accepts_(*fresh))
      text_ = std::move(*fresh);
  }
  return text_;
}

std::pair<std::string, std::string> RotatedIdentity::pair() {
  const std::scoped_lock lock(mutex_);
  const auto now_in = [](const TextSource& source) -> Result<std::string> {
    return source.file.empty() ? Result<std::string>(source.text) : read_small_file(source.file);
  };
  if (minute_.due()) {
    auto certificate = now_in(certificate_);
    auto key = now_in(key_);
    if (certificate && key && identity_fault(*certificate, *key).empty()) {
      certificate_.text = std::move(*certificate);
      key_.text = std::move(*key);
    }
  }
  return {certificate_.text, key_.text};
}

}  // namespace kube
