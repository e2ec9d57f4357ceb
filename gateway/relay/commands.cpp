#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>

#include <gateway/relay/relay.h>
#include <netdb.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shipper.h"

namespace palisade::gateway::relay {

namespace {

using namespace std::chrono_literals;

constexpr auto kGrace = 30s;
constexpr auto kArchiveGrace = 20s;
constexpr int kEverySeconds = 10;
constexpr timeval kPatience{2, 0};

// `more`: JSON, under a name.
void log(const char* level, const std::string& message, const char* name = "",
         const std::string& more = {}) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> stamp{};
  const std::size_t length =
      std::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  nlohmann::ordered_json line{
      {"time", std::string(stamp.data(), length)}, {"level", level}, {"message", message}};
  if (!more.empty()) line[name] = nlohmann::ordered_json::parse(more);
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
}

void write_report(const Config& config, const Counts& counts, const Shipper* shipper) {
  if (config.termination_log.empty()) return;
  auto report = nlohmann::ordered_json::parse(to_json(counts));
  if (shipper != nullptr)
    report["archive"] = nlohmann::ordered_json::parse(to_json(shipper->shipped()));
  std::ofstream out(config.termination_log, std::ios::trunc);
  out << report.dump();
  out.close();
  if (!out) log("error", config.termination_log.string() + ": cannot be written");
}

// Each once, as it comes and as it goes.
void tell_trouble(const Shipper& shipper, std::string& last) {
  const Shipped now = shipper.shipped();
  if (now.trouble == last) return;
  log(now.trouble.empty() ? "info" : "error",
      now.trouble.empty() ? "the archive takes the record again" : "archive", "archive",
      to_json(now));
  last = now.trouble;
}

// What a route's port answers to a GET of the relay's own path; nullopt where it does not.
std::optional<std::string> ask(const Route& route) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* address = nullptr;
  if (::getaddrinfo(route.address.c_str(), std::to_string(route.port).c_str(), &hints, &address) !=
      0)
    return std::nullopt;
  const int fd = ::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof(kPatience));
  const std::string request =
      std::string("GET ") + kStatusPath + " HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n";
  std::string answer;
  if (fd >= 0 && ::connect(fd, address->ai_addr, address->ai_addrlen) == 0 &&
      ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    std::array<char, 1024> piece{};
    ssize_t got = 0;
    while (answer.size() < 8192 && (got = ::recv(fd, piece.data(), piece.size(), 0)) > 0)
      answer.append(piece.data(), static_cast<std::size_t>(got));
  }
  if (fd >= 0) ::close(fd);
  ::freeaddrinfo(address);
  const std::size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 200 ") || body == std::string::npos) return std::nullopt;
  return answer.substr(body + 4);
}

}  // namespace

int serve(const Config& config) {
  Relay relay(config);
  if (const auto started = relay.start(); !started) {
    log("error", started.error());
    return 1;
  }
  for (const Route& route : config.routes) {
    log("info", "route " + route.name + ": " + route.address + ":" + std::to_string(route.port) +
                    route.path + " to " + (route.url.tls ? "https://" : "http://") +
                    route.url.host + ":" + std::to_string(route.url.port) + route.url.path);
  }
  std::unique_ptr<Shipper> shipper;
  if (config.archive) shipper = std::make_unique<Shipper>(*config.archive);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  Counts before = relay.counts();
  std::string trouble;
  for (;;) {
    const timespec interval{kEverySeconds, 0};
    const int got = ::sigtimedwait(&signals, nullptr, &interval);
    if (got == SIGTERM || got == SIGINT) break;
    const Counts now = relay.counts();
    if (now.requests != before.requests || now.bytes_up != before.bytes_up ||
        now.bytes_down != before.bytes_down || now.failures != before.failures)
      log("info", "counts", "relay", to_json(now));
    before = now;
    if (shipper) tell_trouble(*shipper, trouble);
  }
  // The agent and the courier have ended: the kubelet ends the relay last.
  if (shipper) {
    shipper->finish(kArchiveGrace);
    const Shipped all = shipper->shipped();
    log(all.complete ? "info" : "error", "archived", "archive", to_json(all));
  }
  relay.stop(kGrace);
  const Counts last = relay.counts();
  log("info", "ended", "relay", to_json(last));
  write_report(config, last, shipper.get());
  return 0;
}

namespace {

// The first that does not listen yet; null where all do.
const Route* silent(const Config& config) {
  const auto found =
      std::ranges::find_if(config.routes, [](const Route& route) { return !ask(route); });
  return found == config.routes.end() ? nullptr : &*found;
}

// A process with this signal mask; 0 where it cannot be started.
pid_t spawn(const std::vector<std::string>& words, const sigset_t& mask) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes{};
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  ::posix_spawnattr_setsigmask(&attributes, &mask);
  pid_t out = 0;
  const int failed =
      ::posix_spawn(&out, arguments.front(), nullptr, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (failed == 0) return out;
  log("error", words.front() + ": " + std::strerror(failed));
  return 0;
}

int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int with(const Config& config, const std::string& file, const std::vector<std::string>& command) {
  sigset_t ends;
  sigset_t none;
  sigemptyset(&none);
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigset_t told = ends;
  sigaddset(&told, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &told, nullptr);
  const pid_t relay = spawn({"/proc/self/exe", "serve", "--config", file}, ends);
  if (relay == 0) return 1;
  pid_t child = 0;
  bool ending = false;
  int code = 1;
  const auto listening_by = std::chrono::steady_clock::now() + 60s;
  // Until the relay has ended: after the command, or before it, which ends both.
  for (;;) {
    if (child == 0 && !ending) {
      if (silent(config) == nullptr) {
        child = spawn(command, none);
        ending = child == 0;
      } else {
        ending = std::chrono::steady_clock::now() > listening_by;
      }
      if (ending) ::kill(relay, SIGTERM);
    }
    const timespec interval{0, child == 0 && !ending ? 50'000'000L : 999'000'000L};
    const int got = ::sigtimedwait(&told, nullptr, &interval);
    if (got == SIGTERM || got == SIGINT) {
      ending = true;
      ::kill(child != 0 ? child : relay, SIGTERM);
    }
    int status = 0;
    for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended == child) {
        code = code_of(status);
        child = 0;
        ending = true;
        ::kill(relay, SIGTERM);
      } else if (ended == relay) {
        if (child != 0) {
          log("error", "the relay has ended before the command");
          ::kill(child, SIGKILL);
          ::waitpid(child, &status, 0);
          return 1;
        }
        return code;
      }
    }
  }
}

int ready(const Config& config) {
  const Route* const route = silent(config);
  if (route == nullptr) return 0;
  std::cerr << "palisade-relay: route " << route->name << " does not listen yet\n";
  return 1;
}

int status(const Config& config) {
  const auto counts = ask(config.routes.front());
  if (!counts) {
    std::cerr << "palisade-relay: nothing answers on " << config.routes.front().address << ":"
              << config.routes.front().port << "; is `palisade-relay serve` running?\n";
    return 1;
  }
  std::cout << *counts;
  return 0;
}

}  // namespace palisade::gateway::relay
