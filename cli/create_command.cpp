// `palisade create`: one AgentWorkspace out of flags, or out of an issue's text.
#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>
#include <policy/workspace.h>

#include "commands.h"
#include "create.h"
#include "follow.h"
#include "json_at.h"
#include "object_out.h"
#include "sources.h"
#include "workspaces.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;
using kube::Json;

constexpr const char* kCreateFooter = R"(
What only the cluster knows (the policies of the namespace, the CRD's patterns) the API server and
the webhook say, before anything is made; --dry-run=server asks them alone.

Examples:
  palisade create --repo https://git.example.com/team/app.git --git-secret git-token \
      -m "Make the login form accept spaces" --test "python3 -m pytest -q"
  palisade create fix-login --repo https://... -F issue.md --merge-request=draft --wait=finished
  gh issue view 12 --json title,body -q '"# " + .title + "\n" + .body' | palisade create --repo https://... -F -
  palisade create shell --repo https://... --interactive --wait && palisade attach shell
  palisade create --repo https://... -m "..." --dry-run > workspace.yaml

Exit status: 0 it was made, and with --wait it runs (=finished: it ended well); 1 it was made, and did not
come that far, or not within --timeout; 2 nothing was made.)";

struct CreateArguments {
  ClusterOptions cluster;
  CreateOptions workspace;
  std::string from_file;
  bool interactive = false;
  std::string dry_run;
  std::string wait;
  std::string timeout = "30m";
  std::string settings;
  std::string format = "text";
};

using Checked = std::expected<void, std::string>;

// The settings of a file: where they are at hand, nothing needs to be sent to know.
Checked check_settings(const std::string& file, std::istream& in, const Json& workspace) {
  if (file.empty()) return {};
  const auto settings = read_settings(file, in);
  if (!settings) return std::unexpected(settings.error());
  simdjson::dom::parser parser;
  const simdjson::padded_string text(workspace.dump());
  const auto findings = policy::evaluate_workspace(parser.parse(text), *settings);
  if (findings.empty()) return {};
  std::string out = "the settings in " + shown(file) + " refuse it:";
  for (const policy::Finding& finding : findings)
    out += " " + finding.field + ": " + finding.message + ";";
  out.pop_back();
  return std::unexpected(printable(out));
}

Checked read_message(CreateArguments& options, std::istream& in) {
  CreateOptions& workspace = options.workspace;
  if (options.interactive) return {};
  if (!options.from_file.empty()) {
    auto text = read_file(options.from_file, in);
    if (!text) return std::unexpected(shown(options.from_file) + ": " + text.error());
    workspace.message = std::move(*text);
  } else if (workspace.message.empty()) {
    return std::unexpected(
        "say what is to be done with --message TEXT, or --from-file FILE, or take --interactive");
  }
  auto message = message_of(std::move(workspace.message));
  if (!message)
    return std::unexpected(
        (options.from_file.empty() ? std::string("--message") : shown(options.from_file)) + ": " +
        message.error());
  workspace.message = std::move(*message);
  return {};
}

std::string create_trouble(const std::string& ns, const std::string& name,
                           const kube::Error& error) {
  if (error.is_already_exists())
    return printable("there is an AgentWorkspace " + name + " in namespace " + ns +
                     " already; give another NAME, or palisade delete " + name);
  if (error.is_not_found() && error.reason == "NotFound")
    return printable("there is no namespace " + ns + "; name another with -n");
  if (error.code == 400 && error.message.find("unknown field") != std::string::npos)
    return printable(
        "the definition of AgentWorkspaces in this cluster is older than this command: " +
        error.message + "; leave the option out, or have the CRDs upgraded");
  return workspace_trouble("create", ns, "", error);
}

// A name that was made up is made up again where it is taken.
kube::Result<Json> send(const Live& live, const std::string& ns, Json& object, bool made_up,
                        bool dry_run) {
  const std::string first = raw_text_at(object, {"metadata", "name"});
  for (int attempt = 0;; ++attempt) {
    auto made = live.client().create_strictly(kinds::kAgentWorkspaces, ns, object,
                                              {.field_manager = "palisade", .dry_run = dry_run});
    if (made || !made_up || !made.error().is_already_exists() || attempt == 4) return made;
    object["metadata"]["name"] = another_name(first);
  }
}

