// Unix sockets by path: which file a caller's path names, and binding one in its place. A path is
// resolved once, into a descriptor; what happens to the names afterwards changes nothing.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include <sys/types.h>

#include "guard/proc.h"

namespace palisade::guard {

struct ResolvedPath {
  Fd file;           // O_PATH
  std::string name;  // where it really is
};

// The file that `path` names for `thread`, from its root and its working directory. Magic links
// (/proc/PID/cwd and the like) lead nowhere. Errors: errno.
[[nodiscard]] std::expected<ResolvedPath, int> resolve(pid_t thread, const std::string& path);
// The directory that `path` has its last component in. EADDRINUSE for a path that ends in none.
[[nodiscard]] std::expected<ResolvedPath, int> resolve_parent(pid_t thread,
                                                              const std::string& path);

// The directories below which the agent may write; those that do not exist count for nothing.
class WritablePlaces {
 public:
  explicit WritablePlaces(const std::vector<std::string>& directories);

  [[nodiscard]] bool covers(const std::string& real_path) const;

  // bind(2) of `socket`, a Unix socket, to `path` as `thread` would do it (its umask, its working
  // directory), by a thread that Landlock lets make sockets below these directories and nowhere
  // else: links that change meanwhile lead it nowhere else either. A relative path is bound by its
  // absolute name. Returns 0 or errno.
  [[nodiscard]] int bind_path(pid_t thread, int socket, const std::string& path) const;

 private:
  std::vector<std::string> places_;  // real paths
  Fd ruleset_;
};

}  // namespace palisade::guard
