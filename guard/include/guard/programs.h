// Which files the agent may execute: the policy's names and the profile, found in this image and
// resolved to files. Landlock's rules and the judges go by these files and by no name.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guard/paths.h"
#include "guard/policy.h"
#include "guard/proc.h"

namespace palisade::guard {

struct Programs {
  std::map<FileId, std::string> allowed;  // programs, and scripts with what they name behind #!
  std::map<FileId, FileId> shown_as;      // for each: what /proc/PID/exe leads to when it runs
  std::map<FileId, std::string> interpreters;  // ELF interpreters: for the kernel alone to start
  std::string agent;  // what guard starts: the first word of the command, as found on PATH

  [[nodiscard]] bool may_run(FileId file) const { return allowed.contains(file); }
  // All that the kernel must be able to execute.
  [[nodiscard]] std::vector<std::string> executables() const;
};

struct ProgramError {
  bool agent = false;   // the command that guard starts is at fault, and not the policy
  std::string message;  // names the field and the fix
};

// `command` is what guard starts; `search` is its PATH. What the profile names and the image does
// not hold is left out; a program of `exec.allow` that is not there, is no file that can be
// executed, or could be changed by the agent is an error.
[[nodiscard]] std::expected<Programs, ProgramError> find_programs(
    const Policy& policy, const std::vector<std::string>& command, std::string_view search);

// PATH as it is to be: what it was, and the policy's folders. `path` null: the usual.
[[nodiscard]] std::string search_path(const Policy& policy, const char* path);

// The first file `name` on `search` that may be executed; a name with a slash is itself.
[[nodiscard]] std::optional<std::string> on_path(const std::string& name, std::string_view search);

// Whether the agent could change this file: it lies below files.write, belongs to guard's user or
// can be written by it, on a mount that can be written. What cannot be found out counts as yes.
[[nodiscard]] bool agent_may_change(const std::string& resolved, const FilePolicy& files);

// What a program's first bytes tell.
struct Image {
  bool elf = false;
  bool program = false;     // has an ELF interpreter, is marked as an executable, or is no library
  std::string interpreter;  // of an ELF: PT_INTERP
  std::string shebang;      // of a script: the interpreter behind #!
  std::string argument;     // of a script: what follows it
};
// Error: an errno, or ENOEXEC where the file is neither.
[[nodiscard]] std::expected<Image, int> read_image(int fd);

}  // namespace palisade::guard
