#include "guard/programs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

constexpr int kMostInterpreters = 5;  // as the kernel: a script's interpreter may be a script

// One program with all that the kernel opens to start it.
class Expansion {
 public:
  Expansion(Programs& programs, const Policy& policy, std::string_view search)
      : programs_(programs), policy_(policy), search_(search) {}

  // The error says what is wrong with `path`.
  std::expected<void, std::string> add(const std::string& path, int depth = 0) {
    if (depth > kMostInterpreters) {
      return std::unexpected(path + " has interpreters that have interpreters without end");
    }
    auto file = open_program(path);
    if (!file) {
      return std::unexpected(file.error());
    }
    if (programs_.allowed.contains(file->id)) {
      return {};
    }
    auto image = read_image(file->fd.get());
    if (!image) {
      return std::unexpected(path + " is neither an x86-64 ELF program nor a script with #!");
    }
    if (image->elf && !image->interpreter.empty()) {
      if (auto added = add_interpreter(path, image->interpreter); !added) {
        return added;
      }
    }
    std::optional<FileId> shown;
    if (!image->shebang.empty()) {
      if (auto added = add(image->shebang, depth + 1); !added) {
        return std::unexpected(path + " is a script: " + added.error());
      }
      struct stat status {};
      if (stat(image->shebang.c_str(), &status) == 0) {
        shown = programs_.shown_as.at(file_id(status));
      }
      if (auto added = add_env(*image, depth); !added) {
        return std::unexpected(path + " is a script: " + added.error());
      }
    }
    programs_.allowed.emplace(file->id, file->path);
    programs_.shown_as.emplace(file->id, shown.value_or(file->id));
    return {};
  }

 private:
  struct Found {
    std::string path;
    FileId id;
    Fd fd;
  };

  [[nodiscard]] std::expected<Found, std::string> open_program(const std::string& path) const {
    auto real = resolved(path);
    if (!real) {
      return std::unexpected(path + " cannot be found: " + std::strerror(errno));
    }
    Found found{*real, {}, Fd(open(real->c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK))};
    struct stat status {};
    if (!found.fd || fstat(found.fd.get(), &status) != 0) {
      return std::unexpected(path + " cannot be read: " + std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & 0111U) == 0) {
      return std::unexpected(path + " is no file that can be executed");
    }
    if (agent_may_change(*real, policy_.files)) {
      return std::unexpected(path +
                             " could be changed by the agent: it must lie on a read-only "
                             "mount, or belong to another user who alone may write it");
    }
    found.id = file_id(status);
    return found;
  }

  std::expected<void, std::string> add_interpreter(const std::string& path,
                                                   const std::string& interpreter) {
    auto file = open_program(interpreter);
    if (!file) {
      return std::unexpected(path + " needs the loader " + file.error());
    }
    programs_.interpreters.emplace(file->id, file->path);
    return {};
  }

  // #!/usr/bin/env NAME starts NAME from PATH.
  std::expected<void, std::string> add_env(const Image& image, int depth) {
    const auto slash = image.shebang.rfind('/');
    if (image.shebang.substr(slash + 1) != "env" || image.argument.empty()) {
      return {};
    }
    std::string name = image.argument;
    if (name.starts_with("-S ")) {
      name.erase(0, 3);
    }
    name = name.substr(0, name.find_first_of(" \t"));
    const auto found = on_path(name, search_);
    if (!found) {
      return std::unexpected("its interpreter " + name + " is in no folder of PATH");
    }
    return add(*found, depth + 1);
  }

  Programs& programs_;
  const Policy& policy_;
  std::string_view search_;
};

// The profile's programs are no scripts: those would bring in what they are written in.
bool is_elf(const std::string& path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const auto image = file ? read_image(file.get()) : std::unexpected(errno);
  return image && image->elf;
}

// git's own commands are one file by many names, or copies of it; its other helpers speak to
// networks or are shell scripts, and stay out.
void add_git_core(Programs& programs, const Policy& policy, const std::string& git) {
  const auto real_git = resolved(git);
  struct stat original {};
  if (!real_git || stat(real_git->c_str(), &original) != 0 ||
      !programs.may_run(file_id(original))) {
    return;
  }
  for (const char* folder : {"/usr/lib/git-core", "/usr/libexec/git-core",
                             "/usr/local/libexec/git-core", "/usr/local/lib/git-core"}) {
    const auto copy = resolved(std::string(folder) + "/git");
    struct stat status {};
    if (!copy || !below(*copy, folder) || stat(copy->c_str(), &status) != 0 ||
        !S_ISREG(status.st_mode) || agent_may_change(*copy, policy.files)) {
      continue;
    }
    programs.allowed.emplace(file_id(status), *copy);
    programs.shown_as.emplace(file_id(status), file_id(status));
  }
}

