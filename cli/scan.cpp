// `palisade scan`: what already runs in a cluster and would be rejected.
#include <algorithm>
#include <ctime>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>

#include "commands.h"
#include "explain.h"
#include "json_out.h"
#include "live_pods.h"
#include "table.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

constexpr const char* kScanFooter = R"(
The webhook judges what is created and changed; this tells what was there before, or came while it
was away. Pods, and what makes them, are read in every namespace (or in one, with -n) and judged as
the webhook would now: by the cluster's settings, AgentPolicies, HardeningExceptions, NetworkPolicies
and namespace labels. Nothing is changed and nothing is evicted.

Examples:
  palisade scan
  palisade scan -n team-a --top 50
  palisade scan -o wide                  # and by which bounds each namespace is judged
  palisade scan -o json | jq '.namespaces[] | select(.rejected > 0).namespace'

`palisade check --live -n NAMESPACE` prints each finding with its field and fix.

Exit status: 0 nothing would be rejected, 1 something would, 2 the cluster cannot be read.)";

struct Total {
  std::size_t judged = 0, rejected = 0, findings = 0, tolerated = 0;
};

struct Offender {
  const Judged* pod = nullptr;
  std::size_t findings = 0;
  std::set<std::string> controls;
};

struct Summary {
  std::map<std::string, Total> namespaces;
  Total all;
  std::map<std::string, std::pair<std::size_t, std::size_t>> controls;  // findings, objects
  std::vector<Offender> offenders;                                      // worst first
};

Summary summarize(const LivePods& read) {
  Summary out;
  for (const Judged& pod : read.outcome.pods) {
    Offender offender{&pod, 0, {}};
    std::size_t tolerated = 0;
    for (const Found& found : pod.found) {
      if (found.effect != Effect::deny) {
        ++tolerated;
        continue;
      }
      ++offender.findings;
      ++out.controls[std::string(found.finding.control)].first;
      offender.controls.emplace(found.finding.control);
    }
    for (const std::string& control : offender.controls)
      ++out.controls[control].second;
    for (Total* total : {&out.namespaces[pod.space], &out.all}) {
      ++total->judged;
      total->rejected += offender.findings > 0 ? 1U : 0U;
      total->findings += offender.findings;
      total->tolerated += tolerated;
    }
    if (offender.findings > 0) out.offenders.push_back(std::move(offender));
  }
  std::ranges::stable_sort(out.offenders, std::ranges::greater{}, &Offender::findings);
  return out;
}

std::vector<std::string> unguarded(const LivePods& read) {
  std::vector<std::string> out;
  for (const auto& [ns, guard] : read.guards) {
    if (guard.modes.mode == policy::Mode::kOff) out.push_back(ns);
  }
  return out;
}

std::string or_dash(std::string text) {
  return text.empty() ? "-" : text;
}

// `wide`: with what each is judged by.
std::string namespaces_table(const LivePods& read, const Summary& summary, bool wide) {
  std::vector<Column> columns{{"NAMESPACE"},        {"ENFORCE"},        {"MODE"},
                              {"JUDGED", true},     {"REJECTED", true}, {"FINDINGS", true},
                              {"LET THROUGH", true}};
  if (wide) {
    for (const char* name : {"MAX LIFETIME", "REGISTRIES", "EXCEPTIONS"})
      columns.push_back({name});
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [ns, total] : summary.namespaces) {
    const Guard& guard = read.guards.at(ns);
    std::vector<std::string> row{printable(ns), std::string(policy::mode_name(guard.modes.mode)),
                                 std::string(policy::action_name(guard.modes.action))};
    for (const std::size_t number : {total.judged, total.rejected, total.findings, total.tolerated})
      row.push_back(std::to_string(number));
    if (wide) {
      row.push_back(std::to_string(guard.settings.max_lifetime_seconds) + "s");
      row.push_back(guard.settings.allowed_registries
                        ? or_dash(listed(*guard.settings.allowed_registries))
                        : "any");
      std::vector<std::string> exceptions;
      for (const policy::HardeningException& one : guard.exceptions)
        exceptions.push_back(one.name);
      row.push_back(or_dash(listed(exceptions)));
    }
    rows.push_back(std::move(row));
  }
  return table(columns, rows, 2);
}

