// What the guard of a session enforces (docs/guard.md), and the only git configuration that the
// agent's container reads.
#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "desired/common.h"

namespace palisade::op {

namespace {

// With the record's 64 MiB within the volume's 128.
constexpr std::uint64_t kOutputBytes = 48ULL << 20;
constexpr unsigned kMaxProcesses = 4096;  // and threads: a fork bomb's end, no build's
constexpr std::size_t kMaxTargets = 16;   // each may cost the start-up its time-out
constexpr std::size_t kMaxRanges = 1024;
constexpr const char* kLoopback = "127.0.0.1/32";
constexpr int kMappedBits = 96;  // of an IPv4 address in its IPv6 form

bool is_v4(const Cidr& block) {
  static constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return block.bits >= kMappedBits &&
         std::equal(kMapped.begin(), kMapped.end(), block.bytes.begin());
}

// Host bits are cleared: guard takes them for a slip.
Cidr masked(Cidr block) {
  for (int bit = block.bits; bit < 128; ++bit)
    block.bytes[static_cast<std::size_t>(bit) / 8] &=
        static_cast<std::uint8_t>(~(0x80U >> static_cast<unsigned>(bit % 8)));
  return block;
}

std::string to_text(const Cidr& block) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const bool v4 = is_v4(block);
  inet_ntop(v4 ? AF_INET : AF_INET6, block.bytes.data() + (v4 ? 12 : 0), text.data(), text.size());
  return fmt::format("{}/{}", text.data(), block.bits - (v4 ? kMappedBits : 0));
}

// The parts of `block` outside all holes.
void without(const Cidr& block, const std::vector<Cidr>& holes, std::vector<Cidr>& out) {
  if (out.size() > kMaxRanges) return;  // too many to be used
  const auto covers = [&](const Cidr& hole) { return hole.contains(block); };
  if (std::ranges::any_of(holes, covers)) return;
  // A hole of the other family splits nothing: an IPv6 range does not mean IPv4 addresses.
  const auto inside = [&](const Cidr& hole) {
    return is_v4(hole) == is_v4(block) && block.contains(hole);
  };
  if (std::ranges::none_of(holes, inside)) {
    out.push_back(block);
    return;
  }
  for (const bool upper : {false, true}) {
    Cidr half = block;
    const auto bit = static_cast<unsigned>(half.bits++);
    if (upper) half.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> (bit % 8));
    without(half, holes, out);
  }
}

std::vector<Cidr> parsed(const Json& texts) {
  std::vector<Cidr> out;
  if (!texts.is_array()) return out;
  for (const Json& text : texts) {
    if (!text.is_string()) continue;
    if (auto block = parse_cidr(text.get<std::string>())) out.push_back(*block);
  }
  return out;
}

struct Ports {
  std::uint16_t first = 0;  // 0: every port
  std::uint16_t last = 0;
};

// The TCP ports of an egress rule. A port by name is one that only the pods behind a selector know:
// there it stands for every port, and the NetworkPolicy alone narrows it.
std::vector<Ports> ports_of_rule(const Json& rule, bool selector) {
  const auto ports = rule.find("ports");
  if (ports == rule.end() || !ports->is_array() || ports->empty()) return {Ports{}};
  std::vector<Ports> out;
  for (const Json& port : *ports) {
    if (!port.is_object() || port.value("protocol", "TCP") != "TCP") continue;
    const Json number = port.value("port", Json());
    if (number.is_null()) {
      out.push_back({});
    } else if (number.is_number_integer()) {
      const auto first = number.get<std::int64_t>();
      const auto last = port.value("endPort", Json(first));
      if (first < 1 || first > 65535 || !last.is_number_integer()) continue;
      out.push_back(
          {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(std::clamp<std::int64_t>(
                                                  last.get<std::int64_t>(), first, 65535))});
    } else if (selector) {
      out.push_back({});
    }
  }
  return out;
}

bool by_selector(const Json& peer) {
  return peer.is_object() && !peer.contains("ipBlock");
}

// Ranges and ports that the agent may connect to, each once.
class Connect {
 public:
  void allow(const std::string& cidr, const Ports& ports) {
    if (full() || !known_.emplace(cidr, ports.first, ports.last).second) return;
    Json peer{{"cidr", cidr}};
    if (ports.first != 0) peer["port"] = ports.first;
    if (ports.last > ports.first) peer["endPort"] = ports.last;
    peers_.push_back(std::move(peer));
  }
  // More than guard reads.
  [[nodiscard]] bool full() const { return peers_.size() > kMaxRanges; }
  [[nodiscard]] const Json& peers() const { return peers_; }

