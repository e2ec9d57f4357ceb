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
using Json = nlohmann::json;

// The kubelet keeps 12 KiB of the termination messages of all of a pod's containers, shared out
// evenly: a session's pod has six, and one more where somebody debugs it. Half a JSON document says
// nothing.
constexpr std::size_t kMaxReport = 12 * 1024 / 7;
constexpr auto kRetryMost = std::chrono::seconds(60);
constexpr auto kRetrySoon = std::chrono::milliseconds(100);
constexpr auto kFilePoll = std::chrono::milliseconds(50);

std::string dumped(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Waits for SIGTERM, which the main blocks; true once it has come.
bool wait_for_term(std::chrono::milliseconds at_most) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  const auto whole = std::chrono::floor<std::chrono::seconds>(at_most);
  const timespec limit{whole.count(), std::chrono::nanoseconds(at_most - whole).count()};
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
    Json value{{"commits", report.commits},
               {"head", report.head},
               {"branch", config.branch},
               {"pushed", report.pushed},
               {"error", report.error.substr(0, most)}};
    if (!report.note.empty()) value["note"] = report.note.substr(0, most / 2);
    text = dumped(value);
    if (text.size() <= kMaxReport || most == 0) break;
  }
  std::ofstream out(config.termination_log, std::ios::trunc);
  out << text;
  if (!out.flush())
    log("error", config.termination_log.string() + ": the report cannot be written");
}

bool wait_for_file(const fs::path& file) {
  while (access(file.c_str(), F_OK) != 0) {
    if (wait_for_term(kFilePoll)) return false;
  }
  return true;
}

int serve(const Config& config, const fs::path& self, std::chrono::seconds patience) {
  umask(0022);  // what is handed out another user reads
  const auto give_up = Clock::now() + patience;
  std::optional<Courier> attempt;
  for (;;) {
    attempt.emplace(config, self);
    const auto prepared = attempt->prepare();
    if (prepared) break;
    if (Clock::now() < give_up) {
      if (wait_for_term(kRetrySoon)) return 0;
      continue;
    }
    log("error", prepared.error());
    Report report;
    report.error = prepared.error();
    write_report(config, report);
    return 1;
  }
  Courier& courier = *attempt;
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

}  // namespace palisade::courier
