#include "check.h"

#include <algorithm>
#include <ctime>
#include <ostream>

#include <fmt/format.h>
#include <simdjson.h>

#include <cli/cli.h>

#include "live_pods.h"
#include "pods.h"
#include "report.h"
#include "sources.h"

namespace palisade::cli {
namespace {

void judge(Judged& judged, simdjson::dom::element pod, const Places& places,
           const policy::Settings& settings, const CheckOptions& options) {
  judged.reason = policy::agent_reason(pod);
  judged.checked = options.all || !judged.reason.empty();
  if (!judged.checked) return;
  for (policy::Finding& finding : policy::evaluate(pod, settings, judged.prefix)) {
    if (std::ranges::find(options.skip, finding.control) != options.skip.end()) continue;
    const Place at = places.find(finding.field);
    judged.found.push_back({std::move(finding), at, Effect::deny, {}});
  }
}

// values.yaml and the like. What kubectl would apply has both.
bool no_object(simdjson::dom::element root) {
  simdjson::dom::object members;
  if (root.get(members) != simdjson::SUCCESS) return true;
  simdjson::dom::element ignored;
  return members.at_key("kind").get(ignored) != simdjson::SUCCESS &&
         members.at_key("apiVersion").get(ignored) != simdjson::SUCCESS;
}

}  // namespace

std::expected<void, std::string> check_documents(const std::string& file, bool from_directory,
                                                 const std::vector<Document>& documents,
                                                 const policy::Settings& settings,
                                                 const CheckOptions& options, Outcome& outcome) {
  if (documents.empty() && !from_directory) {
    return std::unexpected(place(file, {1, 1, "there is no Kubernetes object in it"}));
  }
  for (const Document& document : documents) {
    simdjson::dom::parser parser;
    simdjson::dom::element root;
    if (const auto error = parser.parse(document.json).get(root); error != simdjson::SUCCESS) {
      return std::unexpected(place(file, {document.line, 1, simdjson::error_message(error)}));
    }
    if (from_directory && no_object(root)) {
      ++outcome.not_objects;
      continue;
    }
    Contents contents = find_pods(root);
    if (!contents.problem.empty()) {
      return std::unexpected(place(file, {document.line, 1, contents.problem}));
    }
    outcome.others += contents.others;
    for (PodPlace& pod : contents.pods) {
      Judged judged;
      judged.file = file;
      judged.line = document.line;
      judged.kind = std::move(pod.kind);
      judged.space = std::move(pod.space);
      judged.name = std::move(pod.name);
      judged.prefix = std::move(pod.prefix);
      judge(judged, pod.pod, document.places, settings, options);
      outcome.pods.push_back(std::move(judged));
    }
  }
  return {};
}

void print(const Outcome& outcome, std::string_view format, std::ostream& out) {
  if (format == "json") {
    print_json(outcome, out);
  } else if (format == "sarif") {
    print_sarif(outcome, out);
  } else if (format == "junit") {
    print_junit(outcome, out);
  } else if (!outcome.pods.empty() || !outcome.unreadable) {
    print_text(outcome, out);
  }
}

namespace {

int check_live(const CheckOptions& options, const Streams& streams) {
  const auto live = Live::connect(options.cluster);
  if (!live) {
    streams.err << live.error() << '\n';
    return kUnreadable;
  }
  if (const auto there = live->reach(); !there) {
    streams.err << there.error() << '\n';
    return kUnreadable;
  }
  LiveOptions wanted{options.scope,
                     options.settings_file,
                     {options.skip, options.all, static_cast<std::int64_t>(std::time(nullptr))}};
  LivePods read;
  {
    Progress progress(streams.err);
    read = judge_cluster(*live, wanted, streams, progress);
  }
  for (const std::string& note : read.notes)
    streams.err << "note: " << note << '\n';
  for (const std::string& problem : read.problems)
    streams.err << problem << '\n';
  print(read.outcome, options.format, streams.out);
  if (read.outcome.unreadable) return kUnreadable;
  return count(read.outcome).failing > 0 ? kFindings : kCompliant;
}

}  // namespace

int check(const CheckOptions& options, const Streams& streams) {
  if (options.live) return check_live(options, streams);
  const auto settings = read_settings(options.settings_file, streams.in);
  if (!settings) {
    streams.err << settings.error() << '\n';
    return kUnreadable;
  }
  Outcome outcome;
  const auto complain = [&](const std::string& what) {
    streams.err << what << '\n';
    outcome.unreadable = true;
  };
  const Sources sources = find_sources(options.files);
  for (const Source& source : sources.files) {
    const auto documents = read_source(source.file, streams.in);
    const auto done = documents ? check_documents(source.file, source.from_directory, *documents,
                                                  *settings, options, outcome)
                                : std::unexpected(documents.error());
    if (!done) complain(done.error());
  }
  for (const std::string& problem : sources.problems)
    complain(problem);
  print(outcome, options.format, streams.out);
  if (outcome.unreadable) return kUnreadable;
  return count(outcome).failing > 0 ? kFindings : kCompliant;
}

}  // namespace palisade::cli
