#include "guard/run.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/await.h"
#include "guard/digest.h"
#include "guard/filter.h"
#include "guard/kernel.h"
#include "guard/landlock.h"
#include "guard/last_lines.h"
#include "guard/launch.h"
#include "guard/output.h"
#include "guard/paths.h"
#include "guard/preflight.h"
#include "guard/programs.h"
#include "guard/pty.h"
#include "guard/record.h"
#include "guard/rounds.h"
#include "guard/scripts.h"
#include "guard/session.h"
#include "guard/sockets.h"
#include "guard/summary.h"
#include "guard/supervisor.h"

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr auto kDrain = 5'000ms;
// What a claim brings is there once the checkout is; a kubelet writes volumes one after the other.
constexpr auto kCommandPatience = 120s;

struct Failure {
  int code = kExitInternal;
  std::string ended;  // as the termination log and the record have it
  std::string message;
};
using Outcome = std::optional<Failure>;

// Passes everything on to the record, and keeps what the rounds say at their end: the agent's
// process itself starts guard's program with it (rounds.h).
class FeedbackRecorder : public Recorder {
 public:
  FeedbackRecorder(Recorder& record, std::string program)
      : record_(record), program_(std::move(program)) {}
  void agent(pid_t pid) { agent_ = pid; }
  // Guard's program is for the rounds alone; until they have a number they are all that there is.
  [[nodiscard]] bool may_start(pid_t process, const std::string& program) const {
    return program != program_ || agent_ == 0 || process == agent_;
  }
  bool put(const Event& event) override {
    const auto* started = std::get_if<ExecStarted>(&event);
    if (started != nullptr && started->by.pid == agent_ && started->resolved == program_) {
      const std::lock_guard lock(mutex_);
      if (auto said = read_feedback(started->argv)) feedback_ = std::move(said);
    }
    return record_.put(event);
  }
  void left_out(std::uint64_t events) override { record_.left_out(events); }
  [[nodiscard]] std::optional<Feedback> feedback() const {
    const std::lock_guard lock(mutex_);
    return feedback_;
  }

 private:
  Recorder& record_;
  const std::string program_;
  std::atomic<pid_t> agent_{0};
  mutable std::mutex mutex_;
  std::optional<Feedback> feedback_;
};

// All of a session. The members end in the reverse of their order: first what may still use others.
struct Start {
  explicit Start(const RunOptions& all) : options(all) {}

  const RunOptions& options;
  std::vector<std::string> command = options.command;
  Policy policy;
  std::optional<Programs> programs;
  std::unique_ptr<FileRecorder> recorder;
  Kernel kernel;
  std::vector<std::string> degraded;
  rlimit files{};
  Fd ruleset;
  std::vector<sock_filter> filter;
  std::unique_ptr<FeedbackRecorder> rounds;  // where the program is guard's own `rounds`
  FileDigests digests;
  std::unique_ptr<Scripts> scripts;
  std::unique_ptr<Session> session;
  LastLines printed;                   // the terminal's thread's, as long as that runs
  std::unique_ptr<OutputFile> output;  // likewise; null: not kept
  std::unique_ptr<Terminal> terminal;
  std::unique_ptr<Sockets> sockets;
  std::unique_ptr<Supervisor> supervisor;
  pid_t agent = 0;
};

Outcome await_command(Start& start) {
  if (start.options.command_file.empty()) {
    return {};
  }
  auto command = await_words(start.options.command_file, kCommandPatience);
  if (!command) {
    return Failure{kExitPolicy, "policy", command.error()};
  }
  start.command = std::move(*command);
  return {};
}

Outcome read_policy_file(Start& start) {
  const auto bytes = read_text(start.options.policy);
  if (!bytes) {
    return Failure{kExitPolicy, "policy", bytes.error()};
  }
  auto policy = read_policy(*bytes);
  if (!policy) {
    return Failure{kExitPolicy, "policy", start.options.policy + ": " + policy.error()};
  }
  start.policy = std::move(*policy);
  // No thread is there yet; what is started inherits it.
  if (!start.policy.exec.folders.empty()) {
    setenv("PATH", search_path(start.policy, std::getenv("PATH")).c_str(), 1);
  }
  return {};
}

Outcome open_record(Start& start) {
  auto recorder = FileRecorder::open(start.policy.record, start.policy.workspace.value_or(""));
  if (!recorder) {
    return Failure{kExitRecord, "record", recorder.error()};
  }
  start.recorder = std::move(*recorder);
  if (start.policy.record.output_bytes == 0) {
    return {};
  }
  auto output = OutputFile::open(start.policy.record.path, start.policy.record.output_bytes);
  if (!output) {
    return Failure{kExitRecord, "record", output.error()};
  }
  start.output = std::move(*output);
  return {};
}

