#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <courier/git.h>
#include <courier/untrusted_repo.h>

namespace palisade::courier {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxError = 4096;
constexpr std::size_t kMaxToken = 16 * 1024;
constexpr std::size_t kLeastToken = 4;  // less is no secret, and would be found in any text

// Given to every run. Nothing in a repository, in the surroundings or on the other side may make
// git run a program, follow a redirect with the token, or trust a cache that the agent could have
// written.
constexpr const char* kFixed[] = {"core.hooksPath=/dev/null",
                                  "core.fsmonitor=false",
                                  "core.commitGraph=false",
                                  "core.multiPackIndex=false",
                                  "core.bigFileThreshold=16m",
                                  "core.attributesFile=/dev/null",
                                  "core.sshCommand=false",
                                  "credential.helper=",
                                  "http.followRedirects=false",
                                  "transfer.fsckObjects=true",
                                  "submodule.recurse=false",
                                  "fetch.recurseSubmodules=false",
                                  "push.recurseSubmodules=no",
                                  "gc.auto=0",
                                  "maintenance.auto=false",
                                  "pack.threads=1",
                                  "pack.windowMemory=64m",
                                  "pack.packSizeLimit=0",
                                  "pack.deltaCacheSize=32m",
                                  "core.deltaBaseCacheLimit=64m",
                                  "core.packedGitWindowSize=32m",
                                  "core.packedGitLimit=256m",
                                  "protocol.version=2"};

bool term_is_pending() {
  sigset_t pending;
  return sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1;
}

struct Pipe {
  Descriptor read;
  Descriptor write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& word : words)
    out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

void limit(int resource, std::int64_t most) {
  const rlimit both{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
  setrlimit(static_cast<__rlimit_resource_t>(resource), &both);
}

// In the child, after fork: only async-signal-safe calls.
[[noreturn]] void become_git(char* const* argv, char* const* environment, int in, int out,
                             int error, const GitRun& run) {
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  if (!run.output_file.empty()) limit(RLIMIT_FSIZE, run.max_output_bytes);
  if (run.max_memory != 0) limit(RLIMIT_DATA, run.max_memory);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(error, STDERR_FILENO);
  for (const int descriptor : run.inherit)
    fcntl(descriptor, F_SETFD, 0);
  execve("/usr/bin/git", argv, environment);
  _exit(127);
}

// True when something was cut off its beginning.
bool keep_tail(std::string& text, std::string_view piece, std::size_t most) {
  text.append(piece);
  if (text.size() <= most) return false;
  text.erase(0, text.size() - most);
  return true;
}

std::string base64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += 3) {
    std::uint32_t bits = 0;
    for (std::size_t i = at; i < at + 3; ++i)
      bits = bits << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      out += at + i <= text.size() ? kDigits[bits >> (18 - 6 * i) & 63U] : '=';
  }
  return out;
}

// The token as it is and as HTTP carries it.
void add_secrets(const Config& config, std::vector<std::string>& secrets) {
  std::string token = read_token(config);
  if (token.size() < kLeastToken) return;
  secrets.push_back(token);
  secrets.push_back(base64(config.username + ":" + token));
}

// The end of `text` without a secret or, where its beginning was cut off, a part of one.
std::string scrubbed(std::string text, bool cut, const std::vector<std::string>& secrets) {
  std::size_t longest = 1;
  for (const std::string& secret : secrets) {
    longest = std::max(longest, secret.size());
    for (std::size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at))
      text.replace(at, secret.size(), "***");
  }
  if (cut) text.erase(0, longest - 1);
  keep_tail(text, {}, kMaxError);
  return text;
}

}  // namespace

Git::Git(const Config& config, const std::string& protocols, const fs::path& self,
         const fs::path& ca_bundle)
    : config_(config) {
  environment_ = {"PATH=/usr/bin:/bin",    "LC_ALL=C",
                  "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
                  "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1",
                  "GIT_ATTR_NOSYSTEM=1",   "GIT_ALLOW_PROTOCOL=" + protocols,
                  "GIT_OPTIONAL_LOCKS=0",  "GIT_PROTOCOL_FROM_USER=0"};
  environment_.push_back("HOME=" + config.repository.parent_path().string());
  environment_.push_back("TMPDIR=" + config.repository.parent_path().string());
  environment_.push_back("GIT_ASKPASS=" +
                         (self.empty() ? std::string("/bin/false") : self.string()));
  environment_.push_back("PALISADE_COURIER_CONFIG=" + config.file.string());  // for the askpass
  if (!ca_bundle.empty()) environment_.push_back("GIT_SSL_CAINFO=" + ca_bundle.string());
}

