// Packs made by hand, sound ones and others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "object_id.h"
#include "pack.h"

namespace palisade::gateway::git::testing {

std::string deflate(std::string_view text);  // zlib
std::string gzip(std::string_view text);
std::string noise(std::size_t bytes, std::uint32_t seed);  // does not compress
// The name of an object: of "TYPE SIZE\0" and its content.
ObjectId id_of(std::string_view type, std::string_view content,
               ObjectFormat format = ObjectFormat::kSha1);
std::string raw(const ObjectId& id, ObjectFormat format = ObjectFormat::kSha1);
// A commit's content, with a tree that does not matter.
std::string commit(std::string_view message, const std::vector<ObjectId>& parents = {},
                   ObjectFormat format = ObjectFormat::kSha1);

// A delta's numbers and operations.
std::string delta_size(std::uint64_t size);
std::string copy(std::uint32_t offset, std::uint32_t size);
std::string insert(std::string_view bytes);  // at most 127
// One that makes `result` of `base` without looking for more than a common beginning.
std::string delta(std::string_view base, std::string_view result);

class PackWriter {
 public:
  explicit PackWriter(ObjectFormat format = ObjectFormat::kSha1) : format_(format) {}

  // Each gives where its entry begins. Types: 1 commit, 2 tree, 3 blob, 4 tag.
  std::uint64_t object(unsigned type, std::string_view content);
  std::uint64_t offset_delta(std::uint64_t base, std::string_view delta);
  std::uint64_t id_delta(const ObjectId& base, std::string_view delta);
  // A header that says what it likes, and whatever follows it.
  std::uint64_t entry(unsigned type, std::uint64_t size, std::string_view rest);

  // With the count and the sum that belong to it, or others.
  [[nodiscard]] std::string bytes(std::optional<std::uint32_t> count = {},
                                  std::uint32_t version = 2) const;

 private:
  ObjectFormat format_;
  std::string entries_;
  std::uint32_t count_ = 0;
};

// `bytes` and the sum of them.
std::string summed(std::string bytes, ObjectFormat format = ObjectFormat::kSha1);

class MemorySource final : public PackSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] std::uint64_t size() const override { return bytes_.size(); }
  [[nodiscard]] std::expected<std::size_t, std::string> read(std::uint64_t offset,
                                                             std::span<char> out) const override {
    if (offset >= bytes_.size()) return 0U;
    const std::string_view piece = bytes_.substr(offset, out.size());
    std::copy(piece.begin(), piece.end(), out.begin());
    return piece.size();
  }

 private:
  std::string_view bytes_;
};

}  // namespace palisade::gateway::git::testing
