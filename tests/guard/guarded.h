// Runs a program under guard's kernel core: the real filter, domain, judges and launcher, as an
// unprivileged user, in a process of its own.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "guard/policy.h"

namespace palisade::guard::testing {

inline constexpr unsigned kNobody = 65534;

// A folder that nobody can write, removed at the end. Below /tmp.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  // A file in it that belongs to nobody.
  std::string write(const std::string& name, const std::string& content, unsigned mode) const;
  std::string copy(const std::string& from, const std::string& name, unsigned mode) const;

 private:
  std::string path_;
};

// A policy that lets nobody write `folder` alone, with the profile "aider".
[[nodiscard]] Policy policy_for(const Folder& folder);

struct Ran {
  std::string trouble;  // why guard could not run it
  int status = 0;       // of the program, as waitpid(2) has it
  std::string output;   // stdout and stderr
  std::vector<std::string>
      events;  // "Refused exec.allow execve /x 13 enforced", "Exec /bin/true"...

  // How many events begin with this.
  [[nodiscard]] std::size_t count(const std::string& beginning) const;
  [[nodiscard]] std::string all() const;  // for messages
};

struct With {
  std::string folder = "/";  // working directory
  std::vector<std::string> environment{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"};
  std::chrono::seconds within{60};
  int abi = 0;                           // Landlock's, of an older kernel; 0: this one's
  bool mdwe = true;                      // PR_SET_MDWE, where the policy would have it
  std::string search = "/usr/bin:/bin";  // guard's own PATH
  // In guard's process, as long as it is the test's user: makes the world that it starts in.
  std::function<void()> prepare;
};

[[nodiscard]] Ran run_guarded(const Policy& policy, const std::vector<std::string>& command,
                              const With& with = {});
// python3 -c CODE in the policy's first writable folder.
[[nodiscard]] Ran run_python(const Policy& policy, const std::string& code);

// Whether the kernel has what Enforce needs; where not, tests cannot tell anything.
[[nodiscard]] bool exited(const Ran& ran, int code);

}  // namespace palisade::guard::testing