void print_scan(const LivePods& read, const Summary& summary, bool wide, std::size_t top,
                std::ostream& out) {
  if (!summary.namespaces.empty()) out << namespaces_table(read, summary, wide) << '\n';
  if (!summary.controls.empty()) {
    out << "By control\n";
    for (const policy::Control& control : policy::controls()) {
      const auto found = summary.controls.find(std::string(control.id));
      if (found == summary.controls.end()) continue;
      out << fmt::format("  {:<26} {:>6} in {}\n", control.id,
                         counted(found->second.first, "finding"),
                         counted(found->second.second, "object"));
    }
    out << "\nWorst\n";
    for (std::size_t i = 0; i < std::min(top, summary.offenders.size()); ++i) {
      const Offender& one = summary.offenders[i];
      std::string controls;
      for (const std::string& control : one.controls)
        controls += (controls.empty() ? "" : ", ") + control;
      out << fmt::format("  {}: {} ({})\n", one.pod->title(), counted(one.findings, "finding"),
                         controls);
    }
    if (summary.offenders.size() > top) {
      out << fmt::format("  ... and {} more (--top {})\n", summary.offenders.size() - top,
                         summary.offenders.size());
    }
    out << '\n';
  }
  if (const auto off = unguarded(read); !off.empty())
    out << "Not judged, labelled palisade.dev/enforce=off: " << listed(off) << '\n';
  if (!read.exempt.empty())
    out << "Not judged, left out by the webhook's configuration: " << listed(read.exempt) << '\n';
  out << fmt::format("{} judged, {} would be rejected ({})\n",
                     counted(summary.all.judged, "object"), summary.all.rejected,
                     counted(summary.all.findings, "finding"));
}

json to_json(const LivePods& read, const Summary& summary) {
  json namespaces = json::array();
  for (const auto& [ns, total] : summary.namespaces) {
    const Guard& guard = read.guards.at(ns);
    namespaces.push_back({{"namespace", ns},
                          {"enforce", policy::mode_name(guard.modes.mode)},
                          {"mode", policy::action_name(guard.modes.action)},
                          {"judged", total.judged},
                          {"rejected", total.rejected},
                          {"findings", total.findings},
                          {"tolerated", total.tolerated}});
  }
  json controls = json::array();
  for (const auto& [control, numbers] : summary.controls) {
    controls.push_back(
        {{"control", control}, {"findings", numbers.first}, {"objects", numbers.second}});
  }
  json offenders = json::array();
  for (const Offender& one : summary.offenders) {
    offenders.push_back({{"kind", one.pod->kind},
                         {"namespace", one.pod->space},
                         {"name", one.pod->name},
                         {"findings", one.findings},
                         {"controls", one.controls}});
  }
  return {{"namespaces", std::move(namespaces)},
          {"controls", std::move(controls)},
          {"offenders", std::move(offenders)},
          {"off", unguarded(read)},
          {"exempt", read.exempt},
          {"notes", read.notes},
          {"summary",
           {{"judged", summary.all.judged},
            {"rejected", summary.all.rejected},
            {"findings", summary.all.findings},
            {"tolerated", summary.all.tolerated},
            {"unreadable", read.outcome.unreadable}}}};
}

struct ScanOptions {
  ClusterOptions cluster;
  LiveOptions live;
  std::size_t top = 10;
  std::string format = "text";
};

int scan(const ScanOptions& options, const Streams& streams) {
  const auto live = Live::connect(options.cluster);
  if (!live) {
    streams.err << live.error() << '\n';
    return kUnreadable;
  }
  if (const auto there = live->reach(); !there) {
    streams.err << there.error() << '\n';
    return kUnreadable;
  }
  LivePods read;
  {
    Progress progress(streams.err);
    read = judge_cluster(*live, options.live, streams, progress);
  }
  for (const std::string& note : read.notes)
    streams.err << "note: " << note << '\n';
  for (const std::string& problem : read.problems)
    streams.err << problem << '\n';
  const Summary summary = summarize(read);
  if (options.format == "json") {
    streams.out << json_text(to_json(read, summary));
  } else {
    print_scan(read, summary, options.format == "wide", options.top, streams.out);
  }
  if (read.outcome.unreadable) return kUnreadable;
  return summary.all.rejected > 0 ? kFindings : kCompliant;
}

}  // namespace

Command add_scan(CLI::App& parent) {
  auto options = std::make_shared<ScanOptions>();
  CLI::App* app =
      parent.add_subcommand("scan", "Tell what runs in a cluster and would be rejected");
  app->footer(kScanFooter);
  add_cluster_options(*app, options->cluster);
  add_scope_options(*app, options->live.scope, true);
  app->add_option("--settings", options->live.settings,
                  "Policy settings: a file or configmap/NAMESPACE/NAME; else the webhook's own")
      ->type_name("FILE");
  app->add_option("--skip", options->live.judge.skip, "Leave a control out (may be given again)")
      ->type_name("CONTROL")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(known_control_of_pods, ""));
  app->add_option("--top", options->top, "How many of the worst are named")
      ->type_name("N")
      ->capture_default_str();
  app->add_option("-o,--output", options->format, "text, wide or json")
      ->check(CLI::IsMember({"text", "wide", "json"}))
      ->type_name("FORMAT");
  return {app, [options](const Streams& streams) {
            options->live.judge.now = static_cast<std::int64_t>(std::time(nullptr));
            return scan(*options, streams);
          }};
}

}  // namespace palisade::cli
