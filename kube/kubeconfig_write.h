// New tokens back into the kubeconfig that the old ones stood in, side by side with kubectl and
// with programs like this one.
#pragma once

#include <chrono>
#include <filesystem>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <kube/error.h>

#include "kubeconfig_section.h"

namespace kube {

// FILE.lock, which kubectl makes before it writes FILE and takes away afterwards. It outlives a
// program that is killed: so it is held for the writing alone.
// Source: https://github.com/kubernetes/client-go/blob/master/tools/clientcmd/loader.go
class KubeconfigLock {
 public:
  // Waits for somebody else's. An error says what to do where that stays, or where the folder
  // cannot be written.
  [[nodiscard]] static Result<KubeconfigLock> take(const std::filesystem::path& file,
                                                   std::chrono::milliseconds longest,
                                                   const std::stop_token& stop);
  KubeconfigLock(KubeconfigLock&& other) noexcept
      : file_(std::exchange(other.file_, std::filesystem::path())) {}
  KubeconfigLock& operator=(KubeconfigLock&&) = delete;
  ~KubeconfigLock();

 private:
  explicit KubeconfigLock(std::filesystem::path file) : file_(std::move(file)) {}
  std::filesystem::path file_;  // empty: moved from
};

// Whose turn it is to renew what stands in FILE, between threads and processes: flock(2) on the
// file, which ends with its holder. kubectl does not know it and needs not wait.
class KubeconfigTurn {
 public:
  [[nodiscard]] static Result<KubeconfigTurn> take(const std::filesystem::path& file,
                                                   std::chrono::milliseconds longest,
                                                   const std::stop_token& stop);
  KubeconfigTurn(KubeconfigTurn&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}
  KubeconfigTurn& operator=(KubeconfigTurn&&) = delete;
  ~KubeconfigTurn();

 private:
  explicit KubeconfigTurn(int handle) : handle_(handle) {}
  int handle_;
};

// users[USER].user.auth-provider.config as it is in the file now.
[[nodiscard]] Result<Section> provider_settings(const std::filesystem::path& file,
                                                const std::string& user);

// Puts `settings` there and leaves all else as it means (comments go, as with kubectl). Whoever
// reads meanwhile sees the old file or the new one, whole, with its mode and owner. The caller
// holds the lock.
[[nodiscard]] Result<void> write_provider_settings(
    const std::filesystem::path& file, const std::string& user,
    const std::vector<std::pair<std::string, std::string>>& settings);

}  // namespace kube
