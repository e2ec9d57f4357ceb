// A pack's entries, read once from its first byte to its last.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inflate.h"
#include "object_id.h"
#include "pack.h"

namespace palisade::gateway::git {

enum class ObjectType : std::uint8_t {
  kNone = 0,
  kCommit = 1,
  kTree = 2,
  kBlob = 3,
  kTag = 4,
  kOffsetDelta = 6,
  kIdDelta = 7,
};
[[nodiscard]] constexpr bool is_delta(ObjectType type) {
  return type == ObjectType::kOffsetDelta || type == ObjectType::kIdDelta;
}

inline constexpr std::uint32_t kNoEntry = ~0U;

struct Entry {
  std::uint64_t offset = 0;       // of its header
  std::uint64_t data = 0;         // of its compressed bytes
  std::uint64_t stored_size = 0;  // inflated: of the object or of the delta
  std::uint64_t size = 0;         // of the object
  std::uint64_t base_size = 0;    // of the base, as a delta claims it
  ObjectId id;                    // its name once `named`; before that, of an id delta, its base's
  std::uint32_t base = kNoEntry;
  std::uint16_t depth = 0;  // known with `root`
  ObjectType type = ObjectType::kNone;
  ObjectType root = ObjectType::kNone;  // what the object is, once its chain is known
  bool named = false;
  bool large = false;  // it, or what it is made from, is not built in memory
};

using PackResult = std::expected<void, PackError>;
[[nodiscard]] std::unexpected<PackError> pack_error(PackFault fault, std::string message);

// "TYPE SIZE\0" and the content, hashed.
class Digest {
 public:
  explicit Digest(ObjectFormat format);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void begin();
  void begin_object(ObjectType type, std::uint64_t size);
  void add(std::string_view bytes);
  [[nodiscard]] ObjectId end();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// The parents that a commit's content names.
[[nodiscard]] std::expected<std::vector<ObjectId>, std::string> parents_of(std::string_view commit,
                                                                           ObjectFormat format);

class PackScan {
 public:
  PackScan(const PackSource& source, ObjectFormat format, const PackLimits& limits,
           const std::atomic<bool>& stop);
  // Fills entries() and the commits that are stored whole, and checks the pack's own sum.
  [[nodiscard]] PackResult run(PackContents& contents);
  [[nodiscard]] std::vector<Entry>& entries() { return entries_; }

 private:
  [[nodiscard]] PackResult header();
  [[nodiscard]] PackResult entry(PackContents& contents);
  [[nodiscard]] PackResult base_of(Entry& entry);
  [[nodiscard]] PackResult object(Entry& entry, PackContents& contents);
  [[nodiscard]] PackResult delta(Entry& entry);
  [[nodiscard]] std::expected<std::string_view, PackError> inflated();
  [[nodiscard]] PackResult trailer();
  [[nodiscard]] PackResult fill();
  [[nodiscard]] std::expected<unsigned char, PackError> byte();
  void skip(std::size_t count);
  [[nodiscard]] std::uint64_t position() const { return filled_ - window_.size(); }

  const PackSource& source_;
  ObjectFormat format_;
  const PackLimits& limits_;
  const std::atomic<bool>& stop_;
  std::uint64_t end_ = 0;     // where the sum begins
  std::uint64_t filled_ = 0;  // how far the window reaches
  std::vector<char> buffer_;
  std::string_view window_;  // what is read and not taken yet
  Inflater inflater_;
  Digest sum_;
  Digest name_;
  std::uint32_t count_ = 0;
  std::uint64_t inflated_ = 0, most_inflated_ = 0;
  std::uint64_t made_ = 0, most_made_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace palisade::gateway::git
