#include <array>
#include <chrono>
#include <csignal>
#include <ctime>
#include <fstream>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <courier/courier.h>

namespace palisade::courier {

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

// The kubelet keeps 12 KiB of the termination messages of all of a pod's containers, shared out
// evenly: a session's pod has six, and one more where somebody debugs it. Half a JSON document says
// nothing.
constexpr std::size_t kMaxReport = 12 * 1024 / 7;
constexpr auto kRetryMost = std::chrono::seconds(60);

std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Waits for SIGTERM, which the main blocks; true once it has come.
bool wait_for_term(std::chrono::seconds at_most) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  const timespec limit{at_most.count(), 0};
  return sigtimedwait(&signals, nullptr, &limit) == SIGTERM;
}

}  // namespace

void log(const char* level, const std::string& message) {
  std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> stamp{};
  const std::size_t length =
      std::strftime(stamp.data(), stamp.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  std::cout << dumped({{"time", std::string(stamp.data(), length)},
                       {"level", level},
                       {"message", message}})
            << std::endl;
}

void write_report(const Config& config, const Report& report) {
  std::string text;
  // What escapes take is known only once it is written.
  for (std::size_t most = kMaxReport;; most = most * 3 / 4) {
    text = dumped({{"commits", report.commits},
                   {"head", report.head},
                   {"branch", config.branch},
                   {"pushed", report.pushed},
                   {"error", report.error.substr(0, most)}});
    if (text.size() <= kMaxReport || most == 0) break;
  }
  std::ofstream out(config.termination_log, std::ios::trunc);
  out << text;
  if (!out.flush())
    log("error", config.termination_log.string() + ": the report cannot be written");
}

int serve(const Config& config, const fs::path& self) {
  Courier courier(config, self);
  if (auto prepared = courier.prepare(); !prepared) {
    log("error", prepared.error());
    Report report;
    report.error = prepared.error();
    write_report(config, report);
    return 1;
  }
  std::string seen;
  std::string tried;
  auto stands_since = Clock::now();
  auto not_before = Clock::now();
  std::chrono::seconds pause(config.poll_seconds);
  while (!wait_for_term(std::chrono::seconds(config.poll_seconds))) {
    const std::string tip = courier.tip();
    if (tip != seen) {
      seen = tip;
      stands_since = Clock::now();
    }
    const bool settled = !tip.empty() && tip != courier.report().head &&
                         Clock::now() - stands_since >= std::chrono::seconds(config.settle_seconds);
    if (!settled || Clock::now() < not_before) continue;
    pause = tip == tried ? std::min<std::chrono::seconds>(kRetryMost, pause * 2)
                         : std::chrono::seconds(config.poll_seconds);
    tried = tip;
    courier.deliver(false);
    not_before = Clock::now() + pause;
  }
  courier.deliver(true);
  write_report(config, courier.report());
  const bool ok = courier.report().error.empty();
  log(ok ? "info" : "error", ok ? "ended" : courier.report().error);
  return ok ? 0 : 1;
}

int checkout(const Config& config) {
  umask(0022);
  std::error_code failed;
  fs::create_directories(config.home, failed);
  if (failed) {
    log("error", fmt::format("{}: {}", config.home.string(), failed.message()));
    return 1;
  }
  // Another start of the pod's containers: the work stays.
  if (fs::exists(config.workspace / ".git")) return 0;
  Config mine = config;
  mine.token_file.clear();
  mine.repository = config.home / "unused";  // HOME and TMPDIR of git: this container's own
  const Git git(mine, "file", {}, {});
  const fs::path part = config.workspace.string() + ".part";
  fs::remove_all(part, failed);
  GitRun clone;
  // The settings stay in the clone, as a start; the agent may change them there, which binds nobody
  // else.
  clone.arguments = {"clone",
                     "--quiet",
                     "--template=",
                     "--no-tags",
                     "--branch",
                     config.branch,
                     "-c",
                     "core.hooksPath=/dev/null",
                     "-c",
                     "submodule.recurse=false",
                     "-c",
                     "gc.auto=0",
                     config.bundle.string(),
                     part.string()};
  clone.deadline = std::chrono::seconds(1800);
  auto cloned = git.run(clone);
  if (cloned) {
    GitRun forget;
    forget.arguments = {"-C", part.string(), "remote", "remove", "origin"};
    cloned = git.run(forget);
  }
  if (!cloned) {
    log("error", cloned.error());
    return 1;
  }
  fs::rename(part, config.workspace, failed);
  if (failed) {
    log("error", fmt::format("{}: {}", config.workspace.string(), failed.message()));
    return 1;
  }
  log("info", fmt::format("checked out {}", config.branch));
  return 0;
}

}  // namespace palisade::courier
