// The archive in a bucket of a server that speaks S3:
//
//   PREFIX/NAMESPACE/WORKSPACE/WORKSPACEUID/PODUID/record/OFFSET   a piece of guard's record
//                                                  output/OFFSET   of what the agent printed
//                                                  complete.json   once both are whole
//
// OFFSET is where the piece begins, in 16 digits: the pieces in the order of their names are the
// stream. Each is put once (If-None-Match: *), where the stream ended for whoever put it, so that
// of several replicas one adds at a time and no piece overlaps another. A stream's end is an empty
// piece: whoever would add there finds it.
//
// What is acknowledged is what the server has answered 200 to. A server that overwrites all the
// same is found out by PREFIX/palisade-probe before anything is kept, and nothing is.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <gateway/archive/config.h>
#include <gateway/archive/store.h>

namespace palisade::gateway::archive {

class S3Store : public Store {
 public:
  // Looks at once whether the bucket can be used, and says to `log` where it cannot, from a thread
  // of its own. `config.s3` is there.
  S3Store(const ArchiveConfig& config, std::function<void(const std::string&)> log);
  ~S3Store() override;

  [[nodiscard]] Task<std::expected<Held, Refusal>> held(const Place& place, Stream stream) override;
  // A session's share (session_bytes) may be exceeded by what another replica took of its other
  // stream within the last minute.
  [[nodiscard]] Task<std::expected<Held, Refusal>> append(const Place& place, Stream stream,
                                                          std::uint64_t offset,
                                                          std::string_view bytes) override;
  [[nodiscard]] Task<std::expected<void, Refusal>> close(const Place& place,
                                                         const Ends& ends) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway::archive
