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
constexpr auto kCheckout = std::chrono::seconds(1800);  // of a large repository

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

// Stay in the clone, as a start; the agent may change them there, which binds nobody else.
constexpr const char* kSettings[] = {"core.hooksPath=/dev/null", "submodule.recurse=false",
                                     "gc.auto=0"};

std::expected<void, std::string> clone_bundle(const Git& git, const Config& config,
                                              const fs::path& part) {
  GitRun clone;
  clone.arguments = {"clone", "--quiet", "--template=", "--no-tags", "--branch", config.branch};
  for (const char* setting : kSettings) {
    clone.arguments.emplace_back("-c");
    clone.arguments.emplace_back(setting);
  }
  clone.arguments.push_back(config.bundle.string());
  clone.arguments.push_back(part.string());
  clone.deadline = kCheckout;
  if (auto cloned = git.run(clone); !cloned) return std::unexpected(std::move(cloned.error()));
  GitRun forget;
  forget.arguments = {"-C", part.string(), "remote", "remove", "origin"};
  if (auto done = git.run(forget); !done) return std::unexpected(std::move(done.error()));
  return {};
}

// A checkout whose history is read where it was handed out: no object is copied. Every git is told
// its directory, for what another user owns it would not look for.
std::expected<void, std::string> stand_on_objects(const Git& git, const Config& config,
                                                  const fs::path& part) {
  const auto ran = [&](std::vector<std::string> arguments) {
    GitRun run;
    run.arguments = std::move(arguments);
    run.deadline = kCheckout;
    return git.run(run);
  };
  const std::string branch = "refs/heads/" + config.branch;
  const auto start = ran({"--git-dir", config.bundle.string(), "rev-parse", "--verify", branch});
  if (!start) return std::unexpected(start.error());
  if (auto made = ran(
          {"init", "--quiet", "--template=", "--initial-branch=" + config.branch, part.string()});
      !made)
    return std::unexpected(std::move(made.error()));
  const fs::path own = part / ".git";
  const fs::path alternates = own / "objects" / "info" / "alternates";
  std::ofstream out(alternates);
  out << (config.bundle / "objects").string() << "\n";
  if (!out.flush()) return std::unexpected(alternates.string() + ": cannot be written");
  for (const std::string setting : kSettings) {
    const auto equals = setting.find('=');
    if (auto set = ran({"config", "--file", (own / "config").string(), setting.substr(0, equals),
                        setting.substr(equals + 1)});
        !set)
      return std::unexpected(std::move(set.error()));
  }
  for (const std::vector<std::string>& step :
       {std::vector<std::string>{"update-ref", branch, start->output.substr(0, 40)},
        std::vector<std::string>{"reset", "--quiet", "--hard"}}) {
    std::vector<std::string> arguments{"--git-dir", own.string(), "--work-tree", part.string()};
    arguments.insert(arguments.end(), step.begin(), step.end());
    if (auto done = ran(std::move(arguments)); !done)
      return std::unexpected(std::move(done.error()));
  }
  return {};
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
  umask(0022);  // what is handed out another user reads
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
  const auto cloned = config.mount == Mount::kReadWrite ? clone_bundle(git, config, part)
                                                        : stand_on_objects(git, config, part);
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
