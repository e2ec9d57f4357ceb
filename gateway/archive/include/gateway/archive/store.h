// Where a session's streams are kept: append only, by offset, so that a piece that is sent twice is
// there once and nothing that is there is ever changed.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include <gateway/core/caller.h>
#include <gateway/http/task.h>

namespace palisade::gateway::archive {

// What is kept of a session.
enum class Stream : std::uint8_t {
  kRecord,  // guard's, JSON lines (OCSF)
  kOutput,  // the agent's, as guard's terminal filter let it out
};
// record.jsonl, output.log
[[nodiscard]] const char* file_of(Stream stream);

// One session: one pod of one workspace. All four are fit to be names of folders.
struct Place {
  std::string ns;
  std::string workspace;
  std::string workspace_uid;
  std::string pod_uid;
  [[nodiscard]] std::string path() const;  // NAMESPACE/WORKSPACE/WORKSPACEUID/PODUID
};
// Letters, digits, '-' and '.', at most 253; no '.' at its beginning, and no two of them together.
[[nodiscard]] bool is_plain_name(std::string_view name);
// 403 where a name is none that Kubernetes gives.
[[nodiscard]] std::expected<Place, Refusal> place_of(const Caller& caller);

struct Held {
  std::uint64_t bytes = 0;
  bool closed = false;      // nothing can be added any more
  std::uint64_t added = 0;  // by the piece that this answers
};

// The bytes of both streams at the session's end.
struct Ends {
  std::uint64_t record = 0;
  std::uint64_t output = 0;
};

// Thread-safe, among replicas too. Refusals: 409 `gap`, `rewrite`, `closed`; 413 `quota`; 503
// `archive_full`, `archive_unavailable`, `archive_busy`, which may be tried again.
class Store {
 public:
  Store() = default;
  virtual ~Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  [[nodiscard]] virtual Task<std::expected<Held, Refusal>> held(const Place& place,
                                                                Stream stream) = 0;
  // The piece that begins at `offset`. What of it is there already must be the same; the rest is
  // added, and is kept for good when this returns. The stream's new end.
  [[nodiscard]] virtual Task<std::expected<Held, Refusal>> append(const Place& place, Stream stream,
                                                                  std::uint64_t offset,
                                                                  std::string_view bytes) = 0;
  // The session has ended and its streams are whole: they end where `ends` says. Once more is the
  // same.
  [[nodiscard]] virtual Task<std::expected<void, Refusal>> close(const Place& place,
                                                                 const Ends& ends) = 0;
};

}  // namespace palisade::gateway::archive
