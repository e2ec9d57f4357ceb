// The judge of memory that becomes executable: mmap(2) with PROT_EXEC; mprotect, pkey_mprotect and
// shmat where the filter has chosen them.
//
// A file may be mapped executable where the descriptor leads to a regular file that the agent
// cannot change, and that is a program the agent may run, a loader, or a library below
// exec.libraries by its name and by its content. Nothing of that is in the caller's memory. The
// descriptor itself is: its table is shared inside a thread group alone (filter.h). A caller that
// is the only thread waits for guard; of any other guard holds all threads (freeze.h) from the look
// until the mapping is made.
//
// Rules: exec.mapping (a file), exec.memory (no file). EACCES.
#pragma once

#include <set>
#include <string>

#include "guard/freeze.h"
#include "guard/proc.h"
#include "guard/supervisor.h"

namespace palisade::guard {

// Belongs to the thread `notify`.
class Mappings {
 public:
  [[nodiscard]] Answer mmap(const Notification& notification, Context& context);
  [[nodiscard]] Answer memory(const Notification& notification, Context& context);
  bool settle() { return freezer_.settle(); }

 private:
  // "": it may be mapped. Else what is wrong with it.
  [[nodiscard]] std::string fault(pid_t thread, int fd, const Context& context);
  [[nodiscard]] static std::string look(pid_t thread, const std::string& name,
                                        const struct stat& status, const Context& context);

  Freezer freezer_;
  // Files that were found fit. They cannot be changed, so neither can the verdict.
  std::set<FileId> fit_;
};

}  // namespace palisade::guard
