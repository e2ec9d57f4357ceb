#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <gateway/archive/directory.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "on_worker.h"
#include "refusal.h"

namespace palisade::gateway::archive {

namespace {

constexpr int kThreads = 4;
constexpr std::size_t kMaxWaiting = 256;
constexpr const char* kLock = ".lock";
constexpr const char* kComplete = "complete.json";
constexpr const char* kCompleteDraft = ".complete.json";
constexpr std::array kStreams{Stream::kRecord, Stream::kOutput};

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// What the volume says. All of it may pass: the piece is sent again.
std::unexpected<Refusal> failed(const char* what, int error = errno) {
  const std::string why = std::string(what) + ": " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT)
    return refused(
        503, "archive_full",
        "the archive's volume is full (" + why + "): enlarge it, or shorten its retention");
  return refused(503, "archive_unavailable", "the archive's volume cannot be used: " + why);
}

// A folder below `parent`, made where it is not there; on disk with its name.
Outcome<Fd> enter(int parent, const std::string& name, bool make) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Fd folder(::openat(parent, name.c_str(), kFlags));
  if (folder || errno != ENOENT || !make) {
    if (!folder) return failed("a session's folder");
    return folder;
  }
  if (::mkdirat(parent, name.c_str(), 0750) != 0 && errno != EEXIST)
    return failed("making a folder");
  if (::fsync(parent) != 0) return failed("making a folder");
  folder = Fd(::openat(parent, name.c_str(), kFlags));
  if (!folder) return failed("a session's folder");
  return folder;
}

std::uint64_t size_of(int folder, const char* name) {
  struct stat found {};
  if (::fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(found.st_mode))
    return 0;
  return static_cast<std::uint64_t>(found.st_size);
}

bool is_there(int folder, const char* name) {
  struct stat found {};
  return ::fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) == 0;
}

// A session's folder, locked as long as this lives.
struct Session {
  Fd folder;
  Fd lock;
  [[nodiscard]] bool closed() const { return is_there(folder.get(), kComplete); }
};

Outcome<Session> open_session(const std::filesystem::path& root, const Place& place) {
  Session out;
  out.folder = Fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!out.folder) return failed("its folder");
  for (const std::string* name :
       {&place.ns, &place.workspace, &place.workspace_uid, &place.pod_uid}) {
    auto next = enter(out.folder.get(), *name, true);
    if (!next) return std::unexpected(std::move(next.error()));
    out.folder = std::move(*next);
  }
  out.lock = Fd(::openat(out.folder.get(), kLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!out.lock) return failed("a session's lock");
  while (::flock(out.lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return failed("a session's lock");
  }
  return out;
}

Outcome<Held> look(const std::filesystem::path& root, const Place& place, Stream stream) {
  const auto session = open_session(root, place);
  if (!session) return std::unexpected(session.error());
  return Held{size_of(session->folder.get(), file_of(stream)), session->closed()};
}

// Whether the file has `bytes` at `offset`.
Outcome<bool> same_at(int file, std::uint64_t offset, std::string_view bytes) {
  std::array<char, 16384> piece{};
  while (!bytes.empty()) {
    const std::size_t most = std::min(piece.size(), bytes.size());
    const ssize_t got = ::pread(file, piece.data(), most, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("reading a stream");
    if (got == 0 || bytes.substr(0, static_cast<std::size_t>(got)) !=
                        std::string_view(piece.data(), static_cast<std::size_t>(got)))
      return false;
    offset += static_cast<std::uint64_t>(got);
    bytes.remove_prefix(static_cast<std::size_t>(got));
  }
  return true;
}

// All of it, on disk; or nothing, and the file is as long as before.
Outcome<void> write_at(int file, std::uint64_t end, std::string_view bytes) {
  std::uint64_t at = end;
  int error = 0;
  while (!bytes.empty() && error == 0) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      error = written < 0 ? errno : ENOSPC;
      break;
    }
    at += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (error == 0 && ::fsync(file) != 0) error = errno;
  if (error == 0) return {};
  // Where that fails too, the same piece finds what was left of it.
  if (::ftruncate(file, static_cast<off_t>(end)) != 0) return failed("a stream", errno);
  return failed("writing a stream", error);
}

Outcome<Held> add(const ArchiveConfig& config, const Place& place, Stream stream,
                  std::uint64_t offset, std::string_view bytes) {
  const auto session = open_session(config.directory, place);
  if (!session) return std::unexpected(session.error());
  const int folder = session->folder.get();
  const char* const name = file_of(stream);
  const std::uint64_t end = size_of(folder, name);
  if (offset > end) return gap_at(end);
  const bool fresh = !is_there(folder, name);
  const Fd file(
      ::openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640));
  if (!file) return failed("a stream");
  const auto there = static_cast<std::size_t>(std::min<std::uint64_t>(end - offset, bytes.size()));
  const auto same = same_at(file.get(), offset, bytes.substr(0, there));
  if (!same) return std::unexpected(same.error());
  if (!*same) return rewritten();
  bytes.remove_prefix(there);
  if (!bytes.empty() && session->closed()) return already_closed();
  std::uint64_t all = bytes.size();
  for (const Stream one : kStreams)
    all += size_of(folder, file_of(one));
  if (!bytes.empty() && all > config.session_bytes) return over_quota(config.session_bytes);
  if (const auto written = write_at(file.get(), end, bytes); !written)
    return std::unexpected(written.error());
  if (fresh && ::fsync(folder) != 0) return failed("a session's folder");
  return Held{end + bytes.size(), session->closed(), bytes.size()};
}

