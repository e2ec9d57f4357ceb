// The command line of `palisade test`, and what it prints.
#include <ctime>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>

#include "commands.h"
#include "json_out.h"
#include "policy_test.h"
#include "report.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

constexpr const char* kTestFooter = R"(
Runs every document of kind PolicyTest in the files and directories that are named. A test says which
manifests the webhook must allow and which it must deny, so that neither a new version of Palisade
nor a change of the settings surprises a team:

  apiVersion: palisade.dev/v1alpha1
  kind: PolicyTest
  settings: {requireUserNamespace: false}     # or {file: policy.yaml}; default: the defaults
  agentPolicies: [{file: ../policies/team-a.yaml}]          # AgentPolicies, inline or by file
  exceptions: [{file: ../exceptions/legacy.yaml}]           # HardeningExceptions
  namespace: {name: team-a, labels: {palisade.dev/enforce: all}}
  now: "2026-01-31T12:00:00Z"                 # when exceptions are looked at; default: now
  cases:
    - name: the nightly job is hardened
      file: ../deploy/nightly.yaml            # relative to this file
      expect: allowed
    - name: nobody shares the node's network
      object: {apiVersion: v1, kind: Pod, metadata: {name: a, labels: {palisade.dev/agent: aider}},
               spec: {hostNetwork: true}}
      expect: denied
    - name: only its sysctls are wrong
      file: fixtures/sysctls.yaml
      expect: denied
      controls: [no-sysctls]                  # by these controls and no others

All but cases, their names and what they expect may be left out. What takes a cluster to tell, such
as deny-all-network, is not tested.

Examples:
  palisade test policy-tests/
  palisade test policy-tests/ -o junit > palisade.xml

Exit status: 0 all as expected, 1 some are not, 2 a test that cannot be read (file:line:column).)";

void print_run(const TestRun& run, std::ostream& out) {
  std::size_t failed = 0;
  for (const CaseResult& one : run.cases) {
    out << (one.passed ? "ok    " : "FAIL  ") << shown(one.file) << ':' << one.line << ": "
        << printable(one.name);
    if (!one.passed) {
      ++failed;
      out << "\n      expected " << one.expected << "\n      but it is " << one.got << '\n'
          << one.detail;
    } else {
      out << '\n';
    }
  }
  out << counted(run.cases.size(), "case") << ": " << run.cases.size() - failed << " as expected, "
      << failed << " not\n";
}

json to_json(const TestRun& run) {
  json cases = json::array();
  std::size_t failed = 0;
  for (const CaseResult& one : run.cases) {
    failed += one.passed ? 0U : 1U;
    cases.push_back({{"file", one.file},
                     {"line", one.line},
                     {"name", one.name},
                     {"passed", one.passed},
                     {"expected", one.expected},
                     {"got", one.got},
                     {"detail", one.detail}});
  }
  return {
      {"cases", std::move(cases)},
      {"summary",
       {{"passed", run.cases.size() - failed}, {"failed", failed}, {"errors", run.errors.size()}}}};
}

void print_run_junit(const TestRun& run, std::ostream& out) {
  std::vector<JunitCase> cases;
  for (const CaseResult& one : run.cases) {
    JunitCase& entry = cases.emplace_back();
    entry.suite = shown(one.file);
    entry.file = shown(one.file);
    entry.name = one.name;
    if (one.passed) continue;
    entry.failure_type = "verdict";
    entry.failure_message = "expected " + one.expected + ", but it is " + one.got;
    entry.failure = one.detail;
  }
  for (const std::string& error : run.errors) {
    JunitCase& entry = cases.emplace_back();
    entry.suite = "palisade test";
    entry.name = error.substr(0, error.find(": "));
    entry.error = error;
  }
  print_junit("palisade test", cases, out);
}

TestRun run_all(const std::vector<std::string>& named, const Streams& streams) {
  TestRun run;
  const auto now = static_cast<std::int64_t>(std::time(nullptr));
  const Sources sources = find_sources(named);
  run.errors = sources.problems;
  for (const Source& source : sources.files) {
    const auto documents = read_source(source.file, streams.in);
    if (!documents) {
      // A fixture may be broken on purpose, but a test that cannot be read must not pass unseen.
      run.errors.push_back(documents.error());
      continue;
    }
    const std::size_t before = run.tests;
    for (const Document& document : *documents) {
      if (is_policy_test(document)) run_policy_test(source.file, document, now, run);
    }
    if (run.tests == before && !source.from_directory)
      run.errors.push_back(place(source.file, {1, 1, "there is no PolicyTest in it"}));
  }
  if (run.tests == 0 && run.errors.empty()) {
    run.errors.emplace_back(
        "there is no PolicyTest in what is named (palisade test --help shows one)");
  }
  return run;
}

}  // namespace

Command add_test(CLI::App& parent) {
  auto named = std::make_shared<std::vector<std::string>>();
  auto format = std::make_shared<std::string>("text");
  CLI::App* app = parent.add_subcommand("test", "Run a team's own expected verdicts");
  app->footer(kTestFooter);
  app->add_option("DIR", *named, "Directories and files with PolicyTests")->required();
  app->add_option("-o,--output", *format, "text, json or junit")
      ->check(CLI::IsMember({"text", "json", "junit"}))
      ->type_name("FORMAT");
  return {app, [named, format](const Streams& streams) {
            const TestRun run = run_all(*named, streams);
            for (const std::string& error : run.errors)
              streams.err << printable(error) << '\n';
            if (*format == "json") {
              streams.out << json_text(to_json(run));
            } else if (*format == "junit") {
              print_run_junit(run, streams.out);
            } else if (!run.cases.empty()) {
              print_run(run, streams.out);
            }
            if (!run.errors.empty()) return kUnreadable;
            for (const CaseResult& one : run.cases) {
              if (!one.passed) return kFindings;
            }
            return kCompliant;
          }};
}

}  // namespace palisade::cli
