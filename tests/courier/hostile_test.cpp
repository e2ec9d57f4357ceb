// Every workspace of the table, and workspaces that change while they are read: no program of the
// agent's runs, the token is nowhere, nothing but the branch arrives, and the courier ends in time
// with a report that says why.
#include <atomic>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include "hostile_cases.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFinalSeconds = 20;

// What must hold however it ends.
void expect_sound(Session& session, const Session::End& end, const std::string& main) {
  EXPECT_FALSE(session.canary_touched()) << "a program of the agent's ran";
  EXPECT_EQ(session.token_found_in(), "");
  const std::string branch = session.remote();
  EXPECT_EQ(session.host.refs(),
            main + " commit\trefs/heads/main" +
                (branch.empty() ? "" : "\n" + branch + " commit\t" + kBranchRef));
  ASSERT_TRUE(end.report.is_object()) << end.log;
  EXPECT_LE(end.log.size(), kMaxTerminationLog);
  EXPECT_EQ(end.report.value("branch", ""), kBranch);
  EXPECT_EQ(end.report.value("head", "?"), branch);
  EXPECT_EQ(end.code == 0, end.report.value("error", "?").empty()) << end.log;
  EXPECT_EQ(end.code == 0, end.report.value("pushed", false)) << end.log;
  EXPECT_EQ(read_file(session.err), "");
  EXPECT_FALSE(session.process().group_alive());
  // Nothing stays behind to fill the volume.
  for (const char* name : {"import.pack", "agent-objects"})
    EXPECT_FALSE(fs::exists(session.private_volume / name)) << name;
}

// A session after its checkout, to which every case returns: its volumes as they were, nothing on
// the host but main.
class Stage {
 public:
  Stage() {
    session_.config["pollSeconds"] = 3600;  // the last delivery meets the workspace as it was made
    session_.config["finalSeconds"] = kFinalSeconds;
    session_.start();
    if (session_.stop().code != 0) throw std::runtime_error("no session: " + session_.said());
    for (const fs::path& volume : volumes_)
      fs::copy(volume, kept_ / volume.filename(), kWhole);
  }

  void play(const HostileCase& hostile) {
    restore();
    const json config = session_.config;
    if (hostile.configure) hostile.configure(session_);
    session_.serve_again();
    session_.config = config;
    const Made made = hostile.make(session_);
    ASSERT_EQ(made.tip.size(), 40U);
    ASSERT_FALSE(session_.canary_touched()) << "the test itself set it off";

    const Session::End end = session_.stop(seconds(kFinalSeconds + 25));
    expect_sound(session_, end, main_);
    const std::string error = end.report.value("error", "");
    if (*hostile.says == '\0') {
      EXPECT_EQ(error, "");
      EXPECT_EQ(session_.remote(), made.tip);
      // What arrived is whole and as the names say, not as the workspace pretends.
      const Outcome sound = git(session_.host.repository(), {"fsck", "--strict", "--no-dangling"});
      EXPECT_EQ(sound.code, 0) << sound.out << sound.err;
    } else {
      EXPECT_NE(error.find(hostile.says), std::string::npos) << error;
      EXPECT_EQ(session_.remote(), "");
    }
    if (made.after) made.after(session_);
    if (!made.trap.empty()) expect_trap(made.trap);
  }

 private:
  static constexpr auto kWhole = fs::copy_options::recursive | fs::copy_options::copy_symlinks;

  void restore() {
    for (const fs::path& volume : volumes_) {
      fs::remove_all(volume);
      fs::copy(kept_ / volume.filename(), volume, kWhole);
    }
    fs::remove(session_.canary);
    write_file(session_.termination_log, "");
    if (!session_.remote().empty())
      git_text(session_.host.repository(), {"update-ref", "-d", kBranchRef});
  }

  // A plain git in the workspace runs the agent's program: the case was one.
  void expect_trap(const Arguments& arguments) {
    Arguments plain{"git", "-c", "safe.directory=*"};
    plain.insert(plain.end(), arguments.begin(), arguments.end());
    Process::Options options;
    options.directory = session_.repo;
    options.environment.emplace_back("HOME=/nonexistent");
    const Outcome outcome = run(plain, options);
    EXPECT_TRUE(session_.canary_touched()) << "the trap is none: " << outcome.out << outcome.err;
  }

  Session session_;
  const std::string main_ = session_.host.ref("refs/heads/main");
  const std::vector<fs::path> volumes_{session_.private_volume, session_.seed, session_.workspace};
  const Directory keep_;
  const fs::path& kept_ = keep_.path();
};

constexpr std::size_t kGroups = 8;

