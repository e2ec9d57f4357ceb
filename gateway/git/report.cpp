#include "report.h"

#include <algorithm>

namespace palisade::gateway::git {

namespace {
constexpr std::size_t kMaxReason = 1024;

std::string plain(std::string_view text) {
  std::string out(text.substr(0, kMaxReason));
  std::ranges::replace_if(
      out, [](char c) { return c < ' ' || c >= '\x7f'; }, '?');
  return out;
}
}  // namespace

std::string shown_reason(std::string_view reason) {
  return "palisade: " + plain(reason);
}

std::optional<std::string> refusal_report(const CommandList& list, const Choice& choice,
                                          const Rejection& rejection) {
  if (!choice.report_status) return std::nullopt;
  const std::string reason = shown_reason(rejection.reason);
  std::string report = pkt("unpack ok\n");
  for (const Command& command : list.commands)
    report += pkt("ng " + command.ref + ' ' + reason + '\n');
  report += kFlushPkt;
  if (!choice.side_band) return report;
  return side_band('\2', reason + '\n') + side_band('\1', report) + std::string(kFlushPkt);
}

void ReportReader::take(std::string_view piece) {
  if (!side_band_) return take_report(piece);
  while (!lost_) {
    const auto pkt = outer_.next(piece);
    lost_ = !pkt;
    if (!pkt || !*pkt) return;
    if ((*pkt)->kind != PktKind::kData || (*pkt)->payload.empty()) continue;
    if ((*pkt)->payload.front() == '\1') take_report((*pkt)->payload.substr(1));
    if ((*pkt)->payload.front() == '\3' && reason_.empty())
      reason_ = plain((*pkt)->line().substr(1));
  }
}

void ReportReader::take_report(std::string_view data) {
  while (!lost_) {
    const auto pkt = inner_.next(data);
    lost_ = !pkt;
    if (!pkt || !*pkt) return;
    if ((*pkt)->kind == PktKind::kData) take_line((*pkt)->line());
  }
}

void ReportReader::take_line(std::string_view line) {
  if (line == "unpack ok") {
    unpacked_ = true;
  } else if (line.starts_with("unpack ")) {
    if (reason_.empty()) reason_ = plain(line);
  } else if (line.starts_with("ok ")) {
    ok_ = true;
  } else if (line.starts_with("ng ") && reason_.empty()) {
    reason_ = plain(line.substr(3));
  }
}

}  // namespace palisade::gateway::git
