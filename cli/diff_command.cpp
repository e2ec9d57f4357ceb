// `palisade diff` and `palisade approve`: what a session pushed, and what becomes of it.
#include <iostream>
#include <memory>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>

#include "commands.h"
#include "ending.h"
#include "follow.h"
#include "git_changes.h"
#include "json_at.h"
#include "terminal.h"
#include "terminal_out.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kDiffFooter = R"(
Shows what the session changed since its branch left the branch that it started from. It is fetched with your
own git and your own credentials into a repository that is gone when the command ends. Nothing is checked
out; no hook, filter, attribute, external diff or textconv of the repository runs, and no submodule is
fetched. On a terminal the output is coloured and filtered: what an agent wrote cannot move the cursor.
Into a pipe it goes as it is, for git apply.

Examples:
  palisade diff fix-login -n team-a
  palisade diff fix-login --stat
  palisade diff fix-login --commits
  palisade diff fix-login src/login.py > login.patch

Exit status: 0; 1 nothing has been pushed yet; 2 it cannot be fetched.)";

constexpr const char* kApproveFooter = R"(
Prints the address of the merge request that the session opened: there people review and merge, under the
rules of the git host. With --refuse the session is suspended (=delete: deleted), its tokens are taken away,
and what stays is said: a branch and a merge request are the git host's to delete.

Examples:
  palisade approve fix-login -n team-a
  palisade approve fix-login | xargs xdg-open
  palisade approve fix-login --refuse=delete

Exit status: 0; 1 there is no merge request (yet), or not all of a refusal was done in time; 2 the
workspace cannot be read.)";

struct DiffOptions {
  OneOptions one;
  std::vector<std::string> paths;
  bool stat = false;
  bool names = false;
  bool commits = false;
  std::string colour = "auto";
};

GitWish wish_of(const Json& workspace) {
  GitWish out;
  out.url = raw_text_at(workspace, {"spec", "repository", "url"});
  out.ref = raw_text_at(workspace, {"spec", "repository", "ref"});
  if (out.ref.empty()) out.ref = "main";
  out.branch = raw_text_at(workspace, {"status", "branch"});
  if (out.branch.empty()) out.branch = raw_text_at(workspace, {"spec", "repository", "branch"});
  if (out.branch.empty()) out.branch = "palisade/" + raw_text_at(workspace, {"metadata", "name"});
  return out;
}

GitChanges::Shape shape_of(const DiffOptions& options) {
  return options.stat      ? GitChanges::Shape::kStat
         : options.names   ? GitChanges::Shape::kNames
         : options.commits ? GitChanges::Shape::kCommits
                           : GitChanges::Shape::kPatch;
}

int diff(const DiffOptions& options, const Streams& streams) {
  const auto fail = [&](const std::string& why, int status = kUnreadable) {
    streams.err << "palisade diff: " << why << '\n';
    return status;
  };
  const auto live = Live::connect(options.one.cluster);
  if (!live) return fail(live.error());
  const std::string ns = namespace_of(*live, options.one);
  const auto workspace = find_workspace(*live, ns, options.one.workspace);
  if (!workspace) return fail(workspace.error());
  const GitWish wish = wish_of(*workspace);

  Interrupts interrupts;
  TerminalOut git_says(streams.err);
  const Sink err = [&](std::string_view piece) {
    git_says.write(piece);
    return true;
  };
  const auto changes = GitChanges::fetch(wish, err, interrupts);
  git_says.finish();
  if (!changes) return fail(changes.error());
  if (changes->head().empty()) {
    return fail("nothing has been pushed yet: there is no branch " + printable(wish.branch) +
                    " in " + printable(wish.url) + "; palisade status " +
                    printable(options.one.workspace) + " -n " + printable(ns) +
                    " says where the session is",
                kFindings);
  }
  const std::string pushed = raw_text_at(*workspace, {"status", "head"});
  if (!pushed.empty() && pushed != changes->head()) {
    streams.err << "note: the branch is at " << changes->head().substr(0, 12)
                << ", and the session's last push that is known here was "
                << printable(pushed).substr(0, 12)
                << ": a newer one is not recorded yet, or somebody else pushed\n";
  }
  if (!changes->related())
    streams.err << "note: the branch has no commit in common with " << printable(wish.ref)
                << "; the two are compared as they are\n";
  const bool terminal = is_terminal(streams.out);
  const bool coloured = options.colour == "always" || (options.colour == "auto" && terminal);
  TerminalOut out(streams.out,
                  coloured ? TerminalOut::When::kAlways : TerminalOut::When::kOnTerminals);
  const auto shown = changes->show(
      {.shape = shape_of(options),
       .coloured = coloured,
       .columns = terminal_size(STDOUT_FILENO).first,
       .paths = options.paths},
      [&](std::string_view piece) { return out.write(piece); }, err, interrupts);
  out.finish();
  git_says.finish();
  return shown ? kCompliant : fail(shown.error());
}

struct ApproveOptions {
  OneOptions one;
  std::string refuse;
  std::string timeout = "5m";
};

