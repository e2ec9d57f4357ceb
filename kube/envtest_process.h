// A server that a test owns: its process, its log, and a loopback port kept for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

#include <kube/error.h>

namespace kube::envtest {

// A loopback TCP port that is bound, not listened on: others are refused, and no one else gets it.
// The server that it is for must set SO_REUSEPORT.
class ReservedPort {
 public:
  ReservedPort() = default;
  ~ReservedPort();
  ReservedPort(ReservedPort&& other) noexcept;
  ReservedPort& operator=(ReservedPort&& other) noexcept;
  [[nodiscard]] static Result<ReservedPort> make();
  [[nodiscard]] std::uint16_t number() const { return number_; }

 private:
  int socket_ = -1;
  std::uint16_t number_ = 0;
};

// Owns the process: the destructor kills and reaps it.
class Process {
 public:
  Process() = default;
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Output is appended to `log`. `arguments[0]` is the program's full path.
  [[nodiscard]] Result<void> start(const std::vector<std::string>& arguments,
                                   const std::filesystem::path& log);
  // False once it has ended (and reaps it).
  [[nodiscard]] bool running();
  // Sends `signal`; SIGKILL follows if it has not ended within `patience`. Reaps it.
  void stop(int signal, std::chrono::milliseconds patience);
  // How it ended, e.g. "exit status 1"; "" while it runs.
  [[nodiscard]] const std::string& ending() const { return ending_; }

 private:
  pid_t pid_ = -1;
  std::string ending_;
};

// The last `lines` lines of a file.
[[nodiscard]] std::string tail(const std::filesystem::path& file, std::size_t lines);

}  // namespace kube::envtest
