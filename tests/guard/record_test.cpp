#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <guard/digest.h>
#include <guard/record.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

const Process kBy{.pid = 42, .parent = 7, .program = "/usr/bin/python3.11"};

ExecStarted exec(std::vector<std::string> argv) {
  std::size_t bytes = 0;
  for (const std::string& argument : argv)
    bytes += argument.size() + 1;
  return {.by = kBy,
          .requested = "git",
          .resolved = "/usr/bin/git",
          .sha256 = std::string(64, 'a'),
          .argv = std::move(argv),
          .argv_bytes = bytes,
          .argv_sha256 = "",
          .cwd = "/workspace"};
}

Refused refusal(const std::string& rule, const std::string& target = "/usr/bin/curl") {
  return {.by = kBy,
          .rule = rule,
          .call = "execve",
          .target = target,
          .argv = {"curl", "x"},
          .error = EACCES};
}

json parsed(const Event& event, LineContext context = {}) {
  context.now = std::chrono::system_clock::time_point(1'700'000'000'123ms);
  return json::parse(line_of(event, context));
}

class Records : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "guard-record-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    policy_.path = folder_ / "record.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<FileRecorder> open() {
    auto recorder = FileRecorder::open(
        policy_, "team-a/fix",
        {.wall = std::chrono::system_clock::now, .steady = [this] { return now_; }});
    if (!recorder) ADD_FAILURE() << recorder.error();
    return recorder ? std::move(*recorder) : nullptr;
  }
  std::vector<json> lines() const {
    std::vector<json> out;
    std::ifstream in(policy_.path);
    for (std::string line; std::getline(in, line);) {
      EXPECT_LT(line.size(), kLongestLine);
      out.push_back(json::parse(line, nullptr, false));
    }
    return out;
  }

  std::filesystem::path folder_;
  RecordPolicy policy_;
  std::chrono::steady_clock::time_point now_{1h};
};

std::string own(const json& line, const std::string& key) {
  const json& value = line.at("unmapped").at("palisade").at(key);
  return value.is_string() ? value.get<std::string>() : value.dump();
}

TEST(RecordLine, AnExecInOcsfsTerms) {
  const json line =
      parsed(exec({"git", "commit", "-m", "it's done"}),
             {.sequence = 9, .dropped = 3, .now = {}, .workspace = "team-a/fix", .host = "pod"});
  EXPECT_EQ(line["metadata"]["version"], "1.4.0");
  EXPECT_EQ(line["metadata"]["sequence"], 9);
  EXPECT_EQ(line["metadata"]["product"]["name"], "palisade-guard");
  EXPECT_EQ(line["class_uid"], 1007);
  EXPECT_EQ(line["category_uid"], 1);
  EXPECT_EQ(line["activity_id"], 1);
  EXPECT_EQ(line["type_uid"], 100701);
  EXPECT_EQ(line["severity_id"], 1);
  EXPECT_EQ(line["time"], 1'700'000'000'123);
  EXPECT_EQ(line["disposition_id"], 1);
  EXPECT_EQ(line["status_id"], 1);
  EXPECT_EQ(line["device"]["hostname"], "pod");
  EXPECT_EQ(line["actor"]["process"]["pid"], 42);
  EXPECT_EQ(line["actor"]["process"]["file"]["path"], "/usr/bin/python3.11");
  EXPECT_EQ(line["process"]["cmd_line"], R"(git commit -m 'it'\''s done')");
  EXPECT_EQ(line["process"]["file"]["path"], "/usr/bin/git");
  EXPECT_EQ(line["process"]["file"]["name"], "git");
  EXPECT_EQ(line["process"]["file"]["hashes"][0]["algorithm_id"], 3);
  EXPECT_EQ(line["process"]["file"]["hashes"][0]["value"], std::string(64, 'a'));
  EXPECT_EQ(line["process"]["working_directory"], "/workspace");
  EXPECT_EQ(line["process"]["parent_process"]["pid"], 7);
  EXPECT_EQ(own(line, "event"), "ExecStarted");
  EXPECT_EQ(own(line, "workspace"), "team-a/fix");
  EXPECT_EQ(own(line, "dropped"), "3");
  EXPECT_EQ(own(line, "argv_bytes"), "24");
  EXPECT_EQ(own(line, "argv_sha256"), sha256_hex(std::string("git\0commit\0-m\0it's done\0", 24)));
}

