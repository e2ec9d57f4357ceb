#include "guard/policy.h"

#include <string>

#include <gtest/gtest.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kWhole = R"({
  "version": "palisade.dev/guard/v1", "mode": "Audit",
  "exec": {"profile": "none", "allow": ["/usr/bin/make"], "commands": ["sh", "make"], "folders": ["/opt/setup/bin"], "libraries": ["/usr/lib"], "jit": true},
  "files": {"read": ["/usr", "/workspace"], "write": ["/workspace"]},
  "network": {"connect": [{"cidr": "127.0.0.1/32", "port": 4000, "endPort": 4010}, {"cidr": "fd00::/8"}],
              "ownListeners": true},
  "preflight": {"unreachable": [{"name": "DNS", "address": "10.96.0.10", "port": 53, "udp": true}],
                "timeout": "250ms", "within": "5s"},
  "limits": {"deadline": "2h", "idle": "30m", "command": "0", "processes": 64},
  "record": {"path": "/palisade/record/r.jsonl", "maxBytes": 65536, "eventsPerSecond": 10},
  "mayDegrade": ["landlock-scope", "mdwe", "exit-info", "process-limit"], "workspace": "team-a/fix"})";

TEST(Policy, ReadsEveryField) {
  const auto policy = read_policy(kWhole);
  ASSERT_TRUE(policy) << policy.error();
  EXPECT_EQ(policy->mode, Mode::kAudit);
  EXPECT_EQ(policy->exec.profile, "none");
  EXPECT_EQ(policy->exec.allow, std::vector<std::string>{"/usr/bin/make"});
  EXPECT_EQ(policy->exec.commands, (std::vector<std::string>{"sh", "make"}));
  EXPECT_EQ(policy->exec.folders, std::vector<std::string>{"/opt/setup/bin"});
  EXPECT_EQ(policy->exec.libraries, std::vector<std::string>{"/usr/lib"});
  EXPECT_TRUE(policy->exec.jit);
  EXPECT_EQ(policy->files.read, (std::vector<std::string>{"/usr", "/workspace"}));
  EXPECT_EQ(policy->files.write, std::vector<std::string>{"/workspace"});
  ASSERT_EQ(policy->network.connect.size(), 2U);
  EXPECT_EQ(policy->network.connect[0].cidr, "127.0.0.1/32");
  EXPECT_EQ(policy->network.connect[0].port, 4000);
  EXPECT_EQ(policy->network.connect[0].end_port, 4010);
  EXPECT_EQ(policy->network.connect[1].port, 0);
  EXPECT_TRUE(policy->network.own_listeners);
  ASSERT_EQ(policy->preflight.unreachable.size(), 1U);
  EXPECT_EQ(policy->preflight.unreachable[0].name, "DNS");
  EXPECT_EQ(policy->preflight.unreachable[0].address, "10.96.0.10");
  EXPECT_EQ(policy->preflight.unreachable[0].port, 53);
  EXPECT_TRUE(policy->preflight.unreachable[0].udp);
  EXPECT_EQ(policy->preflight.timeout, 250ms);
  EXPECT_EQ(policy->preflight.within, 5s);
  EXPECT_EQ(policy->limits.deadline, 2h);
  EXPECT_EQ(policy->limits.idle, 30min);
  EXPECT_EQ(policy->limits.command, 0ms);
  EXPECT_EQ(policy->limits.processes, 64U);
  EXPECT_EQ(policy->record.path, "/palisade/record/r.jsonl");
  EXPECT_EQ(policy->record.max_bytes, 65536U);
  EXPECT_EQ(policy->record.events_per_second, 10U);
  EXPECT_EQ(policy->may_degrade,
            (std::vector<std::string>{"landlock-scope", "mdwe", "exit-info", "process-limit"}));
  EXPECT_EQ(policy->workspace, "team-a/fix");
}

TEST(Policy, TheVersionAloneIsAStrictPolicy) {
  const auto policy = read_policy(R"({"version": "palisade.dev/guard/v1"})");
  ASSERT_TRUE(policy) << policy.error();
  EXPECT_EQ(policy->mode, Mode::kEnforce);
  EXPECT_EQ(policy->exec.profile, "aider");
  EXPECT_FALSE(policy->exec.jit);
  EXPECT_TRUE(policy->network.connect.empty());
  EXPECT_FALSE(policy->network.own_listeners);
  EXPECT_TRUE(policy->may_degrade.empty());
  EXPECT_FALSE(policy->workspace);
}

struct Wrong {
  const char* fields;  // beside the version
  const char* names;   // what the message must begin with
};

class WrongPolicy : public testing::TestWithParam<Wrong> {};

