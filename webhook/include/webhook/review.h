// AdmissionReview bytes in, response bytes out: pure, and everything that is not understood is
// denied. Source:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::webhook {

// The namespace label palisade.dev/enforce.
enum class Mode : std::uint8_t { kAgents, kAll, kOff };
// nullopt for a value that is none of agents, all, off.
[[nodiscard]] std::optional<Mode> parse_mode(std::string_view label);

// An error says why the mode is not known; the review is then denied.
using ModeLookup = std::function<std::expected<Mode, std::string>(std::string_view ns)>;

struct Outcome {
  int status = 200;  // HTTP; 400 where the body is no review, with a text body
  std::string body;
  // For metrics and logs.
  bool allowed = false;
  bool is_agent = false;
  std::string_view operation;  // CREATE, UPDATE, ... or "" (points into a static text)
  std::vector<std::string_view> denied_controls;  // ids, each once
  std::string subject;                            // of a denial: operation, namespace, pod and user
};

// Thread-safe; each thread keeps a parser of its own.
[[nodiscard]] Outcome review(std::string_view body, const policy::Settings& settings,
                             const ModeLookup& mode_of);

}  // namespace palisade::webhook