TEST(RecordLine, EveryOtherEventHasItsClass) {
  struct Case {
    Event event;
    int class_uid;
    int activity;
    int disposition;
    int status;
  };
  Refused audited = refusal("exec.allow");
  audited.enforced = false;
  const std::vector<Case> cases{
      {ExecEnded{.pid = 1, .program = "/usr/bin/git", .took = 1500ms, .status = 0}, 1007, 2, 1, 1},
      {ExecEnded{.pid = 1, .program = "/usr/bin/git", .took = 1ms, .status = 256}, 1007, 2, 1, 2},
      {ExecEnded{.pid = 1, .program = "", .took = 1ms, .status = {}}, 1007, 2, 1, 1},
      {refusal("exec.allow"), 1007, 1, 2, 2},
      {audited, 1007, 1, 17, 1},
      {refusal("network.connect", "10.0.0.1:443/tcp"), 4001, 5, 2, 2},
      {refusal("syscall.ptrace", ""), 1007, 99, 2, 2},
      {Connected{.by = kBy, .address = "10.0.0.1", .port = 443, .error = 0}, 4001, 1, 1, 1},
      {Connected{.by = kBy, .address = "10.0.0.1", .port = 443, .error = EINPROGRESS}, 4001, 1, 1,
       1},
      {Connected{.by = kBy, .address = "10.0.0.1", .port = 443, .error = ECONNREFUSED}, 4001, 4, 1,
       2},
      {ScriptRun{.by = kBy,
                 .path = "/workspace/x.py",
                 .sha256 = "",
                 .written = {},
                 .changed = {},
                 .written_by = "git"},
       1001, 2, 1, 1},
      {Finding{.by = kBy, .id = "exec.mismatch", .message = "m"}, 2004, 1, 1, 1},
      {SessionStarted{.argv = {"aider"}, .degraded = {"mdwe"}, .enforcing = true}, 6002, 3, 1, 1},
      {SessionEnded{.why = "exited", .status = 0, .killed = 2}, 6002, 4, 1, 1},
  };
  for (const Case& one : cases) {
    const json line = parsed(one.event);
    SCOPED_TRACE(line.dump());
    EXPECT_EQ(line["class_uid"], one.class_uid);
    EXPECT_EQ(line["category_uid"], one.class_uid / 1000);
    EXPECT_EQ(line["activity_id"], one.activity);
    EXPECT_EQ(line["type_uid"], one.class_uid * 100 + one.activity);
    EXPECT_EQ(line["disposition_id"], one.disposition);
    EXPECT_EQ(line["status_id"], one.status);
  }
}

TEST(RecordLine, WhatAnEventSays) {
  const json ended = parsed(
      ExecEnded{.pid = 5, .program = "/usr/bin/git", .took = 1500ms, .status = 9 /* SIGKILL */});
  EXPECT_EQ(ended["exit_code"], 137);
  EXPECT_EQ(own(ended, "signal"), "9");
  EXPECT_EQ(ended["duration"], 1500);
  const json refused = parsed(refusal("network.connect", "[fd00::1]:443/tcp"));
  EXPECT_EQ(refused["dst_endpoint"]["ip"], "fd00::1");
  EXPECT_EQ(refused["dst_endpoint"]["port"], 443);
  EXPECT_EQ(refused["status_code"], "EACCES");
  EXPECT_EQ(own(refused, "rule"), "network.connect");
  EXPECT_EQ(refused["policy"]["uid"], "network.connect");
  const json path = parsed(refusal("network.unix", "unix:/tmp/a:1/tcp"));
  EXPECT_EQ(path["dst_endpoint"]["name"], "unix:/tmp/a:1/tcp");
  const json connected = parsed(Connected{.by = kBy, .address = "fd00::1", .port = 80, .error = 0});
  EXPECT_EQ(connected["dst_endpoint"]["ip"], "fd00::1");
  EXPECT_EQ(connected["dst_endpoint"]["port"], 80);
  const json call = parsed(refusal("syscall.ptrace", ""));
  EXPECT_EQ(call["activity_name"], "execve");
  const json began = parsed(
      SessionStarted{.argv = {"aider", "--model", "x"}, .degraded = {"mdwe"}, .enforcing = false});
  EXPECT_EQ(own(began, "degraded"), R"(["mdwe"])");
  EXPECT_EQ(own(began, "enforcing"), "false");
  EXPECT_EQ(own(parsed(SessionEnded{.why = "idle", .status = 3 << 8, .killed = 2}), "exit_code"),
            "3");
}

