// A small file that others replace while the relay runs: a token, a list of authorities.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include <sys/stat.h>

namespace palisade::gateway::relay {

// One thread's.
class RotatedFile {
 public:
  explicit RotatedFile(std::filesystem::path file) : file_(std::move(file)) {}
  // The newest text, without blanks around it; looked for again every two seconds. What could be
  // read last where it cannot be now; nullopt where it never could.
  [[nodiscard]] const std::optional<std::string>& text();

 private:
  const std::filesystem::path file_;
  std::chrono::steady_clock::time_point next_;
  struct stat seen_ {};
  std::optional<std::string> text_;
};

}  // namespace palisade::gateway::relay
