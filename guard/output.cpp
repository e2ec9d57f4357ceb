#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <guard/output.h>
#include <sys/stat.h>
#include <unistd.h>

namespace palisade::guard {

namespace {

constexpr const char* kOutputName = "output.log";
constexpr std::string_view kLeftOut = "\n[palisade: the output is longer; the rest was left out]\n";

}  // namespace

OutputFile::OutputFile(int fd, std::uint64_t max_bytes, std::uint64_t bytes)
    : fd_(fd), max_bytes_(max_bytes), bytes_(bytes) {}

OutputFile::~OutputFile() {
  ::close(fd_);
}

std::expected<std::unique_ptr<OutputFile>, std::string> OutputFile::open(const std::string& record,
                                                                         std::uint64_t max_bytes) {
  const std::string path = std::filesystem::path(record).replace_filename(kOutputName).string();
  const int fd =
      ::open(path.c_str(),
             O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0644);
  struct stat found {};
  if (fd < 0 || ::fstat(fd, &found) != 0 || !S_ISREG(found.st_mode)) {
    const std::string why = fd < 0 ? std::strerror(errno) : "it is no regular file";
    if (fd >= 0) ::close(fd);
    return std::unexpected(path + ": what the agent prints cannot be kept: " + why);
  }
  return std::unique_ptr<OutputFile>(
      new OutputFile(fd, max_bytes, static_cast<std::uint64_t>(found.st_size)));
}

void OutputFile::add(std::string_view bytes) {
  if (full_ || bytes.empty()) return;
  const std::uint64_t room = max_bytes_ > kLeftOut.size() ? max_bytes_ - kLeftOut.size() : 0;
  const std::uint64_t left = bytes_ < room ? room - bytes_ : 0;
  if (bytes.size() > left || !write(bytes)) {
    full_ = true;
    static_cast<void>(bytes.size() > left && write(bytes.substr(0, left)) && write(kLeftOut));
  }
}

bool OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes_ += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace palisade::guard
