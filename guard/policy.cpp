// The reader of guard's policy: strict, because what it does not understand it cannot keep.
#include "guard/policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

#include <arpa/inet.h>
#include <nlohmann/json.hpp>

#include "guard/paths.h"

namespace palisade::guard {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBytes = 1 << 20;
constexpr int kMostDepth = 8;
constexpr std::size_t kMostItems = 1024;
constexpr std::size_t kMostPath = 4095;

struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void broken(const std::string& field, const std::string& what) {
  throw Broken((field.empty() ? std::string("the policy") : field) + ": " + what);
}

// Text of the file as a message may show it.
std::string quoted_part(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 60)) {
    const bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
    out += plain ? c : '?';
  }
  return out + (text.size() > 60 ? "...\"" : "\"");
}

// One JSON object of the file. Every field is taken by its name; finish() refuses what is left.
class Object {
 public:
  Object(const json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value_.is_object()) {
      broken(path_, "must be an object");
    }
  }

  [[nodiscard]] std::string at(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }

  const json* find(const std::string& name) {
    taken_.insert(name);
    const auto found = value_.find(name);
    return found == value_.end() ? nullptr : &*found;
  }

  template <typename Read, typename Value>
  void take(const std::string& name, Value& into, Read read) {
    if (const json* value = find(name)) {
      into = read(*value, at(name));
    }
  }

  void finish() const {
    for (const auto& item : value_.items()) {
      if (!taken_.contains(item.key())) {
        broken(at(quoted_part(item.key())),
               "guard " PALISADE_VERSION
               " does not know this field; take it out or use a newer guard");
      }
    }
  }

 private:
  const json& value_;
  std::string path_;
  std::set<std::string, std::less<>> taken_;
};

std::string text(const json& value, const std::string& field) {
  if (!value.is_string()) {
    broken(field, "must be a string");
  }
  const auto& string = value.get_ref<const std::string&>();
  if (string.size() > kMostPath) {
    broken(field, "is longer than 4095 bytes");
  }
  if (std::any_of(string.begin(), string.end(), [](char c) { return c >= 0 && c < ' '; })) {
    broken(field, "has a control character");
  }
  return string;
}

std::string some_text(const json& value, const std::string& field) {
  auto string = text(value, field);
  if (string.empty()) {
    broken(field, "must not be empty");
  }
  return string;
}

bool flag(const json& value, const std::string& field) {
  if (!value.is_boolean()) {
    broken(field, "must be true or false");
  }
  return value.get<bool>();
}

std::uint64_t number(const json& value, const std::string& field, std::uint64_t least,
                     std::uint64_t most) {
  if (!value.is_number_unsigned()) {
    broken(field, "must be a whole number, zero or more");
  }
  const auto read = value.get<std::uint64_t>();
  if (read < least || read > most) {
    broken(field, "must be " + std::to_string(least) + " to " + std::to_string(most));
  }
  return read;
}

std::uint16_t port(const json& value, const std::string& field) {
  return static_cast<std::uint16_t>(number(value, field, 1, 65535));
}

// An absolute path that says where it leads: no empty, "." or ".." part.
std::string path(const json& value, const std::string& field) {
  auto string = text(value, field);
  if (!string.starts_with('/')) {
    broken(field, quoted_part(string) + " must be an absolute path");
  }
  std::string_view rest(string);
  rest.remove_prefix(1);
  while (!rest.empty()) {
    const auto slash = rest.find('/');
    const auto part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      broken(field, quoted_part(string) + " must be written without empty, \".\" or \"..\" parts");
    }
    if (slash == std::string_view::npos) {
      return string;
    }
    rest.remove_prefix(slash + 1);
    if (rest.empty()) {
      broken(field, quoted_part(string) + " must not end in a slash");
    }
  }
  return string;  // "/"
}

