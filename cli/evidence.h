// What ran, with which hardening, which exceptions, what was denied and what became of tokens, out
// of what the API server knows: for people who audit. Pure: objects and the time come in.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace palisade::cli {

struct EvidenceInput {
  using Time = std::chrono::system_clock::time_point;
  Time since;
  Time until;
  std::string ns;  // "": all
  std::vector<nlohmann::json> workspaces;
  std::vector<nlohmann::json> exceptions;
  std::vector<nlohmann::json> reports;  // wgpolicyk8s.io PolicyReports
  std::vector<nlohmann::json> events;   // events.k8s.io
  std::vector<std::string> unread;      // what could not be read, and why
};

// The whole as one document; the other forms are made of it. Members: period, namespace, summary,
// sessions, exceptions, findings, events, tokens, frameworks, limits.
[[nodiscard]] nlohmann::json evidence_of(const EvidenceInput& input);

// Everything that came from the cluster is escaped: it is text and nothing else.
[[nodiscard]] std::string evidence_markdown(const nlohmann::json& evidence);
// One page without scripts, styles from elsewhere or links that were not there.
[[nodiscard]] std::string evidence_html(const nlohmann::json& evidence);

}  // namespace palisade::cli
