// What the agent printed, kept beside the record for the archive: a file that grows, as the
// terminal filter let it out.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace palisade::guard {

// One thread's.
class OutputFile {
 public:
  // Opens output.log in the record's folder for appending, or makes it (mode 0644): a regular file
  // and no symbolic link. The error names the file.
  [[nodiscard]] static std::expected<std::unique_ptr<OutputFile>, std::string> open(
      const std::string& record, std::uint64_t max_bytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Beyond `max_bytes`, or where the disk takes no more, the rest is left out: a last line says so
  // where there is room. The session goes on: what it may not do without is the record.
  void add(std::string_view bytes);

 private:
  OutputFile(int fd, std::uint64_t max_bytes, std::uint64_t bytes);
  [[nodiscard]] bool write(std::string_view bytes);

  int fd_;
  std::uint64_t max_bytes_;
  std::uint64_t bytes_;
  bool full_ = false;
};

}  // namespace palisade::guard