std::string path_but_root(const json& value, const std::string& field) {
  auto string = path(value, field);
  if (string == "/") {
    broken(field, "must not be the root directory");
  }
  return string;
}

template <typename Read>
auto list(const json& value, const std::string& field, Read read) {
  if (!value.is_array()) {
    broken(field, "must be a list");
  }
  if (value.size() > kMostItems) {
    broken(field, "has more than 1024 items");
  }
  std::vector<decltype(read(value, field))> items;
  items.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    items.push_back(read(value[i], field + "[" + std::to_string(i) + "]"));
  }
  return items;
}

template <typename Read>
auto list_of(Read read) {
  return [read](const json& value, const std::string& field) { return list(value, field, read); };
}

// "500ms", "45s", "30m", "2h"; "0" is none.
std::chrono::milliseconds duration(const json& value, const std::string& field) {
  const auto string = text(value, field);
  if (string == "0") {
    return std::chrono::milliseconds{0};
  }
  std::uint64_t count = 0;
  const auto* end = string.data() + string.size();
  const auto [unit_at, error] = std::from_chars(string.data(), end, count);
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> kUnits{
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};
  constexpr std::uint64_t kMost = 366ULL * 24 * 3'600'000;
  const std::string_view unit(unit_at, static_cast<std::size_t>(end - unit_at));
  const auto* known = std::find_if(kUnits.begin(), kUnits.end(),
                                   [&](const auto& candidate) { return candidate.first == unit; });
  if (error != std::errc{} || known == kUnits.end()) {
    broken(field,
           quoted_part(string) + " must be a duration such as \"500ms\", \"45s\", \"30m\", \"2h\"");
  }
  if (count > kMost / known->second) {
    broken(field, quoted_part(string) + " is more than a year");
  }
  return std::chrono::milliseconds{count * known->second};
}

struct AddressBits {
  std::array<std::uint8_t, 16> bytes{};
  unsigned bits = 0;
};

std::optional<AddressBits> read_address(const std::string& string) {
  AddressBits address;
  if (inet_pton(AF_INET, string.c_str(), address.bytes.data()) == 1) {
    address.bits = 32;
    return address;
  }
  if (inet_pton(AF_INET6, string.c_str(), address.bytes.data()) == 1) {
    address.bits = 128;
    return address;
  }
  return std::nullopt;
}

std::string address(const json& value, const std::string& field) {
  auto string = text(value, field);
  if (!read_address(string)) {
    broken(field, quoted_part(string) + " is no IPv4 or IPv6 address");
  }
  return string;
}

std::string cidr(const json& value, const std::string& field) {
  auto string = text(value, field);
  const auto slash = string.find('/');
  const auto network =
      slash == std::string::npos ? std::nullopt : read_address(string.substr(0, slash));
  unsigned length = 0;
  const auto* end = string.data() + string.size();
  const auto* digits = slash == std::string::npos ? end : string.data() + slash + 1;
  if (!network || digits == end || (*digits == '0' && digits + 1 != end) ||
      std::from_chars(digits, end, length).ptr != end || length > network->bits) {
    broken(field, quoted_part(string) + " is no address range such as \"127.0.0.1/32\"");
  }
  for (unsigned bit = length; bit < network->bits; ++bit) {
    if ((network->bytes.at(bit / 8) & (0x80U >> (bit % 8))) != 0) {
      broken(field, quoted_part(string) + " has address bits beyond its prefix length");
    }
  }
  return string;
}

Peer peer(const json& value, const std::string& field) {
  Object object(value, field);
  Peer read;
  if (object.find("cidr") == nullptr) {
    broken(object.at("cidr"), "is required");
  }
  object.take("cidr", read.cidr, cidr);
  object.take("port", read.port, port);
  object.take("endPort", read.end_port, port);
  object.finish();
  if (read.end_port != 0 && (read.port == 0 || read.end_port < read.port)) {
    broken(object.at("endPort"), "must come with a port that is not above it");
  }
  return read;
}

