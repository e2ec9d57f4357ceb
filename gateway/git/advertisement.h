// What a host says of itself and of its refs before a push.
// Source: git's gitprotocol-pack(5), "Reference Discovery"; gitprotocol-http(5).
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "capabilities.h"
#include "object_id.h"
#include "pkt_line.h"

namespace palisade::gateway::git {

inline constexpr std::uint64_t kMaxRefs = 256ULL << 20;  // bytes of one list of refs

// Reads the answer to info/refs?service=git-receive-pack packet by packet and makes of it what the
// client is told: the same, with the capabilities edited (capabilities.h).
class Advertisement {
 public:
  // Looks for `ref`'s tip and for whether `id` is the tip of any ref; "": for nothing.
  Advertisement(std::string ref, std::string id) : ref_(std::move(ref)), id_(std::move(id)) {}
  Advertisement() = default;

  // The packet for the client. The error says what is not as git's protocol has it.
  [[nodiscard]] std::expected<std::string, std::string> take(const Pkt& pkt);
  [[nodiscard]] bool complete() const { return state_ == State::kEnd; }
  // The first ref is read, with all that is edited.
  [[nodiscard]] bool in_refs() const { return state_ >= State::kRefs; }
  // The rest is known when it is complete.
  [[nodiscard]] ObjectFormat format() const { return format_; }
  [[nodiscard]] const std::optional<std::string>& tip() const { return tip_; }  // of the ref, hex
  [[nodiscard]] bool has_id() const { return has_id_; }
  [[nodiscard]] const std::string& host_error() const { return host_error_; }  // of an ERR packet

 private:
  enum class State : std::uint8_t { kService, kServiceEnd, kFirst, kRefs, kEnd };
  [[nodiscard]] std::expected<std::string, std::string> first(std::string_view line);
  [[nodiscard]] std::expected<void, std::string> ref_line(std::string_view line);

  std::string ref_, id_;
  State state_ = State::kService;
  ObjectFormat format_ = ObjectFormat::kSha1;
  std::optional<std::string> tip_;
  bool has_id_ = false;
  std::string host_error_;
};

}  // namespace palisade::gateway::git