 private:
  std::set<std::tuple<std::string, std::uint16_t, std::uint16_t>> known_;
  Json peers_ = Json::array();
};

// How exactly egress is written down: guard takes at most 1024 ranges. What is left out here the
// NetworkPolicy still holds.
enum class Detail { kAll, kNoPorts, kNoExceptions };

// What spec.isolation.egress opens. Which addresses the pods behind a selector have is not known:
// for guard it is every address but those that no session may reach, and the NetworkPolicy narrows
// it to the pods.
void allow_egress(Connect& connect, const Workspace& w, const std::vector<Unreachable>& unreachable,
                  Detail detail) {
  std::vector<Cidr> never = never_reachable();
  for (const Unreachable& target : unreachable) {
    if (target.of_pod) continue;
    if (auto block = parse_cidr(target.address)) never.push_back(*block);
  }
  for (const Json& rule : w.egress) {
    if (!rule.is_object() || connect.full()) continue;
    for (const Json& peer : rule.value("to", Json::array())) {
      std::vector<Cidr> blocks;
      if (by_selector(peer)) {
        without(*parse_cidr("0.0.0.0/0"), never, blocks);
        for (const char* range : {"2000::/3", "fc00::/7"})
          without(*parse_cidr(range), never, blocks);
      } else if (peer.is_object()) {
        const Json& range = peer["ipBlock"];
        if (!range.is_object() || !range.value("cidr", Json()).is_string()) continue;
        if (const auto block = parse_cidr(range["cidr"].get<std::string>()))
          without(masked(*block),
                  detail == Detail::kNoExceptions ? std::vector<Cidr>()
                                                  : parsed(range.value("except", Json())),
                  blocks);
      }
      std::vector<Ports> wanted = ports_of_rule(rule, by_selector(peer));
      if (detail != Detail::kAll && !wanted.empty()) wanted = {Ports{}};
      for (const Ports& ports : wanted) {
        for (const Cidr& block : blocks)
          connect.allow(to_text(block), ports);
      }
    }
  }
}

// Whether spec.isolation.egress may mean the target: then that it answers says nothing.
bool may_be_meant(const Workspace& w, const Unreachable& target) {
  const auto address = parse_cidr(target.address);
  return std::ranges::any_of(w.egress, [&](const Json& rule) {
    const Json peers = rule.is_object() ? rule.value("to", Json::array()) : Json::array();
    return std::ranges::any_of(peers, [&](const Json& peer) {
      if (by_selector(peer)) return true;
      const Json range = peer.is_object() ? peer.value("ipBlock", Json()) : Json();
      if (!range.is_object() || !range.value("cidr", Json()).is_string()) return true;
      const auto block = parse_cidr(range["cidr"].get<std::string>());
      const auto holes = parsed(range.value("except", Json()));
      return !block || !address ||
             (block->contains(*address) && std::ranges::none_of(holes, [&](const Cidr& hole) {
                return hole.contains(*address);
              }));
    });
  });
}

std::string seconds_text(std::chrono::seconds value) {
  return fmt::format("{}s", value.count());
}

}  // namespace

