// `palisade ui`: a page on loopback that shows sessions and findings, and changes nothing.
#include <atomic>
#include <ctime>
#include <memory>
#include <ostream>
#include <sstream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <kube/daemon.h>

#include "commands.h"
#include "follow.h"
#include "json_at.h"
#include "live.h"
#include "live_pods.h"
#include "ui/handler.h"
#include "ui/timeline.h"

namespace palisade::cli {
namespace {

using kube::Json;
using ui::Answer;

constexpr const char* kUiFooter = R"(
Serves one page to browsers of this machine: sessions and where they are, what a session did
(Events, guard's record, commits), controls and what breaks them. It reads with the rights of your
kubeconfig, and nothing on it changes anything. The address has a secret of its own: whoever has it
sees what you may see. It ends with Ctrl-C.

Examples:
  palisade ui
  palisade ui -n team-a --port 8090

Exit status: 0, or 2 where the cluster or the port cannot be used.)";

struct UiArguments {
  ClusterOptions cluster;
  ScopeOptions scope;
  std::uint16_t port = 0;
};

// As much of a record as a page is worth.
constexpr std::string_view kPartOfRecord = "&tailLines=5000&limitBytes=4194304";

// Reads for people who wait: nothing is said on the way.
class ClusterPages {
 public:
  ClusterPages(Live live, ScopeOptions scope) : live_(std::move(live)), scope_(std::move(scope)) {}

  [[nodiscard]] Answer workspaces() const {
    std::ostringstream silent;
    Progress progress(silent);
    std::vector<Json> found;
    const auto read = live_.each(
        kinds::kAgentWorkspaces, live_.scope(scope_), scope_.selector, progress,
        [&] { found.clear(); }, [&](const Json& object) { found.push_back(object); });
    if (!read) return std::unexpected(read.error());
    return ui::sessions_json(found);
  }

  [[nodiscard]] Answer session(const std::string& ns, const std::string& name) const {
    const auto workspace = find_workspace(live_, ns, name);
    if (!workspace) return std::unexpected(workspace.error());
    std::ostringstream silent;
    Progress progress(silent);
    std::vector<std::string> notes;
    std::vector<Json> about;
    auto events = live_.all(kube::resources::kEvents, ns, progress);
    if (!events) {
      notes.push_back("Events: " + events.error());
    } else {
      const std::string uid = raw_text_at(*workspace, {"metadata", "uid"});
      const std::string pod = raw_text_at(*workspace, {"status", "podUID"});
      for (Json& event : *events) {
        const std::string of = raw_text_at(event, {"regarding", "uid"});
        if (!of.empty() && (of == uid || of == pod)) about.push_back(std::move(event));
      }
    }
    const auto record = read_record(ns, *workspace, notes);
    return ui::session_json(*workspace, about, record, std::move(notes));
  }

  [[nodiscard]] Answer findings() const {
    std::istringstream nothing;
    std::ostringstream out, err;
    Progress progress(err);
    LiveOptions options;
    options.scope = scope_;
    options.judge.now = static_cast<std::int64_t>(std::time(nullptr));
    return ui::findings_json(judge_cluster(live_, options, {nothing, out, err}, progress));
  }

 private:
  [[nodiscard]] std::vector<AuditReader::Line> read_record(const std::string& ns,
                                                           const Json& workspace,
                                                           std::vector<std::string>& notes) const {
    const std::string pod = raw_text_at(workspace, {"status", "podName"});
    if (pod.empty()) return {};
    const auto log = live_.client().get_raw(kube::resources::kPods.path(ns, pod, "log") +
                                            "?container=recorder" + std::string(kPartOfRecord));
    if (!log) {
      notes.push_back(
          log.error().is_not_found()
              ? "The session's pod is gone, and its record went with it."
              : trouble("get", {"", "v1", "pods/log", "Pod", true}, ns, pod, log.error()));
      return {};
    }
    AuditReader reader;
    auto lines = reader.feed(*log);
    auto last = reader.finish();
    std::ranges::move(last, std::back_inserter(lines));
    if (reader.missing_at_beginning() > 0)
      notes.emplace_back("Only the end of the record is shown; `palisade audit` has all of it.");
    std::ranges::copy(reader.problems(), std::back_inserter(notes));
    return lines;
  }

  const Live live_;
  const ScopeOptions scope_;
};

int serve(const UiArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade ui: " << why << '\n';
    return kUnreadable;
  };
  kube::block_end_signals();
  auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  if (const auto there = live->reach(); !there) return fail(there.error());
  const ClusterPages reader(std::move(*live), options.scope);
  const ui::Sources sources{
      [&] { return reader.workspaces(); },
      [&](const std::string& ns, const std::string& name) { return reader.session(ns, name); },
      [&] { return reader.findings(); }};

  kube::HttpServerOptions serving;
  serving.address = "127.0.0.1";
  serving.port = options.port;
  serving.threads = 1;
  serving.waiting_threads = 2;
  serving.max_waiting = 16;
  serving.max_body_bytes = 1024;
  serving.max_connections = 32;
  serving.answer_deadline = std::chrono::seconds(60);
  // Which port it is is known once it listens.
  std::atomic<std::shared_ptr<const ui::Handler>> handler;
  kube::HttpServer server(serving, [&](const kube::HttpRequest& request) {
    const auto ready = handler.load();
    return ready ? ready->answer(request) : kube::HttpResponse{503, "text/plain", "starting\n"};
  });
  if (const auto started = server.start(); !started)
    return fail("port " + std::to_string(options.port) + ": " + started.error().message +
                "; --port names another");
  const std::string token = ui::new_token();
  handler.store(std::make_shared<const ui::Handler>(sources, token, server.port()));
  streams.out << "http://127.0.0.1:" << server.port() << '/' << token << "/\n" << std::flush;
  streams.err << "Open this address in a browser of this machine; Ctrl-C ends it.\n";
  static_cast<void>(kube::wait_for_end_signal());
  server.stop(std::chrono::seconds(1));
  return kCompliant;
}

}  // namespace

Command add_ui(CLI::App& parent) {
  auto options = std::make_shared<UiArguments>();
  CLI::App* app = parent.add_subcommand("ui", "Serve a page that shows sessions and findings");
  app->footer(kUiFooter);
  add_cluster_options(*app, options->cluster);
  add_scope_options(*app, options->scope, true);
  app->add_option("--port", options->port, "Port on 127.0.0.1; 0 is any that is free")
      ->capture_default_str();
  return {app, [options](const Streams& streams) { return serve(*options, streams); }};
}

}  // namespace palisade::cli
