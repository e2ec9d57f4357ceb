// What client and host tell each other that they can do, in a push.
// Source: git's gitprotocol-capabilities(5).
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "object_id.h"

namespace palisade::gateway::git {

struct Capability {
  std::string_view name;
  std::string_view value;  // behind "="
};

// In their order. The views are into `text`.
[[nodiscard]] std::vector<Capability> read_capabilities(std::string_view text);

// True for those with which every rule of a push can still be checked, and no other: report-status,
// report-status-v2, side-band-64k, quiet, atomic, ofs-delta, object-format, agent, session-id.
[[nodiscard]] bool is_checkable(const Capability& capability);

// What a host offers, without what is not checkable and with no-thin, so that every delta's base is
// in the pack. delete-refs stays: without it git refuses a deletion itself, and does not say why.
[[nodiscard]] std::string offered(std::string_view hosts);

// What a client chose of it.
struct Choice {
  bool report_status = false;
  bool side_band = false;
  ObjectFormat format = ObjectFormat::kSha1;
  std::string text;  // for the host
};
// The error names what may not be chosen.
[[nodiscard]] std::expected<Choice, std::string> read_choice(std::string_view clients);

}  // namespace palisade::gateway::git
