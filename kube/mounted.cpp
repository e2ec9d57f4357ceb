#include <condition_variable>
#include <mutex>

#include <spdlog/spdlog.h>

#include <kube/files.h>
#include <kube/mounted.h>

namespace kube {

MountedFiles::MountedFiles(std::vector<std::filesystem::path> files,
                           std::chrono::milliseconds interval)
    : files_(std::move(files)), interval_(interval) {}

std::expected<MountedFiles::Texts, std::string> MountedFiles::read() const {
  Texts texts;
  for (const auto& file : files_) {
    auto text = read_file(file);
    if (!text) return std::unexpected(text.error());
    texts.push_back(std::move(*text));
  }
  return texts;
}

void MountedFiles::start(Texts taken, Take take) {
  thread_ = std::jthread([this, taken = std::move(taken),
                          take = std::move(take)](const std::stop_token& stop) mutable {
    std::mutex mutex;
    std::condition_variable_any never;
    std::string said;  // the same trouble is said once
    while (true) {
      {
        std::unique_lock lock(mutex);
        never.wait_for(lock, stop, interval_, [] { return false; });
      }
      if (stop.stop_requested()) return;
      auto texts = read();
      std::string trouble = texts ? std::string() : texts.error();
      if (texts && *texts != taken) {
        if (auto accepted = take(*texts); !accepted) {
          trouble = accepted.error();
        } else {
          taken = std::move(*texts);
          spdlog::info("{}: taken up anew", files_.front().string());
        }
      }
      if (!trouble.empty() && trouble != said)
        spdlog::warn("{}; what was read before stays in use", trouble);
      said = std::move(trouble);
    }
  });
}

}  // namespace kube
