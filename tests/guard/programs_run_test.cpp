// What agents do all day works as it does without guard: threads, multiprocessing, git, tests.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <unistd.h>

#include "guard/guarded.h"
#include "guard/programs.h"

namespace palisade::guard::testing {
namespace {

Ran run_file(const Folder& folder, const Policy& policy, const std::string& code) {
  folder.write("main.py", code, 0644);
  With with;
  with.folder = folder.path();
  with.environment.insert(
      with.environment.end(),
      {"HOME=" + folder.path(), "TMPDIR=" + folder.path(), "PYTHONUNBUFFERED=1"});
  return run_guarded(policy, {"/usr/bin/python3", "main.py"}, with);
}

TEST(Programs, ThreadsRun) {
  const Folder folder;
  const auto ran = run_file(folder, policy_for(folder), R"(
import threading, concurrent.futures, asyncio
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(lambda x: x * x, range(100))))
async def main():
    return await asyncio.gather(*[asyncio.to_thread(lambda: 1) for _ in range(8)])
print(sum(asyncio.run(main())))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "328350\n8\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

TEST(Programs, MultiprocessingRunsForkedAndSpawned) {
  const Folder folder;
  const auto ran = run_file(folder, policy_for(folder), R"(
import multiprocessing
from multiprocessing import shared_memory
def square(x): return x * x
def put(queue, lock):
    with lock: queue.put(7)
if __name__ == '__main__':
    for method in ('fork', 'spawn'):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool: print(method, sum(pool.map(square, range(10))))
        queue, lock = context.Queue(), context.Lock()
        process = context.Process(target=put, args=(queue, lock)); process.start()
        print(queue.get()); process.join()
    memory = shared_memory.SharedMemory(create=True, size=64); memory.buf[0] = 1
    memory.close(); memory.unlink()
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "fork 285\n7\nspawn 285\n7\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

TEST(Programs, ATestSuiteRunsAsWithoutGuard) {
  const Folder folder;
  folder.write("test_work.py", R"(
import json, os, shutil, socket, sqlite3, subprocess, sys, tempfile, threading, unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
import urllib.request

class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *words): pass

class Work(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(); self.addCleanup(shutil.rmtree, self.folder)
    def test_files(self):
        path = os.path.join(self.folder, 'a')
        with open(path, 'w') as file: json.dump([1], file)
        os.rename(path, path + 'b'); os.chmod(path + 'b', 0o600); os.symlink('ab', path)
        self.assertEqual(json.load(open(path)), [1])
    def test_a_database(self):
        with sqlite3.connect(os.path.join(self.folder, 'd')) as database:
            database.execute('create table t (n)'); database.execute('insert into t values (7)')
            self.assertEqual(database.execute('select n from t').fetchall(), [(7,)])
    def test_a_child(self):
        done = subprocess.run([sys.executable, '-c', 'import sys; print(sys.stdin.read()); sys.exit(4)'], input='x', capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (4, 'x\n'))
    def test_a_server_of_its_own(self):
        server = HTTPServer(('127.0.0.1', 0), Hello)
        thread = threading.Thread(target=server.serve_forever); thread.start()
        try: self.assertEqual(urllib.request.urlopen('http://127.0.0.1:%d/' % server.server_port, timeout=30).read(), b'hello')
        finally: server.shutdown(); thread.join(); server.server_close()
    @unittest.expectedFailure
    def test_that_fails(self): self.assertEqual(1, 2)
    @unittest.skip('as it says')
    def test_that_is_skipped(self): pass
)",
               0644);
  With with;
  with.folder = folder.path();
  with.environment.insert(with.environment.end(),
                          {"HOME=" + folder.path(), "TMPDIR=" + folder.path()});
  auto policy = policy_for(folder);
  policy.network.own_listeners = true;
  const auto ran = run_guarded(policy, {"/usr/bin/python3", "-m", "unittest", "test_work"}, with);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_NE(ran.output.find("Ran 6 tests"), std::string::npos) << ran.all();
  EXPECT_NE(ran.output.find("OK (skipped=1, expected failures=1)"), std::string::npos) << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
  EXPECT_EQ(ran.count("Finding"), 0U) << ran.all();
}

TEST(Programs, GitMakesARepositoryAndCommits) {
  const Folder folder;
  const auto ran = run_file(folder, policy_for(folder), R"(
import subprocess
def git(*words):
    result = subprocess.run(['git', *words], cwd='app', capture_output=True, text=True)
    assert result.returncode == 0, (words, result.stderr)
    return result.stdout
import os; os.mkdir('app')
git('init', '-q', '-b', 'main')
git('config', 'user.name', 'n'); git('config', 'user.email', 'n@example.com')
open('app/a', 'w').write('a\n')
git('add', 'a'); git('commit', '-q', '-m', 'first')
git('checkout', '-q', '-b', 'other'); open('app/a', 'a').write('b\n'); git('commit', '-qam', 'second')
git('checkout', '-q', 'main'); open('app/b', 'w').write('c\n'); git('add', 'b'); git('commit', '-qm', 'third')
git('merge', '-q', '-m', 'merged', 'other'); git('rebase', '-q', 'other')
git('gc', '-q'); git('stash', 'list'); git('diff', 'HEAD~1'); git('fsck')
print(git('log', '--format=%s'))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "third\nsecond\nfirst\n\n") << ran.all();
}

TEST(Programs, HooksAndAliasesOfTheRepositoryDoNotRun) {
  const Folder folder;
  const auto ran = run_file(folder, policy_for(folder), R"(
import os, subprocess
def git(*words):
    return subprocess.run(['git', *words], capture_output=True, text=True)
git('init', '-q'); git('config', 'user.name', 'n'); git('config', 'user.email', 'n@example.com')
open('.git/hooks/pre-commit', 'w').write('#!/usr/bin/python3\nopen("won", "w")\n')
os.chmod('.git/hooks/pre-commit', 0o755)
git('commit', '-q', '--allow-empty', '-m', 'x')
git('config', 'alias.x', '!touch won'); git('x')
git('-c', 'core.fsmonitor=touch won', 'status')
git('-c', 'core.pager=touch won', '-p', 'log')
print(os.path.exists('won'))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "False\n") << ran.all();
  EXPECT_GE(ran.count("Refused exec.allow execve"), 2U) << ran.all();
}

TEST(Programs, FilesOutsideAreOutOfReach) {
  const Folder folder;
  const Folder other;
  other.write("secret", "x", 0644);
  const auto ran = run_file(folder, policy_for(folder), R"(
import errno, os
def attempt(what):
    try: what(); print('done')
    except OSError as error: print(errno.errorcode[error.errno])
other = ')" + other.path() + R"('
attempt(lambda: open(other + '/secret').read())
attempt(lambda: open(other + '/new', 'w'))
attempt(lambda: os.listdir(other))
attempt(lambda: os.unlink(other + '/secret'))
attempt(lambda: os.rename(other + '/secret', 'here'))
attempt(lambda: os.link(other + '/secret', 'here'))
attempt(lambda: os.truncate(other + '/secret', 0))
os.symlink(other + '/secret', 'link')
attempt(lambda: open('link').read())
attempt(lambda: os.listdir('/root'))
attempt(lambda: open('/etc/passwd', 'a'))
attempt(lambda: open('/dev/null', 'w').write('x'))
attempt(lambda: open('/proc/sys/kernel/core_pattern', 'w'))
attempt(lambda: os.mknod('node', 0o600 | 0o20000, os.makedev(1, 3)))
attempt(lambda: open('inside', 'w').write('x'))
attempt(lambda: os.rename('inside', 'inside2'))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output,
            "EACCES\nEACCES\nEACCES\nEACCES\nEACCES\nEXDEV\nEACCES\nEACCES\nEACCES\nEACCES\ndone\n"
            "EACCES\nEACCES\ndone\ndone\n")
      << ran.all();
}

// What somebody else has installed, such as a workspace's setup.
TEST(Programs, FoldersBringTheirProgramsButNoneThatTheAgentCanChange) {
  const Folder folder;
  std::string place = "/tmp/palisade-installed-XXXXXX";
  ASSERT_NE(mkdtemp(place.data()), nullptr);
  namespace fs = std::filesystem;
  fs::permissions(place, fs::perms(0755));
  fs::copy_file("/bin/true", place + "/tool");
  fs::copy_file("/bin/true", place + "/planted");
  fs::copy_file("/bin/true", place + "/data");
  fs::permissions(place + "/data", fs::perms(0644));
  std::ofstream(place + "/script") << "#!/usr/bin/python3\nprint('it runs')\n";
  fs::permissions(place + "/script", fs::perms(0755));
  fs::create_symlink("/usr/bin/python3", place + "/python");
  fs::create_symlink("/nowhere", place + "/broken");
  ASSERT_EQ(chown((place + "/planted").c_str(), kNobody, kNobody), 0);
  const std::string code = R"(
import subprocess
for name in ('tool', 'script', 'python', 'planted', 'data'):
    try:
        print(name, subprocess.run([')" +
                           place + R"(/' + name, '-c', ''], stdout=subprocess.DEVNULL).returncode)
    except OSError as error:
        print(name, type(error).__name__)
)";
  Policy policy = policy_for(folder);
  const auto without = run_file(folder, policy, code);
  EXPECT_EQ(without.output,
            "tool PermissionError\nscript PermissionError\npython 0\nplanted PermissionError\n"
            "data PermissionError\n")
      << without.all();
  policy.exec.folders = {place, "/nonexistent"};
  const auto with = run_file(folder, policy, code);
  EXPECT_EQ(with.output,
            "tool 0\nscript 0\npython 0\nplanted PermissionError\ndata PermissionError\n")
      << with.all();
  EXPECT_EQ(search_path(policy, "/bin"), "/bin:" + place + ":/nonexistent");
  EXPECT_EQ(search_path(Policy(), "/bin"), "/bin");
  fs::remove_all(place);
}

TEST(Programs, AuditLetsThroughAndRecords) {
  const Folder folder;
  folder.copy("/bin/true", "copied", 0755);
  auto policy = policy_for(folder);
  policy.mode = Mode::kAudit;
  const Folder record;
  policy.record.path = record.write("record.jsonl", "", 0644);
  const auto ran = run_file(folder, policy, R"(
import ctypes, mmap, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
print(subprocess.run(['./copied']).returncode)
print(subprocess.run(['/bin/ls', 'copied'], stdout=subprocess.DEVNULL).returncode)
mmap.mmap(-1, 4096, prot=7)
print(libc.syscall(319, b'x', 0) > 0)
print(libc.syscall(312, os.getpid(), os.getpid(), 0, 0, 0) >= 0)
print(libc.unshare(0x10000000) in (0, -1))
for mode in 'ra':  # the record alone stays out of reach
    try: open(')" + policy.record.path + R"(', mode)
    except OSError as error: print(error.errno)
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "0\n0\nTrue\nTrue\nTrue\n13\n13\n") << ran.all();
  EXPECT_EQ(ran.count("Refused exec.allow execve ./copied 13 audited"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused exec.allow execve /bin/ls 13 audited"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused exec.memory mmap  13 audited"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused syscall.memfd_create memfd_create  1 audited"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused syscall.kcmp kcmp  1 audited"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused syscall.unshare unshare  1 audited"), 1U) << ran.all();
  EXPECT_GE(ran.count("Exec "), 3U) << ran.all();
}

}  // namespace
}  // namespace palisade::guard::testing
