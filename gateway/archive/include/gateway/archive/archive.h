// /archive: what a session's relay sends while the session runs, and at its end.
//
//   GET  /archive/STREAM             {"bytes": N, "closed": false}: where the stream ends
//   POST /archive/STREAM?offset=N    the bytes from there on, at most 256 KiB; the same answer
//   POST /archive/close?record=N&output=M   both are whole
//
// STREAM is `record` or `output`. A refusal is {"code", "message"}. Whose streams they are says the
// pod's token alone: no path, query or field names a session.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <gateway/archive/store.h>
#include <gateway/core/services.h>
#include <gateway/http/server.h>

namespace palisade::gateway::archive {

inline constexpr std::size_t kMostPiece = 256UL * 1024;

// What is counted; called on the server's threads.
struct ArchiveCounting {
  std::function<void(std::uint64_t)> kept = [](std::uint64_t) {};  // bytes that were not there yet
  std::function<void()> closed = [] {};                            // sessions
};

// Thread-safe. It outlives the server that calls it.
class Archive {
 public:
  // `store`: null where there is no archive, which is a 404. `services`: the record is used, for
  // what is refused or fails, and for a session's end.
  Archive(std::shared_ptr<Store> store, Services services, ArchiveCounting counting);
  ~Archive();
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  [[nodiscard]] Task<void> handle(Exchange& exchange, const Caller& caller);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway::archive
