#include <algorithm>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <guard/paths.h>
#include <guard/proc.h>
#include <guard/scripts.h>
#include <sys/stat.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using std::chrono::system_clock;

constexpr std::size_t kRemembered = 512;                   // processes
constexpr std::size_t kMostFiles = 16;                     // of one exec
constexpr std::size_t kWritersNamed = 6;                   // programs that may have written a file
constexpr std::uint64_t kLargest = 16ULL << 20;            // of a script that is hashed
constexpr auto kFileTick = std::chrono::milliseconds(20);  // times of files are that coarse

system_clock::time_point time_of(const timespec& time) {
  return system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(
      std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)));
}

// python3.11 is python, pypy3 too; "" where it is none that is known.
enum class Language { kNone, kPython, kShell, kPerl, kRuby, kNode, kLua, kPhp, kAwk, kSed, kMake };
Language language_of(std::string_view program) {
  std::string_view name = last_component(program);
  if (name.starts_with('-')) name.remove_prefix(1);  // a login shell
  const auto stem = [&](std::string_view what) {
    if (!name.starts_with(what)) return false;
    return name.find_first_not_of("0123456789.-", what.size()) == std::string_view::npos;
  };
  if (stem("python") || stem("pypy")) return Language::kPython;
  for (const std::string_view shell : {"sh", "bash", "dash", "rbash", "zsh", "ksh", "mksh"}) {
    if (name == shell) return Language::kShell;
  }
  if (stem("perl")) return Language::kPerl;
  if (stem("ruby")) return Language::kRuby;
  if (stem("node") || name == "nodejs" || name == "deno" || name == "bun") return Language::kNode;
  if (stem("lua") || name == "luajit") return Language::kLua;
  if (stem("php")) return Language::kPhp;
  if (name == "awk" || name == "gawk" || name == "mawk" || name == "nawk") return Language::kAwk;
  if (name == "sed") return Language::kSed;
  if (name == "make" || name == "gmake") return Language::kMake;
  return Language::kNone;
}

struct Options {
  std::string_view with_value;  // letters whose value is the next argument, or the rest of theirs
  std::string_view code;        // letters whose value is the program itself: no file follows
  std::string_view files;       // letters whose value is a file that is run
  std::string_view long_with_value;  // " --name " of long options whose value is the next argument
  bool operand = true;               // whether the first operand is the program
};
Options options_of(Language language) {
  switch (language) {
    case Language::kPython:
      return {.with_value = "WXQ",
              .code = "c",
              .files = "",
              .long_with_value = " --check-hash-based-pycs "};
    case Language::kShell:
      return {.with_value = "oO",
              .code = "c",
              .files = "",
              .long_with_value = " --rcfile --init-file "};
    case Language::kPerl:
      return {.with_value = "IMm", .code = "eE", .files = "", .long_with_value = ""};
    case Language::kRuby:
      return {.with_value = "ICErKTFW", .code = "e", .files = "", .long_with_value = ""};
    case Language::kNode:
      return {.with_value = "",
              .code = "ep",
              .files = "r",
              .long_with_value = " --require --import --loader "};
    case Language::kLua:
      return {.with_value = "l", .code = "e", .files = "", .long_with_value = ""};
    case Language::kPhp:
      return {.with_value = "dcz", .code = "rBRE", .files = "fF", .long_with_value = ""};
    case Language::kAwk:
      return {
          .with_value = "Fv", .code = "e", .files = "f", .long_with_value = "", .operand = false};
    case Language::kSed:
      return {
          .with_value = "l", .code = "e", .files = "f", .long_with_value = "", .operand = false};
    case Language::kMake:
      return {
          .with_value = "CIWo", .code = "", .files = "f", .long_with_value = "", .operand = false};
    case Language::kNone:
      break;
  }
  return {};
}

bool holds(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

// The value of the option letter at `argument[at]`: the rest of it, or the next argument.
std::string value_of(const std::vector<std::string>& argv, std::size_t& i, std::size_t at) {
  if (at + 1 < argv[i].size()) return argv[i].substr(at + 1);
  return i + 1 < argv.size() ? argv[++i] : std::string();
}

const std::string& program_of(const ExecStarted& exec) {
  return exec.resolved.empty() ? exec.requested : exec.resolved;
}

// "/proc/PID/cwd/NAME" for a relative one: what the caller's own look-up would find.
std::string as_seen_by(pid_t pid, const std::string& path) {
  return path.starts_with('/') ? path : "/proc/" + std::to_string(pid) + "/cwd/" + path;
}

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/'))
    path.pop_back();
  return path;
}

}  // namespace