int wait_for(const Live& live, const CreateArguments& options, const Json& made,
             const Streams& streams) {
  const bool finished = options.wait == "finished";
  const auto until = std::chrono::steady_clock::now() + *op::parse_duration(options.timeout);
  Json last = made;
  std::expected<Followed, std::string> followed = Followed::kLate;
  {
    StatusLine line(streams.err);
    followed = follow_workspace(live, made, until, [&](const Json& now) {
      last = now;
      line.show(standing(now));
      return has_ended(now) || raw_text_at(now, {"status", "phase"}) == "Suspended" ||
             (!finished && in_order(now));
    });
  }
  const std::string who =
      text_at(made, {"metadata", "namespace"}) + "/" + text_at(made, {"metadata", "name"});
  if (!followed) {
    streams.err << "palisade create: " << who << " was made, but " << followed.error() << '\n';
    return kFindings;
  }
  if (*followed == Followed::kGone) {
    streams.err << "palisade create: " << who << " was deleted meanwhile\n";
    return kFindings;
  }
  if (options.format == "json" || options.format == "yaml") {
    streams.out << object_text(without_managed_fields(last), options.format);
  } else if (options.format == "text") {
    streams.out << "AgentWorkspace " << who << ": " << standing(last) << '\n';
    if (const std::string url = text_at(last, {"status", "mergeRequest", "url"}); !url.empty())
      streams.out << "Merge request: " << url << '\n';
  }
  if (*followed == Followed::kLate) {
    streams.err << "palisade create: " << who << " did not come so far within " << options.timeout
                << ", and goes on; palisade status " << text_at(made, {"metadata", "name"})
                << " -n " << text_at(made, {"metadata", "namespace"}) << " says why\n";
    return kFindings;
  }
  const bool well =
      finished ? raw_text_at(last, {"status", "phase"}) == "Succeeded" : in_order(last);
  if (!well) {
    streams.err << "palisade create: " << who << " was made, and is "
                << text_at(last, {"status", "phase"}) << "; palisade status "
                << text_at(made, {"metadata", "name"}) << " -n "
                << text_at(made, {"metadata", "namespace"}) << " says why\n";
  }
  return well ? kCompliant : kFindings;
}

int create(CreateArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade create: " << why << '\n';
    return kUnreadable;
  };
  if (!options.wait.empty() && !op::parse_duration(options.timeout))
    return fail("--timeout " + printable(options.timeout) + ": write it as 90s, 30m or 2h");
  if (!options.wait.empty() && !options.dry_run.empty())
    return fail("--dry-run makes nothing that --wait could wait for; leave one of them out");
  if (auto read = read_message(options, streams.in); !read) return fail(read.error());
  auto object = workspace_of(options.workspace);
  if (!object) return fail(object.error());
  if (auto fit = check_settings(options.settings, streams.in, *object); !fit)
    return fail(fit.error());
  const std::string format =
      options.format == "text" && !options.dry_run.empty() ? "yaml" : options.format;
  if (options.dry_run == "client") {
    streams.out << object_text(*object, format);
    return kCompliant;
  }

  const auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  const std::string ns =
      live->scope({.ns = options.workspace.ns, .all_namespaces = false, .selector = ""});
  (*object)["metadata"]["namespace"] = ns;
  const auto made =
      send(*live, ns, *object, options.workspace.name.empty(), options.dry_run == "server");
  const std::string name = raw_text_at(*object, {"metadata", "name"});
  if (!made) return fail(create_trouble(ns, name, made.error()));
  if (!options.dry_run.empty()) {
    streams.out << object_text(without_managed_fields(*made), format);
    return kCompliant;
  }
  const bool waits = !options.wait.empty();
  if (format == "text") {
    streams.out << "AgentWorkspace " << printable(ns) << "/" << printable(name) << " created\n"
                << std::flush;
    if (!waits)
      streams.err << "Next: palisade status " << printable(name) << " -n " << printable(ns) << '\n';
  } else if (!waits || format == "name") {
    streams.out << object_text(without_managed_fields(*made), format) << std::flush;
  }
  return waits ? wait_for(*live, options, *made, streams) : kCompliant;
}

void add_task_options(CLI::App& app, CreateArguments& options) {
  CreateOptions& w = options.workspace;
  auto* message = app.add_option("-m,--message", w.message, "What the agent is to do");
  auto* file =
      app.add_option("-F,--from-file", options.from_file,
                     "What the agent is to do: a file (an issue's text), or - for standard "
                     "input")
          ->type_name("FILE");
  auto* interactive = app.add_flag("-i,--interactive", options.interactive,
                                   "No task: the session waits for palisade attach");
  message->excludes(file)->excludes(interactive);
  file->excludes(interactive);
  app.add_option("--file", w.files, "A file to edit, below the repository's root; repeatable")
      ->type_name("PATH")
      ->allow_extra_args(false);
  app.add_option("--lint", w.lint_command, "Command that checks the work: \"ruff check src\"")
      ->type_name("COMMAND");
  app.add_option("--test", w.test_command, "Command that tests it; what it prints goes back")
      ->type_name("COMMAND");
  app.add_option("--rounds", w.rounds, "How often that goes back at most")
      ->check(CLI::Range(1, 20))
      ->type_name("N");
}

