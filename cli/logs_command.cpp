// `palisade logs`: what the containers of a session print.
#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <ostream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>

#include "commands.h"
#include "follow.h"
#include "json_at.h"
#include "terminal_out.h"
#include "text.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::array kContainers{"aider", "relay", "courier", "checkout", "guard", "recorder"};

constexpr const char* kLogsFooter = R"(
Containers: agent (Aider, which is the default), courier (fetches and pushes), relay (to the gateways),
checkout (the first clone), guard (its installer), recorder (the record; palisade audit reads it).
What an agent prints is untrusted. On a terminal only text, colours and cursor movements pass; into a pipe or
a file it goes as it is.

Examples:
  palisade logs fix-login -f
  palisade logs fix-login -c courier --timestamps
  palisade logs fix-login --tail 200 > agent.log

Exit status: 0, or 2 where there is no such log.)";

struct LogsArguments {
  OneOptions one;
  std::string container = "agent";
  bool follow = false;
  bool previous = false;
  bool timestamps = false;
  std::int64_t tail = -1;
  std::string since;
};

std::string container_of(const std::string& given) {
  return given == "agent" ? "aider" : given;
}

std::string log_target(const LogsArguments& options, const std::string& ns,
                       const std::string& pod) {
  std::string out =
      kube::resources::kPods.path(ns, pod, "log") + "?container=" + container_of(options.container);
  if (options.follow) out += "&follow=true";
  if (options.previous) out += "&previous=true";
  if (options.timestamps) out += "&timestamps=true";
  if (options.tail >= 0) out += "&tailLines=" + std::to_string(options.tail);
  if (!options.since.empty())
    out += "&sinceSeconds=" + std::to_string(op::parse_duration(options.since)->count());
  return out;
}

std::string log_trouble(const LogsArguments& options, const std::string& ns, const std::string& pod,
                        const std::string& archive, const kube::Error& error) {
  const std::string who = options.one.workspace + " -n " + ns;
  if (error.is_not_found() && !archive.empty()) {
    return printable(
        "the session's pod " + pod + " in " + ns +
        " is not there (any more); what its agent printed is kept in " + archive +
        ", as output.log, or the pieces of output/, below the pod's UID (docs/archive.md)");
  }
  if (error.is_not_found()) {
    return printable("the session's pod " + pod + " in " + ns +
                     " is not there (any more), and its logs went with it; palisade status " + who +
                     " says why");
  }
  if (error.code == 400) {
    return printable("container " + options.container + " of " + pod + " has no log to show: " +
                     error.message + "; palisade status " + who + " says where it is");
  }
  return trouble("get", {"", "v1", "pods/log", "Pod", true}, ns, pod, error);
}

int logs(const LogsArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade logs: " << why << '\n';
    return kUnreadable;
  };
  if (!options.since.empty() && !op::parse_duration(options.since))
    return fail("--since " + printable(options.since) + ": write it as 30s, 10m or 2h");
  const auto live = Live::connect(options.one.cluster);
  if (!live) return fail(live.error());
  const std::string ns = namespace_of(*live, options.one);
  const auto workspace = find_workspace(*live, ns, options.one.workspace);
  if (!workspace) return fail(workspace.error());
  std::string pod = raw_text_at(*workspace, {"status", "podName"});
  if (pod.empty()) pod = options.one.workspace + "-agent";

  TerminalOut out(streams.out);
  constexpr auto kSilence = 24h;  // an agent may think for long
  bool reading = true;
  bool cut = false;
  const auto done = live->client().stream_raw(
      log_target(options, ns, pod),
      [&](std::string_view piece) {
        cut = true;
        return reading = out.write(piece);
      },
      options.follow ? std::chrono::milliseconds(kSilence) : 30s);
  if (done || !reading) {
    if (!cut) {
      streams.err << "note: container " << options.container << " of " << printable(pod)
                  << " has printed nothing; palisade status " << printable(options.one.workspace)
                  << " -n " << printable(ns) << " says where it is\n";
    }
    return kCompliant;
  }
  out.finish();
  if (cut && done.error().is_transport())
    return fail("the connection was lost in the middle of the log (" +
                printable(done.error().text()) +
                "); run it again, with --since to leave out what you have seen");
  return fail(log_trouble(
      options, ns, pod, raw_text_at(*workspace, {"status", "archive", "location"}), done.error()));
}

}  // namespace

Command add_logs(CLI::App& parent) {
  auto options = std::make_shared<LogsArguments>();
  CLI::App* app = parent.add_subcommand("logs", "Show what a session's containers print");
  app->footer(kLogsFooter);
  add_one_options(*app, options->one);
  app->add_option("-c,--container", options->container,
                  "agent, courier, relay, checkout, guard or recorder")
      ->check(CLI::Validator(
          [](const std::string& name) {
            return std::ranges::find(kContainers, container_of(name)) != kContainers.end()
                       ? std::string()
                       : "there is no container " + printable(name) +
                             " in a session; take agent, courier, relay, checkout, guard or "
                             "recorder";
          },
          ""))
      ->type_name("NAME");
  auto* follow = app->add_flag("-f,--follow", options->follow, "Go on until it ends");
  app->add_flag("-p,--previous", options->previous, "Of the container's run before this one")
      ->excludes(follow);
  app->add_flag("--timestamps", options->timestamps, "The time before each line");
  app->add_option("--tail", options->tail, "Only the last lines")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  app->add_option("--since", options->since, "Only what is younger: 30s, 10m, 2h")
      ->type_name("TIME");
  return {app, [options](const Streams& streams) { return logs(*options, streams); }};
}

}  // namespace palisade::cli