TEST_P(WrongPolicy, IsRefusedByName) {
  const auto policy = read_policy(std::string(R"({"version": "palisade.dev/guard/v1", )") +
                                  GetParam().fields + "}");
  ASSERT_FALSE(policy) << GetParam().fields;
  EXPECT_TRUE(policy.error().starts_with(GetParam().names)) << policy.error();
  EXPECT_EQ(policy.error().find('\n'), std::string::npos) << policy.error();
}

INSTANTIATE_TEST_SUITE_P(
    EveryFieldOnce, WrongPolicy,
    testing::Values(
        Wrong{R"("mode": "enforce")", "mode: "}, Wrong{R"("mode": 1)", "mode: must be a string"},
        Wrong{R"("mode": null)", "mode: must be a string"},
        Wrong{R"("modes": "Audit")", R"("modes": guard)"},
        Wrong{R"("exec": [])", "exec: must be an object"},
        Wrong{R"("exec": {"profile": "all"})", "exec.profile: "},
        Wrong{R"("exec": {"allow": "/usr/bin/make"})", "exec.allow: must be a list"},
        Wrong{R"("exec": {"allow": ["make"]})", "exec.allow[0]: \"make\" must be an absolute"},
        Wrong{R"("exec": {"allow": ["/"]})", "exec.allow[0]: must not be the root"},
        Wrong{R"("exec": {"allow": ["/usr/bin/make", ""]})", "exec.allow[1]: "},
        Wrong{R"("exec": {"allow": ["/usr/../x"]})", "exec.allow[0]: "},
        Wrong{R"("exec": {"allow": ["/usr//x"]})", "exec.allow[0]: "},
        Wrong{R"("exec": {"allow": ["/usr/./x"]})", "exec.allow[0]: "},
        Wrong{R"("exec": {"allow": ["/usr/x/"]})", "exec.allow[0]: "},
        Wrong{R"("exec": {"allow": ["/usr/\u0000x"]})", "exec.allow[0]: has a control"},
        Wrong{R"("exec": {"profile": "builder"})", "exec.profile: \"builder\" must be"},
        Wrong{R"("exec": {"profile": "build"})", "exec.profile: \"build\" needs exec.allow"},
        Wrong{R"("exec": {"folders": ["bin"]})", "exec.folders[0]: "},
        Wrong{R"("exec": {"commands": "sh"})", "exec.commands: must be a list"},
        Wrong{R"("exec": {"commands": ["sh", "/bin/sh"]})", "exec.commands[1]: "},
        Wrong{R"("exec": {"commands": ["../sh"]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"commands": ["."]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"commands": [".."]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"commands": [""]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"commands": ["s\u0000h"]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"commands": [1]})", "exec.commands[0]: "},
        Wrong{R"("exec": {"libraries": [7]})", "exec.libraries[0]: "},
        Wrong{R"("exec": {"jit": "yes"})", "exec.jit: "},
        Wrong{R"("exec": {"Jit": true})", "exec.\"Jit\": guard"},
        Wrong{R"("files": {"read": {}})", "files.read: "},
        Wrong{R"("files": {"write": ["workspace"]})", "files.write[0]: "},
        Wrong{R"("files": {"write": ["/"]})", "files.write[0]: "},
        Wrong{R"("files": {"write": ["/proc"]})", "files.write: \"/proc\" can never"},
        Wrong{R"("files": {"write": ["/proc/self"]})", "files.write: "},
        Wrong{R"("files": {"write": ["/palisade/record"]})", "files.write: "},
        Wrong{R"("files": {"execute": []})", "files.\"execute\": "},
        Wrong{R"("network": {"connect": [{}]})", "network.connect[0].cidr: is required"},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1/33"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1/"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1/032"}]})", "network.connect[0].cidr"},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1/8"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "127.0.0.1/+8"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "fd00::1/8"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "localhost/32"}]})", "network.connect[0].cidr: "},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "port": 0}]})",
              "network.connect[0].port"},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "port": 65536}]})",
              "network.connect[0].port: "},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "port": -1}]})",
              "network.connect[0].port"},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "port": 80.5}]})", "network.connect[0]."},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "endPort": 80}]})",
              "network.connect[0].endPort: "},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "port": 9, "endPort": 8}]})",
              "network.connect[0].endPort: "},
        Wrong{R"("network": {"connect": [{"cidr": "::/0", "host": "x"}]})",
              "network.connect[0].\"host\": "},
        Wrong{R"("network": {"ownListeners": 1})", "network.ownListeners: "},
        Wrong{R"("preflight": {"unreachable": [{"address": "::1", "port": 1}]})",
              "preflight.unreachable[0].name: is required"},
        Wrong{R"("preflight": {"unreachable": [{"name": "", "address": "::1", "port": 1}]})",
              "preflight.unreachable[0].name: "},
        Wrong{R"("preflight": {"unreachable": [{"name": "x", "address": "dns", "port": 1}]})",
              "preflight.unreachable[0].address: "},
        Wrong{R"("preflight": {"unreachable": [{"name": "x", "address": "::1"}]})",
              "preflight.unreachable[0].port: "},
        Wrong{R"("preflight": {"unreachable": [{"name":"x","address":"::1","port":1,"udp":0}]})",
              "preflight.unreachable[0].udp: "},
        Wrong{R"("preflight": {"timeout": "0"})", "preflight.timeout: "},
        Wrong{R"("preflight": {"within": 5})", "preflight.within: must be a string"},
        Wrong{R"("limits": {"deadline": "2 h"})", "limits.deadline: "},
        Wrong{R"("limits": {"deadline": "2d"})", "limits.deadline: "},
        Wrong{R"("limits": {"deadline": "-2h"})", "limits.deadline: "},
        Wrong{R"("limits": {"deadline": "h"})", "limits.deadline: "},
        Wrong{R"("limits": {"idle": "99999999999999999999h"})", "limits.idle: "},
        Wrong{R"("limits": {"idle": "9000h"})", "limits.idle: \"9000h\" is more than a year"},
        Wrong{R"("limits": {"command": true})", "limits.command: "},
        Wrong{R"("limits": {"processes": 63})", "limits.processes: "},
        Wrong{R"("limits": {"processes": "64"})", "limits.processes: "},
        Wrong{R"("limits": {"processes": -1})", "limits.processes: "},
        Wrong{R"("limits": {"processes": 4294967360})", "limits.processes: "},
        Wrong{R"("record": {"path": "record"})", "record.path: "},
        Wrong{R"("record": {"maxBytes": 1})", "record.maxBytes: "},
        Wrong{R"("record": {"outputBytes": -1})", "record.outputBytes: "},
        Wrong{R"("record": {"maxBytes": "64Mi"})", "record.maxBytes: "},
        Wrong{R"("record": {"eventsPerSecond": 0})", "record.eventsPerSecond: "},
        Wrong{R"("mayDegrade": "mdwe")", "mayDegrade: "},
        Wrong{R"("mayDegrade": ["seccomp"])", "mayDegrade[0]: \"seccomp\" is none of"},
        Wrong{R"("workspace": "fix")", "workspace: "},
        Wrong{R"("workspace": "a/b/c")", "workspace: "},
        Wrong{R"("workspace": "/b")", "workspace: "},
        Wrong{R"("mode": "Audit", "mode": "Enforce")", "\"mode\": the field is there twice"},
        Wrong{R"("exec": {"jit": false, "jit": true})", "\"jit\": the field is there twice"}));