TEST(RecordLine, SecretsAreMaskedEverywhere) {
  const std::string secret = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
  const Process by{.pid = 1, .parent = 1, .program = "/x/" + secret};
  ExecStarted started = exec({"git", "clone", "https://" + secret + "@h/"});
  started.by = by;
  started.requested = started.resolved = started.cwd = "/tmp/" + secret;
  Refused refused = refusal("exec.allow", "/tmp/" + secret);
  refused.argv = {"x", secret};
  for (const Event& event : std::vector<Event>{
           started, refused, refusal("network.unix", "unix:/" + secret),
           ExecEnded{.pid = 1, .program = secret, .took = {}, .status = {}},
           Connected{.by = by, .address = "unix:/" + secret, .port = 0, .error = 0},
           ScriptRun{.by = by,
           .path = "/tmp/" + secret,
           .sha256 = "",
           .written = {},
           .changed = {},
           .written_by = secret},
           Finding{.by = by, .id = "git.transport", .message = secret},
           SessionStarted{.argv = {"aider", secret}, .degraded = {}, .enforcing = true}}) {
    const std::string line = line_of(event, {});
    EXPECT_EQ(line.find("a1B2c3"), std::string::npos) << line;
  }
}

TEST(RecordLine, TheWorstEventsStayBelowTheBound) {
  // Bytes that take the most room when they are escaped, and texts of all lengths.
  for (const std::string& piece :
       {std::string("\x01"), std::string("\xFF"), std::string("\""), std::string("'"),
        std::string("\xF3\xA0\x81\xA1"), std::string("\xE2\x80\xAE"), std::string("x")}) {
    for (const std::size_t size : {900UL, 4'000UL, 40'000UL}) {
      std::string text;
      while (text.size() < size)
        text += piece;
      const Process by{.pid = 2'000'000'000, .parent = 2'000'000'000, .program = "/" + text};
      const std::vector<std::string> argv(20, text);
      const std::string path = "/" + text + "/" + text;
      for (const Event& event : std::vector<Event>{
               ExecStarted{by, text, path, std::string(64, 'f'), argv, 1U << 31U,
                           std::string(64, 'f'), path},
               ExecEnded{.pid = 2'000'000'000, .program = path, .took = 1'000'000h, .status = 9},
               Refused{by, text, text, path, argv, EACCES, false},
               Refused{by, "exec." + text, text, path, argv, EACCES, true},
               Refused{by, "network." + text, text, path, argv, EACCES, true},
               Connected{by, text, 65535, EINVAL}, Connected{by, "unix:" + text, 65535, EINVAL},
               ScriptRun{by, path, std::string(64, 'f'), {}, {}, text}, Finding{by, text, text},
               SessionStarted{argv, argv, false}, SessionEnded{text, 9, 1U << 31U}}) {
        const std::string line = line_of(event, {.sequence = ~0ULL >> 1U,
                                                 .dropped = ~0ULL >> 1U,
                                                 .now = {},
                                                 .workspace = text,
                                                 .host = text});
        EXPECT_LT(line.size(), kLongestLine) << event.index();
        EXPECT_TRUE(json::accept(line)) << line;
        EXPECT_EQ(line.find('\n'), std::string::npos);
        // Nothing in it moves a cursor or hides.
        for (const char* bad : {"\x01", "\x1b", "\x7f", "\xE2\x80\xAE", "\xF3\xA0\x81\xA1"})
          EXPECT_EQ(line.find(bad), std::string::npos);
      }
    }
  }
}

TEST(RecordLine, LongArgumentsAreCutWithTheirLengthAndHash) {
  const std::string text(200'000, 'x');
  const json line = parsed(exec({"git", text}));
  const auto command = line["process"]["cmd_line"].get<std::string>();
  EXPECT_LE(command.size(), 5120U);
  EXPECT_TRUE(command.starts_with("git xxx"));
  EXPECT_TRUE(command.ends_with(" bytes]")) << command.substr(command.size() - 40);
  EXPECT_EQ(own(line, "argv_bytes"), "200005");
  EXPECT_EQ(own(line, "argv_sha256"), sha256_hex(std::string("git\0", 4) + text + '\0'));
  // Where the reader has cut it, its own word counts.
  ExecStarted cut = exec({"git", "x"});
  cut.argv_bytes = 5000;
  cut.argv_sha256 = std::string(64, 'c');
  EXPECT_EQ(own(parsed(cut), "argv_sha256"), cut.argv_sha256);
  EXPECT_EQ(own(parsed(cut), "argv_bytes"), "5000");
}

TEST_F(Records, NumbersHaveNoGapsAndWhatIsDroppedIsCounted) {
  policy_.events_per_second = 3;
  auto recorder = open();
  ASSERT_TRUE(recorder);
  EXPECT_TRUE(recorder->put(SessionStarted{.argv = {"aider"}, .degraded = {}, .enforcing = true}));
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(recorder->put(exec({"git"})));
  // Refusals and findings are never left out.
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  EXPECT_TRUE(recorder->put(refusal("network.connect", "1.2.3.4:5/tcp")));
  EXPECT_TRUE(recorder->put(Finding{.by = kBy, .id = "x", .message = "m"}));
  now_ += 1s;
  EXPECT_TRUE(recorder->put(exec({"git"})));
  EXPECT_TRUE(recorder->put(SessionEnded{.why = "exited", .status = 0, .killed = 0}));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1U + 3 + 5 + 1 + 1 + 1 + 1);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i]["metadata"]["sequence"], i + 1);
  EXPECT_EQ(own(all[4], "dropped"), "7");
  EXPECT_FALSE(all[5]["unmapped"]["palisade"].contains("dropped"));
  EXPECT_EQ(recorder->counts(), (Counts{.execs = 11,
                                        .denied_execs = 5,
                                        .denied_connects = 1,
                                        .refusals = 6,
                                        .findings = 1,
                                        .dropped = 7}));
}