Unreachable unreachable(const json& value, const std::string& field) {
  Object object(value, field);
  for (const char* name : {"name", "address", "port"}) {
    if (object.find(name) == nullptr) {
      broken(object.at(name), "is required");
    }
  }
  Unreachable read;
  object.take("name", read.name, some_text);
  object.take("address", read.address, address);
  object.take("port", read.port, port);
  object.take("udp", read.udp, flag);
  object.finish();
  return read;
}

// What a shell would look for on PATH.
std::string command_name(const json& value, const std::string& field) {
  auto string = some_text(value, field);
  if (string.find('/') != std::string::npos || string == "." || string == "..") {
    broken(field, quoted_part(string) + " must be a program's name without a folder");
  }
  return string;
}

ExecPolicy exec_policy(const json& value, const std::string& field) {
  Object object(value, field);
  ExecPolicy read;
  object.take("profile", read.profile, text);
  object.take("allow", read.allow, list_of(path_but_root));
  object.take("commands", read.commands, list_of(command_name));
  object.take("folders", read.folders, list_of(path_but_root));
  object.take("libraries", read.libraries, list_of(path_but_root));
  object.take("jit", read.jit, flag);
  object.finish();
  if (read.profile != "aider" && read.profile != "build" && read.profile != "none") {
    broken(object.at("profile"),
           quoted_part(read.profile) + " must be \"aider\", \"build\" or \"none\"");
  }
  if (read.profile == "build" && read.allow.empty() && read.commands.empty()) {
    broken(object.at("profile"),
           "\"build\" needs exec.allow or exec.commands: it adds what they "
           "name to \"aider\"");
  }
  return read;
}

FilePolicy file_policy(const json& value, const std::string& field) {
  Object object(value, field);
  FilePolicy read;
  object.take("read", read.read, list_of(path_but_root));
  object.take("write", read.write, list_of(path_but_root));
  object.finish();
  for (const auto& writable : read.write) {
    // Writing there would be writing to guard's own files, to running programs' memory or to the
    // kernel.
    for (const std::string_view closed : {"/proc", "/sys", "/palisade"}) {
      if (below(writable, closed)) {
        broken(object.at("write"), quoted_part(writable) + " can never be writable for the agent");
      }
    }
  }
  return read;
}

NetworkPolicy network_policy(const json& value, const std::string& field) {
  Object object(value, field);
  NetworkPolicy read;
  object.take("connect", read.connect, list_of(peer));
  object.take("ownListeners", read.own_listeners, flag);
  object.finish();
  return read;
}

PreflightPolicy preflight_policy(const json& value, const std::string& field) {
  Object object(value, field);
  PreflightPolicy read;
  object.take("unreachable", read.unreachable, list_of(unreachable));
  object.take("timeout", read.timeout, duration);
  object.take("within", read.within, duration);
  object.finish();
  if (read.timeout.count() == 0) {
    broken(object.at("timeout"), "must be more than nothing");
  }
  return read;
}

// Guard's own threads, git and an interpreter with some threads find room.
constexpr std::uint64_t kLeastProcesses = 64;

LimitPolicy limit_policy(const json& value, const std::string& field) {
  Object object(value, field);
  LimitPolicy read;
  object.take("deadline", read.deadline, duration);
  object.take("idle", read.idle, duration);
  object.take("command", read.command, duration);
  object.take("processes", read.processes, [](const json& count, const std::string& name) {
    return static_cast<unsigned>(number(count, name, kLeastProcesses, 1 << 22));
  });
  object.finish();
  return read;
}

