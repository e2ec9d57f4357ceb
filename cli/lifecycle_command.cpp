// `palisade suspend`, `resume` and `delete`.
#include <memory>
#include <ostream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>

#include "commands.h"
#include "ending.h"
#include "follow.h"
#include "json_at.h"
#include "workspaces.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kSuspendFooter = R"(
The pod is ended and the session's token removed. What was not pushed is lost, unless the workspace has
storage of its own (spec.storage).

Examples:
  palisade suspend fix-login -n team-a
  palisade suspend fix-login --no-wait

Exit status: 0; 1 it is not suspended within --timeout; 2 nothing was changed.)";

constexpr const char* kResumeFooter = R"(
A new pod begins from the branch as it was pushed.

Example:
  palisade resume fix-login -n team-a --wait

Exit status: 0; 1 it does not run within --timeout; 2 nothing was changed.)";

constexpr const char* kDeleteFooter = R"(
Ends the session, has its tokens revoked and waits until all that belonged to it is gone. What was pushed
stays on its branch.

Examples:
  palisade delete fix-login -n team-a
  palisade delete fix-login --no-wait

Exit status: 0; 1 it is not gone within --timeout, or a token was not revoked; 2 nothing was deleted.)";

struct LifecycleArguments {
  OneOptions one;
  bool no_wait = false;
  bool wait = false;
  std::string timeout = "5m";
};

struct FoundSession {
  Live live;
  Json workspace;
  std::chrono::seconds timeout;
};

std::expected<FoundSession, std::string> find(const LifecycleArguments& options) {
  const auto timeout = op::parse_duration(options.timeout);
  if (!timeout)
    return std::unexpected("--timeout " + printable(options.timeout) +
                           ": write it as 90s, 5m or 1h");
  auto live = Live::connect(options.one.cluster);
  if (!live) return std::unexpected(live.error());
  auto workspace = find_workspace(*live, namespace_of(*live, options.one), options.one.workspace);
  if (!workspace) return std::unexpected(workspace.error());
  return FoundSession{std::move(*live), std::move(*workspace), *timeout};
}

int run_delete(const LifecycleArguments& options, const Streams& streams) {
  const auto found = find(options);
  if (!found) {
    streams.err << "palisade delete: " << found.error() << '\n';
    return kUnreadable;
  }
  return delete_workspace(found->live, found->workspace, !options.no_wait, found->timeout,
                          "palisade delete", streams);
}

int run_suspend(const LifecycleArguments& options, const Streams& streams) {
  const auto found = find(options);
  if (!found) {
    streams.err << "palisade suspend: " << found.error() << '\n';
    return kUnreadable;
  }
  if (has_ended(found->workspace)) {
    streams.err << "palisade suspend: the session has ended already ("
                << text_at(found->workspace, {"status", "phase"})
                << "); palisade delete takes away what is left of it\n";
    return kUnreadable;
  }
  return suspend_workspace(found->live, found->workspace, !options.no_wait, found->timeout,
                           "palisade suspend", streams);
}

int run_resume(const LifecycleArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why, int status) {
    streams.err << "palisade resume: " << why << '\n';
    return status;
  };
  const auto found = find(options);
  if (!found) return fail(found.error(), kUnreadable);
  const std::string ns = raw_text_at(found->workspace, {"metadata", "namespace"});
  const std::string& name = options.one.workspace;
  if (has_ended(found->workspace))
    return fail("the session has ended (" + text_at(found->workspace, {"status", "phase"}) +
                    "), and no ended session starts again; palisade create makes another",
                kUnreadable);
  if (json_at(found->workspace, {"spec", "lifecycle", "suspend"}) != Json(true)) {
    streams.out << "AgentWorkspace " << printable(ns + "/" + name)
                << " is not suspended: " << standing(found->workspace) << '\n';
    if (!options.wait) return kCompliant;
  }
  const auto changed = found->live.client().patch(
      kinds::kAgentWorkspaces, ns, name, kube::PatchType::kMerge,
      {{"metadata", {{"uid", raw_text_at(found->workspace, {"metadata", "uid"})}}},
       {"spec", {{"lifecycle", {{"suspend", false}}}}}});
  if (!changed) return fail(workspace_trouble("patch", ns, name, changed.error()), kUnreadable);
  if (!options.wait) {
    streams.out << "AgentWorkspace " << printable(ns + "/" + name) << " is being started anew\n";
    return kCompliant;
  }
  Json last = *changed;
  std::expected<Followed, std::string> followed = Followed::kLate;
  {
    StatusLine line(streams.err);
    followed =
        follow_workspace(found->live, *changed, std::chrono::steady_clock::now() + found->timeout,
                         [&](const Json& now) {
                           last = now;
                           line.show(standing(now));
                           return is_observed(now) && (has_ended(now) || in_order(now));
                         });
  }
  if (!followed) return fail(followed.error(), kFindings);
  streams.out << "AgentWorkspace " << printable(ns + "/" + name) << ": " << standing(last) << '\n';
  if (*followed == Followed::kThere && in_order(last)) return kCompliant;
  return fail(*followed == Followed::kGone ? "it was deleted meanwhile"
              : *followed == Followed::kLate
                  ? "it does not run after " + options.timeout + "; palisade status " +
                        printable(name) + " -n " + printable(ns) + " says why"
                  : "it did not come to run; palisade status " + printable(name) + " -n " +
                        printable(ns) + " says why",
              kFindings);
}

CLI::App* add(CLI::App& parent, const char* name, const char* what, const char* footer,
              LifecycleArguments& options) {
  CLI::App* app = parent.add_subcommand(name, what);
  app->footer(footer);
  add_one_options(*app, options.one);
  app->add_option("--timeout", options.timeout, "How long to wait: 90s, 5m, 1h")->type_name("TIME");
  return app;
}

}  // namespace

Command add_suspend(CLI::App& parent) {
  auto options = std::make_shared<LifecycleArguments>();
  CLI::App* app = add(parent, "suspend", "End a session's pod and keep its workspace",
                      kSuspendFooter, *options);
  app->add_flag("--no-wait", options->no_wait, "Do not wait until the pod is gone");
  return {app, [options](const Streams& streams) { return run_suspend(*options, streams); }};
}

Command add_resume(CLI::App& parent) {
  auto options = std::make_shared<LifecycleArguments>();
  CLI::App* app = add(parent, "resume", "Start a suspended session anew", kResumeFooter, *options);
  app->add_flag("--wait", options->wait, "Wait until it runs");
  return {app, [options](const Streams& streams) { return run_resume(*options, streams); }};
}

Command add_delete(CLI::App& parent) {
  auto options = std::make_shared<LifecycleArguments>();
  CLI::App* app =
      add(parent, "delete", "End a session and take its workspace away", kDeleteFooter, *options);
  app->add_flag("--no-wait", options->no_wait, "Do not wait until it is gone");
  return {app, [options](const Streams& streams) { return run_delete(*options, streams); }};
}

}  // namespace palisade::cli
