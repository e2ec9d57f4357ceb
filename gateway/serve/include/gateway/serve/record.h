// The record: JSON lines, written by a thread of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include <gateway/core/services.h>

namespace palisade::gateway {

struct RecordOptions {
  int fd = 1;
  std::size_t max_bytes = 8 * 1024 * 1024;  // that wait to be written; above it lines are dropped
};

// Whoever writes never waits for whoever reads. A line waits a few milliseconds for others, so that
// many are written as one. Lines that find no room are counted, and a line
// {"kind":"record","dropped":N} says so as soon as there is room again. What is not UTF-8 is
// replaced, so that each line is JSON whatever was in it. Thread-safe.
class JsonRecord : public Record {
 public:
  explicit JsonRecord(RecordOptions options = {});
  ~JsonRecord() override;  // writes what waits, for up to two seconds
  JsonRecord(const JsonRecord&) = delete;
  JsonRecord& operator=(const JsonRecord&) = delete;

  void write(nlohmann::json line) override;
  void write_text(const Counted& counted, std::string line) override;
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
