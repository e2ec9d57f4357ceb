// The judge of execve(2) and execveat(2). What the kernel executes is decided by Landlock, on the
// file itself; what is read here of the caller's memory is for a clear answer and for the record.
// So a name that changes after the look gains nothing, and is found out: at the process's next
// notification /proc/PID/exe must be what was let through, and where the dynamic loader makes that
// notification, before any code of the program has run, /proc/PID/cmdline must be what is on record
// (the finding "exec.mismatch"). A program that is linked statically has no such moment.
//
// Rules: exec.allow (a file that is not allowed), exec.loader (the dynamic loader by hand). EACCES.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "guard/digest.h"
#include "guard/proc.h"
#include "guard/scripts.h"
#include "guard/supervisor.h"

namespace palisade::guard {

// Belongs to the thread `notify`.
class Execs {
 public:
  // Both outlive this object.
  Execs(FileDigests& digests, Scripts& scripts) : digests_(digests), scripts_(scripts) {}

  [[nodiscard]] Answer judge(const Notification& notification, Context& context);
  // Every other notification of a process: has it become what it said? look() while it waits for
  // its answer, check() at any time afterwards.
  void look(const Notification& notification);
  void check(const Notification& notification, Context& context);

 private:
  struct Expected {
    // A pidfd: tells whether the number is still this process's.
    std::shared_ptr<const Fd> process;
    pid_t thread = 0;  // that called
    FileId before;     // what it was
    FileId after;      // what it is to become
    std::string path;
    // Its arguments as the kernel is to keep them; of a script those behind its own name.
    std::size_t words_bytes = 0;
    std::string words_sha256;
    bool words_cut = false;            // there are more than these
    bool of_script = false;            // an interpreter runs, whose own words come first
    std::optional<std::string> shown;  // by the kernel, once it runs
    [[nodiscard]] bool words_match() const;
  };
  // What the judge let through, and what goes on record of it.
  struct Passed;
  void passed(Passed& passed, Context& context);
  void expect(const Passed& passed, const Context& context);

  FileDigests& digests_;
  Scripts& scripts_;
  std::map<pid_t, Expected> expected_;
};

}  // namespace palisade::guard