TEST_F(Records, RefusalsThatAreAlikeBecomeOneLineWithTheirCount) {
  auto recorder = open();
  ASSERT_TRUE(recorder);
  for (int i = 0; i < 5'000; ++i)
    EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  EXPECT_TRUE(recorder->put(refusal("exec.allow", "/usr/bin/wget")));  // not alike
  EXPECT_EQ(lines().size(), 21U);
  now_ += 10s;
  EXPECT_TRUE(recorder->put(exec({"git"})));  // the window is over with the next event
  ASSERT_EQ(lines().size(), 23U);
  const json held = lines()[21];
  EXPECT_EQ(held["count"], 4'980);
  EXPECT_EQ(held["end_time"].get<std::int64_t>() - held["start_time"].get<std::int64_t>(), 10'000);
  EXPECT_EQ(own(held, "target"), "/usr/bin/curl");
  for (int i = 0; i < 25; ++i)
    EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  EXPECT_EQ(lines().size(), 43U);  // a new window
  EXPECT_TRUE(recorder->put(SessionEnded{.why = "exited", .status = 0, .killed = 0}));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 45U);
  EXPECT_EQ(all[43]["count"], 5);
  EXPECT_EQ(own(all[44], "event"), "SessionEnded");
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i]["metadata"]["sequence"], i + 1);
  EXPECT_EQ(recorder->counts().refusals, 5'026U);
  EXPECT_EQ(recorder->counts().dropped, 0U);
}

TEST_F(Records, ManyKindsOfRefusalsAreAllOnRecord) {
  auto recorder = open();
  ASSERT_TRUE(recorder);
  std::uint64_t put = 0;
  for (int round = 0; round < 30; ++round) {
    for (int kind = 0; kind < 300; ++kind, ++put)
      EXPECT_TRUE(recorder->put(refusal("exec.allow", "/bin/" + std::to_string(kind))));
  }
  EXPECT_TRUE(recorder->put(SessionEnded{.why = "exited", .status = 0, .killed = 0}));
  std::uint64_t told = 0;
  for (const json& line : lines()) {
    if (own(line, "event") == "Refused") told += line.value("count", std::uint64_t{1});
  }
  EXPECT_EQ(told, put);
}

TEST_F(Records, AFullRecordKeepsRoomForRefusalsAndTheEnd) {
  policy_.max_bytes = 400'000;
  policy_.events_per_second = 1'000'000;
  auto recorder = open();
  ASSERT_TRUE(recorder);
  for (int i = 0; i < 3'000; ++i)
    EXPECT_TRUE(recorder->put(exec({"git", std::string(100, 'x')}))) << recorder->trouble();
  const std::uint64_t dropped = recorder->counts().dropped;
  EXPECT_GT(dropped, 1'000U);
  std::size_t refusals = 0;
  while (refusals < 10'000 &&
         recorder->put(refusal("exec.allow", "/usr/bin/" + std::to_string(refusals))))
    ++refusals;
  EXPECT_GT(refusals, 20U);
  EXPECT_LT(refusals, 10'000U);
  EXPECT_NE(recorder->trouble().find("record.maxBytes"), std::string::npos);
  EXPECT_TRUE(recorder->put(SessionEnded{.why = "record", .status = {}, .killed = 0}));
  EXPECT_LE(std::filesystem::file_size(policy_.path), policy_.max_bytes);
  const std::vector<json> all = lines();
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i]["metadata"]["sequence"], i + 1);
  std::size_t told = 0;
  for (const json& line : all)
    told += line["unmapped"]["palisade"].value("id", "") == "record.full" ? 1U : 0U;
  EXPECT_EQ(told, 1U);
  EXPECT_EQ(own(all.back(), "event"), "SessionEnded");
}

TEST_F(Records, GoesOnWhereAFormerRunStopped) {
  {
    auto recorder = open();
    ASSERT_TRUE(recorder);
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  }
  std::ofstream(policy_.path, std::ios::app) << R"({"metadata":{"seq)";  // cut by a power failure
  {
    auto recorder = open();
    ASSERT_TRUE(recorder);
    EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  }
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 5U);
  EXPECT_TRUE(all[3].is_discarded());
  EXPECT_EQ(all[4]["metadata"]["sequence"], 4);
}

