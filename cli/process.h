// Another program, run to its end with its output read as it comes.
#pragma once

#include <csignal>
#include <expected>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::cli {

// While it lives, SIGINT, SIGTERM, SIGHUP and SIGQUIT come to a descriptor and end nothing by
// themselves, and a pipe that nobody reads any more is an error of write(2): what was begun is
// cleaned up. One thread, one at a time.
class Interrupts {
 public:
  // `more`: signals that come to the descriptor too, and end nothing.
  explicit Interrupts(std::initializer_list<int> more = {});
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  // The next signal that came, or 0; one of those that end is kept for signal().
  int next();
  // The first one that came and ends, or 0. It stays; the others before it are passed over.
  [[nodiscard]] int signal();
  [[nodiscard]] const sigset_t& mask_before() const { return before_; }

 private:
  sigset_t before_{};
  struct sigaction pipe_before_ {};
  int descriptor_ = -1;
  int signal_ = 0;
};

// A folder that only this user may enter, gone with the object.
class TemporaryFolder {
 public:
  // Below $TMPDIR or /tmp.
  [[nodiscard]] static std::expected<TemporaryFolder, std::string> make();
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

struct Program {
  std::vector<std::string> argv;         // the first is looked for on PATH
  std::vector<std::string> environment;  // NAME=VALUE, all of it
  std::filesystem::path folder;          // it runs there
};

// Gets pieces of what is written; false: nobody wants more, and the program is ended.
using Sink = std::function<bool(std::string_view)>;

// The exit status, 128 + N for one that a signal ended. Standard input is empty. Errors: it cannot
// be started, or a signal came to `interrupts` (the program is ended first).
[[nodiscard]] std::expected<int, std::string> run_program(const Program& program, const Sink& out,
                                                          const Sink& err, Interrupts& interrupts);

}  // namespace palisade::cli
