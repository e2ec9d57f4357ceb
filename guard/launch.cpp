#include "guard/launch.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <thread>

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/filter.h"
#include "guard/landlock.h"

namespace palisade::guard {
namespace {

constexpr int kSetMdwe = 65;
constexpr unsigned long kRefuseExecGain = 1;

// What went wrong in the child, through a pipe that a successful exec closes.
struct LaunchFailure {
  int error = 0;
  bool program = false;
};

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  all.reserve(words.size() + 1);
  for (const auto& word : words) {
    all.push_back(const_cast<char*>(word.c_str()));  // NOLINT: execve(2) does not change them
  }
  all.push_back(nullptr);
  return all;
}

// In the child, which has one thread and a copy of guard's memory: async-signal-safe calls alone.
[[noreturn]] void become_agent(const Launch& launch, int report, char* const* arguments,
                               char* const* environment) {
  LaunchFailure failure;
  const rlimit no_core{0, 0};
  // Guard itself is not dumpable; the agent's processes must be, for guard to see them.
  if (!launch.adopt() || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 ||
      setrlimit(RLIMIT_CORE, &no_core) != 0 || setrlimit(RLIMIT_NOFILE, &launch.files) != 0 ||
      (launch.processes && setrlimit(RLIMIT_NPROC, &*launch.processes) != 0) ||
      (launch.mdwe && prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) != 0) ||
      syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    failure.error = errno;
  } else {
    execve(launch.program.c_str(), arguments, environment);
    failure = {errno, true};
  }
  [[maybe_unused]] const auto written = write(report, &failure, sizeof failure);
  _exit(127);
}

std::expected<void, std::string> restrict_thread(const Launch& launch, Fd& listener) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::unexpected(std::string("no_new_privs cannot be set: ") + std::strerror(errno));
  }
  if (auto entered = landlock_enter(launch.ruleset); !entered) {
    return std::unexpected(std::string("the Landlock domain cannot be entered: ") +
                           std::strerror(entered.error()));
  }
  auto installed = install_filter(launch.filter);
  if (!installed) {
    return std::unexpected(installed.error());
  }
  listener = std::move(*installed);
  return {};
}

std::expected<pid_t, LaunchError> on_thread(const Launch& launch) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return std::unexpected(LaunchError{false, std::string("pipe2: ") + std::strerror(errno)});
  }
  const Fd from_child(ends[0]);
  Fd report(ends[1]);
  auto arguments = pointers(launch.arguments);
  auto environment = pointers(launch.environment);

  Fd listener;
  if (auto restricted = restrict_thread(launch, listener); !restricted) {
    return std::unexpected(LaunchError{false, restricted.error()});
  }
  launch.serve(std::move(listener));
  const pid_t agent = fork();
  if (agent == 0) {
    become_agent(launch, report.get(), arguments.data(), environment.data());
  }
  if (agent < 0) {
    return std::unexpected(LaunchError{false, std::string("fork: ") + std::strerror(errno)});
  }
  report = Fd();
  LaunchFailure failure;
  ssize_t length = 0;
  while ((length = read(from_child.get(), &failure, sizeof failure)) < 0 && errno == EINTR) {
  }
  if (length == 0) {
    return agent;
  }
  while (waitpid(agent, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (failure.program) {
    return std::unexpected(
        LaunchError{true, launch.program + " cannot be executed: " + std::strerror(failure.error)});
  }
  return std::unexpected(LaunchError{
      false,
      std::string("the agent's process cannot be prepared: ") + std::strerror(failure.error)});
}

}  // namespace

std::expected<pid_t, LaunchError> launch(const Launch& launch) {
  std::expected<pid_t, LaunchError> result = std::unexpected(LaunchError{});
  std::thread launcher([&] {
    pthread_setname_np(pthread_self(), "launcher");
    try {
      result = on_thread(launch);
    } catch (const std::exception& error) {
      result = std::unexpected(LaunchError{false, error.what()});
    }
  });
  launcher.join();
  return result;
}

}  // namespace palisade::guard
