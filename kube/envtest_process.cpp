#include "envtest_process.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace kube::envtest {

namespace {

std::unexpected<Error> process_error(const std::string& what, int number) {
  return std::unexpected(
      Error{0, "EnvTest", what + ": " + std::generic_category().message(number), {}, {}});
}

std::string describe(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return "status " + std::to_string(status);
}

}  // namespace

ReservedPort::~ReservedPort() {
  if (socket_ >= 0) close(socket_);
}

ReservedPort::ReservedPort(ReservedPort&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), number_(other.number_) {}

ReservedPort& ReservedPort::operator=(ReservedPort&& other) noexcept {
  std::swap(socket_, other.socket_);
  std::swap(number_, other.number_);
  return *this;
}

Result<ReservedPort> ReservedPort::make() {
  ReservedPort port;
  port.socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  // SO_REUSEADDR too: without it the server could not bind while old connections are in TIME_WAIT.
  if (port.socket_ < 0 || setsockopt(port.socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
      setsockopt(port.socket_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
      bind(port.socket_, raw, size) < 0 || getsockname(port.socket_, raw, &size) < 0) {
    return process_error("a loopback port", errno);
  }
  port.number_ = ntohs(address.sin_port);
  return port;
}

Process::~Process() {
  stop(SIGKILL, std::chrono::seconds(10));
}

Result<void> Process::start(const std::vector<std::string>& arguments,
                            const std::filesystem::path& log) {
  ending_.clear();
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const auto& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output < 0) return process_error(log.string(), errno);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    // Only async-signal-safe calls: the parent may have threads.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);  // the parent was gone before the line above
    setpgid(0, 0);                        // an interrupt at the terminal is the test's to handle
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    const int null = open("/dev/null", O_RDONLY);
    if (null < 0) _exit(126);
    dup2(null, STDIN_FILENO);
    close_range(3, ~0U, 0);  // the test's sockets must end with the test
    execv(argv[0], argv.data());
    _exit(127);
  }
  const int number = errno;
  close(output);
  if (pid_ < 0) return process_error(arguments.front(), number);
  return {};
}

bool Process::running() {
  if (pid_ < 0) return false;
  int status = 0;
  const pid_t ended = waitpid(pid_, &status, WNOHANG);
  if (ended == 0) return true;
  ending_ = ended == pid_ ? describe(status) : "lost";
  pid_ = -1;
  return false;
}

void Process::stop(int signal, std::chrono::milliseconds patience) {
  if (!running()) return;
  kill(pid_, signal);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (!running()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  ending_ = describe(status);
  pid_ = -1;
}

std::string tail(const std::filesystem::path& file, std::size_t lines) {
  constexpr std::streamoff kMost = 64 * 1024;
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return file.string() + " cannot be read";
  const std::streamoff size = in.tellg();
  in.seekg(size > kMost ? size - kMost : 0);
  std::string text(std::istreambuf_iterator<char>(in), {});
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  std::size_t from = text.size();
  for (std::size_t i = 0; i < lines; ++i) {
    if (from == 0) return text;
    from = text.rfind('\n', from - 1);
    if (from == std::string::npos) return text;
  }
  return text.substr(from + 1);
}

}  // namespace kube::envtest