RecordPolicy record_policy(const json& value, const std::string& field) {
  Object object(value, field);
  RecordPolicy read;
  object.take("path", read.path, path_but_root);
  object.take("maxBytes", read.max_bytes, [](const json& bytes, const std::string& name) {
    return number(bytes, name, 64ULL << 10, 1ULL << 40);
  });
  object.take("eventsPerSecond", read.events_per_second,
              [](const json& rate, const std::string& name) {
                return static_cast<unsigned>(number(rate, name, 1, 1'000'000));
              });
  object.take("outputBytes", read.output_bytes, [](const json& bytes, const std::string& name) {
    return number(bytes, name, 0, 1ULL << 40);
  });
  object.finish();
  return read;
}

Mode mode(const json& value, const std::string& field) {
  const auto string = text(value, field);
  if (string != "Enforce" && string != "Audit") {
    broken(field, quoted_part(string) + " must be \"Enforce\" or \"Audit\"");
  }
  return string == "Audit" ? Mode::kAudit : Mode::kEnforce;
}

std::string feature(const json& value, const std::string& field) {
  auto string = text(value, field);
  constexpr std::array<std::string_view, 6> kKnown{
      "landlock-network", "landlock-ioctl", "landlock-scope", "mdwe", "exit-info", "process-limit"};
  if (std::find(kKnown.begin(), kKnown.end(), string) == kKnown.end()) {
    broken(field, quoted_part(string) +
                      " is none of landlock-network, landlock-ioctl, landlock-scope, "
                      "mdwe, exit-info, process-limit: nothing else may be missing");
  }
  return string;
}

std::string workspace(const json& value, const std::string& field) {
  auto string = text(value, field);
  const auto slash = string.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == string.size() ||
      string.find('/', slash + 1) != std::string::npos) {
    broken(field, quoted_part(string) + " must be NAMESPACE/NAME");
  }
  return string;
}

// Parses with a bound on depth; a name that comes twice in one object is an error, since two
// readers could take it differently.
json parse(std::string_view bytes) {
  std::vector<std::set<std::string>> names;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kMostDepth) {
          throw Broken("the policy: objects and lists are nested more than 8 deep");
        }
        names.emplace_back();
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        names.pop_back();
        break;
      case json::parse_event_t::key:
        if (!names.back().insert(parsed.get<std::string>()).second) {
          throw Broken(quoted_part(parsed.get<std::string>()) + ": the field is there twice");
        }
        break;
      case json::parse_event_t::value:
        break;
    }
    return true;
  };
  return json::parse(bytes.begin(), bytes.end(), check);
}

Policy read_root(const json& root) {
  Object object(root, "");
  const json* version = object.find("version");
  if (version == nullptr) {
    broken("version", "is required; this guard reads \"" + std::string(kPolicyVersion) + "\"");
  }
  if (const auto named = text(*version, "version"); named != kPolicyVersion) {
    broken("version", quoted_part(named) + " is not what this guard reads: \"" +
                          std::string(kPolicyVersion) + "\"");
  }
  Policy policy;
  object.take("mode", policy.mode, mode);
  object.take("exec", policy.exec, exec_policy);
  object.take("files", policy.files, file_policy);
  object.take("network", policy.network, network_policy);
  object.take("preflight", policy.preflight, preflight_policy);
  object.take("limits", policy.limits, limit_policy);
  object.take("record", policy.record, record_policy);
  object.take("mayDegrade", policy.may_degrade, list_of(feature));
  object.take("workspace", policy.workspace, workspace);
  object.finish();
  return policy;
}

}  // namespace

std::expected<Policy, std::string> read_policy(std::string_view bytes) {
  if (bytes.size() > kMostBytes) {
    return std::unexpected("the policy: is larger than 1 MiB");
  }
  try {
    return read_root(parse(bytes));
  } catch (const Broken& error) {
    return std::unexpected(error.what());
  } catch (const json::parse_error& error) {
    return std::unexpected("the policy: is no JSON: byte " + std::to_string(error.byte) +
                           " is not what could come there");
  } catch (const json::exception& error) {
    return std::unexpected(std::string("the policy: ") + error.what());
  }
}

}  // namespace palisade::guard
