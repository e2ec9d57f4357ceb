// git's packets, and what is made of them: the commands of a push, a host's list of refs, a host's
// report. However the bytes are cut into pieces, the same is read; what may go to a host is one
// update of one branch, and nothing that was refused is among what is written.
#include "pkt_line.h"

#include <optional>
#include <string>
#include <vector>

#include "advertisement.h"
#include "capabilities.h"
#include "commands.h"
#include "fuzz/check.h"
#include "report.h"

namespace {

using namespace palisade;
using namespace palisade::gateway::git;

struct Read {
  std::vector<std::string> packets;
  std::string error;
  bool within = false;
  bool operator==(const Read&) const = default;
};

Read read(std::string_view text, std::size_t step) {
  Read out;
  PktReader reader;
  while (!text.empty()) {
    std::string_view piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    while (true) {
      const auto pkt = reader.next(piece);
      if (!pkt) {
        out.error = pkt.error();
        return out;
      }
      if (!*pkt) break;
      fuzz::check((*pkt)->payload.size() <= kMaxPayload, "a payload is bounded");
      out.packets.push_back(std::to_string(static_cast<int>((*pkt)->kind)) +
                            std::string((*pkt)->payload));
    }
    fuzz::check(piece.empty(), "all input is taken");
  }
  out.within = reader.within();
  return out;
}

void read_commands(std::string_view text) {
  const gateway::RepositoryGrant grant{"https://git.example.com/app.git", "fix", false, "bot"};
  PktReader packets;
  CommandReader commands;
  bool ended = false;
  while (!ended) {
    const auto pkt = packets.next(text);
    if (!pkt || !*pkt) return;
    const auto taken = commands.take(**pkt);
    if (!taken) {
      fuzz::check_shown(shown_reason(taken.error().reason), 2048);
      return;
    }
    ended = *taken;
  }
  Choice choice;
  const auto update = judge(commands.list(), grant, choice);
  if (!update) {
    fuzz::check_shown(shown_reason(update.error().reason), 2048);
    const auto report = refusal_report(commands.list(), choice, update.error());
    if (!report) return;
    ReportReader reader(choice.side_band);
    reader.take(*report);
    fuzz::check(!reader.accepted(), "a refusal is read as one", *report);
    return;
  }
  fuzz::check(update->command.ref == "refs/heads/fix", "one branch alone", update->command.ref);
  fuzz::check(!update->new_tip.zero(), "nothing is deleted");
  // Read again, it is the same and nothing else.
  const std::string out = written(*update);
  std::string_view rest = out;
  PktReader again;
  CommandReader same;
  for (bool last = false; !last;) {
    const auto pkt = again.next(rest);
    fuzz::check(pkt && *pkt, "what is written can be read", out);
    const auto taken = same.take(**pkt);
    fuzz::check(taken.has_value(), "what is written is a list", out);
    last = *taken;
  }
  fuzz::check(rest.empty(), "nothing follows the list", out);
  Choice chosen;
  const auto second = judge(same.list(), grant, chosen);
  fuzz::check(second && second->new_tip == update->new_tip && second->old_tip == update->old_tip,
              "what is written is the update", out);
  for (const Capability& capability : read_capabilities(same.list().capabilities))
    fuzz::check(is_checkable(capability), "nothing that cannot be checked is chosen", out);
}

void read_advertisement(std::string_view text) {
  PktReader packets;
  Advertisement advertisement("refs/heads/fix", std::string(40, 'b'));
  std::string out;
  while (true) {
    const auto pkt = packets.next(text);
    if (!pkt || !*pkt) break;
    const auto edited = advertisement.take(**pkt);
    if (!edited) return;
    out += *edited;
  }
  // What the client is told is an advertisement again, of the same refs, that offers no more.
  const bool complete = advertisement.complete();
  Advertisement again("refs/heads/fix", std::string(40, 'b'));
  PktReader reader;
  std::string twice;
  for (std::string_view rest = out; !rest.empty();) {
    const auto pkt = reader.next(rest);
    fuzz::check(pkt && *pkt, "what is told is packets", out);
    const auto edited = again.take(**pkt);
    fuzz::check(edited.has_value(), "what is told can be read", out);
    twice += *edited;
  }
  fuzz::check(twice == out, "what is edited stays as it is", out);
  fuzz::check(again.complete() == complete && again.tip() == advertisement.tip(),
              "what is told is the same", out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::view(data, size);
  const Read whole = read(text, size + 1);
  for (const std::size_t step : {std::size_t{1}, std::size_t{5}})
    fuzz::check(read(text, step) == whole, "pieces make no difference", text);
  read_commands(text);
  read_advertisement(text);
  for (const bool side_band : {false, true}) {
    ReportReader report(side_band);
    report.take(text);
    fuzz::check_shown(report.reason(), 2048);
  }
  return 0;
}
