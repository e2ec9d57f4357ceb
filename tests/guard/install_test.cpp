// As the last user of the system would run it: uid 65534, without privileges, in a directory of its
// own.
#include "guard/install.h"

#include <fstream>
#include <functional>
#include <iterator>

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "namespaces.h"

namespace palisade::guard {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Install : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "palisade-install-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    fs::permissions(folder_, fs::perms::all);
  }
  void TearDown() override {
    fs::permissions(folder_, fs::perms::all);
    fs::remove_all(folder_);
  }

  // What `body` returns, in a process without privileges.
  static std::string unprivileged(const std::function<std::string()>& body) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe(ends.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(2);
      if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(3);
      auto text = body();
      if (write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size())) _exit(4);
      _exit(0);
    }
    close(ends[1]);
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = read(ends[0], buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    return text;
  }
  static std::string outcome(const fs::path& directory) {
    auto result = install(directory);
    return result ? "ok " + result->string() : result.error();
  }
  [[nodiscard]] std::string try_it() const {
    return unprivileged([&] { return outcome(folder_); });
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  fs::path folder_;
};

TEST_F(Install, CopiesTheRunningProgram) {
  EXPECT_EQ(try_it(), "ok " + (folder_ / "palisade-guard").string());
  EXPECT_EQ(content(folder_ / "palisade-guard"), content("/proc/self/exe"));
  EXPECT_EQ(names(), std::vector<std::string>{"palisade-guard"});
  struct stat about {};
  ASSERT_EQ(stat((folder_ / "palisade-guard").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0555U);
}

TEST_F(Install, AgainChangesNothingButAModeThatIsWrong) {
  ASSERT_EQ(try_it(), "ok " + (folder_ / "palisade-guard").string());
  struct stat before {};
  ASSERT_EQ(stat((folder_ / "palisade-guard").c_str(), &before), 0);
  fs::permissions(folder_ / "palisade-guard", fs::perms::owner_all);
  EXPECT_EQ(try_it(), "ok " + (folder_ / "palisade-guard").string());
  struct stat after {};
  ASSERT_EQ(stat((folder_ / "palisade-guard").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_mode & 07777, 0555U);
}

TEST_F(Install, ReplacesAnOlderOneAndWhatAKilledRunLeft) {
  std::ofstream(folder_ / "palisade-guard") << "\177ELF of another version";
  std::ofstream(folder_ / ".palisade-guard.new") << "half";
  fs::permissions(folder_ / "palisade-guard", fs::perms::all);
  EXPECT_EQ(try_it(), "ok " + (folder_ / "palisade-guard").string());
  EXPECT_EQ(content(folder_ / "palisade-guard"), content("/proc/self/exe"));
  EXPECT_EQ(names(), std::vector<std::string>{"palisade-guard"});
}

TEST_F(Install, LeavesWhatIsNotItsOwn) {
  const auto path = folder_ / "palisade-guard";
  struct Case {
    const char* name;
    std::function<void()> make;
  };
  for (const auto& [name, make] : {
           Case{"a script", [&] { std::ofstream(path) << "#!/bin/sh\n"; }},
           Case{"an empty file", [&] { std::ofstream{path}; }},
           Case{"a directory", [&] { fs::create_directory(path); }},
           Case{"a link", [&] { fs::create_symlink("/proc/self/exe", path); }},
           Case{"a link to nothing", [&] { fs::create_symlink("/nowhere", path); }},
           Case{"a pipe", [&] { ASSERT_EQ(mkfifo(path.c_str(), 0666), 0); }},
       }) {
    make();
    EXPECT_EQ(try_it(), "cannot install to " + path.string() +
                            ": something else is there under this name: remove it, or give "
                            "another directory")
        << name;
    EXPECT_EQ(names(), std::vector<std::string>{"palisade-guard"}) << name;
    fs::remove_all(path);
  }
}

TEST_F(Install, SaysWhatIsWrongWithTheDirectory) {
  const auto target = [&](const fs::path& below) {
    return "cannot install to " + (below / "palisade-guard").string() + ": ";
  };
  EXPECT_EQ(unprivileged([&] { return outcome(folder_ / "none"); }),
            target(folder_ / "none") + "there is no such directory: mount the volume there");
  std::ofstream(folder_ / "file") << "x";
  EXPECT_EQ(unprivileged([&] { return outcome(folder_ / "file"); }),
            target(folder_ / "file") +
                "that is no directory: name the directory that the volume is mounted on");
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read |
                               fs::perms::others_exec);
  if (geteuid() == 0) {  // otherwise the directory is this user's own
    EXPECT_EQ(try_it(), target(folder_) +
                            "no permission: the volume must be writable for the user that this "
                            "container runs as");
  }
}

// A volume of its own, in namespaces that the child makes: small, full, or read-only.
class InstallVolume : public Install {
 protected:
  std::string on_volume(const char* options, unsigned long flags) {
    return unprivileged([&]() -> std::string {
      if (auto failed = enter_namespaces(CLONE_NEWNS); !failed.empty()) return failed;
      if (mount("none", folder_.c_str(), "tmpfs", flags, options) != 0) return "no mount";
      auto result = outcome(folder_);
      std::string left;
      for (const auto& entry : fs::directory_iterator(folder_))
        left += entry.path().filename();
      return result + "; left: " + left;
    });
  }
};

TEST_F(InstallVolume, FullLeavesNothing) {
  EXPECT_EQ(on_volume("size=64k", 0),
            "cannot install to " + (folder_ / "palisade-guard").string() +
                ": the volume is full: give it more room (32Mi is enough); left: ");
}

TEST_F(InstallVolume, ReadOnly) {
  EXPECT_EQ(on_volume("size=64m", MS_RDONLY),
            "cannot install to " + (folder_ / "palisade-guard").string() +
                ": the volume is read-only: mount it writable in the init container, and only "
                "there; left: ");
}

}  // namespace
}  // namespace palisade::guard
