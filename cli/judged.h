// Pods with what was found of them: what every report prints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include <policy/policy.h>

#include "places.h"

namespace palisade::cli {

// What a finding comes to: offline always `deny`; in a cluster the namespace's modes and the
// HardeningExceptions decide.
enum class Effect : std::uint8_t { deny, warn, audit, except };
[[nodiscard]] std::string_view effect_name(Effect effect);

struct Found {
  policy::Finding finding;
  Place place;  // in the file
  Effect effect = Effect::deny;
  std::string exception;  // the HardeningException's name
};

// One pod, or one pod template.
struct Judged {
  std::string file;      // as the command line names it; "" for what is read from a cluster
  std::size_t line = 0;  // of its document
  std::string kind, space, name;
  std::string prefix;  // before each path of the pod
  std::string reason;  // why it is an Aider pod; "" where it is none
  std::string guard;   // why it was judged or not, where the namespace decides; or ""
  bool checked = false;
  std::vector<Found> found;

  [[nodiscard]] bool denied() const;
  // "Deployment team-a/web", safe for a terminal.
  [[nodiscard]] std::string title() const;
  [[nodiscard]] std::vector<policy::Finding> findings(Effect effect) const;
};

struct Outcome {
  std::vector<Judged> pods;
  std::size_t others = 0;       // objects that make no pods
  std::size_t not_objects = 0;  // documents of a directory that are no Kubernetes objects
  bool unreadable = false;
  bool live = false;            // read from a cluster: then `pods` are those that were judged,
  std::size_t passed_over = 0;  // and these were not
};

struct Counts {
  std::size_t compliant = 0, failing = 0, passed_over = 0;
  std::size_t findings = 0;   // that deny
  std::size_t tolerated = 0;  // that a mode or an exception lets through
};
[[nodiscard]] Counts count(const Outcome& outcome);

}  // namespace palisade::cli