std::expected<GitResult, std::string> Git::run(const GitRun& run) const {
  std::vector<std::string> words{"git"};
  for (const char* setting : kFixed) {
    words.emplace_back("-c");
    words.emplace_back(setting);
  }
  words.insert(words.end(), run.arguments.begin(), run.arguments.end());
  std::vector<std::string> environment = environment_;
  environment.insert(environment.end(), run.environment.begin(), run.environment.end());
  const auto argv = pointers(words);
  const auto envp = pointers(environment);
  const std::string& what = run.arguments.at(
      run.arguments.front() == "--git-dir" || run.arguments.front() == "-C" ? 2 : 0);

  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe error = make_pipe();
  Descriptor file;
  if (!run.output_file.empty()) {
    file =
        Descriptor(open(run.output_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.valid())
      return std::unexpected(fmt::format("{}: {}", run.output_file.string(), std::strerror(errno)));
  }
  if (!run.input_file.empty()) {
    in.read = Descriptor(open(run.input_file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!in.read.valid())
      return std::unexpected(fmt::format("{}: {}", run.input_file.string(), std::strerror(errno)));
  }
  const pid_t child = fork();
  if (child < 0) return std::unexpected(fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    become_git(argv.data(), envp.data(), in.read.get(), file.valid() ? file.get() : out.write.get(),
               error.write.get(), run);
  }
  in.read = Descriptor();
  out.write = Descriptor();
  error.write = Descriptor();
  fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

  // Before and after: the token may rotate meanwhile.
  std::vector<std::string> secrets;
  add_secrets(config_, secrets);
  GitResult result;
  bool cut = false;
  std::string why_ended;
  std::size_t written = 0;
  const auto deadline = Clock::now() + run.deadline;
  const auto end = [&](std::string why) {
    why_ended = std::move(why);
    kill(-child, SIGKILL);
  };
  while (out.read.valid() || error.read.valid()) {
    if (why_ended.empty() && Clock::now() >= deadline)
      end(fmt::format("took longer than {} s", run.deadline.count()));
    if (why_ended.empty() && run.end_on_term && term_is_pending()) end("was ended by SIGTERM");
    if (written == run.input.size()) in.write = Descriptor();
    std::array<pollfd, 3> waiting{
        {{out.read.get(), POLLIN, 0}, {error.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}}};
    if (poll(waiting.data(), waiting.size(), 200) < 0 && errno != EINTR)
      return std::unexpected(fmt::format("poll: {}", std::strerror(errno)));
    if (waiting[2].revents != 0) {
      const ssize_t count =
          write(in.write.get(), run.input.data() + written, run.input.size() - written);
      if (count > 0) {
        written += static_cast<std::size_t>(count);
      } else if (errno != EAGAIN && errno != EINTR) {
        written = run.input.size();  // git has stopped reading: its exit code says why
      }
    }
    std::array<char, 16384> buffer{};
    if (waiting[0].revents != 0) {
      const ssize_t count = read(out.read.get(), buffer.data(), buffer.size());
      if (count <= 0) {
        out.read = Descriptor();
      } else if (static_cast<std::int64_t>(result.output.size()) + count > run.max_output_bytes) {
        if (why_ended.empty()) end("printed too much");
      } else {
        result.output.append(buffer.data(), static_cast<std::size_t>(count));
      }
    }
    if (waiting[1].revents != 0) {
      const ssize_t count = read(error.read.get(), buffer.data(), buffer.size());
      if (count <= 0) {
        error.read = Descriptor();
      } else {
        cut |= keep_tail(result.error, {buffer.data(), static_cast<std::size_t>(count)},
                         kMaxError + 4 * kMaxToken);
      }
    }
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!why_ended.empty()) return std::unexpected(fmt::format("git {} {}", what, why_ended));
  add_secrets(config_, secrets);
  result.error = scrubbed(std::move(result.error), cut, secrets);
  while (result.error.ends_with('\n'))
    result.error.pop_back();
  if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGXFSZ)
      return std::unexpected(
          fmt::format("git {}: larger than {} bytes", what, run.max_output_bytes));
    return std::unexpected(
        fmt::format("git {} was ended by signal {}: {}", what, WTERMSIG(status), result.error));
  }
  result.code = WEXITSTATUS(status);
  if (result.code != 0)
    return std::unexpected(
        fmt::format("git {}: {}", what,
                    result.error.empty() ? scrubbed(result.output, false, secrets) : result.error));
  return result;
}

std::expected<std::string, std::string> Git::fetch_first(const std::vector<std::string>& candidates,
                                                         const std::string& into) const {
  fs::remove_all(config_.repository);  // what a fetch that was cut short left
  GitRun init;
  init.arguments = {"init", "--quiet", "--bare", "--template=", config_.repository.string()};
  if (auto made = run(init); !made) return std::unexpected(std::move(made.error()));
  GitRun list;
  list.arguments = {"ls-remote", "--quiet", config_.url};
  list.arguments.insert(list.arguments.end(), candidates.begin(), candidates.end());
  list.deadline = std::chrono::seconds(60);
  auto listed = run(list);
  if (!listed) return std::unexpected(std::move(listed.error()));
  const auto from = std::ranges::find_if(candidates, [&](const std::string& candidate) {
    return listed->output.find("\t" + candidate + "\n") != std::string::npos;
  });
  if (from == candidates.end())
    return std::unexpected(
        fmt::format("the repository has no branch or tag named {}", config_.ref));
  GitRun fetch;
  fetch.arguments = {"--git-dir",
                     config_.repository.string(),
                     "fetch",
                     "--quiet",
                     "--no-tags",
                     "--no-write-fetch-head",
                     "--no-recurse-submodules",
                     config_.url,
                     "+" + *from + ":" + into};
  fetch.deadline = std::chrono::seconds(1800);
  if (auto fetched = run(fetch); !fetched) return std::unexpected(std::move(fetched.error()));
  return *from;
}

std::string read_token(const Config& config) {
  if (config.token_file.empty()) return {};
  std::ifstream in(config.token_file, std::ios::binary);
  std::string text(kMaxToken, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  return text;
}

int answer_askpass(const Config& config, const std::string& prompt) {
  // git asks "Username for 'https://host': " and "Password for 'https://user@host': ". Only our
  // host gets an answer.
  const std::string authority = config.url.substr(8, config.url.find('/', 8) - 8);
  if (prompt.find("//" + authority + "'") == std::string::npos &&
      prompt.find("@" + authority + "'") == std::string::npos)
    return 1;
  if (prompt.starts_with("Username")) {
    std::cout << config.username << "\n";
    return 0;
  }
  if (prompt.starts_with("Password")) {
    std::cout << read_token(config) << "\n";
    return 0;
  }
  return 1;
}

}  // namespace palisade::courier
