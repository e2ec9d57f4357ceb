// Small files that others rotate (service account tokens, certificates), read again at most once a
// minute.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>

#include <kube/error.h>

namespace kube {

using Now = std::function<std::chrono::steady_clock::time_point()>;

// Up to 4 MiB. Errors name the file.
[[nodiscard]] Result<std::string> read_small_file(const std::filesystem::path& file);

[[nodiscard]] std::string trimmed(std::string text);

// True once a minute by `now`. Not thread-safe.
class EachMinute {
 public:
  explicit EachMinute(Now now) : now_(std::move(now)), last_(now_()) {}
  bool due() {
    const auto current = now_();
    if (current - last_ < std::chrono::minutes(1)) return false;
    last_ = current;
    return true;
  }

 private:
  const Now now_;
  std::chrono::steady_clock::time_point last_;
};

// The last text that could be read and that `accepts`; an empty one never does. Thread-safe.
class RotatedFile {
 public:
  using Accepts = std::function<bool(const std::string&)>;
  RotatedFile(std::filesystem::path file, std::string first, Accepts accepts, Now now)
      : file_(std::move(file)),
        accepts_(std::move(accepts)),
        text_(std::move(first)),
        minute_(std::move(now)) {}
  [[nodiscard]] std::string text();

 private:
  const std::filesystem::path file_;
  const Accepts accepts_;
  std::mutex mutex_;
  std::string text_;
  EachMinute minute_;
};

// A text, and the file it may change in ("" for one that stays).
struct TextSource {
  std::string text;
  std::filesystem::path file;
};

// A client certificate and its key, which change together or not at all: half of a rotation is no
// identity. Thread-safe.
class RotatedIdentity {
 public:
  RotatedIdentity(TextSource certificate, TextSource key, Now now)
      : certificate_(std::move(certificate)), key_(std::move(key)), minute_(std::move(now)) {}
  // Certificate and key.
  [[nodiscard]] std::pair<std::string, std::string> pair();

 private:
  std::mutex mutex_;
  TextSource certificate_;
  TextSource key_;
  EachMinute minute_;
};

}  // namespace kube
