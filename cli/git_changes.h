// What a session pushed, by the user's own git and credentials, in a bare repository that lives no
// longer than the command. Nothing is checked out and nothing of the repository's is run: no hooks,
// filters, attributes, external diffs or textconv; submodules are not looked into.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "process.h"

namespace palisade::cli {

struct GitWish {
  std::string url;
  std::string ref;  // branch or tag
  std::string branch;
};

class GitChanges {
 public:
  enum class Shape { kPatch, kStat, kNames, kCommits };
  struct View {
    Shape shape = Shape::kPatch;
    bool coloured = false;
    unsigned columns = 80;           // of a --stat
    std::vector<std::string> paths;  // these alone; empty: all
  };

  // Asks the host and fetches both. `err` gets what git says meanwhile (it may be hostile: it comes
  // from the host). The error says what to do.
  [[nodiscard]] static std::expected<GitChanges, std::string> fetch(const GitWish& wish,
                                                                    const Sink& err,
                                                                    Interrupts& interrupts);

  // The branch's commit on the host; "" where it is not there: then there is nothing to show.
  [[nodiscard]] const std::string& head() const { return head_; }
  // False where the branch and what it started from have no commit in common: then a patch is
  // between the two as they are.
  [[nodiscard]] bool related() const { return related_; }

  // From where the branch left its ref. git's own words go to `out`.
  [[nodiscard]] std::expected<void, std::string> show(const View& view, const Sink& out,
                                                      const Sink& err,
                                                      Interrupts& interrupts) const;

 private:
  explicit GitChanges(TemporaryFolder folder) : folder_(std::move(folder)) {}
  [[nodiscard]] std::expected<int, std::string> git(const std::vector<std::string>& arguments,
                                                    const Sink& out, const Sink& err,
                                                    Interrupts& interrupts) const;
  [[nodiscard]] std::expected<void, std::string> look_up(const GitWish& wish, const Sink& err,
                                                         Interrupts& interrupts);

  TemporaryFolder folder_;
  std::string base_;  // full names of refs on the host
  std::string head_;
  bool related_ = true;
};

// The lines of `git ls-remote`: the object of a ref, "" where it is not there.
[[nodiscard]] std::string object_of_ref(std::string_view lines, std::string_view ref);

// A process's environment for git: without what would lead it to another repository, to another
// diff or to the system's attributes. `given` is NAME=VALUE.
[[nodiscard]] std::vector<std::string> git_environment(const std::vector<std::string>& given);

}  // namespace palisade::cli
