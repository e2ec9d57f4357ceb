// Texts that look like credentials, and the workspace's own token: what must not leave. Pure.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "json_scan.h"

namespace palisade::gateway::llm {

struct Credential {
  Span span;              // what is hidden: of a header or a key block the secret part alone
  std::string_view kind;  // "a GitHub token"
};

// Texts that are secrets whatever they look like.
class Secrets {
 public:
  Secrets() = default;
  // `token` as it is, and as Basic authentication writes it with `username`. One of fewer than 8
  // bytes is no secret and would hide half of any text.
  void add(std::string_view token, std::string_view username, std::string_view kind);

  struct Secret {
    std::string text;
    std::string_view kind;
  };
  [[nodiscard]] const std::vector<Secret>& all() const { return secrets_; }

 private:
  std::vector<Secret> secrets_;
};

// In order, apart from each other.
[[nodiscard]] std::vector<Credential> find_credentials(std::string_view text,
                                                       const Secrets& secrets);
// Each in the form "[masked 40 bytes]".
[[nodiscard]] std::string masked(std::string_view text, const Secrets& secrets);

// The same for the strings of a JSON text that was checked.
struct Leak {
  std::string where;      // messages[2].content
  std::string_view kind;  // the first one's
  std::size_t count = 0;
};
struct Outgoing {
  std::vector<Edit> edits;  // strings that hold one, masked; no names among them
  Leak leak;                // count 0: none
  bool in_name = false;     // a member's name holds one: it cannot be masked
};
[[nodiscard]] Outgoing check_outgoing(std::string_view json, const Secrets& secrets);

}  // namespace palisade::gateway::llm
