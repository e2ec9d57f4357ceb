#include "kube/daemon.h"

#include <array>
#include <csignal>

#include <unistd.h>

namespace kube {

namespace {
sigset_t end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}
}  // namespace

void block_end_signals() {
  const sigset_t signals = end_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data()
                                                                           : "unknown";
}

int wait_for_end_signal() {
  const sigset_t signals = end_signals();
  int number = 0;
  sigwait(&signals, &number);
  return number;
}

HttpHandler status_handler(StatusPages pages) {
  return [pages = std::move(pages)](const HttpRequest& request) -> HttpResponse {
    if (request.target == "/healthz") {
      const std::string stuck = pages.stuck ? pages.stuck() : std::string();
      if (stuck.empty()) return {200, "text/plain", "ok\n"};
      return {503, "text/plain", stuck + "\n"};
    }
    if (pages.queue && request.target == "/debug/queue")
      return {200, "application/json", pages.queue()};
    if (request.target == "/readyz") {
      const std::string reason = pages.not_ready();
      if (reason.empty()) return {200, "text/plain", "ok\n"};
      return {503, "text/plain", reason + "\n"};
    }
    if (request.target == "/metrics") return {200, "text/plain; version=0.0.4", pages.metrics()};
    return {404, "text/plain", "try /metrics, /healthz or /readyz\n"};
  };
}

}  // namespace kube
