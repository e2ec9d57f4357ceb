// `palisade-guard run` as a whole: each way to fail has its own code, one line on stderr, and the
// same in the termination log.
#include "guard/run.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guarded.h"
#include "guard/proc.h"
#include "guard/processes.h"
#include "server_process.h"

namespace palisade::guard::testing {
namespace {

struct Ended {
  int code = -1;
  std::string output;
  std::string errors;
  nlohmann::json summary;
};

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

enum class As { kNobody, kRoot, kOwnUsers };

// As a pod with hostUsers: false has it: user 1001 of a namespace whose only user that is.
bool enter_users_of_its_own() {
  const auto user = std::to_string(geteuid());
  const auto group = std::to_string(getegid());
  // After a change of user /proc/self belongs to root.
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || unshare(CLONE_NEWUSER) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream users("/proc/self/uid_map");
  users << "1001 " << user << " 1" << std::flush;
  std::ofstream groups("/proc/self/gid_map");
  groups << "1001 " << group << " 1" << std::flush;
  return users && groups && geteuid() == 1001;
}

// A policy, its record and a writable place, each in a folder of its own.
struct Place {
  Folder workspace;
  Folder record;
  Folder config;

  [[nodiscard]] nlohmann::json policy() const {
    return {
        {"version", "palisade.dev/guard/v1"},
        {"files",
         {{"read", {"/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc", workspace.path()}},
          {"write", {workspace.path()}}}},
        {"record", {{"path", record.path() + "/record.jsonl"}}}};
  }
  [[nodiscard]] Ended run(const nlohmann::json& policy, std::vector<std::string> command,
                          As as = As::kNobody) const {
    return run(policy.dump(), std::move(command), as);
  }
  [[nodiscard]] Ended run(const std::string& policy, std::vector<std::string> command,
                          As as = As::kNobody) const {
    const auto file = config.write("guard.json", policy, 0644);
    const auto out = config.write("out", "", 0644);
    const auto err = config.write("err", "", 0644);
    const auto log = config.write("termination-log", "", 0644);
    std::vector<std::string> words{PALISADE_GUARD,      "run", "--policy", file,
                                   "--termination-log", log,   "--"};
    words.insert(words.end(), command.begin(), command.end());
    // By descriptor: the build's folder may be closed to nobody.
    const int program = open(PALISADE_GUARD, O_RDONLY | O_CLOEXEC);
    const pid_t child = fork();
    if (child == 0) {
      const bool ready =
          dup2(open("/dev/null", O_RDONLY), 0) == 0 && dup2(open(out.c_str(), O_WRONLY), 1) == 1 &&
          dup2(open(err.c_str(), O_WRONLY), 2) == 2 && chdir(workspace.path().c_str()) == 0 &&
          (as == As::kRoot || geteuid() != 0 ||
           (setgroups(0, nullptr) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0)) &&
          (as != As::kOwnUsers || enter_users_of_its_own());
      std::vector<char*> arguments;
      for (auto& word : words) {
        arguments.push_back(word.data());
      }
      arguments.push_back(nullptr);
      std::string path = "PATH=/usr/bin:/bin";
      std::array<char*, 2> environment{path.data(), nullptr};
      if (ready) {
        fexecve(program, arguments.data(), environment.data());
      }
      _exit(99);
    }
    close(program);
    Ended ended;
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    ended.output = content(out);
    ended.errors = content(err);
    ended.summary = nlohmann::json::parse(content(log), nullptr, false);
    return ended;
  }
};

void expect_failure(const Ended& ended, int code, const std::string& why,
                    const std::string& message) {
  EXPECT_EQ(ended.code, code) << ended.errors;
  EXPECT_TRUE(ended.errors.starts_with("palisade-guard: ")) << ended.errors;
  EXPECT_NE(ended.errors.find(message), std::string::npos) << ended.errors;
  EXPECT_EQ(ended.errors.find('\n'), ended.errors.size() - 1) << ended.errors;
  ASSERT_TRUE(ended.summary.is_object());
  EXPECT_EQ(ended.summary.value("ended", ""), why);
  EXPECT_NE(ended.summary.value("message", "").find(message), std::string::npos) << ended.summary;
}

TEST(Run, TheExitCodeAndTheOutputAreTheAgents) {
  const Place place;
  const auto ended =
      place.run(place.policy(), {"python3", "-c", "import sys; print('out'); sys.exit(3)"});
  EXPECT_EQ(ended.code, 3) << ended.errors;
  EXPECT_EQ(ended.output, "out\n");
  EXPECT_EQ(ended.errors, "");
  EXPECT_EQ(ended.summary.value("ended", ""), "exited");
  EXPECT_EQ(ended.summary.value("execs", 0), 1);
  EXPECT_EQ(ended.summary.value("lastLines", nlohmann::json()), nlohmann::json::array({"out"}));
}

TEST(Run, TheOutputIsKeptBesideTheRecordWhereThePolicySaysSo) {
  const Place place;
  auto policy = place.policy();
  policy["record"]["outputBytes"] = 4096;
  const auto ended =
      place.run(policy, {"python3", "-c",
                         "import sys; print('\x1b]52;c;AAAA\x07out', flush=True); print('err', "
                         "file=sys.stderr); open('" +
                             place.record.path() + "/output.log', 'a')"});
  EXPECT_NE(ended.code, 0) << "the agent can write to it";
  const std::string kept = content(place.record.path() + "/output.log");
  EXPECT_TRUE(kept.starts_with("out\nerr\n")) << kept;
  EXPECT_NE(kept.find("PermissionError"), std::string::npos) << kept;
  // Without a word of it nothing is kept; what is beyond the bound is left out, and said so.
  const Place other;
  EXPECT_EQ(other.run(other.policy(), {"python3", "-c", "print('out')"}).code, 0);
  EXPECT_FALSE(std::filesystem::exists(other.record.path() + "/output.log"));
  policy = other.policy();
  policy["record"]["outputBytes"] = 1000;
  const auto full =
      other.run(policy, {"python3", "-c", "for i in range(100): print('x' * 99, flush=True)"});
  EXPECT_EQ(full.code, 0) << full.errors;
  EXPECT_EQ(full.output.size(), 10'000U);
  const std::string cut = content(other.record.path() + "/output.log");
  EXPECT_LE(cut.size(), 1000U);
  EXPECT_TRUE(cut.starts_with(std::string(99, 'x') + "\n"));
  EXPECT_TRUE(cut.ends_with("the rest was left out]\n")) << cut;
}

TEST(Run, ASignalIsItsNumberAnd128) {
  const Place place;
  const auto ended =
      place.run(place.policy(), {"python3", "-c", "import os; os.kill(os.getpid(), 9)"});
  EXPECT_EQ(ended.code, 128 + 9) << ended.errors;
}

TEST(Run, RefusalsAreCounted) {
  const Place place;
  const auto ended = place.run(place.policy(), {"python3", "-c", R"(
import os, socket, subprocess
for name in ('/bin/ls', '/bin/sh'):
    try: subprocess.run([name])
    except PermissionError: print('refused')
try: socket.create_connection(('127.0.0.1', 1))
except PermissionError: print('refused')
)"});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.output, "refused\nrefused\nrefused\n") << ended.errors;
  EXPECT_EQ(ended.summary.value("deniedExecs", 0), 2) << ended.summary;
  EXPECT_EQ(ended.summary.value("deniedConnects", 0), 1) << ended.summary;
  EXPECT_EQ(ended.summary.value("refusals", 0), 3) << ended.summary;
}

// As many different refusals as the record has no room for: it ends the session rather than lose
// one in silence.
TEST(Run, ARecordThatIsFullEndsTheSession) {
  const Place place;
  auto policy = place.policy();
  policy["record"]["maxBytes"] = 64 << 10;
  const auto ended = place.run(policy, {"python3", "-c", R"(
import os, socket, time
for i in range(100000):
    try: os.execv('/bin/ls', ['ls', str(i), 'x' * 2000])
    except PermissionError: pass
time.sleep(600)
)"});
  expect_failure(ended, kExitRecord, "record", "is full; raise record.maxBytes");
  std::uint64_t told = 0;
  std::uint64_t sequence = 0;
  bool last = false;
  std::ifstream lines(place.record.path() + "/record.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto event = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(event.is_object()) << line;
    EXPECT_EQ(event["metadata"]["sequence"], ++sequence) << "a line is missing";
    const auto& own = event["unmapped"]["palisade"];
    told += own["event"] == "Refused" ? event.value("count", std::uint64_t{1}) : 0;
    told += own.value("dropped", std::uint64_t{0});
    last = own["event"] == "SessionEnded";
  }
  EXPECT_TRUE(last) << "there is room for the end";
  EXPECT_GE(sequence, 10U);
  EXPECT_LE(std::filesystem::file_size(place.record.path() + "/record.jsonl"), 64U << 10);
  // Every refusal has its line, or is among those that the next line says were left out.
  const auto refusals = ended.summary.value("refusals", std::uint64_t{0});
  const auto dropped = ended.summary.value("dropped", std::uint64_t{0});
  EXPECT_GT(refusals, 10U) << ended.summary;
  EXPECT_GE(told, refusals) << ended.summary;
  EXPECT_LE(told, refusals + dropped) << ended.summary;
}

TEST(Run, NothingOutlivesTheSession) {
  const Place place;
  const auto ended = place.run(place.policy(), {"python3", "-c", R"(
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('pid', 'w').write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)
)"});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  const int pid = std::stoi(content(place.workspace.path() + "/pid"));
  EXPECT_NE(kill(pid, 0), 0);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Run, ADeadlineEndsIt) {
  const Place place;
  auto policy = place.policy();
  policy["limits"] = {{"deadline", "300ms"}};
  expect_failure(place.run(policy, {"python3", "-c", "import time; time.sleep(600)"}), 124,
                 "deadline", "deadline");
}

TEST(Run, PoliciesThatCannotBeKeptStopIt) {
  const Place place;
  expect_failure(place.run(std::string("{"), {"python3"}), kExitPolicy, "policy",
                 "guard.json: the policy: is no JSON");
  auto policy = place.policy();
  policy["exec"]["allow"] = {"/usr/bin/no-such-program"};
  expect_failure(place.run(policy, {"python3"}), kExitPolicy, "policy",
                 "exec.allow[0]: /usr/bin/no-such-program cannot be found");
  policy["exec"]["allow"] = {place.workspace.copy("/bin/true", "mine", 0755)};
  expect_failure(place.run(policy, {"python3"}), kExitPolicy, "policy",
                 "could be changed by the agent");
  policy = place.policy();
  policy["files"]["read"] = {"/usr", place.record.path()};
  expect_failure(place.run(policy, {"python3"}), kExitPolicy, "policy",
                 "files.read: " + place.record.path() + " holds the record");
}

TEST(Run, ProgramsThatCannotBeStarted) {
  const Place place;
  expect_failure(place.run(place.policy(), {"no-such-program"}), kExitProgram, "program",
                 "no-such-program is no program of this image");
  auto policy = place.policy();
  policy["exec"] = {{"profile", "none"}, {"allow", {"/usr/bin/git"}}};
  expect_failure(place.run(policy, {"python3"}), kExitProgram, "program",
                 "/usr/bin/python3 is not among exec.allow");
}

TEST(Run, ARecordThatCannotBeKeptStopsIt) {
  const Place place;
  auto policy = place.policy();
  policy["record"]["path"] = "/usr/record.jsonl";
  const auto ended = place.run(policy, {"python3", "-c", "open('ran', 'w')"});
  expect_failure(ended, 125, "record", "/usr/record.jsonl");
  EXPECT_EQ(content(place.workspace.path() + "/ran"), "");
  EXPECT_NE(access((place.workspace.path() + "/ran").c_str(), F_OK), 0);
}

TEST(Run, AnOpenNetworkStopsIt) {
  const Place place;
  auto policy = place.policy();
  // A refusal by the target itself proves that packets pass.
  policy["preflight"] = {
      {"unreachable", {{{"name", "a neighbour"}, {"address", "127.0.0.1"}, {"port", 1}}}},
      {"timeout", "200ms"},
      {"within", "0"}};
  const auto ended = place.run(policy, {"python3", "-c", "open('ran', 'w')"});
  expect_failure(ended, kExitPreflight, "preflight", "a neighbour");
  EXPECT_NE(access((place.workspace.path() + "/ran").c_str(), F_OK), 0);
}

// How many processes have that working directory.
int processes_in(const std::string& folder) {
  int found = 0;
  for (const auto& process : all_processes()) {
    if (!process.zombie() && link_target(process.pid, "cwd") == folder) ++found;
  }
  return found;
}

// A name server on loopback that answers nothing but a well-formed question for name servers of the
// root, the first `answers` times that it is asked.
class NameServer {
 public:
  explicit NameServer(int answers) : answers_(answers) {
    socket_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof own;
    auto* address = reinterpret_cast<sockaddr*>(&own);
    EXPECT_EQ(bind(socket_.get(), address, size), 0);
    EXPECT_EQ(getsockname(socket_.get(), address, &size), 0);
    port_ = ntohs(own.sin_port);
    process_.emplace(socket_.get(), [this] { serve(); });
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int asked() const { return counts_->asked; }
  [[nodiscard]] int malformed() const { return counts_->malformed; }

 private:
  static bool question(const std::uint8_t* bytes, std::size_t size) {
    constexpr std::size_t kHeader = 12;
    // A query (QR 0, opcode 0) with one question and nothing else.
    constexpr std::array<std::uint8_t, 8> kCounts{0, 1, 0, 0, 0, 0, 0, 0};
    constexpr std::array<std::uint8_t, 5> kRootNs{0, 0, 2, 0, 1};
    return size == kHeader + kRootNs.size() && (bytes[2] & 0xf8U) == 0 &&
           std::equal(kCounts.begin(), kCounts.end(), bytes + 4) &&
           std::equal(kRootNs.begin(), kRootNs.end(), bytes + kHeader);
  }
  [[noreturn]] void serve() const {
    while (true) {
      std::array<std::uint8_t, 512> bytes{};
      sockaddr_in from{};
      socklen_t size = sizeof from;
      auto* address = reinterpret_cast<sockaddr*>(&from);
      const auto got = recvfrom(socket_.get(), bytes.data(), bytes.size(), 0, address, &size);
      if (got < 0 || !question(bytes.data(), static_cast<std::size_t>(got))) {
        ++counts_->malformed;
        continue;
      }
      if (++counts_->asked > answers_) continue;
      bytes[2] |= 0x80U;  // a response: refused, as one says that serves other names
      bytes[3] = 5;
      sendto(socket_.get(), bytes.data(), static_cast<std::size_t>(got), 0, address, size);
    }
  }

  struct Counts {
    std::atomic<int> asked = 0;
    std::atomic<int> malformed = 0;
  };

  const int answers_;
  const Shared<Counts> counts_;
  Fd socket_;
  std::uint16_t port_ = 0;
  std::optional<ServerProcess> process_;
};

TEST(Run, DnsThatAnswersStopsItAndDnsThatIsCutOffDoesNot) {
  constexpr int kAlways = 1 << 20;
  struct Case {
    const char* what;
    int answers;
    const char* within;
    int code;
  };
  for (const auto& [what, answers, within, code] :
       {Case{"it answers", kAlways, "1s", kExitPreflight}, Case{"it is out of reach", 0, "1s", 0},
        Case{"the network plugin shuts it off a moment later", 1, "60s", 0}}) {
    SCOPED_TRACE(what);
    const Place place;
    const NameServer server(answers);
    auto policy = place.policy();
    policy["preflight"] = {{"unreachable",
                            {{{"name", "the cluster's DNS"},
                              {"address", "127.0.0.1"},
                              {"port", server.port()},
                              {"udp", true}}}},
                           {"timeout", "1s"},
                           {"within", within}};
    const auto ended = place.run(policy, {"python3", "-c", "open('ran', 'w')"});
    if (code != 0) {
      expect_failure(ended, code, "preflight",
                     "egress is open: the cluster's DNS (127.0.0.1 port " +
                         std::to_string(server.port()) + "/udp) can be reached");
    }
    EXPECT_EQ(ended.code, code) << ended.errors;
    EXPECT_EQ(access((place.workspace.path() + "/ran").c_str(), F_OK) == 0, code == 0);
    EXPECT_GE(server.asked(), answers == 1 ? 2 : 1);
    EXPECT_EQ(server.malformed(), 0);
  }
}

TEST(Run, ProcessesAreBoundedInAUserNamespaceOfItsOwn) {
  const Place place;
  auto policy = place.policy();
  policy["limits"]["processes"] = 64;
  const auto ended = place.run(policy, {"python3", "-c", R"(
import os, resource, signal, time
def fill():
    children = []
    try:
        while len(children) < 300:
            child = os.fork()
            if child == 0:
                time.sleep(300)
                os._exit(0)
            children.append(child)
    except BlockingIOError: pass
    for child in children: os.kill(child, signal.SIGKILL)
    for child in children: os.waitpid(child, 0)
    return len(children)
print(32 < fill() < 64)
print(resource.getrlimit(resource.RLIMIT_NPROC))
try: resource.setrlimit(resource.RLIMIT_NPROC, (300, 300))
except (ValueError, OSError): print('not raised')
print(32 < fill() < 64)
)"},
                               As::kOwnUsers);
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.output, "True\n(64, 64)\nnot raised\nTrue\n") << ended.errors;
  EXPECT_EQ(ended.summary.value("degraded", nlohmann::json::array()), nlohmann::json::array());
}

TEST(Run, AForkBombEndsWithItsSession) {
  const Place place;
  auto policy = place.policy();
  policy["limits"] = {{"processes", 64}, {"deadline", "3s"}};
  const auto ended = place.run(policy, {"python3", "-c", R"(
import os, time
while True:
    try: os.fork()
    except BlockingIOError: time.sleep(0.01)
)"},
                               As::kOwnUsers);
  EXPECT_EQ(ended.code, 124) << ended.errors;
  EXPECT_EQ(ended.summary.value("ended", ""), "deadline");
  EXPECT_EQ(processes_in(place.workspace.path()), 0) << "something has got away";
}

TEST(Run, WhereProcessesCannotBeCountedItIsSaid) {
  if (content("/proc/self/uid_map").find("4294967295") == std::string::npos) {
    return;  // this is a user namespace of its own
  }
  const Place place;
  auto policy = place.policy();
  policy["limits"]["processes"] = 64;
  const std::vector<std::string> agent{"python3", "-c", "print('ran')"};
  expect_failure(place.run(policy, agent), kExitKernel, "kernel", "limits.processes needs");
  policy["mayDegrade"] = {"process-limit"};
  const auto ended = place.run(policy, agent);
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.output, "ran\n");
  EXPECT_EQ(ended.summary["degraded"], nlohmann::json::array({"process-limit"}));
}

TEST(Run, RootIsRefused) {
  if (geteuid() != 0) {
    return;  // without root there is nothing to refuse
  }
  const Place place;
  expect_failure(place.run(place.policy(), {"python3"}, As::kRoot), kExitKernel, "kernel",
                 "guard runs as root or with capabilities");
}

}  // namespace
}  // namespace palisade::guard::testing
