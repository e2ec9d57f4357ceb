// One session in a bucket: its streams as chains of pieces (gateway/archive/s3.h), and what a
// replica knows of them. Blocking; one call's.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <gateway/archive/store.h>

#include "bucket.h"

namespace palisade::gateway::archive {

struct Piece {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
};

struct Chain {
  std::uint64_t end = 0;  // of pieces without a hole from 0 on
  bool sealed = false;    // by an empty piece there
  std::chrono::steady_clock::time_point seen;
};

// What was there once is there still: of two of them the later ends count.
struct Seen {
  std::array<Chain, 2> streams;  // by Stream
  bool complete = false;
};

// What was last seen of the sessions of late. Thread-safe.
class Memory {
 public:
  [[nodiscard]] std::optional<Seen> of(const std::string& session);
  void keep(const std::string& session, const Seen& seen);

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, Seen> young_;
  std::unordered_map<std::string, Seen> old_;
};

class Session {
 public:
  // `key`: of all that is the session's, without a slash at its end.
  Session(const Bucket& bucket, std::string key, Memory& memory, Patience patience);

  [[nodiscard]] Outcome<Held> held(Stream stream);
  [[nodiscard]] Outcome<Held> append(Stream stream, std::uint64_t offset, std::string_view bytes,
                                     std::uint64_t most);
  [[nodiscard]] Outcome<void> close(const Ends& ends);

 private:
  [[nodiscard]] Chain& chain(Stream stream);
  [[nodiscard]] std::string folder(Stream stream) const;
  [[nodiscard]] std::string piece(Stream stream, std::uint64_t offset) const;
  // What is in the bucket now: of the stream, or of both where nothing is known yet.
  [[nodiscard]] Outcome<void> look(Stream stream);
  [[nodiscard]] Outcome<void> take(const Listed& listed);
  // The piece at the chain's end that another has put: its bytes, "" where it is the seal.
  [[nodiscard]] Outcome<std::string> follow(Stream stream);
  // Whether the stream has `bytes` there; all of them are before its end.
  [[nodiscard]] Outcome<bool> same_at(Stream stream, std::uint64_t offset, std::string_view bytes);
  // Those that have the bytes from `from` to `to`, without a hole.
  [[nodiscard]] Outcome<std::vector<Piece>> pieces_in(Stream stream, std::uint64_t from,
                                                      std::uint64_t to);
  [[nodiscard]] Outcome<std::string> read(Stream stream, std::uint64_t offset) const;
  [[nodiscard]] Outcome<void> seal(Stream stream);

  const Bucket& bucket_;
  const std::string key_;
  Memory& memory_;
  const Patience patience_;
  Seen seen_;
  bool known_ = false;
};

}  // namespace palisade::gateway::archive