// What stands in a folder and could be executed: somebody installed it there, and not all of it
// need be of use here. What the agent could change stays out.
void add_folder(Expansion& expansion, const std::string& folder) {
  constexpr int kMostPrograms = 1024;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(folder.c_str()), closedir);
  if (!entries) {
    return;
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(entries.get())) {  // NOLINT(concurrency-mt-unsafe)
    names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  int left = kMostPrograms;
  for (const std::string& name : names) {
    struct stat status {};
    const std::string path = folder + "/" + name;
    if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
        (status.st_mode & 0111U) == 0) {
      continue;
    }
    if (left-- == 0) {
      return;
    }
    static_cast<void>(expansion.add(path));
  }
}

}  // namespace

std::string search_path(const Policy& policy, const char* path) {
  std::string search = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (const std::string& folder : policy.exec.folders) {
    search += ':' + folder;
  }
  return search;
}

std::vector<std::string> Programs::executables() const {
  std::vector<std::string> files;
  for (const auto* some : {&allowed, &interpreters}) {
    for (const auto& [id, path] : *some) {
      files.push_back(path);
    }
  }
  return files;
}

bool agent_may_change(const std::string& path, const FilePolicy& files) {
  struct statvfs mount {};
  if (statvfs(path.c_str(), &mount) != 0) {
    return true;
  }
  if ((mount.f_flag & ST_RDONLY) != 0) {
    return false;
  }
  for (const auto& writable : files.write) {
    if (below(path, resolved(writable).value_or(writable))) {
      return true;
    }
  }
  struct stat status {};
  return stat(path.c_str(), &status) != 0 || status.st_uid == geteuid() ||
         faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
}

std::optional<std::string> on_path(const std::string& name, std::string_view search) {
  const auto runnable = [](const std::string& path) {
    struct stat status {};
    return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0;
  };
  if (name.empty()) {
    return std::nullopt;
  }
  if (name.find('/') != std::string::npos) {
    return runnable(name) ? std::optional(name) : std::nullopt;
  }
  while (!search.empty()) {
    const auto colon = search.find(':');
    std::string path(search.substr(0, colon));
    // An empty part is the working directory: the agent's own files, so never meant.
    if (path.starts_with('/')) {
      path += '/';
      path += name;
      if (runnable(path)) {
        return path;
      }
    }
    if (colon == std::string_view::npos) {
      break;
    }
    search.remove_prefix(colon + 1);
  }
  return std::nullopt;
}

std::expected<Programs, ProgramError> find_programs(const Policy& policy,
                                                    const std::vector<std::string>& command,
                                                    std::string_view search) {
  Programs programs;
  Expansion expansion(programs, policy, search);
  for (std::size_t i = 0; i < policy.exec.allow.size(); ++i) {
    if (auto added = expansion.add(policy.exec.allow[i]); !added) {
      return std::unexpected(
          ProgramError{false, "exec.allow[" + std::to_string(i) + "]: " + added.error()});
    }
  }
  for (const std::string& folder : policy.exec.folders) {
    add_folder(expansion, folder);
  }
  for (const std::string& name : policy.exec.commands) {
    const auto found = on_path(name, search);
    if (!found) {
      continue;
    }
    if (auto added = expansion.add(*found); !added) {
      return std::unexpected(ProgramError{false, "exec.commands: " + added.error()});
    }
  }
  const auto agent = command.empty() ? std::nullopt : on_path(command.front(), search);
  if (!agent) {
    return std::unexpected(
        ProgramError{true, (command.empty() ? std::string("no program") : command.front()) +
                               " is no program of this image: it is in no folder of PATH"});
  }
  programs.agent = *agent;
  if (policy.exec.profile != "none") {
    if (auto added = expansion.add(*agent); !added) {
      return std::unexpected(ProgramError{true, added.error()});
    }
    for (const char* name : {"python3", "git"}) {
      if (const auto found = on_path(name, search); found && is_elf(*found)) {
        if (auto added = expansion.add(*found); !added) {
          return std::unexpected(ProgramError{false, "exec.profile: \"" + policy.exec.profile +
                                                         "\" needs " + std::string(name) + ": " +
                                                         added.error()});
        }
        if (std::string_view(name) == "git") {
          add_git_core(programs, policy, *found);
        }
      }
    }
    return programs;
  }
  struct stat status {};
  if (stat(agent->c_str(), &status) != 0 || !programs.may_run(file_id(status))) {
    return std::unexpected(ProgramError{
        true, *agent + " is not among exec.allow, and exec.profile \"none\" adds nothing to it"});
  }
  return programs;
}

}  // namespace palisade::guard