TEST(Policy, FilesThatAreNoPolicy) {
  const std::string deep(100'000, '[');
  std::string large = R"({"version": "palisade.dev/guard/v1", "workspace": ")";
  large.append(10 << 20, 'a');
  large += "\"}";
  std::string many = R"({"version": "palisade.dev/guard/v1", "exec": {"allow": ["/a")";
  for (int i = 0; i < 2000; ++i) {
    many += ",\"/a\"";
  }
  many += "]}}";
  const struct {
    std::string bytes;
    const char* message;
  } files[] = {
      {"", "the policy: is no JSON"},
      {"null", "the policy: must be an object"},
      {"[]", "the policy: must be an object"},
      {"{", "the policy: is no JSON"},
      {R"({"version": "palisade.dev/guard/v1"} x)", "the policy: is no JSON"},
      {R"({"version": "palisade.dev/guard/v1",})", "the policy: is no JSON"},
      {"{}", "version: is required"},
      {R"({"version": 1})", "version: must be a string"},
      {R"({"version": "palisade.dev/guard/v2"})", "version: \"palisade.dev/guard/v2\" is not"},
      {"{\"version\": \"\xff\"}", "the policy: is no JSON"},
      {deep, "the policy: objects and lists are nested more than 8 deep"},
      {R"({"version": "palisade.dev/guard/v1", "exec": )" + deep, "the policy: objects and lists"},
      {large, "the policy: is larger than 1 MiB"},
      {many, "exec.allow: has more than 1024 items"},
  };
  for (const auto& file : files) {
    const auto policy = read_policy(file.bytes);
    ASSERT_FALSE(policy) << file.message;
    EXPECT_TRUE(policy.error().starts_with(file.message)) << policy.error();
  }
}

TEST(Policy, MessagesCarryNoControlCharacters) {
  const auto policy = read_policy("{\"version\": \"palisade.dev/guard/v1\", \"\\u001b[2J\\n\": 1}");
  ASSERT_FALSE(policy);
  for (const char c : policy.error()) {
    EXPECT_GE(c, ' ') << policy.error();
  }
}

}  // namespace
}  // namespace palisade::guard
