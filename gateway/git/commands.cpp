#include "commands.h"

#include <algorithm>

namespace palisade::gateway::git {

namespace {

constexpr std::size_t kMaxCommands = 1000;
constexpr std::size_t kMaxBytes = 256 * 1024;
constexpr std::string_view kHeads = "refs/heads/";

std::unexpected<Rejection> rejected(std::string_view code, std::string reason) {
  return std::unexpected(Rejection{std::string(code), std::move(reason)});
}

bool is_hex(std::string_view id) {
  return (id.size() == 40 || id.size() == 64) && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_zero(std::string_view id) {
  return id.find_first_not_of('0') == std::string_view::npos;
}

// No control characters, and UTF-8's bytes only as git would show them: it is echoed to the client.
bool is_shown(std::string_view ref) {
  return !ref.empty() &&
         std::ranges::none_of(ref, [](char c) { return (c >= '\0' && c <= ' ') || c == '\x7f'; });
}

std::optional<Rejection> wrong_ref(const Command& command, const RepositoryGrant& grant) {
  const std::string only = "only the branch " + grant.branch +
                           " may be pushed: git push origin HEAD:" + std::string(kHeads) +
                           grant.branch;
  if (command.ref.starts_with("refs/tags/"))
    return Rejection{"tag", "tags may not be pushed; " + only};
  return Rejection{"other_ref", only};
}

}  // namespace

bool is_branch_name(std::string_view branch) {
  if (branch.empty() || branch.size() > 512 || branch.ends_with('.') || branch == "HEAD" ||
      branch.starts_with('-') || branch.find("..") != std::string_view::npos ||
      branch.find("@{") != std::string_view::npos ||
      branch.find_first_of("~^:?*[\\") != std::string_view::npos || !is_shown(branch)) {
    return false;
  }
  while (true) {
    const std::size_t slash = branch.find('/');
    const std::string_view part = branch.substr(0, slash);
    if (part.empty() || part.starts_with('.') || part.ends_with(".lock")) return false;
    if (slash == std::string_view::npos) return true;
    branch.remove_prefix(slash + 1);
  }
}

std::expected<bool, Rejection> CommandReader::take(const Pkt& pkt) {
  if (pkt.kind == PktKind::kFlush) return true;
  if (pkt.kind != PktKind::kData)
    return rejected("bad_commands", "the list of commands holds a packet that has no place there");
  bytes_ += pkt.payload.size() + 4;
  if (bytes_ > kMaxBytes || list_.commands.size() >= kMaxCommands)
    return rejected("too_many_commands",
                    "the list of commands is too long; push one branch at a time");
  // A certificate holds lines of its own; the list is refused for it anyway.
  if (list_.certificate) return false;
  const std::string_view line = pkt.line();
  if (line.starts_with("push-cert")) {
    list_.certificate = true;
    const std::size_t nul = line.find('\0');
    if (nul != std::string_view::npos) list_.capabilities = line.substr(nul + 1);
    return false;
  }
  if (line.starts_with("shallow ")) {
    list_.shallow = true;
    return false;
  }
  if (auto read = command(line); !read) return std::unexpected(std::move(read.error()));
  return false;
}

std::expected<void, Rejection> CommandReader::command(std::string_view line) {
  const std::size_t nul = line.find('\0');
  if (nul != std::string_view::npos) {
    if (!list_.commands.empty())
      return rejected("bad_commands", "a command that is not the first carries capabilities");
    list_.capabilities = line.substr(nul + 1);
    if (list_.capabilities.find('\0') != std::string::npos)
      return rejected("bad_commands", "the capabilities hold a NUL");
    line = line.substr(0, nul);
  }
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos)
    return rejected("bad_commands", "a command is not OLD NEW REF");
  Command out{std::string(line.substr(0, first)),
              std::string(line.substr(first + 1, second - first - 1)),
              std::string(line.substr(second + 1))};
  if (!is_hex(out.old_id) || !is_hex(out.new_id) || out.old_id.size() != out.new_id.size())
    return rejected("bad_commands", "a command's object names are not 40 or 64 hex digits");
  if (!is_shown(out.ref) || out.ref.size() > 1024)
    return rejected("bad_commands", "a command's ref is not a name");
  list_.commands.push_back(std::move(out));
  return {};
}

std::expected<Update, Rejection> judge(const CommandList& list, const RepositoryGrant& grant,
                                       Choice& choice) {
  // As far as it is understood: what may not be chosen is left out for the answer's form.
  for (const Capability& capability : read_capabilities(list.capabilities)) {
    choice.report_status = choice.report_status || capability.name == "report-status" ||
                           capability.name == "report-status-v2";
    choice.side_band = choice.side_band || capability.name == "side-band-64k";
  }
  if (grant.read_only)
    return rejected("read_only",
                    "this workspace may only read its repository (spec.repository.access)");
  if (!is_branch_name(grant.branch))
    return rejected("bad_grant", "the workspace's spec.repository.branch is no branch name");
  if (list.certificate)
    return rejected("push_certificate", "signed pushes cannot be checked: push without --signed");
  for (const Capability& capability : read_capabilities(list.capabilities)) {
    if (capability.name == "push-options")
      return rejected("push_option",
                      "push options may not be given: push without -o and without push.pushOption");
  }
  auto chosen = read_choice(list.capabilities);
  if (!chosen) {
    return rejected("capability", "capability " + chosen.error() +
                                      " is not offered here; push with git's own client");
  }
  choice = *chosen;
  if (list.shallow) {
    return rejected(
        "shallow",
        "a push from a shallow clone cannot be checked: git fetch --unshallow, then push again");
  }
  for (const Command& command : list.commands) {
    if (is_zero(command.new_id))
      return rejected("deletion", "branches and tags may not be deleted through the gateway");
    if (command.ref != std::string(kHeads) + grant.branch)
      return std::unexpected(*wrong_ref(command, grant));
  }
  if (list.commands.size() != 1)
    return rejected("several_refs", "exactly one branch may be pushed at a time: " + grant.branch);
  Update out{list.commands.front(), choice, {}, {}};
  const auto old_tip = parse_id(out.command.old_id, choice.format);
  const auto new_tip = parse_id(out.command.new_id, choice.format);
  if (!old_tip || !new_tip)
    return rejected("object_format",
                    "the object names are not of format " + std::string(name_of(choice.format)));
  out.old_tip = *old_tip;
  out.new_tip = *new_tip;
  return out;
}

std::string written(const Update& update) {
  std::string line = update.command.old_id + ' ' + update.command.new_id + ' ' + update.command.ref;
  line += '\0';
  line += ' ' + update.choice.text;
  return pkt(line) + std::string(kFlushPkt);
}

}  // namespace palisade::gateway::git
