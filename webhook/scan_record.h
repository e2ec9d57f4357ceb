// What the scanner keeps of a pod: who it is, whether it counts as an agent, and what is wrong with
// it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <webhook/cluster_view.h>

namespace palisade::webhook {

struct ScanFinding {
  std::string_view control;  // of the table
  std::string field;
  std::string found;
  std::string message;
};

// Of each pod; the rest is counted. Texts are cut: their author is the pod's.
inline constexpr std::size_t kMaxScanFindings = 40;
inline constexpr std::size_t kMaxScanField = 256;
inline constexpr std::size_t kMaxScanFound = 128;
inline constexpr std::size_t kMaxScanMessage = 384;

struct ScanRecord {
  AgentPod pod;
  bool ended = false;  // Succeeded or Failed: it runs nothing any more
  // Number of the rules that it was judged by; 0: not judged.
  std::uint64_t basis = 0;
  std::vector<ScanFinding> findings;
  std::size_t left_out = 0;  // findings beyond kMaxScanFindings
  std::string unreadable;    // why; "" where it could be read

  [[nodiscard]] bool is_agent() const { return !pod.reason.empty(); }
};

// Whether a pod is judged where its namespace is guarded so.
[[nodiscard]] bool is_judged(const ScanRecord& record, const NamespaceRules& rules);

// From a Pod as the API server gives it. `rules` null: not judged. A pod that cannot be read counts
// as an agent.
[[nodiscard]] ScanRecord scan_pod(nlohmann::json pod, const NamespaceRules* rules,
                                  std::uint64_t basis);

// As the reflector's cache holds it, beside the metadata that the reflector keeps there itself.
[[nodiscard]] nlohmann::json pack(const ScanRecord& record);
[[nodiscard]] ScanRecord unpack(const nlohmann::json& packed);

// `text` in at most `most` bytes of valid UTF-8 without control characters.
[[nodiscard]] std::string tidy(std::string_view text, std::size_t most);

}  // namespace palisade::webhook