TEST_F(Records, OpensNothingElse) {
  const auto refused = [&] {
    const auto recorder = FileRecorder::open(policy_);
    EXPECT_FALSE(recorder);
    return recorder ? std::string() : recorder.error();
  };
  std::filesystem::create_symlink(folder_ / "elsewhere", policy_.path);
  EXPECT_NE(refused().find(policy_.path), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "elsewhere"));
  std::filesystem::remove(policy_.path);
  std::filesystem::create_directory(policy_.path);
  EXPECT_NE(refused(), "");
  std::filesystem::remove(policy_.path);
  ASSERT_EQ(::mkfifo(policy_.path.c_str(), 0600), 0);
  EXPECT_NE(refused(), "");
  std::filesystem::remove(policy_.path);
  std::ofstream(policy_.path) << "something else\nentirely\n";
  EXPECT_NE(refused().find("is no record"), std::string::npos);
  std::ofstream(policy_.path) << R"({"metadata":1})" << '\n';
  EXPECT_NE(refused(), "");
  std::filesystem::remove(policy_.path);
  std::ofstream(folder_ / "other") << "";
  std::filesystem::create_hard_link(folder_ / "other", policy_.path);
  EXPECT_NE(refused().find("another name"), std::string::npos);
  policy_.path = folder_ / "nowhere" / "record.jsonl";
  EXPECT_NE(refused().find("record.path"), std::string::npos);
}

TEST_F(Records, ADiskThatTakesNothingIsSaidAndLeavesNoHalfLine) {
  auto recorder = open();
  ASSERT_TRUE(recorder);
  EXPECT_TRUE(recorder->put(refusal("exec.allow")));
  // The kernel's own bound on a file's size stands for a full disk: it writes what fits first.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGXFSZ, &ignore, &before), 0);
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit small{std::filesystem::file_size(policy_.path) + 100, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_FALSE(recorder->put(refusal("exec.allow")));
  EXPECT_FALSE(recorder->put(exec({"git"})));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &usual), 0);
  ASSERT_EQ(::sigaction(SIGXFSZ, &before, nullptr), 0);
  EXPECT_NE(recorder->trouble().find(policy_.path), std::string::npos);
  EXPECT_TRUE(recorder->put(SessionEnded{.why = "record", .status = {}, .killed = 0}));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[1]["metadata"]["sequence"], 2);
  EXPECT_EQ(own(all[1], "dropped"), "2");
}

TEST_F(Records, TellsOfProcessesThatEnded) {
  auto recorder = open();
  ASSERT_TRUE(recorder);
  std::vector<pid_t> ended;
  recorder->on_ended([&](pid_t pid) { ended.push_back(pid); });
  EXPECT_TRUE(recorder->put(exec({"git"})));
  EXPECT_TRUE(
      recorder->put(ExecEnded{.pid = 5, .program = "/usr/bin/git", .took = 1ms, .status = 0}));
  EXPECT_EQ(ended, std::vector<pid_t>{5});
}

TEST_F(Records, ThreadsDoNotMixTheirLines) {
  policy_.events_per_second = 1'000'000;
  auto recorder = open();
  ASSERT_TRUE(recorder);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 250; ++j)
        EXPECT_TRUE(recorder->put(exec({"git", std::string(500, 'x')})));
    });
  }
  threads.clear();
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1000U);
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i]["metadata"]["sequence"], i + 1);
}

TEST_F(Records, TheDescriptorIsNotInherited) {
  auto recorder = open();
  ASSERT_TRUE(recorder);
  std::size_t seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry.path(), error) != policy_.path) continue;
    ++seen;
    const int fd = std::stoi(entry.path().filename().string());
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_APPEND, 0);
  }
  EXPECT_EQ(seen, 1U);
}

}  // namespace
}  // namespace palisade::guard