// Where a person opens one by hand; "" where the host's way is not known.
std::string compare_url(const Json& workspace) {
  const GitWish wish = wish_of(workspace);
  std::string base = wish.url;
  while (base.ends_with('/'))
    base.pop_back();
  if (base.ends_with(".git")) base.resize(base.size() - 4);
  const Json& credentials = json_at(workspace, {"spec", "repository", "credentials"});
  const auto is = [&](const char* kind, const char* host) {
    return !json_at(credentials, {kind}).is_null() ||
           base.starts_with(std::string("https://") + host);
  };
  if (is("gitlab", "gitlab.com/"))
    return base + "/-/merge_requests/new?merge_request%5Bsource_branch%5D=" + uri_path(wish.branch);
  if (is("githubApp", "github.com/") || is("gitea", "codeberg.org/"))
    return base + "/compare/" + uri_path(wish.ref) + "..." + uri_path(wish.branch);
  return {};
}

int refuse(const Live& live, const Json& workspace, const ApproveOptions& options,
           std::chrono::seconds timeout, const Streams& streams) {
  if (options.refuse == "delete")
    return delete_workspace(live, workspace, true, timeout, "palisade approve", streams);
  if (!has_ended(workspace))
    return suspend_workspace(live, workspace, true, timeout, "palisade approve", streams);
  streams.out << "The session has ended already (" << text_at(workspace, {"status", "phase"})
              << "); --refuse=delete takes its workspace away\n";
  for (const std::string& text : after_deletion(workspace, {}).lines) {
    if (text.starts_with("Stays")) streams.out << text << '\n';
  }
  return kCompliant;
}

int approve(const ApproveOptions& options, const Streams& streams) {
  const auto fail = [&](const std::string& why, int status = kUnreadable) {
    streams.err << "palisade approve: " << why << '\n';
    return status;
  };
  const auto timeout = op::parse_duration(options.timeout);
  if (!timeout)
    return fail("--timeout " + printable(options.timeout) + ": write it as 90s, 5m or 1h");
  const auto live = Live::connect(options.one.cluster);
  if (!live) return fail(live.error());
  const std::string ns = namespace_of(*live, options.one);
  const auto workspace = find_workspace(*live, ns, options.one.workspace);
  if (!workspace) return fail(workspace.error());
  if (!options.refuse.empty()) return refuse(*live, *workspace, options, *timeout, streams);

  const std::string who = printable(options.one.workspace) + " -n " + printable(ns);
  const std::string url = text_at(*workspace, {"status", "mergeRequest", "url"});
  const std::int64_t commits = number_at(*workspace, {"status", "commits"});
  if (!url.empty()) {
    streams.err << counted(static_cast<std::size_t>(std::max<std::int64_t>(commits, 0)), "commit")
                << " on " << text_at(*workspace, {"status", "branch"});
    if (const std::string stopped = text_at(*workspace, {"status", "feedback", "stopped"});
        !stopped.empty())
      streams.err << "; its commands: " << stopped;
    if (const auto refusals = number_at(*workspace, {"status", "audit", "refusals"}); refusals > 0)
      streams.err << "; " << counted(static_cast<std::size_t>(refusals), "refusal")
                  << " (palisade audit " << who << ")";
    streams.err << '\n';
    streams.out << url << '\n';
    return kCompliant;
  }
  if (commits == 0)
    return fail("nothing has been pushed yet; palisade status " + who + " says where it is",
                kFindings);
  if (!json_at(*workspace, {"spec", "repository", "mergeRequest"}).is_null() &&
      !has_ended(*workspace))
    return fail(
        "the merge request is opened once the session has ended; it is " + standing(*workspace),
        kFindings);
  const std::string compare = compare_url(*workspace);
  return fail("the session opened no merge request (spec.repository.mergeRequest); its branch is " +
                  text_at(*workspace, {"status", "branch"}) + " of " +
                  text_at(*workspace, {"spec", "repository", "url"}) +
                  (compare.empty() ? std::string() : ": open one at " + printable(compare)),
              kFindings);
}

}  // namespace

Command add_diff(CLI::App& parent) {
  auto options = std::make_shared<DiffOptions>();
  CLI::App* app = parent.add_subcommand("diff", "Show what a session changed");
  app->footer(kDiffFooter);
  add_one_options(*app, options->one);
  app->add_option("PATH", options->paths, "Only these files and folders");
  auto* stat = app->add_flag("--stat", options->stat, "How much of each file");
  auto* names = app->add_flag("--name-status", options->names, "Only the names")->excludes(stat);
  app->add_flag("--commits", options->commits, "The commits instead")
      ->excludes(stat)
      ->excludes(names);
  app->add_option("--color", options->colour, "auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  return {app, [options](const Streams& streams) { return diff(*options, streams); }};
}

Command add_approve(CLI::App& parent) {
  auto options = std::make_shared<ApproveOptions>();
  CLI::App* app =
      parent.add_subcommand("approve", "Print a session's merge request, or refuse its work");
  app->footer(kApproveFooter);
  add_one_options(*app, options->one);
  app->add_flag("--refuse{suspend}", options->refuse, "Suspend the session; =delete deletes it")
      ->check(CLI::IsMember({"suspend", "delete"}));
  app->add_option("--timeout", options->timeout, "How long a refusal may take: 90s, 5m")
      ->type_name("TIME");
  return {app, [options](const Streams& streams) { return approve(*options, streams); }};
}

}  // namespace palisade::cli
