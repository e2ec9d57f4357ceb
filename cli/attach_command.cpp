// `palisade attach`: a person at the terminal of an interactive session.
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <kube/attach.h>
#include <operator/workspace.h>

#include "commands.h"
#include "follow.h"
#include "json_at.h"
#include "process.h"
#include "terminal.h"
#include "terminal_out.h"
#include "workspaces.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using kube::Json;

constexpr const char* kAttachFooter = R"(
For sessions without a task. Only who created the workspace may attach, and whom the policy's settings name.
What the session prints is untrusted: text, colours and cursor movements pass, nothing else. A connection
that is lost is made anew. Ctrl-P Ctrl-Q leaves, and the session goes on.

Examples:
  palisade attach shell -n team-a
  palisade attach shell --detach-keys ctrl-],q

Exit status: 0 you left, or the session ended well; 1 it ended otherwise; 2 there is nothing to attach to,
or you may not.)";

struct AttachArguments {
  OneOptions one;
  std::string keys = "ctrl-p,ctrl-q";
  std::string timeout = "5m";
};

// How a try ended.
struct Sitting {
  enum class Kind : std::uint8_t { kEnded, kLeft, kLost, kRefused } kind = Kind::kLost;
  std::string message;
  bool was_open = false;
};

std::string attach_trouble(const std::string& ns, const std::string& name,
                           const kube::Error& error) {
  const std::string who = name + " -n " + ns;
  if (error.is_forbidden() && error.message.find("session-access") != std::string::npos) {
    return printable(
        "the webhook lets only the workspace's creator in, and whom the settings or an "
        "AgentPolicy name (spec.sessions): " +
        error.message);
  }
  if (error.is_not_found())
    return printable("the session's pod is not there (any more); palisade status " + who +
                     " says why");
  if (error.code == 400)
    return printable(error.message + "; palisade status " + who + " says where it is");
  return trouble("create", {"", "v1", "pods/attach", "Pod", true}, ns, "", error);
}

