// Every pod and workload of a cluster, judged: what `check --live` and `scan` print.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "guard.h"
#include "live.h"

namespace palisade::cli {

struct LiveOptions {
  ScopeOptions scope;
  // "": the ConfigMap of the installed webhook, or the defaults where there is none.
  // "configmap/NAMESPACE/NAME": that one. Else a file.
  std::string settings;
  JudgeOptions judge;
};

struct LivePods {
  Outcome outcome;                      // only what is judged
  std::map<std::string, Guard> guards;  // by namespace
  std::vector<std::string> exempt;      // namespaces that the webhook is never asked about
  std::vector<std::string> notes;       // what a reader should know, e.g. whose settings these are
  std::vector<std::string> problems;    // what could not be read: the outcome is not whole then
};

// The namespaces that a webhook configuration's entry for pods leaves out by a match condition.
[[nodiscard]] std::vector<std::string> exempt_namespaces(const kube::Json& configuration);

[[nodiscard]] LivePods judge_cluster(const Live& live, const LiveOptions& options,
                                     const Streams& streams, Progress& progress);

}  // namespace palisade::cli
