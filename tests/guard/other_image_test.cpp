// Guard in an image that is laid out as no other: no shell, nothing in /bin and /usr/bin, Python in
// /opt under its version's name alone, the agent installed as pipx does it, git elsewhere, and a
// user that /etc does not know.
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAgent = R"(
import ctypes, os, sqlite3, ssl, subprocess, sys, threading
import multiprocessing

def git(*words):
    return subprocess.run(['git', *words], check=True, capture_output=True, text=True).stdout

def refused(*words):
    try: subprocess.run(words)
    except OSError as error: return type(error).__name__
    return 'ran'

def main():
    os.chdir('/workspace')
    print(os.getuid(), sys.prefix)
    assert ctypes.CDLL('libm.so.6') and ssl.OPENSSL_VERSION
    with sqlite3.connect('d') as database: database.execute('create table t (n)')
    worker = threading.Thread(target=lambda: None); worker.start(); worker.join()
    child = [sys.executable, '-c', 'print(6 * 7)']
    print(subprocess.run(child, check=True, capture_output=True, text=True).stdout.strip())
    with multiprocessing.get_context('spawn').Pool(2) as pool: print(sum(pool.map(abs, [-1, 2])))
    git('init', '-q', '.')
    git('-c', 'user.name=n', '-c', 'user.email=n@example.com', 'commit', '-q', '--allow-empty', '-m', 'made')
    print(git('log', '--format=%s').strip())
    with open('run', 'w') as file: file.write('#!' + sys.executable + '\nprint(1)\n')
    os.chmod('run', 0o755)
    with open(sys.executable, 'rb') as source, open('python', 'wb') as copy: copy.write(source.read())
    os.chmod('python', 0o755)
    print(refused('./run'), refused('./python', '-c', '1'), refused('/bin/bash', '-c', '1'), refused('/opt/other/bin/tool'))
)";

void must(bool done, const char* what) {
  if (!done) throw std::system_error(errno, std::generic_category(), what);
}

void put(const fs::path& file, const std::string& content, unsigned mode) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << content;
  must(chmod(file.c_str(), mode) == 0, file.c_str());
}

// The image's root, which only its owner can write, and /workspace in it.
class Image {
 public:
  Image() {
    fs::create_directories(root_ / "workspace");
    for (const char* bound : {"proc", "dev", "usr/lib", "usr/lib64"})
      fs::create_directories(root_ / bound);
    fs::create_symlink("usr/lib", root_ / "lib");
    fs::create_symlink("usr/lib64", root_ / "lib64");
    must(chmod(folder_.path().c_str(), 0755) == 0 && chown(folder_.path().c_str(), 0, 0) == 0 &&
             chown((root_ / "workspace").c_str(), kNobody, kNobody) == 0,
         "the image");

    const fs::path python = fs::canonical("/usr/bin/python3");
    version_ = python.filename();
    program(python, "opt/python/bin/" + version_);
    fs::create_directories(root_ / "opt/python/lib");
    fs::create_symlink("/usr/lib/" + version_, root_ / "opt/python/lib" / version_);
    program("/usr/bin/git", "opt/git/bin/git");
    program("/usr/bin/true", "opt/other/bin/tool");

    const fs::path home = "/opt/pipx/venvs/agent";
    const fs::path inside = root_ / home.relative_path();
    put(inside / "pyvenv.cfg", "home = /opt/python/bin\ninclude-system-site-packages = false\n",
        0644);
    put(inside / "lib" / version_ / "site-packages/agent.py", kAgent, 0644);
    put(inside / "bin/agent",
        "#!" + (home / "bin/python").string() +
            "\nimport agent\nif __name__ == '__main__':\n"
            "    agent.main()\n",
        0755);
    fs::create_symlink("/opt/python/bin/" + version_, inside / "bin/python");
    fs::create_directories(root_ / "opt/bin");
    fs::create_symlink("../pipx/venvs/agent/bin/agent", root_ / "opt/bin/agent");
  }

  // For the process that is to live in it.
  void enter() const {
    must(unshare(CLONE_NEWNS) == 0, "unshare");
    must(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private mounts");
    for (const char* bound : {"/proc", "/dev", "/usr/lib", "/usr/lib64"}) {
      must(mount(bound, (root_ / (bound + 1)).c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0,
           bound);
    }
    must(chroot(root_.c_str()) == 0 && chdir("/") == 0, "chroot");
  }

 private:
  void program(const fs::path& from, const std::string& to) const {
    fs::create_directories((root_ / to).parent_path());
    fs::copy_file(from, root_ / to);
    must(chmod((root_ / to).c_str(), 0755) == 0, to.c_str());
  }

  Folder folder_;
  fs::path root_ = fs::path(folder_.path()) / "root";
  std::string version_;  // "python3.11"
};

TEST(OtherImage, AnAgentInAVirtualEnvironmentOfAnotherPythonRuns) {
  if (geteuid() != 0) GTEST_SKIP() << "mounts need root";
  const Image image;
  Policy policy;
  policy.files.write = {"/workspace"};
  policy.files.read = {"/usr", "/lib", "/lib64", "/opt", "/dev", "/proc", "/workspace"};
  With with;
  with.folder = "/workspace";
  with.search = "/opt/bin:/opt/git/bin";
  with.environment = {"PATH=/opt/bin:/opt/git/bin", "LANG=C.UTF-8", "HOME=/workspace",
                      "TMPDIR=/workspace"};
  with.prepare = [&] { image.enter(); };
  const auto ran = run_guarded(policy, {"agent"}, with);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, std::to_string(kNobody) +
                            " /opt/pipx/venvs/agent\n42\n3\nmade\n"
                            "PermissionError PermissionError FileNotFoundError PermissionError\n")
      << ran.all();
  EXPECT_EQ(ran.count("Refused"), 3U) << ran.all();
  for (const char* refused : {"./run", "./python", "/opt/other/bin/tool"})
    EXPECT_EQ(ran.count(std::string("Refused exec.allow execve ") + refused), 1U) << ran.all();
}

}  // namespace
}  // namespace palisade::guard::testing
