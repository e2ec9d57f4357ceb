#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>

#include "audit.h"
#include "commands.h"
#include "json_at.h"
#include "live.h"
#include "text.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;

constexpr const char* kAuditFooter = R"(
Reads the record that guard keeps of a workspace's session: each program that ran, what was refused
and by which rule, connections, files of the session that were run, findings. From the cluster it
is the log of the agent pod's container `recorder`, which the agent cannot write. Once the pod is gone, it
is where status.archive says, if the gateway has an archive (docs/archive.md).

Examples:
  palisade audit fix-login                      # as a tree of processes
  palisade audit fix-login -n team-a --follow   # as it happens
  palisade audit fix-login -o json > record.jsonl
  palisade audit --file record.jsonl -o csv
  palisade audit --file archive/team-a/fix-login/UID/PODUID

Exit status: 0 nothing was refused and nothing was found, 1 refusals or findings, 2 the record cannot be
read, or lines of it are missing or broken.)";

struct AuditOptions {
  ClusterOptions cluster;
  std::string ns;
  std::string workspace;
  std::string file;
  std::string format = "tree";
  bool follow = false;
};

// What is done with the lines as they come.
class Output {
 public:
  Output(const AuditOptions& options, std::ostream& out)
      : format_(options.format), live_(options.follow && options.format == "tree"), out_(out) {
    if (format_ == "csv") out_ << audit_csv_header();
  }

  // False where nobody reads any more.
  bool take(std::vector<AuditReader::Line> lines) {
    for (AuditReader::Line& line : lines) {
      if (format_ == "json") out_ << fit(line.raw) << '\n';
      if (format_ == "csv") out_ << audit_csv(line.event);
      const AuditEvent event = live_ ? line.event : AuditEvent();
      const std::size_t depth = tree_.add(std::move(line.event));
      if (!live_) continue;
      out_ << audit_time(event.time) << "  "
           << std::string(2 * std::min<std::size_t>(depth, 24), ' ');
      if (event.pid != 0) out_ << "[" << event.pid << "] ";
      out_ << audit_text(event) << '\n';
    }
    out_.flush();
    return out_.good();
  }

  void finish() {
    if (format_ != "tree") return;
    if (!live_) tree_.print(out_);
    tree_.print_totals(out_);
  }
  [[nodiscard]] bool found_something() const {
    const AuditTotals& totals = tree_.totals();
    return totals.refusals + totals.would_refuse + totals.findings > 0;
  }

 private:
  // The line as it is, where it can be shown; else the same document in ASCII.
  static std::string fit(const std::string& raw) {
    if (printable(raw) == raw) return raw;
    return nlohmann::json::parse(raw).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  }

  const std::string format_;
  const bool live_;
  std::ostream& out_;
  AuditTree tree_;
};

using Taken = std::expected<void, std::string>;

// The record in a session's folder of an archive. A folder above sessions is told which there are:
// each has a record of its own.
std::expected<std::string, std::string> record_in(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  constexpr std::size_t kShown = 10;
  constexpr int kAboveSessions = 3;
  const char* const name = "record.jsonl";
  std::error_code error;
  if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
  std::vector<std::string> found;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (entry.depth() > kAboveSessions) entry.disable_recursion_pending();
    if (entry->path().filename() == name && entry->is_regular_file(error))
      found.push_back(entry->path().parent_path().string());
  }
  if (error)
    return std::unexpected("cannot read " + printable(folder.string()) + ": " + error.message());
  if (found.size() == 1) return found.front() + "/" + name;
  std::string out = printable(folder.string()) + " holds " + counted(found.size(), "record");
  if (found.empty()) return std::unexpected(out + "; name a session's folder of an archive");
  std::ranges::sort(found);
  out += "; name one session's folder:";
  for (std::size_t i = 0; i < found.size() && i < kShown; ++i)
    out += "\n  " + printable(found[i]);
  if (found.size() > kShown) out += "\n  ...";
  return std::unexpected(out);
}

Taken from_file(const std::string& given, std::istream& standard, AuditReader& reader,
                Output& output) {
  std::string file = given;
  std::error_code ignored;
  if (file != "-" && std::filesystem::is_directory(file, ignored)) {
    auto record = record_in(file);
    if (!record) return std::unexpected(record.error());
    file = std::move(*record);
  }
  std::ifstream opened;
  if (file != "-") opened.open(file, std::ios::binary);
  std::istream& in = file == "-" ? standard : opened;
  std::array<char, 65536> piece{};
  while (in) {
    in.read(piece.data(), piece.size());
    const auto got = static_cast<std::size_t>(in.gcount());
    if (!output.take(reader.feed({piece.data(), got}))) return {};
  }
  if (!in.eof())
    return std::unexpected("cannot read " + printable(file) +
                           "; name a record's file, or - for standard input");
  return {};
}

struct AgentPod {
  std::string ns;
  std::string pod;
  std::string archive;  // where its record is kept; "": nowhere
};