void add_repository_options(CLI::App& app, CreateOptions& w) {
  app.add_option("--repo", w.url, "https address of the repository")->type_name("URL");
  app.add_option("--ref", w.ref, "Branch or tag to start from; main if not said")
      ->type_name("NAME");
  app.add_option("--branch", w.branch, "The one branch that is pushed; palisade/NAME if not said")
      ->type_name("NAME");
  app.add_flag("--read-only", w.read_only, "Nothing is ever pushed");
  app.add_option("--mount", w.mount,
                 "What the agent has of the project: ReadWrite, a clone of its own; GitDirOnly, "
                 ".git to read and a scratch checkout; ReadOnly, a checkout to read")
      ->check(CLI::IsMember({"ReadWrite", "GitDirOnly", "ReadOnly"}))
      ->type_name("SHAPE");
  app.add_option("--output-dir", w.output_dir,
                 "With --mount ReadOnly: the directory of the repository that is written and "
                 "collected")
      ->type_name("PATH");
  app.add_option("--via", w.via, "How git reaches the host: Gateway or Direct")
      ->check(CLI::IsMember({"Gateway", "Direct"}))
      ->type_name("WAY");
  app.add_option("--git-secret", w.git_secret, "Secret with a token for this repository")
      ->type_name("NAME[/KEY]");
  app.add_option("--github-app", w.github_app, "A GitHub App's id, and the Secret with its key")
      ->type_name("ID:NAME[/KEY]");
  app.add_option("--gitlab-secret", w.gitlab_secret, "Secret with a GitLab maintainer's token")
      ->type_name("NAME[/KEY]");
  app.add_option("--gitea-secret", w.gitea_secret, "Secret with a Gitea user's name and password")
      ->type_name("NAME");
  app.add_flag("--merge-request{open}", w.merge_request,
               "Open a merge request at the end; =draft as a draft")
      ->check(CLI::IsMember({"open", "draft"}));
  app.add_option("--title", w.title,
                 "The merge request's title; the task's first line if not said");
}

void add_session_options(CLI::App& app, CreateOptions& w) {
  app.add_option("--model", w.model, "Model, as the LLM gateway names it")->type_name("NAME");
  app.add_option("--more-model", w.models, "A model that may be used beside it; repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_option("--gateway", w.gateway, "LLM gateway, as the administrator names it")
      ->type_name("NAME");
  app.add_option("--llm-secret", w.llm_secret,
                 "Secret with a key for a gateway that is not Palisade's")
      ->type_name("NAME[/KEY]");
  app.add_option("--tokens", w.tokens, "How many tokens the session may use")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  app.add_option("--cost", w.cost, "How many US dollars: 5.00")->type_name("AMOUNT");
  app.add_option("--image", w.image, "Image with Aider and the project's tools");
  app.add_option("--limit", w.limits, "A limit of the agent's container: cpu=2; repeatable")
      ->type_name("NAME=QUANTITY")
      ->allow_extra_args(false);
  app.add_option("--allow", w.allow, "A program beside Aider's own that may run; repeatable")
      ->type_name("PATH")
      ->allow_extra_args(false);
  app.add_option("--runtime-class", w.runtime_class, "Sandboxed runtime, such as kata")
      ->type_name("NAME");
  app.add_option("--storage", w.storage, "A volume of its own for /workspace, so large: 20Gi")
      ->type_name("SIZE");
  app.add_option("--storage-class", w.storage_class,
                 "Its StorageClass; the cluster's default if not said")
      ->type_name("NAME");
  app.add_flag("--retain", w.retain, "Keep that volume when the workspace is deleted");
  app.add_option("--deadline", w.deadline, "Longest run time: 45m, 2h")->type_name("TIME");
  app.add_option("--idle-timeout", w.idle_timeout, "End a session that does nothing for so long")
      ->type_name("TIME");
  app.add_option("--command-timeout", w.command_timeout, "End a command after so long")
      ->type_name("TIME");
  app.add_option("--ttl", w.ttl, "How long it is kept once it has ended")->type_name("TIME");
}

}  // namespace

Command add_create(CLI::App& parent) {
  auto options = std::make_shared<CreateArguments>();
  CreateOptions& w = options->workspace;
  CLI::App* app = parent.add_subcommand("create", "Make a workspace and set an agent to work");
  app->footer(kCreateFooter);
  app->add_option("NAME", w.name, "Its name; made from the message if not said");
  app->add_option("-n,--namespace", w.ns, "Namespace; else the context's")->type_name("NAME");
  app->add_option("-l,--label", w.labels, "A label; repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app->add_option("--template", w.from_template,
                  "AgentWorkspaceTemplate of the namespace; what it sets is filled in")
      ->type_name("NAME");
  add_task_options(*app, *options);
  add_repository_options(*app, w);
  add_session_options(*app, w);
  app->add_flag("--dry-run{client}", options->dry_run,
                "Only print it; =server asks the API server and the webhook too")
      ->check(CLI::IsMember({"client", "server"}));
  app->add_option("--settings", options->settings,
                  "Policy settings to hold it to before it is sent, JSON or YAML")
      ->type_name("FILE");
  app->add_flag("--wait{running}", options->wait,
                "Wait until it runs; =finished until it has ended")
      ->check(CLI::IsMember({"running", "finished"}));
  app->add_option("--timeout", options->timeout, "How long to wait: 90s, 30m, 2h")
      ->type_name("TIME");
  app->add_option("-o,--output", options->format, "text, name, yaml or json")
      ->check(CLI::IsMember({"text", "name", "yaml", "json"}))
      ->type_name("FORMAT");
  add_cluster_options(*app, options->cluster);
  return {app, [options](const Streams& streams) { return create(*options, streams); }};
}

}  // namespace palisade::cli