Outcome<void> finish(const std::filesystem::path& root, const Place& place, const Ends& ends) {
  const auto session = open_session(root, place);
  if (!session) return std::unexpected(session.error());
  const int folder = session->folder.get();
  for (const auto& [stream, end] :
       {std::pair{Stream::kRecord, ends.record}, {Stream::kOutput, ends.output}}) {
    const std::uint64_t held = size_of(folder, file_of(stream));
    if (held != end) return ends_elsewhere(file_of(stream), held, end);
  }
  if (session->closed()) return {};
  const std::string text = nlohmann::json{{"record", ends.record}, {"output", ends.output}}.dump();
  {
    const Fd file(::openat(folder, kCompleteDraft,
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
    if (!file) return failed("a session's end");
    if (const auto written = write_at(file.get(), 0, text + "\n"); !written) return written;
  }
  if (::renameat(folder, kCompleteDraft, folder, kComplete) != 0 || ::fsync(folder) != 0)
    return failed("a session's end");
  return {};
}

}  // namespace

struct DirectoryStore::Impl {
  explicit Impl(const ArchiveConfig& given)
      : config(std::make_shared<const ArchiveConfig>(given)), workers(kThreads, kMaxWaiting) {}

  const std::shared_ptr<const ArchiveConfig> config;
  Workers workers;
};

DirectoryStore::DirectoryStore(const ArchiveConfig& config)
    : impl_(std::make_unique<Impl>(config)) {}

DirectoryStore::~DirectoryStore() = default;

Task<Outcome<Held>> DirectoryStore::held(const Place& place, Stream stream) {
  std::function<Outcome<Held>()> work = [config = impl_->config, place, stream] {
    return look(config->directory, place, stream);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

Task<Outcome<Held>> DirectoryStore::append(const Place& place, Stream stream, std::uint64_t offset,
                                           std::string_view bytes) {
  std::function<Outcome<Held>()> work = [config = impl_->config, place, stream, offset,
                                         piece = std::string(bytes)] {
    return add(*config, place, stream, offset, piece);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

Task<Outcome<void>> DirectoryStore::close(const Place& place, const Ends& ends) {
  std::function<Outcome<void>()> work = [config = impl_->config, place, ends] {
    return finish(config->directory, place, ends);
  };
  co_return co_await on_worker(impl_->workers, std::move(work));
}

namespace {

struct DirClose {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// The names in it that may be folders of this layout.
std::vector<std::string> names_in(int folder) {
  std::vector<std::string> out;
  const int again = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, DirClose> all(again < 0 ? nullptr : ::fdopendir(again));
  if (!all) {
    if (again >= 0) ::close(again);
    return out;
  }
  while (const dirent* entry = ::readdir(all.get())) {
    if (is_plain_name(entry->d_name)) out.emplace_back(entry->d_name);
  }
  return out;
}

// Whether it was a session that nobody has added to since, and is gone.
bool remove_session(int parent, const std::string& name, std::time_t before) {
  auto folder = enter(parent, name, false);
  if (!folder) return false;
  std::time_t newest = 0;
  bool session = false;
  for (const char* file : {kLock, kComplete, file_of(kStreams[0]), file_of(kStreams[1])}) {
    struct stat found {};
    if (::fstatat(folder->get(), file, &found, AT_SYMLINK_NOFOLLOW) != 0) continue;
    session = true;
    newest = std::max(newest, found.st_mtim.tv_sec);
  }
  if (!session || newest >= before) return false;
  for (const char* file :
       {file_of(kStreams[0]), file_of(kStreams[1]), kComplete, kCompleteDraft, kLock})
    ::unlinkat(folder->get(), file, 0);
  return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0;
}

std::size_t remove_below(int folder, int depth, std::time_t before,
                         const std::function<bool()>& stop) {
  std::size_t removed = 0;
  for (const std::string& name : names_in(folder)) {
    if (stop()) break;
    if (depth == 0) {
      if (remove_session(folder, name, before)) ++removed;
      continue;
    }
    const auto next = enter(folder, name, false);
    if (!next) continue;
    const std::size_t here = remove_below(next->get(), depth - 1, before, stop);
    removed += here;
    // Only where it has become empty by this: a new session's may be empty for a moment.
    if (here > 0) ::unlinkat(folder, name.c_str(), AT_REMOVEDIR);
  }
  return removed;
}

}  // namespace

std::size_t remove_older(const std::filesystem::path& directory,
                         std::chrono::system_clock::time_point before,
                         const std::function<bool()>& stop) {
  constexpr int kAboveSessions = 3;
  const Fd root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw std::system_error(errno, std::generic_category(), directory.string());
  return remove_below(root.get(), kAboveSessions, std::chrono::system_clock::to_time_t(before),
                      stop);
}

}  // namespace palisade::gateway::archive