Operands script_operands(const std::string& program, const std::vector<std::string>& argv) {
  Operands out;
  const Language language = language_of(program);
  if (language == Language::kNone || argv.empty()) return out;
  const Options options = options_of(language);
  bool has_program = false;
  std::size_t i = 1;
  for (; i < argv.size() && out.files.size() < kMostFiles; ++i) {
    const std::string& argument = argv[i];
    const bool plus = language == Language::kShell && argument.starts_with('+');
    if (argument.size() < 2 || (argument[0] != '-' && !plus)) break;
    if (argument == "--") {
      ++i;
      break;
    }
    if (argument.starts_with("--")) {
      const std::size_t equals = argument.find('=');
      const std::string name = argument.substr(0, equals);
      const bool takes = holds(options.long_with_value, ' ') &&
                         options.long_with_value.find(" " + name + " ") != std::string_view::npos;
      if (takes) {
        const std::string value = equals != std::string::npos ? argument.substr(equals + 1)
                                  : i + 1 < argv.size()       ? argv[++i]
                                                              : std::string();
        if (language == Language::kShell || language == Language::kNode) out.files.push_back(value);
      }
      if (language == Language::kMake && (name == "--file" || name == "--makefile")) {
        if (equals != std::string::npos) {
          out.files.push_back(argument.substr(equals + 1));
        } else if (i + 1 < argv.size()) {
          out.files.push_back(argv[++i]);
        }
      }
      if (language == Language::kNode && (name == "--eval" || name == "--print"))
        has_program = true;
      if (language == Language::kAwk && name == "--file" && equals != std::string::npos)
        out.files.push_back(argument.substr(equals + 1));
      continue;
    }
    for (std::size_t at = 1; at < argument.size(); ++at) {
      const char letter = argument[at];
      if (holds(options.code, letter)) {
        has_program = true;
        // The shell's -c takes the first operand; others take the rest of the argument or the next.
        if (language == Language::kShell) continue;
        static_cast<void>(value_of(argv, i, at));
        break;
      }
      if (language == Language::kPython && letter == 'm') {
        out.modules.push_back(value_of(argv, i, at));
        return out;  // all that follows is the module's
      }
      if (holds(options.files, letter)) {
        out.files.push_back(value_of(argv, i, at));
        has_program |= language != Language::kNode;
        break;
      }
      if (holds(options.with_value, letter)) {
        static_cast<void>(value_of(argv, i, at));
        break;
      }
    }
    if (language == Language::kPython && has_program) return out;
  }
  if (has_program || !options.operand) return out;
  if (i >= argv.size() || argv[i] == "-") {
    out.reads_stdin = true;
  } else {
    out.files.push_back(argv[i]);
  }
  return out;
}

Scripts::Scripts(const std::vector<std::string>& writable, FileDigests& digests,
                 system_clock::time_point since)
    : digests_(digests), since_(since - kFileTick) {
  for (const std::string& path : writable) {
    const std::string plain = without_slashes(path);
    writable_.push_back(plain);
    if (auto real = resolved(plain); real && *real != plain) writable_.push_back(std::move(*real));
  }
}

bool Scripts::below_writable(const std::string& path) const {
  return std::ranges::any_of(writable_,
                             [&](const std::string& folder) { return below(path, folder); });
}

std::string Scripts::running_at(system_clock::time_point when) const {
  std::vector<std::string_view> names;
  const std::scoped_lock lock(mutex_);
  for (const Ran& ran : ran_) {
    if (ran.from > when + kFileTick || (ran.to && *ran.to + kFileTick < when)) continue;
    if (std::ranges::find(names, ran.program) == names.end()) names.emplace_back(ran.program);
  }
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i == kWritersNamed) return out + ", ...";
    out += (out.empty() ? "" : ", ") + std::string(names[i]);
  }
  return out;
}

// `path` is as guard can open it.
std::optional<ScriptRun> Scripts::look(const ExecStarted& exec, const std::string& path) {
  // O_PATH: nothing is opened that could notice, and what is looked at then is one file.
  const Fd file(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!file) return std::nullopt;
  struct stat status {};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  auto real = link_target(::getpid(), "fd/" + std::to_string(file.get()));
  if (!real || !below_writable(*real)) return std::nullopt;
  const auto changed = time_of(status.st_ctim);
  if (changed < since_) return std::nullopt;
  return ScriptRun{.by = exec.by,
                   .path = std::move(*real),
                   .sha256 = digests_.of("/proc/self/fd/" + std::to_string(file.get()), kLargest),
                   .written = time_of(status.st_mtim),
                   .changed = changed,
                   .written_by = running_at(changed)};
}

std::vector<Event> Scripts::trail(const ExecStarted& exec) {
  std::vector<Event> out;
  const std::string& program = program_of(exec);
  const Operands operands = script_operands(program, exec.argv);
  const auto add = [&](const std::string& path) {
    auto script = look(exec, path);
    if (script) out.emplace_back(std::move(*script));
    return script.has_value();
  };
  for (const std::string& path : operands.files) {
    if (path.empty()) continue;
    const std::string seen = as_seen_by(exec.by.pid, path);
    if (!add(seen)) add(seen + "/__main__.py");
  }
  for (std::string module : operands.modules) {
    std::ranges::replace(module, '.', '/');
    const std::string seen = as_seen_by(exec.by.pid, module);
    if (!add(seen + ".py")) add(seen + "/__main__.py");
  }
  if (operands.reads_stdin) add("/proc/" + std::to_string(exec.by.pid) + "/fd/0");
  if (last_component(program) == "git") {
    for (GitFinding& finding : git_findings(exec.argv))
      out.emplace_back(Finding{exec.by, std::move(finding.id), std::move(finding.message)});
  }
  return out;
}

void Scripts::started(const ExecStarted& exec) {
  const std::scoped_lock lock(mutex_);
  end(exec.by.pid);  // an exec in a process that was known ends what it was
  ran_.push_back({exec.by.pid, std::string(last_component(program_of(exec))), system_clock::now(),
                  std::nullopt});
  if (ran_.size() > kRemembered) {
    const auto gone = std::ranges::find_if(ran_, [](const Ran& ran) { return ran.to.has_value(); });
    ran_.erase(gone == ran_.end() ? ran_.begin() : gone);
  }
}

void Scripts::ended(pid_t pid) {
  const std::scoped_lock lock(mutex_);
  end(pid);
}

// At most one of a process has not ended, and most ends are those of the newest.
void Scripts::end(pid_t pid) {
  const auto ran = std::find_if(ran_.rbegin(), ran_.rend(),
                                [&](const Ran& one) { return one.pid == pid && !one.to; });
  if (ran != ran_.rend()) ran->to = system_clock::now();
}

}  // namespace palisade::guard