Outcome resolve_programs(Start& start) {
  const char* search = std::getenv("PATH");
  auto programs = find_programs(start.policy, start.command,
                                search != nullptr ? search : "/usr/local/bin:/usr/bin:/bin");
  if (!programs) {
    const auto& error = programs.error();
    return error.agent ? Failure{kExitProgram, "program", error.message}
                       : Failure{kExitPolicy, "policy", error.message};
  }
  start.programs = std::move(*programs);
  return {};
}

// Where the agent is started by `palisade-guard rounds`: it, and what it starts, is known then.
Outcome look_for_rounds(Start& start) {
  const auto& command = start.command;
  struct stat own {};
  struct stat program {};
  const auto path = resolved(start.programs->agent);
  if (command.size() < 2 || command[1] != "rounds" || !path || stat("/proc/self/exe", &own) != 0 ||
      stat(path->c_str(), &program) != 0 || own.st_dev != program.st_dev ||
      own.st_ino != program.st_ino) {
    return {};
  }
  start.rounds = std::make_unique<FeedbackRecorder>(*start.recorder, *path);
  return {};
}

// The program behind the last `--` of the rounds; "" where there is none.
std::string looped_program(const std::vector<std::string>& command) {
  const auto mark = std::find(command.begin(), command.end(), "--");
  if (mark == command.end() || std::next(mark) == command.end()) {
    return {};
  }
  const char* search = std::getenv("PATH");
  const auto found =
      on_path(*std::next(mark), search != nullptr ? search : "/usr/local/bin:/usr/bin:/bin");
  return found ? resolved(*found).value_or("") : "";
}

// No capability may be left over: root could undo what a domain and a filter promise.
bool unprivileged() {
  const Fd file(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  std::array<char, 8192> bytes;
  const auto length = file ? read(file.get(), bytes.data(), bytes.size()) : -1;
  const std::string_view status(bytes.data(), static_cast<std::size_t>(length < 0 ? 0 : length));
  return status.find("\nCapPrm:\t0000000000000000\n") != std::string_view::npos && geteuid() != 0;
}

Outcome check_kernel(Start& start) {
  if (!unprivileged()) {
    return Failure{kExitKernel, "kernel",
                   "guard runs as root or with capabilities: set runAsNonRoot and a runAsUser, and "
                   "drop ALL capabilities"};
  }
  start.kernel = look_at_kernel();
  auto lost = degraded(start.kernel, start.policy);
  if (!lost) {
    return Failure{kExitKernel, "kernel", lost.error()};
  }
  start.degraded = std::move(*lost);
  return {};
}

Outcome record_start(Start& start) {
  SessionStarted event{start.command, start.degraded, start.policy.mode == Mode::kEnforce};
  if (!start.recorder->put(event)) {
    return Failure{kExitRecord, "record", start.recorder->trouble()};
  }
  return {};
}

Outcome try_network(Start& start) {
  if (auto closed = preflight(start.policy.preflight); !closed) {
    return Failure{kExitPreflight, "preflight", closed.error()};
  }
  return {};
}

Outcome prepare_confinement(Start& start) {
  auto ruleset = landlock_ruleset(start.policy, *start.programs, start.kernel.landlock);
  if (!ruleset) {
    return Failure{kExitPolicy, "policy", ruleset.error()};
  }
  start.ruleset = std::move(*ruleset);
  auto filter = build_filter({.jit = start.policy.exec.jit,
                              .guard = getpid(),
                              .guard_group = getpgrp(),
                              .signals_scoped = start.policy.mode == Mode::kAudit ||
                                                start.kernel.landlock >= kLandlockScope});
  if (!filter) {
    return Failure{kExitInternal, "internal", filter.error()};
  }
  start.filter = std::move(*filter);
  return {};
}

// Guard keeps descriptors for the agent's sockets and processes; the agent keeps its own limit.
Outcome harden_guard(Start& start) {
  if (getrlimit(RLIMIT_NOFILE, &start.files) != 0) {
    return Failure{kExitInternal, "internal", std::string("getrlimit: ") + std::strerror(errno)};
  }
  const rlimit wide{start.files.rlim_max, start.files.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &wide) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return Failure{kExitInternal, "internal",
                   std::string("guard cannot harden itself: ") + std::strerror(errno)};
  }
  return {};
}

Recorder& record_of(Start& start) {
  if (start.rounds) {
    return *start.rounds;
  }
  return *start.recorder;
}