Json guard_policy(const Workspace& w, const std::vector<Unreachable>& unreachable, bool archived) {
  Json allowed = Json::array();
  Json commands = Json::array();
  const bool tests = w.task && w.task->has_checks();
  if (tests) {
    // Guard starts its own `rounds`, and that Aider. A test suite wants a shell, and each command
    // its own program. One of the repository's files is none: the shell may read it, and so may an
    // interpreter.
    for (const char* name : {"aider", "sh"})
      commands.push_back(name);
    for (const auto* words : {&w.task->lint_command, &w.task->test_command}) {
      if (words->empty()) continue;
      const std::string& program = words->front();
      const bool name = program.find('/') == std::string::npos;
      Json& into = name ? commands : allowed;
      if ((name || program.starts_with('/')) &&
          std::ranges::find(into, Json(program)) == into.end()) {
        into.push_back(program);
      }
    }
  }
  for (const std::string& program : w.exec.allow) {
    if (std::ranges::find(allowed, Json(program)) == allowed.end()) allowed.push_back(program);
  }

  // The agent needs the relay's LLM port and nothing else: gateway and git host are for relay and
  // courier.
  Connect connect;
  for (const Detail detail : {Detail::kAll, Detail::kNoPorts, Detail::kNoExceptions}) {
    connect = Connect();
    connect.allow(kLoopback, {kLlmPort, 0});
    allow_egress(connect, w, unreachable, detail);
    if (!connect.full()) break;
  }

  Json exec{{"profile", w.exec.allow.empty() ? "aider" : "build"},
            {"allow", allowed},
            {"commands", commands}};
  // Programs that the setup installed are looked for there, after the image's own.
  if (w.setup) exec["folders"] = Json::array({std::string(kSetupMount) + "/bin"});

  Json targets = Json::array();
  for (const Unreachable& one : unreachable) {
    if (targets.size() == kMaxTargets) break;
    if (!one.forbidden && may_be_meant(w, one)) continue;
    targets.push_back(
        {{"name", one.name}, {"address", one.address}, {"port", one.port}, {"udp", one.udp}});
  }

  Json files;
  if (w.mount != Mount::kReadWrite) {
    // What guard lets an agent read without the field, and the repository.
    files["read"] = {
        "/usr",       "/lib",  "/lib64", "/bin", "/sbin",      "/etc", "/opt",
        "/dev",       "/proc", "/sys",   "/var", "/workspace", "/tmp", "/palisade/policy",
        kProjectMount};
  }

  // Beside the mounts a second wall.
  if (w.mount == Mount::kReadOnly) files["write"] = {kHome, output_path(w), "/tmp"};
  Json limits{{"deadline", seconds_text(w.time())}};
  if (w.idle_timeout.count() > 0) limits["idle"] = seconds_text(w.idle_timeout);
  if (w.command_timeout.count() > 0) limits["command"] = seconds_text(w.command_timeout);
  // The kernel counts them for each user namespace: in the node's own all pods would share them.
  if (w.user_namespace) limits["processes"] = kMaxProcesses;
  Json out{{"version", "palisade.dev/guard/v1"},
           {"workspace", w.ns + "/" + w.name},
           {"mode", w.exec.audit ? "Audit" : "Enforce"},
           {"exec", exec},
           // A test suite may start servers, on loopback, and talk to them.
           {"network", {{"connect", connect.peers()}, {"ownListeners", tests}}},
           {"preflight", {{"unreachable", targets}}},
           {"limits", limits},
           // Each is a second wall behind what is enforced without it; without exit-info the record
           // has no exit codes.
           {"mayDegrade",
            {"landlock-network", "landlock-ioctl", "landlock-scope", "mdwe", "exit-info",
             "process-limit"}}};
  if (!files.is_null()) out["files"] = files;
  if (archived) out["record"] = {{"outputBytes", kOutputBytes}};
  return out;
}

std::string guard_gitconfig() {
  return R"(# The system's and the user's configuration of git in an agent's container.
[core]
	hooksPath = /dev/null
	fsmonitor = false
	pager = cat
	editor = :
	askPass =
	sshCommand = false
[credential]
	helper =
[protocol]
	allow = never
[protocol "ext"]
	allow = never
[protocol "file"]
	allow = never
[safe]
	directory = /workspace/repo
[gc]
	auto = 0
	autoDetach = false
[maintenance]
	auto = false
[submodule]
	recurse = false
[commit]
	gpgSign = false
[tag]
	gpgSign = false
)";
}

Json guard_git_environment() {
  // Beyond these files: what stands in the environment weighs more than the repository's own
  // configuration, which the agent can change.
  static constexpr std::array<std::pair<const char*, const char*>, 11> kPairs{{
      {"core.hooksPath", "/dev/null"},
      {"core.fsmonitor", "false"},
      {"core.pager", "cat"},
      {"core.editor", ":"},
      {"core.sshCommand", "false"},
      {"protocol.ext.allow", "never"},
      {"protocol.file.allow", "never"},
      {"credential.helper", ""},
      {"gc.auto", "0"},
      {"maintenance.auto", "false"},
      {"commit.gpgSign", "false"},
  }};
  Json out = Json::array();
  const auto add = [&](const std::string& name, const std::string& value) {
    out.push_back({{"name", name}, {"value", value}});
  };
  add("GIT_CONFIG_SYSTEM", "/palisade/policy/gitconfig");
  add("GIT_CONFIG_GLOBAL", "/palisade/policy/gitconfig");
  add("GIT_ATTR_NOSYSTEM", "1");
  add("GIT_TERMINAL_PROMPT", "0");
  add("GIT_CONFIG_COUNT", std::to_string(kPairs.size()));
  for (std::size_t i = 0; i < kPairs.size(); ++i) {
    add(fmt::format("GIT_CONFIG_KEY_{}", i), kPairs[i].first);
    add(fmt::format("GIT_CONFIG_VALUE_{}", i), kPairs[i].second);
  }
  return out;
}

}  // namespace palisade::op
