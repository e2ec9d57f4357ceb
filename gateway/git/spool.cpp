#include "spool.h"

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace palisade::gateway::git {

namespace {

std::unexpected<SpoolError> failed(int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return std::unexpected(SpoolError{full ? SpoolFault::kNoRoom : SpoolFault::kDisk,
                                    std::generic_category().message(error)});
}

}  // namespace

bool SpoolRoom::take(std::uint64_t bytes) {
  std::uint64_t used = used_;
  do {
    if (bytes > most_ || used > most_ - bytes) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes));
  return true;
}

std::expected<std::shared_ptr<Spool>, SpoolError> Spool::open(const std::string& folder,
                                                              std::shared_ptr<SpoolRoom> room) {
  int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    // A file system that cannot make a file without a name: the name goes at once.
    std::string name = folder + "/push-XXXXXX";
    descriptor = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor >= 0) ::unlink(name.c_str());
  }
  if (descriptor < 0) return failed(errno);
  return std::shared_ptr<Spool>(new Spool(descriptor, std::move(room)));
}

Spool::~Spool() {
  ::close(descriptor_);
  room_->give_back(taken_);
}

std::expected<void, SpoolError> Spool::append(std::string_view bytes) {
  if (!room_->take(bytes.size()))
    return std::unexpected(SpoolError{SpoolFault::kNoRoom, "other pushes are being checked"});
  taken_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(errno);
    if (count == 0) return failed(ENOSPC);
    size_ += static_cast<std::uint64_t>(count);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

std::expected<std::size_t, std::string> Spool::read(std::uint64_t offset,
                                                    std::span<char> out) const {
  while (true) {
    const ssize_t count = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) return std::unexpected(std::generic_category().message(errno));
  }
}

}  // namespace palisade::gateway::git