// One connection, between the terminal and the session.
class Try {
 public:
  Try(const kube::Config& config, kube::AttachOptions options, TerminalOut& out)
      : attachment_(config, std::move(options)) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0) {
      done_ = ends[0];
      tell_ = ends[1];
    }
    thread_ = std::jthread([this, &out] {
      auto end = attachment_.run(
          [this] {
            open_ = true;
            size();
          },
          [&out](std::string_view bytes) { out.write(bytes); });
      if (end) {
        end_ = std::move(*end);
      } else {
        error_ = std::move(end.error());
      }
      finished_ = true;
      // The pipe is empty, so there is room.
      const ssize_t told = ::write(tell_, "", 1);
      static_cast<void>(told);
    });
  }
  ~Try() {
    attachment_.close();
    thread_.join();
    for (const int one : {done_, tell_}) {
      if (one >= 0) ::close(one);
    }
  }
  Try(const Try&) = delete;
  Try& operator=(const Try&) = delete;

  // What the terminal is now; first another size, so that the program draws itself anew.
  void size() {
    const auto [columns, rows] = terminal_size(STDOUT_FILENO);
    if (!sized_.exchange(true)) attachment_.resize(columns, rows + 1);
    attachment_.resize(columns, rows);
  }

  Sitting talk(DetachKeys& keys, const RawTerminal& terminal, Interrupts& interrupts) {
    std::string waiting;
    while (!finished_) {
      if (!waiting.empty() && attachment_.send(waiting)) waiting.clear();
      // Where the peer takes nothing, the terminal is not read either.
      const bool full = !waiting.empty();
      std::array<pollfd, 3> poll{{{done_, POLLIN, 0},
                                  {interrupts.descriptor(), POLLIN, 0},
                                  {full ? -1 : STDIN_FILENO, POLLIN, 0}}};
      if (::poll(poll.data(), poll.size(), full ? 20 : -1) < 0 && errno != EINTR) break;
      if (poll[1].revents != 0 && signalled(terminal, interrupts)) return left("");
      if (poll[2].revents != 0) {
        std::array<char, 4096> typed{};
        const ssize_t got = ::read(STDIN_FILENO, typed.data(), typed.size());
        if (got <= 0 && errno != EINTR && errno != EAGAIN) return left("the terminal is gone");
        if (got > 0 && keys.feed({typed.data(), static_cast<std::size_t>(got)}, waiting))
          return left("");
      }
    }
    return ended();
  }

 private:
  static Sitting left(std::string why) { return {Sitting::Kind::kLeft, std::move(why), true}; }

  bool signalled(const RawTerminal& terminal, Interrupts& interrupts) {
    for (int came = interrupts.next(); came != 0; came = interrupts.next()) {
      if (came == SIGWINCH || came == SIGCONT) {
        if (came == SIGCONT) terminal.again();
        if (open_) size();
      } else {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] Sitting ended() const {
    if (error_ && !error_->is_retriable()) return {Sitting::Kind::kRefused, {}, open_};
    if (error_) return {Sitting::Kind::kLost, error_->text(), open_};
    return {
        end_.kind == kube::AttachEnd::Kind::kEnded ? Sitting::Kind::kEnded : Sitting::Kind::kLost,
        end_.message, open_};
  }

 public:
  [[nodiscard]] const std::optional<kube::Error>& error() const { return error_; }

 private:
  kube::Attachment attachment_;
  int done_ = -1;
  int tell_ = -1;
  std::atomic<bool> open_ = false;
  std::atomic<bool> finished_ = false;
  std::atomic<bool> sized_ = false;
  kube::AttachEnd end_;
  std::optional<kube::Error> error_;
  std::jthread thread_;  // last: it uses the rest
};

// Until the person leaves, the session ends, or no connection comes about for a minute.
std::expected<Sitting, std::string> sit(const Live& live, const AttachArguments& options,
                                        const std::string& ns, const std::string& pod,
                                        DetachKeys keys, const Streams& streams) {
  constexpr auto kPatience = 60s;
  Interrupts interrupts{SIGWINCH, SIGCONT};
  auto terminal = RawTerminal::enter(STDIN_FILENO);
  if (!terminal) return std::unexpected(terminal.error());
  TerminalOut out(streams.out);
  auto alive = Clock::now();
  for (;;) {
    Sitting outcome;
    {
      kube::AttachOptions wanted;
      wanted.ns = ns;
      wanted.pod = pod;
      wanted.container = "aider";
      Try attempt(live.client().config(), std::move(wanted), out);
      outcome = attempt.talk(keys, *terminal, interrupts);
      if (outcome.kind == Sitting::Kind::kRefused)
        return std::unexpected(attach_trouble(ns, options.one.workspace, *attempt.error()));
    }
    out.finish();
    if (outcome.kind != Sitting::Kind::kLost) return outcome;
    if (outcome.was_open) alive = Clock::now();
    // A container that has ended is not lost.
    const auto now = live.client().get(kinds::kAgentWorkspaces, ns, options.one.workspace);
    if (now && (has_ended(*now) || raw_text_at(*now, {"status", "phase"}) == "Suspended"))
      return Sitting{Sitting::Kind::kEnded, "", true};
    if (!now && now.error().is_not_found()) return Sitting{Sitting::Kind::kEnded, "", true};
    if (Clock::now() - alive > kPatience)
      return std::unexpected("the connection was lost (" + printable(outcome.message) +
                             ") and does not come back; the session goes on: palisade attach " +
                             printable(options.one.workspace));
    streams.err << "\r\n[palisade: the connection was lost ("
                << printable(outcome.message).substr(0, 60) << "), trying again]\r\n"
                << std::flush;
    pollfd stop{interrupts.descriptor(), POLLIN, 0};
    static_cast<void>(::poll(&stop, 1, 1000));
    if (interrupts.signal() != 0) return Sitting{Sitting::Kind::kLeft, "", true};
  }
}

std::expected<Json, std::string> wait_until_it_runs(const Live& live, const Json& workspace,
                                                    const AttachArguments& options,
                                                    std::chrono::seconds timeout,
                                                    const Streams& streams) {
  const std::string who =
      printable(options.one.workspace) + " -n " + text_at(workspace, {"metadata", "namespace"});
  Json last = workspace;
  std::expected<Followed, std::string> followed = Followed::kLate;
  {
    StatusLine line(streams.err);
    followed = follow_workspace(live, workspace, Clock::now() + timeout, [&](const Json& now) {
      last = now;
      const bool there =
          in_order(now) || has_ended(now) || raw_text_at(now, {"status", "phase"}) == "Suspended";
      if (!there) line.show("waiting for the session: " + standing(now));
      return there;
    });
  }
  if (!followed) return std::unexpected(followed.error());
  if (*followed == Followed::kGone) return std::unexpected("it was deleted meanwhile");
  if (raw_text_at(last, {"status", "phase"}) == "Suspended")
    return std::unexpected("the session is suspended; palisade resume " + who + " --wait");
  if (has_ended(last))
    return std::unexpected("the session has ended: " + standing(last) + "; palisade logs " + who +
                           " shows what is left");
  if (*followed == Followed::kLate)
    return std::unexpected("the session does not run after " + options.timeout +
                           "; palisade status " + who + " says why");
  return last;
}

int attach(const AttachArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade attach: " << why << '\n';
    return kUnreadable;
  };
  auto keys = DetachKeys::parse(options.keys);
  if (!keys) return fail("--detach-keys: " + keys.error());
  const auto timeout = op::parse_duration(options.timeout);
  if (!timeout)
    return fail("--timeout " + printable(options.timeout) + ": write it as 90s, 5m or 1h");
  const std::string& name = options.one.workspace;
  if (::isatty(STDIN_FILENO) == 0 || !is_terminal(streams.out))
    return fail("it takes a terminal on both sides; without one, palisade logs " + printable(name) +
                " -f shows the output");
  const auto live = Live::connect(options.one.cluster);
  if (!live) return fail(live.error());
  const std::string ns = namespace_of(*live, options.one);
  const auto workspace = find_workspace(*live, ns, name);
  if (!workspace) return fail(workspace.error());
  const std::string who = printable(name) + " -n " + printable(ns);
  if (!json_at(*workspace, {"spec", "task"}).is_null())
    return fail("the session has a task and reads no terminal; palisade logs " + who +
                " -f follows it, and palisade create --interactive makes one to attach to");
  const auto running = wait_until_it_runs(*live, *workspace, options, *timeout, streams);
  if (!running) return fail(running.error());
  std::string pod = raw_text_at(*running, {"status", "podName"});
  if (pod.empty()) pod = name + "-agent";
  streams.err << "Attached to " << printable(ns + "/" + name) << "; " << options.keys
              << " leaves it running\n"
              << std::flush;
  const auto outcome = sit(*live, options, ns, pod, std::move(*keys), streams);
  if (!outcome) return fail(outcome.error());
  if (outcome->kind == Sitting::Kind::kLeft) {
    streams.err << "\nThe session goes on: palisade attach " << who << '\n';
    return kCompliant;
  }
  // What became of it is the operator's to say, a moment later.
  Json last = *running;
  const auto seen = follow_workspace(*live, *running, Clock::now() + 30s, [&](const Json& now) {
    last = now;
    return has_ended(now) || raw_text_at(now, {"status", "phase"}) == "Suspended";
  });
  if (seen && *seen == Followed::kGone) {
    streams.err << "\nThe session has ended; its workspace was deleted\n";
    return kFindings;
  }
  streams.err << "\nThe session has ended: " << standing(last) << '\n';
  return raw_text_at(last, {"status", "phase"}) == "Succeeded" ? kCompliant : kFindings;
}

}  // namespace

Command add_attach(CLI::App& parent) {
  auto options = std::make_shared<AttachArguments>();
  CLI::App* app = parent.add_subcommand("attach", "Sit at the terminal of an interactive session");
  app->footer(kAttachFooter);
  add_one_options(*app, options->one);
  app->add_option("--detach-keys", options->keys, "Keys that leave: ctrl-p,ctrl-q")
      ->type_name("KEYS");
  app->add_option("--timeout", options->timeout, "How long to wait until it runs: 90s, 5m")
      ->type_name("TIME");
  return {app, [options](const Streams& streams) { return attach(*options, streams); }};
}

}  // namespace palisade::cli
