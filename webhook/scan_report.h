// From what the scanner keeps of a namespace's pods to its report. Pure: the same inputs give the
// same report. Sources: wgpolicyk8s.io/v1alpha2 PolicyReport, openreports.io/v1alpha1 Report; both
// take the same results, here in the vocabulary that all versions of their schemas share.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "scan_record.h"

namespace palisade::webhook {

// etcd takes objects of 1.5 MiB.
inline constexpr std::size_t kMaxReportResults = 1'000;
inline constexpr std::size_t kMaxReportBytes = 768 * 1024;
inline constexpr std::size_t kMaxResultMessage = 1'024;

inline constexpr const char* kReportName = "palisade";
inline constexpr const char* kReportManager = "palisade-webhook";
// How many results did not fit; absent where all did.
inline constexpr const char* kLeftOutAnnotation = "palisade.dev/results-left-out";

enum class ReportResult : std::uint8_t { kFail, kError, kWarn, kSkip, kPass };
[[nodiscard]] std::string_view result_name(ReportResult result);

struct ReportPod {
  ScanRecord record;
  std::vector<policy::Finding> network;  // of control deny-all-network
  std::string unsure;  // why the pod could not be judged, or not in full; "" where it was
};

struct Report {
  nlohmann::json results = nlohmann::json::array();
  nlohmann::json summary;    // of all results, left out ones too
  std::size_t left_out = 0;  // results
  // Each judged pod under the worst of its results.
  std::map<ReportResult, std::size_t> pods;
  // Pods that break a control, in whatever mode; not where an exception lets them.
  std::map<std::string_view, std::size_t> controls;
};

// `pods` are judged ones (is_judged). `now` is seconds since 1970; a result that `before` (results
// of the report as it was) has too keeps its time.
[[nodiscard]] Report make_report(std::span<const ReportPod> pods, const NamespaceRules& rules,
                                 std::int64_t now, const nlohmann::json& before);

}  // namespace palisade::webhook