Outcome make_parts(Start& start) {
  start.scripts = std::make_unique<Scripts>(start.policy.files.write, start.digests);
  start.recorder->on_ended(
      [scripts = start.scripts.get()](pid_t process) { scripts->ended(process); });
  auto& recorder = record_of(start);
  start.session = std::make_unique<Session>(start.policy.limits, recorder);
  if (start.rounds) {
    start.session->loop(looped_program(start.command));
  }
  auto* session = start.session.get();
  TerminalOptions streams;
  streams.interactive = own_terminal();
  streams.activity = [session] { session->activity(); };
  // What stands on a terminal is a screen, not lines.
  auto* printed = streams.interactive ? nullptr : &start.printed;
  if (printed != nullptr || start.output) {
    streams.printed = [printed, output = start.output.get()](std::string_view bytes) {
      if (printed != nullptr) {
        printed->add(bytes);
      }
      if (output != nullptr) {
        output->add(bytes);
      }
    };
  }
  auto terminal = Terminal::open(streams);
  if (!terminal) {
    return Failure{kExitInternal, "internal", terminal.error()};
  }
  start.terminal = std::move(*terminal);
  start.sockets =
      std::make_unique<Sockets>(start.policy, recorder, [session] { session->activity(); });
  Hooks hooks;
  hooks.started = [session](pid_t process, const std::string& program) {
    return session->started(process, program);
  };
  hooks.followed = [session](const Caller& caller, const std::string& program,
                             std::chrono::steady_clock::time_point when) {
    session->followed(caller.kin.group, program, caller.process, when);
  };
  hooks.record_lost = [session, recorder = start.recorder.get()] {
    session->stop("record", recorder->trouble(), kExitRecord);
  };
  if (start.rounds) {
    hooks.may_start = [rounds = start.rounds.get()](pid_t process, const std::string& program) {
      return rounds->may_start(process, program);
    };
  }
  start.supervisor = std::make_unique<Supervisor>(
      Supervisor::Parts{start.policy, *start.programs, *start.sockets, start.digests,
                        *start.scripts, recorder, std::move(hooks)});
  return {};
}

Outcome start_agent(Start& start) {
  Launch agent;
  agent.program = start.programs->agent;
  agent.arguments = start.command;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    agent.environment.emplace_back(*variable);
  }
  agent.ruleset = std::move(start.ruleset);
  agent.filter = std::move(start.filter);
  agent.mdwe = start.kernel.mdwe && !start.policy.exec.jit && start.policy.mode == Mode::kEnforce;
  agent.files = start.files;
  if (start.policy.limits.processes > 0 && start.kernel.own_users) {
    rlimit processes{};
    if (getrlimit(RLIMIT_NPROC, &processes) != 0) {
      return Failure{kExitInternal, "internal", std::string("getrlimit: ") + std::strerror(errno)};
    }
    const auto most = std::min<rlim_t>(start.policy.limits.processes, processes.rlim_max);
    agent.processes = rlimit{most, most};
  }
  agent.serve = [&](Fd listener) { start.supervisor->serve(std::move(listener)); };
  agent.adopt = [&] {
    if (!start.terminal->adopt()) {
      return false;
    }
    Session::restore_signals();
    return true;
  };
  auto launched = launch(agent);
  if (!launched) {
    const auto& error = launched.error();
    return error.program ? Failure{kExitProgram, "program", error.message}
                         : Failure{kExitKernel, "kernel", error.message};
  }
  start.agent = *launched;
  if (start.rounds) {
    start.rounds->agent(start.agent);
  }
  if (auto pumping = start.terminal->start(); !pumping) {
    start.session->stop("internal", pumping.error(), kExitInternal);
  }
  return {};
}

void say(const std::string& message) {
  std::fprintf(stderr, "palisade-guard: %s\n", message.c_str());
}

int finish(Start& start, const Ending& ending, int code) {
  if (!start.options.termination_log.empty() &&
      !write_termination(start.options.termination_log, ending)) {
    say(start.options.termination_log + " cannot be written: " + std::strerror(errno));
  }
  return code;
}

Ending ending_of(const Start& start, std::string ended, std::string message) {
  return {std::move(ended), std::move(message),
          start.recorder ? start.recorder->counts() : Counts{}, start.degraded,
          start.rounds ? start.rounds->feedback() : std::nullopt};
}

int fail(Start& start, const Failure& failure) {
  if (start.recorder && !start.recorder->put(SessionEnded{failure.ended, {}, 0})) {
    say(start.recorder->trouble());
  }
  say(failure.message);
  return finish(start, ending_of(start, failure.ended, failure.message), failure.code);
}

int attend(Start& start) {
  const int code = start.session->run(start.agent, [&] { start.supervisor->settle(); });
  start.terminal->drain(kDrain);
  start.supervisor->stop();
  const auto& outcome = start.session->outcome();
  if (outcome.why != "exited") {
    say(outcome.message);
  }
  Ending ending = ending_of(start, outcome.why, outcome.message);
  ending.last_lines = start.printed.lines();
  return finish(start, ending, code);
}

}  // namespace

int run(const RunOptions& options) {
  Start start(options);
  constexpr std::array kActions{await_command,       read_policy_file, open_record,  check_kernel,
                                resolve_programs,    look_for_rounds,  record_start, try_network,
                                prepare_confinement, harden_guard,     make_parts,   start_agent};
  try {
    Session::block_signals();
    for (const auto& action : kActions) {
      if (const auto failure = action(start)) {
        return fail(start, *failure);
      }
    }
    return attend(start);
  } catch (const std::exception& error) {
    return fail(start, {kExitInternal, "internal", error.what()});
  }
}

}  // namespace palisade::guard