// Every kGroups-th case.
class Hostile : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Hostile, WorkspacesEndSoundly) {
  std::vector<HostileCase> cases = surroundings_cases();
  for (HostileCase& one : object_cases())
    cases.push_back(std::move(one));
  ASSERT_GT(cases.size(), 80U);
  Stage stage;
  for (std::size_t i = GetParam(); i < cases.size(); i += kGroups) {
    SCOPED_TRACE(cases[i].name);
    stage.play(cases[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Group, Hostile, ::testing::Range<std::size_t>(0, kGroups));

// The workspace changes all the time that the courier looks at it, and comes to rest at the end.
class Race : public ::testing::Test {
 protected:
  void race(const std::function<void()>& forth, const std::function<void()>& back,
            int commits = 1) {
    session_.config["finalSeconds"] = kFinalSeconds;
    session_.start();
    const std::string main = session_.host.ref("refs/heads/main");
    for (int i = 0; i < commits; ++i)
      tip_ = session_.commit("file" + std::to_string(i), std::to_string(i));
    std::atomic<int> rounds = 0;
    std::jthread agent([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        forth();
        std::this_thread::yield();
        back();
        ++rounds;
      }
    });
    std::this_thread::sleep_for(seconds(4));
    agent.request_stop();
    agent.join();
    EXPECT_GT(rounds, 10);
    const Session::End end = session_.stop(seconds(kFinalSeconds + 25));
    expect_sound(session_, end, main);
    EXPECT_EQ(session_.remote(), tip_) << end.log << session_.said();
    EXPECT_EQ(end.report.value("commits", 0), commits) << end.log;
  }

  // Swapped in place, as rename(2) does it.
  void place(const fs::path& source, const fs::path& target) const { fs::rename(source, target); }

  Session session_;
  std::string tip_;
};

TEST_F(Race, TheRefBecomesALinkAndBack) {
  const fs::path ref = session_.dot_git / kBranchRef;
  const fs::path spare = session_.workspace / "spare";
  race(
      [&] {
        make_link(spare, session_.token_file);
        place(spare, ref);
      },
      [&] { write_file(ref, tip_ + "\n"); });
}

TEST_F(Race, TheRefBecomesAPipeAndBack) {
  const fs::path ref = session_.dot_git / kBranchRef;
  const fs::path spare = session_.workspace / "spare";
  race(
      [&] {
        make_pipe(spare);
        place(spare, ref);
      },
      [&] { write_file(ref, tip_ + "\n"); });
}

TEST_F(Race, DotGitBecomesALinkAndBack) {
  const fs::path aside = session_.workspace / "aside";
  race(
      [&] {
        fs::rename(session_.dot_git, aside);
        fs::create_symlink(aside, session_.dot_git);
      },
      [&] {
        fs::remove(session_.dot_git);
        fs::rename(aside, session_.dot_git);
      });
}

TEST_F(Race, ObjectsBecomeLinksAndPipesAndBack) {
  std::string kept;
  const fs::path spare = session_.workspace / "spare";
  race(
      [&] {
        const fs::path object = session_.loose(tip_);
        if (kept.empty()) kept = read_file(object);
        make_pipe(spare);
        place(spare, object);
        make_link(spare, session_.token_file);
        place(spare, object);
      },
      [&] { write_file(session_.loose(tip_), kept); }, 20);
}

TEST_F(Race, AFileThatShrinksWhileItIsRead) {
  std::string kept;
  race(
      [&] {
        const fs::path object = session_.loose(tip_);
        if (kept.empty()) kept = read_file(object);
        fs::permissions(object, fs::perms::owner_all);
        fs::resize_file(object, 0);
        fs::resize_file(object, kept.size());
      },
      [&] { write_file(session_.loose(tip_), kept); }, 20);
}

TEST_F(Race, APackThatShrinksWhileItIsMapped) {
  fs::path pack;
  std::string kept;
  race(
      [&] {
        if (pack.empty()) {
          git_text(session_.repo, {"repack", "-qadf"});
          git_text(session_.repo, {"prune-packed"});
          for (const auto& entry : fs::directory_iterator(session_.dot_git / "objects" / "pack"))
            if (entry.path().extension() == ".pack") pack = entry.path();
          kept = read_file(pack);
          fs::permissions(pack, fs::perms::owner_all);
        }
        fs::resize_file(pack, 0);
        fs::resize_file(pack, kept.size());
      },
      [&] {
        write_file(pack, kept);
        fs::permissions(pack, fs::perms::owner_all);
      },
      20);
}

}  // namespace
}  // namespace palisade::courier::testing