std::expected<AgentPod, std::string> find_pod(const Live& live, const AuditOptions& options) {
  const std::string ns = live.scope({.ns = options.ns, .all_namespaces = false, .selector = ""});
  const auto workspace = live.find(kinds::kAgentWorkspaces, ns, options.workspace);
  if (!workspace) return std::unexpected(workspace.error());
  if (!*workspace) {
    return std::unexpected(printable("there is no AgentWorkspace " + options.workspace + " in " +
                                     ns + "; `kubectl get agentworkspaces -A` lists them"));
  }
  std::string pod = options.workspace + "-agent";
  const kube::Json& object = **workspace;
  const kube::Json::json_pointer place("/status/podName");
  if (object.contains(place) && object.at(place).is_string() &&
      !object.at(place).get<std::string>().empty())
    pod = object.at(place).get<std::string>();
  return AgentPod{ns, std::move(pod), raw_text_at(object, {"status", "archive", "location"})};
}

std::string log_trouble(const AgentPod& place, const std::string& workspace,
                        const kube::Error& error) {
  const std::string pod = "the agent's pod " + place.pod + " in " + place.ns;
  if (error.is_not_found() && !place.archive.empty()) {
    return printable(pod + " is not there (any more); its record is kept in " + place.archive +
                     ", below the pod's UID: palisade audit --file FOLDER reads it "
                     "(docs/archive.md)");
  }
  if (error.is_not_found()) {
    return printable(
        pod +
        " is not there (any more), and its record went with it; the workspace's "
        "status.audit has the totals, and a record is kept by following it: palisade audit " +
        workspace + " --follow -o json");
  }
  if (error.code == 400)
    return printable(pod + " has no record to show: " + error.message +
                     "; its container `recorder` shows it once the pod has started");
  return trouble("get", {"", "v1", "pods/log", "Pod", true}, place.ns, place.pod, error);
}

Taken from_cluster(const AuditOptions& options, AuditReader& reader, Output& output) {
  constexpr auto kSilence = 24h;  // an agent may think for long
  constexpr int kAttempts = 5;
  const auto live = Live::connect(options.cluster);
  if (!live) return std::unexpected(live.error());
  const auto place = find_pod(*live, options);
  if (!place) return std::unexpected(place.error());
  const std::string target = kube::resources::kPods.path(place->ns, place->pod, "log") +
                             "?container=recorder" + (options.follow ? "&follow=true" : "");
  bool reading = true;
  for (int attempt = 1;; ++attempt) {
    const std::uint64_t before = reader.lines();
    const auto done = live->client().stream_raw(
        target, [&](std::string_view piece) { return reading = output.take(reader.feed(piece)); },
        options.follow ? std::chrono::milliseconds(kSilence) : 30s);
    if (done || !reading) return {};
    if (reader.lines() != before) attempt = 1;
    if (!done.error().is_transport() || reader.lines() == 0 || attempt == kAttempts)
      return std::unexpected(log_trouble(*place, options.workspace, done.error()));
    reader.again();  // the connection was lost: the log begins anew
    std::this_thread::sleep_for(500ms);
  }
}

int audit(const AuditOptions& options, const Streams& streams) {
  AuditReader reader;
  Output output(options, streams.out);
  const Taken taken = options.file.empty() ? from_cluster(options, reader, output)
                                           : from_file(options.file, streams.in, reader, output);
  output.take(reader.finish());
  if (!taken && reader.lines() == 0) {
    streams.err << taken.error() << '\n';
    return kUnreadable;
  }
  output.finish();
  for (const std::string& problem : reader.problems())
    streams.err << printable(problem) << '\n';
  if (reader.missing_at_beginning() > 0) {
    streams.err << "note: the first " << counted(reader.missing_at_beginning(), "line")
                << " of the record are not there; a node keeps only the last of a long log\n";
  }
  if (!taken) {
    streams.err << taken.error() << '\n';
    return kUnreadable;
  }
  if (reader.lines() == 0 && reader.problems().empty())
    streams.err << "note: the record is empty\n";
  if (!reader.problems().empty()) return kUnreadable;
  return output.found_something() ? kFindings : kCompliant;
}

}  // namespace

Command add_audit(CLI::App& parent) {
  auto options = std::make_shared<AuditOptions>();
  CLI::App* app = parent.add_subcommand("audit", "Show what a session ran and what was refused");
  app->footer(kAuditFooter);
  auto* workspace = app->add_option("workspace", options->workspace, "Whose session")
                        ->type_name("WORKSPACE")
                        ->check(CLI::Validator(
                            [](const std::string& name) {
                              return name.empty() ? std::string("an empty name") : std::string();
                            },
                            ""));
  add_cluster_options(*app, options->cluster);
  auto* ns = app->add_option("-n,--namespace", options->ns, "Namespace; else the context's")
                 ->type_name("NAME");
  auto* follow = app->add_flag("-f,--follow", options->follow, "Go on until the session ends");
  app->add_option("-o,--output", options->format, "tree, json (the record's own lines) or csv")
      ->check(CLI::IsMember({"tree", "json", "csv"}))
      ->type_name("FORMAT");
  app->add_option(
         "--file", options->file,
         "A record that was kept, a session's folder of an archive, or - for standard input")
      ->type_name("FILE")
      ->excludes(workspace)
      ->excludes(ns)
      ->excludes(follow);
  return {app, [options](const Streams& streams) {
            if (options->workspace.empty() && options->file.empty()) {
              streams.err << "palisade audit: name a workspace, or a record with --file FILE\n";
              return kUnreadable;
            }
            return audit(*options, streams);
          }};
}

}  // namespace palisade::cli
