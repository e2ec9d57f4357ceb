// Digests of files, with a memory of those that stayed as they were.
#include <array>
#include <memory>
#include <vector>

#include <fcntl.h>
#include <guard/digest.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

constexpr std::size_t kPiece = 64UL * 1024;
constexpr std::int64_t kSettled = 100'000'000;  // ns; more than a tick of the kernel's clock

struct Descriptor {
  int fd = -1;
  explicit Descriptor(int opened) : fd(opened) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

struct Sha256::State {
  sha256_ctx context{};
};

Sha256::Sha256() : state_(new State) {
  sha256_init(&state_->context);
}

Sha256::~Sha256() {
  delete state_;
}

void Sha256::add(std::string_view bytes) {
  sha256_update(&state_->context, bytes.size(),
                reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

std::string Sha256::hex() {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest{};
  sha256_digest(&state_->context, digest.size(), digest.data());
  std::string out;
  out.reserve(2 * digest.size());
  for (const std::uint8_t byte : digest) {
    out += kHex[byte >> 4U];
    out += kHex[byte & 0xFU];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 digest;
  digest.add(bytes);
  return digest.hex();
}

FileDigests::FileDigests(std::size_t remembered) : most_(remembered) {}

FileDigests::Key FileDigests::key_of(const struct stat& file) {
  return {file.st_dev,
          file.st_ino,
          file.st_mode,
          file.st_size,
          nanoseconds(file.st_mtim),
          nanoseconds(file.st_ctim)};
}

const std::string* FileDigests::remembered(const Key& key) {
  const auto found = known_.find(key);
  if (found == known_.end()) return nullptr;
  ages_.splice(ages_.begin(), ages_, found->second.age);
  return &found->second.sha256;
}

std::string FileDigests::known(const struct stat& file) {
  const std::scoped_lock lock(mutex_);
  const auto* sha256 = remembered(key_of(file));
  return sha256 == nullptr ? std::string() : *sha256;
}

std::string FileDigests::of(int fd, std::uint64_t largest) {
  struct stat before {};
  if (::fstat(fd, &before) != 0 || !S_ISREG(before.st_mode) || before.st_size < 0 ||
      static_cast<std::uint64_t>(before.st_size) > largest) {
    return {};
  }
  const Key key = key_of(before);
  const std::scoped_lock lock(mutex_);
  if (const auto* sha256 = remembered(key)) return *sha256;
  Sha256 digest;
  std::vector<char> piece(kPiece);
  std::uint64_t read = 0;
  for (;;) {
    const ssize_t got = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(read));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {};
    if (got == 0) break;
    digest.add({piece.data(), static_cast<std::size_t>(got)});
    read += static_cast<std::uint64_t>(got);
    if (read > largest) return {};
  }
  struct stat after {};
  if (::fstat(fd, &after) != 0 || key_of(after) != key ||
      read != static_cast<std::uint64_t>(before.st_size)) {
    return {};
  }
  std::string hex = digest.hex();
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (most_ == 0 || nanoseconds(now) - nanoseconds(before.st_ctim) < kSettled) return hex;
  ages_.push_front(key);
  known_[key] = {hex, ages_.begin()};
  if (known_.size() > most_) {
    known_.erase(ages_.back());
    ages_.pop_back();
  }
  return hex;
}

std::string FileDigests::of(const std::string& path, std::uint64_t largest) {
  // Looked at before it is opened: opening a FIFO or a device may do something.
  const Descriptor place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat file {};
  if (place.fd < 0 || ::fstat(place.fd, &file) != 0 || !S_ISREG(file.st_mode)) return {};
  const Descriptor opened(::open(("/proc/self/fd/" + std::to_string(place.fd)).c_str(),
                                 O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  return opened.fd < 0 ? std::string() : of(opened.fd, largest);
}

std::size_t FileDigests::remembered() const {
  const std::scoped_lock lock(mutex_);
  return known_.size();
}

}  // namespace palisade::guard
