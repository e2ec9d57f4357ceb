#include "kubeconfig_write.h"

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pause.h"
#include "url.h"

namespace kube {

namespace {

constexpr auto kBetweenLooks = std::chrono::milliseconds(50);

std::unexpected<Error> file_fault(const std::filesystem::path& file, const std::string& why) {
  return std::unexpected(Error{0, "InvalidConfiguration", file.string() + ": " + why, {}, {}});
}

std::unexpected<Error> system_fault(const std::filesystem::path& file, const std::string& doing,
                                    int code) {
  return file_fault(file, doing + ": " + std::generic_category().message(code));
}

// Calls `attempt` until it is true; false where the time is over or `stop` is asked for.
template <class Attempt>
bool within(std::chrono::milliseconds longest, const std::stop_token& stop, Attempt&& attempt) {
  const auto deadline = std::chrono::steady_clock::now() + longest;
  while (!attempt()) {
    if (std::chrono::steady_clock::now() >= deadline || !pause(stop, kBetweenLooks)) return false;
  }
  return true;
}

// What is in quotes stays a text. False: it is nested too deeply.
bool put(YAML::Emitter& out, const YAML::Node& node, int depth = 0) {
  constexpr int kMostDepth = 64;
  if (depth > kMostDepth) return false;
  bool whole = true;
  if (node.IsMap()) {
    out << YAML::BeginMap;
    for (const auto& member : node) {
      out << YAML::Key;
      whole = put(out, member.first, depth + 1) && whole;
      out << YAML::Value;
      whole = put(out, member.second, depth + 1) && whole;
    }
    out << YAML::EndMap;
  } else if (node.IsSequence()) {
    out << YAML::BeginSeq;
    for (const auto& one : node)
      whole = put(out, one, depth + 1) && whole;
    out << YAML::EndSeq;
  } else if (node.IsScalar()) {
    if (node.Tag() == "!") out << YAML::DoubleQuoted;
    out << node.Scalar();
  } else {
    out << YAML::Null;
  }
  return whole;
}

// The text of `root`; empty where it would not be read as what it is.
std::string yaml_of(const YAML::Node& root) {
  YAML::Emitter out;
  if (!put(out, root) || !out.good()) return {};
  std::string text = std::string(out.c_str(), out.size()) + "\n";
  try {
    if (json_of(YAML::Load(text)) != json_of(root)) return {};
  } catch (const YAML::Exception&) {
    return {};
  }
  return text;
}

// A new file beside the one that it is to replace; gone unless it has been moved there.
class Successor {
 public:
  explicit Successor(std::filesystem::path target) : target_(std::move(target)) {}
  Successor(const Successor&) = delete;
  Successor& operator=(const Successor&) = delete;
  ~Successor() {
    if (handle_ >= 0) ::close(handle_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }

  Result<void> write(std::string_view text) {
    struct stat old {};
    if (::stat(target_.c_str(), &old) != 0) return system_fault(target_, "cannot be read", errno);
    std::string name = target_.string() + ".XXXXXX";
    handle_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (handle_ < 0) return system_fault(target_, "a file beside it cannot be made", errno);
    name_ = name;
    struct stat made {};
    if (::fstat(handle_, &made) != 0) return system_fault(name_, "cannot be read", errno);
    if ((made.st_uid != old.st_uid || made.st_gid != old.st_gid) &&
        ::fchown(handle_, old.st_uid, old.st_gid) != 0)
      return system_fault(target_, "a new one cannot be given its owner", errno);
    if (::fchmod(handle_, old.st_mode & 07777U) != 0)
      return system_fault(target_, "a new one cannot be given its mode", errno);
    while (!text.empty()) {
      const ssize_t wrote = ::write(handle_, text.data(), text.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) return system_fault(name_, "cannot be written", errno);
      text.remove_prefix(static_cast<std::size_t>(wrote));
    }
    if (::fsync(handle_) != 0) return system_fault(name_, "cannot be written", errno);
    if (::rename(name_.c_str(), target_.c_str()) != 0)
      return system_fault(target_, "cannot be replaced", errno);
    name_.clear();
    return {};
  }

 private:
  const std::filesystem::path target_;
  std::string name_;
  int handle_ = -1;
};

}  // namespace

Result<KubeconfigLock> KubeconfigLock::take(const std::filesystem::path& file,
                                            std::chrono::milliseconds longest,
                                            const std::stop_token& stop) {
  const std::filesystem::path lock = file.string() + ".lock";
  int failed = 0;
  const bool taken = within(longest, stop, [&] {
    const int handle = ::open(lock.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    failed = handle < 0 ? errno : 0;
    if (handle >= 0) ::close(handle);
    return failed != EEXIST && failed != EINTR;
  });
  if (taken && failed == 0) return KubeconfigLock(lock);
  if (stop.stop_requested())
    return transport_error(kTransportReasonCancelled, lock.string() + ": cancelled");
  if (failed == EEXIST)
    return file_fault(lock,
                      "is there: another program writes the kubeconfig; wait until it has "
                      "ended, or remove this file where none runs");
  return system_fault(lock,
                      "cannot be made, and new tokens are written back to the kubeconfig: its "
                      "folder must be writable",
                      failed);
}

KubeconfigLock::~KubeconfigLock() {
  if (!file_.empty()) ::unlink(file_.c_str());
}

Result<KubeconfigTurn> KubeconfigTurn::take(const std::filesystem::path& file,
                                            std::chrono::milliseconds longest,
                                            const std::stop_token& stop) {
  KubeconfigTurn turn(-1);
  int failed = 0;
  const bool taken = within(longest, stop, [&] {
    if (turn.handle_ >= 0) ::close(turn.handle_);
    turn.handle_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    failed = turn.handle_ < 0 ? errno : 0;
    if (failed != 0) return true;
    if (::flock(turn.handle_, LOCK_EX | LOCK_NB) != 0) {
      failed = errno;
      return failed != EWOULDBLOCK && failed != EINTR;
    }
    // Whoever had it may have put another file in its place.
    struct stat held {};
    struct stat there {};
    return ::fstat(turn.handle_, &held) == 0 && ::stat(file.c_str(), &there) == 0 &&
           held.st_ino == there.st_ino && held.st_dev == there.st_dev;
  });
  if (taken && failed == 0) return turn;
  if (stop.stop_requested())
    return transport_error(kTransportReasonCancelled, file.string() + ": cancelled");
  if (taken) return system_fault(file, "cannot be locked", failed);
  return file_fault(file,
                    "another program renews its tokens and does not come to an end; try "
                    "again once it has");
}

KubeconfigTurn::~KubeconfigTurn() {
  if (handle_ >= 0) ::close(handle_);
}

namespace {

struct Place {
  Section root;
  Section settings;
};

Result<Place> place_of(const std::filesystem::path& file, const std::string& user) {
  auto root = read_root(file);
  if (!root) return std::unexpected(std::move(root.error()));
  if (!root->node.IsMap()) return root->fault("", "is not a kubeconfig (no YAML map)");
  auto entry = root->entry("users", "user", user);
  if (!entry) return std::unexpected(std::move(entry.error()));
  if (!*entry) return root->fault("users", "has no entry named \"" + user + "\" any more");
  auto provider = (*entry)->inner("auth-provider");
  if (!provider) return std::unexpected(std::move(provider.error()));
  auto settings = provider->inner("config");
  if (!settings) return std::unexpected(std::move(settings.error()));
  return Place{std::move(*root), std::move(*settings)};
}

}  // namespace

Result<Section> provider_settings(const std::filesystem::path& file, const std::string& user) {
  auto place = place_of(file, user);
  if (!place) return std::unexpected(std::move(place.error()));
  return std::move(place->settings);
}

Result<void> write_provider_settings(
    const std::filesystem::path& file, const std::string& user,
    const std::vector<std::pair<std::string, std::string>>& settings) {
  auto place = place_of(file, user);
  if (!place) return std::unexpected(std::move(place.error()));
  for (const auto& [name, value] : settings) {
    YAML::Node node(value);
    node.SetTag("!");
    place->settings.node[name] = node;
  }
  const std::string text = yaml_of(place->root.node);
  if (text.empty()) return file_fault(file, "cannot be written as the YAML that it is");
  std::error_code failed;
  const auto target = std::filesystem::canonical(file, failed);  // a link stays one
  if (failed) return file_fault(file, failed.message());
  return Successor(target).write(text);
}

}  // namespace kube
