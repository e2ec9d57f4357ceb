#include "passage.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

namespace palisade::gateway::relay {

namespace {

constexpr std::array<std::string_view, 7> kPassed{
    "accept",       "content-type",      "content-encoding", "user-agent",
    "git-protocol", "anthropic-version", "anthropic-beta"};

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// As the server behind may read it, once decoded: "." and ".." climb, and a backslash may be a
// slash to somebody.
bool climbs(std::string_view path) {
  std::string plain;
  for (std::size_t i = 0; i < path.size(); ++i) {
    char c = path[i];
    if (c == '%' && i + 2 < path.size() && hex(path[i + 1]) >= 0 && hex(path[i + 2]) >= 0) {
      c = static_cast<char>(hex(path[i + 1]) * 16 + hex(path[i + 2]));
      i += 2;
    }
    if (c == '\0') return true;
    plain += c == '\\' ? '/' : c;
  }
  for (std::size_t at = 0; at <= plain.size();) {
    const std::size_t end = std::min(plain.find('/', at), plain.size());
    const auto segment = std::string_view(plain).substr(at, end - at);
    if (segment == "." || segment == "..") return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

std::expected<RequestHead, Refused> outgoing(const Route& route, const RequestHead& head) {
  const std::string_view path = head.path();
  const std::string_view rest = path.substr(std::min(route.path.size(), path.size()));
  if (!path.starts_with(route.path) || (!rest.empty() && rest.front() != '/') || climbs(path)) {
    return std::unexpected(Refused{404, "no_such_path",
                                   "the relay passes on what is below " + route.path + "/ alone"});
  }
  if (head.method != "GET" && head.method != "HEAD" && head.method != "POST") {
    return std::unexpected(
        Refused{405, "method_not_allowed", "the relay passes on GET, HEAD and POST alone"});
  }
  RequestHead out;
  out.method = head.method;
  out.target = route.url.path + std::string(rest);
  if (out.target.empty()) out.target = "/";
  if (const std::size_t at = head.target.find('?'); at != std::string::npos)
    out.target += head.target.substr(at);
  for (const std::string_view name : kPassed) {
    // Of two only the first, so that nobody behind can take the other.
    if (head.fields.has(name))
      out.fields.add(std::string(name), std::string(head.fields.get(name)));
  }
  return out;
}

std::optional<std::string> bearer(std::string_view token) {
  const auto fits = [](char c) { return c > 0x20 && c < 0x7F; };
  if (token.empty() || token.size() > 16 * 1024 || !std::ranges::all_of(token, fits))
    return std::nullopt;
  return "Bearer " + std::string(token);
}

void strip_answer(Fields& fields) {
  fields.remove_hop_by_hop();
  for (const char* name : {"set-cookie", "alt-svc", "strict-transport-security"})
    fields.remove(name);
}

Said in_words(const Route& route, const Refused& refused) {
  if (route.name == "git") return {"text/plain; charset=utf-8", refused.message + "\n"};
  const nlohmann::json error{{"error",
                              {{"message", refused.message},
                               {"type", "relay_error"},
                               {"param", nullptr},
                               {"code", refused.code}}}};
  return {"application/json",
          error.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"};
}

}  // namespace palisade::gateway::relay
