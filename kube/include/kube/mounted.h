// Files that others replace while the program runs: mounted Secrets and ConfigMaps.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace kube {

// Looks at its files every `interval` and hands all of them over whenever one has changed. What the
// taker refuses (one of two files that belong together was replaced, the other not yet) is offered
// again on the next look; meanwhile everything stays as it is, with a warning in the log.
class MountedFiles {
 public:
  using Texts = std::vector<std::string>;  // in the order of the files
  using Take = std::function<std::expected<void, std::string>(const Texts&)>;
  explicit MountedFiles(std::vector<std::filesystem::path> files,
                        std::chrono::milliseconds interval = std::chrono::milliseconds(2'000));
  ~MountedFiles() = default;  // joins
  MountedFiles(const MountedFiles&) = delete;
  MountedFiles& operator=(const MountedFiles&) = delete;

  // Up to 1 MiB each. Errors name the file.
  [[nodiscard]] std::expected<Texts, std::string> read() const;
  // `taken` is what the program has of them already. `take` is called on the owned thread.
  void start(Texts taken, Take take);

 private:
  const std::vector<std::filesystem::path> files_;
  const std::chrono::milliseconds interval_;
  std::jthread thread_;
};

}  // namespace kube
