// The archive on a volume:
//
//   NAMESPACE/WORKSPACE/WORKSPACEUID/PODUID/record.jsonl   guard's record
//                                           output.log     what the agent printed
//                                           complete.json  once both are whole: {"record",
//                                           "output"}
//
// Replicas share the volume: each stream is locked while it grows (flock, which NFS passes on).
// What is acknowledged is on disk (fsync). No symbolic link is followed.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>

#include <gateway/archive/config.h>
#include <gateway/archive/store.h>

namespace palisade::gateway::archive {

class DirectoryStore : public Store {
 public:
  explicit DirectoryStore(const ArchiveConfig& config);
  ~DirectoryStore() override;

  [[nodiscard]] Task<std::expected<Held, Refusal>> held(const Place& place, Stream stream) override;
  [[nodiscard]] Task<std::expected<Held, Refusal>> append(const Place& place, Stream stream,
                                                          std::uint64_t offset,
                                                          std::string_view bytes) override;
  [[nodiscard]] Task<std::expected<void, Refusal>> close(const Place& place,
                                                         const Ends& ends) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Takes away the sessions to which nothing has been added since `before`, and the folders that are
// empty then. Their number. What is not of this layout is left alone. Ends early where `stop` says
// so.
[[nodiscard]] std::size_t remove_older(const std::filesystem::path& directory,
                                       std::chrono::system_clock::time_point before,
                                       const std::function<bool()>& stop);

}  // namespace palisade::gateway::archive
