// `palisade report`: evidence for auditors out of a cluster.
#include <memory>
#include <ostream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <kube/rfc3339.h>
#include <operator/workspace.h>

#include "commands.h"
#include "evidence.h"
#include "json_out.h"
#include "live.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
using Time = EvidenceInput::Time;

constexpr const char* kEvidenceFooter = R"(
What ran in the period and with which hardening, HardeningExceptions with their approver and end, what was
denied as far as the API server knows it (status.audit, PolicyReports, events), what became of tokens, and how
that answers SOC 2 (CC6, CC7, CC8), ISO/IEC 27001 Annex A and the OWASP Top 10 for LLM Applications. The
document says itself what is not in it.

Examples:
  palisade report --since 24h -n team-a
  palisade report --since 7d -o html > week.html
  palisade report --since 2026-11-01T00:00:00Z -o json

Exit status: 0; 1 something could not be read, and the document says what; 2 no document.)";

struct EvidenceArguments {
  ClusterOptions cluster;
  ScopeOptions scope;
  std::string since = "24h";
  std::string format = "markdown";
};

const kube::Resource kPolicyReports{"wgpolicyk8s.io", "v1alpha2", "policyreports", "PolicyReport",
                                    true};

// A time, or how long ago: 90m, 24h, 7d.
std::optional<Time> since_of(const std::string& text, Time now) {
  if (const auto time = kube::parse_rfc3339(text)) return time;
  if (text.size() > 1 && text.size() < 6 && text.ends_with('d') &&
      text.find_first_not_of("0123456789") == text.size() - 1)
    return now - std::chrono::days(std::stoi(text));
  const auto ago = op::parse_duration(text);
  return ago ? std::optional(now - *ago) : std::nullopt;
}

int report(const EvidenceArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade report: " << why << '\n';
    return kUnreadable;
  };
  EvidenceInput input;
  input.until =
      std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  const auto since = since_of(options.since, input.until);
  if (!since || *since >= input.until)
    return fail(
        "--since " + printable(options.since) +
        ": write how long ago (90m, 24h, 7d) or a time that has passed (2026-11-01T00:00:00Z)");
  input.since = *since;
  const auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  input.ns = options.scope.ns;
  Progress progress(streams.err);
  const auto gather = [&](const kube::Resource& kind, const std::string& ns,
                          std::vector<Json>& into) {
    auto found = live->all(kind, ns, progress);
    if (found) {
      into = std::move(*found);
    } else {
      input.unread.push_back(found.error());
    }
  };
  // Without them there is nothing to tell.
  const auto read = live->each(
      kinds::kAgentWorkspaces, input.ns, options.scope.selector, progress,
      [&] { input.workspaces.clear(); }, [&](const Json& one) { input.workspaces.push_back(one); });
  if (!read) {
    progress.end();
    return fail(read.error());
  }
  gather(kinds::kHardeningExceptions, "", input.exceptions);
  gather(kPolicyReports, input.ns, input.reports);
  gather(kube::resources::kEvents, input.ns, input.events);
  progress.end();
  const Json evidence = evidence_of(input);
  streams.out << (options.format == "json"   ? json_text(evidence)
                  : options.format == "html" ? evidence_html(evidence)
                                             : evidence_markdown(evidence));
  for (const std::string& one : input.unread)
    streams.err << "palisade report: not in the document: " << one << '\n';
  return input.unread.empty() ? kCompliant : kFindings;
}

}  // namespace

Command add_report(CLI::App& parent) {
  auto options = std::make_shared<EvidenceArguments>();
  CLI::App* app = parent.add_subcommand("report", "Write evidence of what agents did");
  app->footer(kEvidenceFooter);
  app->add_option("--since", options->since, "How long ago, or when, the period begins: 24h, 7d")
      ->type_name("TIME");
  add_scope_options(*app, options->scope, true);
  app->add_option("-o,--output", options->format, "markdown, html or json")
      ->check(CLI::IsMember({"markdown", "html", "json"}))
      ->type_name("FORMAT");
  add_cluster_options(*app, options->cluster);
  return {app, [options](const Streams& streams) { return report(*options, streams); }};
}

}  // namespace palisade::cli
