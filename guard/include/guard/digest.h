// SHA-256 of files, remembered while they stay what they were.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <tuple>

#include <sys/stat.h>

namespace palisade::guard {

[[nodiscard]] std::string sha256_hex(std::string_view bytes);  // lower-case

// SHA-256 in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(std::string_view bytes);
  [[nodiscard]] std::string hex();  // once, at the end

 private:
  struct State;
  State* state_;
};

// Thread-safe: one file is read at a time.
class FileDigests {
 public:
  static constexpr std::uint64_t kLargest = 512ULL << 20;

  explicit FileDigests(std::size_t remembered = 512);

  // Of the whole file behind a descriptor that can be read (its offset stays). "" where that is no
  // regular file, has more than `largest` bytes, cannot be read, or changed meanwhile. A file is
  // known by device, inode, size and its times of change in nanoseconds; ctime is the kernel's own,
  // so content cannot change under an old key but within one tick of the kernel's clock: a file
  // that changed less than 100 ms ago is not remembered.
  [[nodiscard]] std::string of(int fd, std::uint64_t largest = kLargest);
  // The same for a path; a symbolic link is followed, and nothing but a regular file is opened.
  [[nodiscard]] std::string of(const std::string& path, std::uint64_t largest = kLargest);
  // Of a file that was looked at just now, where it is remembered; else "".
  [[nodiscard]] std::string known(const struct stat& file);

  [[nodiscard]] std::size_t remembered() const;

 private:
  // Device, inode, mode, size, mtime, ctime.
  using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t,
                         std::int64_t>;
  [[nodiscard]] static Key key_of(const struct stat& file);
  [[nodiscard]] const std::string* remembered(const Key& key);  // under the mutex
  struct Known {
    std::string sha256;
    std::list<Key>::iterator age;
  };
  const std::size_t most_;
  mutable std::mutex mutex_;
  std::map<Key, Known> known_;
  std::list<Key> ages_;  // the longest unused is last
};

}  // namespace palisade::guard
