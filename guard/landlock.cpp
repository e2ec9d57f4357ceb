#include "guard/landlock.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

// Newer than the headers that this is built with.
constexpr std::uint64_t kTruncate = 1ULL << 14;
constexpr std::uint64_t kIoctlDevice = 1ULL << 15;
constexpr std::uint64_t kBindTcp = 1ULL << 0;
constexpr std::uint64_t kConnectTcp = 1ULL << 1;
constexpr std::uint64_t kScopeAbstract = 1ULL << 0;
constexpr std::uint64_t kScopeSignal = 1ULL << 1;

struct RulesetAttributes {  // landlock_ruleset_attr of ABI 6
  std::uint64_t files = 0;
  std::uint64_t network = 0;
  std::uint64_t scoped = 0;
};

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate |
                                 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t kNodes = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;
constexpr std::uint64_t kOfFiles = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                   LANDLOCK_ACCESS_FS_READ_FILE | kTruncate | kIoctlDevice;
constexpr std::uint64_t kDevice = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE;

std::uint64_t handled_files(int abi) {
  std::uint64_t all = kRead | kWrite | kNodes | LANDLOCK_ACCESS_FS_EXECUTE;
  if (abi >= kLandlockIoctl) {
    all |= kIoctlDevice;
  }
  return all;
}

std::expected<Fd, std::string> make_ruleset(const RulesetAttributes& attributes, int abi) {
  const std::size_t size = abi >= kLandlockScope     ? sizeof attributes
                           : abi >= kLandlockNetwork ? 2 * sizeof(std::uint64_t)
                                                     : sizeof(std::uint64_t);
  Fd ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset) {
    return std::unexpected(std::string("no Landlock ruleset can be made: ") + std::strerror(errno));
  }
  return ruleset;
}

// Adds `access` for what lies at `path`. What the agent could not reach anyway is left out.
std::expected<void, std::string> allow(const Fd& ruleset, const std::string& path,
                                       std::uint64_t access, std::uint64_t handled) {
  const Fd place(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat status {};
  if (!place || fstat(place.get(), &status) != 0) {
    if (errno == ENOENT || errno == EACCES || errno == ENOTDIR) {
      return {};
    }
    return std::unexpected(path + " cannot be opened: " + std::strerror(errno));
  }
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access & handled & (S_ISDIR(status.st_mode) ? ~0ULL : kOfFiles);
  rule.parent_fd = place.get();
  if (rule.allowed_access == 0) {
    return {};
  }
  if (syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
    return std::unexpected(path +
                           " cannot be put into the Landlock ruleset: " + std::strerror(errno));
  }
  return {};
}

// As resolved(), but also of what is not there yet: the record.
std::string place_of(const std::string& path) {
  std::error_code error;
  const auto real = std::filesystem::weakly_canonical(path, error);
  return error ? path : real.string();
}

// The record must be out of reach of every rule.
std::expected<void, std::string> keep_apart(const Policy& policy) {
  const auto record = place_of(policy.record.path);
  for (const auto& [field, folders] : {std::pair("files.read", &policy.files.read),
                                       std::pair("files.write", &policy.files.write)}) {
    for (const auto& folder : *folders) {
      if (below(record, place_of(folder))) {
        return std::unexpected(std::string(field) + ": " + folder + " holds the record (" +
                               policy.record.path + "), which must be out of the agent's reach");
      }
    }
  }
  return {};
}

std::expected<void, std::string> enforce(const Fd& ruleset, const Policy& policy,
                                         const Programs& programs, std::uint64_t handled) {
  struct Rule {
    std::string path;
    std::uint64_t access;
  };
  std::vector<Rule> rules{
      {"/dev/null", kDevice | kTruncate},
      {"/dev/zero", kDevice},
      {"/dev/full", kDevice},
      {"/dev/tty", kDevice | kIoctlDevice},
      {"/dev/ptmx", kDevice | kIoctlDevice},
      {"/dev/pts", kRead | kDevice | kIoctlDevice},
      // POSIX semaphores and shared memory, which Python's multiprocessing stands on.
      {"/dev/shm", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate | LANDLOCK_ACCESS_FS_MAKE_REG |
                       LANDLOCK_ACCESS_FS_REMOVE_FILE}};
  for (const auto& path : policy.files.read) {
    rules.push_back({path, kRead});
  }
  for (const auto& path : policy.files.write) {
    rules.push_back({path, kWrite});
  }
  for (const auto& path : programs.executables()) {
    rules.push_back({path, LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE});
  }
  for (const auto& rule : rules) {
    if (auto added = allow(ruleset, rule.path, rule.access, handled); !added) {
      return added;
    }
  }
  return {};
}

// Everything but the record: each folder beside the way to it. READ_DIR is not handled, so that the
// folders on that way can still be listed.
std::expected<void, std::string> audit(const Fd& ruleset, const Policy& policy,
                                       std::uint64_t handled) {
  const std::filesystem::path record = place_of(policy.record.path);
  std::filesystem::path folder = "/";
  for (const auto& part : record.parent_path().relative_path()) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      if (entry.path().filename() == part) {
        continue;
      }
      if (auto added = allow(ruleset, entry.path(), handled, handled); !added) {
        return added;
      }
    }
    if (error) {
      return std::unexpected(folder.string() + " cannot be listed: " + error.message());
    }
    folder /= part;
  }
  return {};
}

}  // namespace

int landlock_abi() {
  const auto abi =
      syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

std::expected<Fd, std::string> landlock_ruleset(const Policy& policy, const Programs& programs,
                                                int abi) {
  const bool enforcing = policy.mode == Mode::kEnforce;
  RulesetAttributes attributes;
  attributes.files = handled_files(abi);
  if (enforcing) {
    if (auto apart = keep_apart(policy); !apart) {
      return std::unexpected(apart.error());
    }
    attributes.network = abi >= kLandlockNetwork ? kBindTcp | kConnectTcp : 0;
    attributes.scoped = abi >= kLandlockScope ? kScopeAbstract | kScopeSignal : 0;
  } else {
    attributes.files &= ~(LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE);
  }
  auto ruleset = make_ruleset(attributes, abi);
  if (!ruleset) {
    return ruleset;
  }
  const auto filled = enforcing ? enforce(*ruleset, policy, programs, attributes.files)
                                : audit(*ruleset, policy, attributes.files);
  if (!filled) {
    return std::unexpected(filled.error());
  }
  return ruleset;
}

std::expected<void, int> landlock_enter(const Fd& ruleset) {
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return std::unexpected(errno);
  }
  return {};
}

}  // namespace palisade::guard
