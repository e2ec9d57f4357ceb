#include "guard/guarded.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/digest.h"
#include "guard/filter.h"
#include "guard/landlock.h"
#include "guard/launch.h"
#include "guard/programs.h"
#include "guard/scripts.h"
#include "guard/sockets.h"
#include "guard/supervisor.h"

namespace palisade::guard::testing {
namespace {

void must(bool done, const char* what) {
  if (!done) {
    throw std::system_error(errno, std::generic_category(), what);
  }
}

// One line an event, into a file.
class LineRecorder : public Recorder {
 public:
  explicit LineRecorder(int fd) : fd_(fd) {}

  bool put(const Event& event) override {
    std::ostringstream line;
    if (const auto* refused = std::get_if<Refused>(&event)) {
      line << "Refused " << refused->rule << ' ' << refused->call << ' ' << refused->target << ' '
           << refused->error << (refused->enforced ? " enforced" : " audited");
    } else if (const auto* exec = std::get_if<ExecStarted>(&event)) {
      line << "Exec " << exec->resolved << ' ' << exec->requested << ' ' << exec->sha256.size();
      if (!exec->argv_sha256.empty()) {  // cut
        line << " of " << exec->argv_bytes << " sha256 " << exec->argv_sha256;
      }
      for (const auto& word : exec->argv) {
        line << " [" << word.substr(0, 200) << ']';
      }
    } else if (const auto* finding = std::get_if<Finding>(&event)) {
      line << "Finding " << finding->id << ' ' << finding->message;
    } else {
      line << "Event " << event.index();
    }
    auto text = line.str();
    std::replace(text.begin(), text.end(), '\n', ' ');
    text += '\n';
    return ::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  void left_out(std::uint64_t events) override {
    put(Finding{{}, "left-out", std::to_string(events)});
  }

 private:
  int fd_;
};

void become_nobody() {
  if (geteuid() == 0) {
    must(setgroups(0, nullptr) == 0, "setgroups");
    must(setresgid(kNobody, kNobody, kNobody) == 0, "setresgid");
    must(setresuid(kNobody, kNobody, kNobody) == 0, "setresuid");
  }
}

void end_children() {
  for (;;) {
    const auto self = std::to_string(getpid());
    std::ifstream children("/proc/" + self + "/task/" + self + "/children");
    pid_t child = 0;
    while (children >> child) {
      kill(child, SIGKILL);
    }
    if (waitpid(-1, nullptr, __WNOTHREAD) < 0 && errno == ECHILD) {
      return;
    }
  }
}

// In the process that plays guard. Returns the agent's status; the error goes to stderr.
int play_guard(const Policy& policy, const std::vector<std::string>& command, const With& with,
               int output, int events) {
  if (with.prepare) {
    with.prepare();
  }
  become_nobody();
  must(chdir(with.folder.c_str()) == 0, "chdir");
  must(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "subreaper");
  auto programs = find_programs(policy, command, with.search);
  if (!programs) {
    throw std::runtime_error(programs.error().message);
  }
  const int abi = with.abi > 0 ? std::min(with.abi, landlock_abi()) : landlock_abi();
  auto ruleset = landlock_ruleset(policy, *programs, abi);
  if (!ruleset) {
    throw std::runtime_error(ruleset.error());
  }
  auto filter = build_filter({policy.exec.jit, getpid(), getpgrp(), abi >= kLandlockScope});
  if (!filter) {
    throw std::runtime_error(filter.error());
  }
  must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "dumpable");
  LineRecorder recorder(events);
  FileDigests digests;
  Scripts scripts(policy.files.write, digests);
  Sockets sockets(policy, recorder);
  Supervisor supervisor({policy, *programs, sockets, digests, scripts, recorder, {}});
  Launch agent;
  agent.program = programs->agent;
  agent.arguments = command;
  agent.environment = with.environment;
  agent.ruleset = std::move(*ruleset);
  agent.filter = std::move(*filter);
  agent.mdwe = with.mdwe && policy.mode == Mode::kEnforce && !policy.exec.jit;
  must(getrlimit(RLIMIT_NOFILE, &agent.files) == 0, "getrlimit");
  agent.serve = [&](Fd listener) { supervisor.serve(std::move(listener)); };
  agent.adopt = [&] { return setsid() > 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2; };
  auto started = launch(agent);
  if (!started) {
    throw std::runtime_error(started.error().message);
  }
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(-1, &status, __WNOTHREAD);
    if (ended == *started && (WIFEXITED(status) || WIFSIGNALED(status))) {
      break;
    }
    // The launcher can be joined a moment before the kernel gives its child to this thread.
    const bool launchers = ended < 0 && errno == ECHILD && kill(*started, 0) == 0;
    must(ended >= 0 || errno == EINTR || launchers, "waitpid");
    if (launchers) usleep(1'000);
  }
  end_children();
  supervisor.stop();
  return status;
}

std::string all_of(int fd) {
  std::string text;
  std::array<char, 4096> bytes;
  lseek(fd, 0, SEEK_SET);
  for (ssize_t length = 0; (length = read(fd, bytes.data(), bytes.size())) > 0;) {
    text.append(bytes.data(), static_cast<std::size_t>(length));
  }
  return text;
}

int temporary() {
  const int fd = open("/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
  must(fd >= 0, "a temporary file");
  return fd;
}

}  // namespace

Folder::Folder() {
  std::string name = "/tmp/palisade-guard-XXXXXX";
  must(mkdtemp(name.data()) != nullptr, "mkdtemp");
  path_ = name;
  if (geteuid() == 0) {
    must(chown(path_.c_str(), kNobody, kNobody) == 0, "chown");
  }
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string Folder::write(const std::string& name, const std::string& content,
                          unsigned mode) const {
  const auto file = path_ + "/" + name;
  std::ofstream(file, std::ios::binary) << content;
  must(chmod(file.c_str(), mode) == 0, "chmod");
  if (geteuid() == 0) {
    must(chown(file.c_str(), kNobody, kNobody) == 0, "chown");
  }
  return file;
}

std::string Folder::copy(const std::string& from, const std::string& name, unsigned mode) const {
  std::ifstream source(from, std::ios::binary);
  must(source.good(), from.c_str());
  return write(name, {std::istreambuf_iterator<char>(source), {}}, mode);
}

Policy policy_for(const Folder& folder) {
  Policy policy;
  policy.files.write = {folder.path()};
  policy.files.read = {"/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc",
                       "/opt", "/dev", "/proc",  "/sys", "/var",  folder.path()};
  return policy;
}

std::size_t Ran::count(const std::string& beginning) const {
  return static_cast<std::size_t>(
      std::count_if(events.begin(), events.end(),
                    [&](const auto& event) { return event.starts_with(beginning); }));
}

std::string Ran::all() const {
  std::string text = "trouble: " + trouble + "\nstatus: " + std::to_string(status) + "\n" + output;
  for (const auto& event : events) {
    text += "\n" + event;
  }
  return text;
}

Ran run_guarded(const Policy& policy, const std::vector<std::string>& command, const With& with) {
  Ran ran;
  const Fd output(temporary());
  const Fd events(temporary());
  const Fd trouble(temporary());
  std::array<int, 2> ends{};
  must(pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
  const Fd from(ends[0]);
  Fd to(ends[1]);
  const pid_t guard = fork();
  must(guard >= 0, "fork");
  if (guard == 0) {
    alarm(static_cast<unsigned>(with.within.count()));
    int code = 1;
    try {
      const int status = play_guard(policy, command, with, output.get(), events.get());
      code = write(to.get(), &status, sizeof status) == sizeof status ? 0 : 1;
    } catch (const std::exception& error) {
      [[maybe_unused]] const auto written =
          write(trouble.get(), error.what(), std::strlen(error.what()));
    }
    _exit(code);
  }
  to = Fd();
  if (read(from.get(), &ran.status, sizeof ran.status) != sizeof ran.status) {
    ran.trouble = "guard ended early";
  }
  int status = 0;
  must(waitpid(guard, &status, 0) == guard, "waitpid");
  if (WIFSIGNALED(status)) {
    ran.trouble += " (signal " + std::to_string(WTERMSIG(status)) + ")";
  }
  ran.trouble += all_of(trouble.get());
  ran.output = all_of(output.get());
  std::istringstream lines(all_of(events.get()));
  for (std::string line; std::getline(lines, line);) {
    ran.events.push_back(line);
  }
  return ran;
}

Ran run_python(const Policy& policy, const std::string& code) {
  With with;
  with.folder = policy.files.write.front();
  with.environment.push_back("HOME=" + with.folder);
  with.environment.push_back("PYTHONUNBUFFERED=1");
  with.environment.push_back("TMPDIR=" + with.folder);
  return run_guarded(policy, {"/usr/bin/python3", "-c", code}, with);
}

bool exited(const Ran& ran, int code) {
  return ran.trouble.empty() && WIFEXITED(ran.status) && WEXITSTATUS(ran.status) == code;
}

}  // namespace palisade::guard::testing
