// The answer to a push: made here where it is refused, read along where the host gives it.
// Source: git's gitprotocol-pack(5), "Report Status".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "commands.h"
#include "pkt_line.h"

namespace palisade::gateway::git {

// "palisade: REASON", on one line of what any terminal may be shown, at most 1 KiB.
[[nodiscard]] std::string shown_reason(std::string_view reason);

// A refusal in the form that the client chose: every command of the list is answered `ng`, and the
// reason is said on the side band too. nullopt: the client asked for no report (HTTP must say it).
[[nodiscard]] std::optional<std::string> refusal_report(const CommandList& list,
                                                        const Choice& choice,
                                                        const Rejection& rejection);

// What the host made of a push, out of the answer as it passes by. What cannot be read is left
// unread: the client reads it again.
class ReportReader {
 public:
  explicit ReportReader(bool side_band) : side_band_(side_band) {}
  void take(std::string_view piece);
  // The host said that the branch was updated.
  [[nodiscard]] bool accepted() const { return unpacked_ && ok_ && reason_.empty(); }
  // Its reason why not; "" where it gave none.
  [[nodiscard]] const std::string& reason() const { return reason_; }

 private:
  void take_report(std::string_view data);
  void take_line(std::string_view line);

  bool side_band_;
  bool lost_ = false;
  bool unpacked_ = false;
  bool ok_ = false;
  std::string reason_;
  PktReader outer_;
  PktReader inner_;
};

}  // namespace palisade::gateway::git
