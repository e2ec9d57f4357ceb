#include "advertisement.h"

namespace palisade::gateway::git {

std::expected<std::string, std::string> Advertisement::take(const Pkt& packet) {
  if (state_ == State::kEnd) return std::unexpected("something follows the list of refs");
  if (packet.kind == PktKind::kFlush) {
    if (state_ == State::kServiceEnd) {
      state_ = State::kFirst;
    } else if (state_ == State::kRefs) {
      state_ = State::kEnd;
    } else {
      return std::unexpected("it ends before its first ref");
    }
    return std::string(kFlushPkt);
  }
  if (packet.kind != PktKind::kData) return std::unexpected("a packet that has no place there");
  const std::string_view line = packet.line();
  switch (state_) {
    case State::kService:
      if (line != "# service=git-receive-pack")
        return std::unexpected("it does not begin with its service");
      state_ = State::kServiceEnd;
      return pkt(packet.payload);
    case State::kServiceEnd:
      return std::unexpected("no flush packet behind the service");
    case State::kFirst:
      return first(line);
    default:
      break;
  }
  if (auto read = ref_line(line); !read) return std::unexpected(std::move(read.error()));
  return pkt(packet.payload);
}

std::expected<std::string, std::string> Advertisement::first(std::string_view line) {
  if (line == "version 1") return pkt("version 1\n");
  if (line.starts_with("version "))
    return std::unexpected("a version of the protocol that no push has");
  if (line.starts_with("ERR ")) {
    host_error_ = line.substr(4);
    return std::unexpected("an error of the host");
  }
  const std::size_t nul = line.find('\0');
  if (nul == std::string_view::npos)
    return std::unexpected("its first ref carries no capabilities");
  const std::string_view capabilities = line.substr(nul + 1);
  if (capabilities.find('\0') != std::string_view::npos)
    return std::unexpected("its capabilities hold a NUL");
  for (const Capability& capability : read_capabilities(capabilities)) {
    if (capability.name != "object-format") continue;
    const auto format = object_format(capability.value);
    if (!format) return std::unexpected("an object format that is neither sha1 nor sha256");
    format_ = *format;
  }
  state_ = State::kRefs;
  if (auto read = ref_line(line.substr(0, nul)); !read)
    return std::unexpected(std::move(read.error()));
  std::string out(line.substr(0, nul));
  out += '\0';
  out += ' ' + offered(capabilities) + '\n';
  if (out.size() > kMaxPayload) return std::unexpected("its first packet is too large");
  return pkt(out);
}

std::expected<void, std::string> Advertisement::ref_line(std::string_view line) {
  if (line.starts_with("shallow ")) {
    if (!parse_id(line.substr(8), format_))
      return std::unexpected("a shallow line without an object name");
    return {};
  }
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find('\0') != std::string_view::npos)
    return std::unexpected("a line that is no ref");
  const std::string_view id = line.substr(0, space);
  const std::string_view name = line.substr(space + 1);
  if (!parse_id(id, format_)) return std::unexpected("a ref without an object name");
  if (name == "capabilities^{}") return {};
  if (!ref_.empty() && name == ref_) {
    if (tip_) return std::unexpected("a ref that is given twice");
    tip_ = std::string(id);
  }
  // Of an alternate (".have") nothing is known but that the object is there.
  if (name != ".have" && !id_.empty() && id == id_) has_id_ = true;
  return {};
}

}  // namespace palisade::gateway::git
