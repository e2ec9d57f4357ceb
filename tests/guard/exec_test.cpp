// Programs run by file and by nothing else. Each case asks the kernel, from Python under guard, and
// looks at its answer and at what is on record.
#include <algorithm>

#include <gtest/gtest.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

constexpr const char* kTry = R"(
import ctypes, errno, os, sys, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def attempt(*argv, program=None):
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(program or argv[0], list(argv), os.environ)
        except OSError as error:
            os.write(1, (errno.errorcode[error.errno] + '\n').encode())
        os._exit(9)
    return os.waitpid(pid, 0)[1] >> 8
)";

TEST(Exec, AnAllowedProgramRunsAndIsOnRecord) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), "print('hello')");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "hello\n") << ran.all();
  EXPECT_EQ(ran.count("Exec /usr/bin/python3"), 1U) << ran.all();
  EXPECT_NE(ran.all().find(" /usr/bin/python3 64 [/usr/bin/python3] [-c] [print('hello')]"),
            std::string::npos)
      << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
  EXPECT_EQ(ran.count("Finding"), 0U) << ran.all();
}

// Code that runs in the folder; what it prints; what is on record for it.
struct Refusal {
  const char* name;
  const char* code;
  const char* prints;
  const char* on_record;
};

class RefusedExec : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedExec, IsRefusedByTheKernelAndOnRecord) {
  const Folder folder;
  folder.copy("/bin/true", "copied", 0755);
  folder.write("script", "#!/usr/bin/python3\nprint('ran')\n", 0755);
  const auto ran = run_python(policy_for(folder), std::string(kTry) + GetParam().code);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, GetParam().prints) << ran.all();
  EXPECT_EQ(ran.output.find("ran"), std::string::npos) << ran.all();
  EXPECT_GE(ran.count(std::string("Refused ") + GetParam().on_record), 1U) << ran.all();
}

INSTANTIATE_TEST_SUITE_P(
    Attempts, RefusedExec,
    ::testing::Values(
        Refusal{"unlisted", "attempt('/bin/ls')", "EACCES\n", "exec.allow execve /bin/ls 13"},
        Refusal{"shell", "attempt('/bin/sh', '-c', 'echo ran')", "EACCES\n",
                "exec.allow execve /bin/sh 13"},
        Refusal{"copied", "attempt('./copied')", "EACCES\n", "exec.allow execve ./copied 13"},
        Refusal{"script", "attempt('./script')", "EACCES\n", "exec.allow execve ./script 13"},
        Refusal{"made_executable",
                "open('x', 'w').write('#!/usr/bin/python3\\nprint(1)')\nos.chmod('x', 0o777)\n"
                "attempt('./x')",
                "EACCES\n", "exec.allow execve ./x 13"},
        Refusal{"symlink", "os.symlink('/bin/ls', 'python3')\nattempt('./python3')", "EACCES\n",
                "exec.allow execve ./python3 13"},
        Refusal{"loader", "attempt('/lib64/ld-linux-x86-64.so.2', '/bin/ls')", "EACCES\n",
                "exec.loader execve /"},
        Refusal{"loader_with_a_copy", "attempt('/lib64/ld-linux-x86-64.so.2', './copied')",
                "EACCES\n", "exec.loader execve /"},
        Refusal{"file_without_x", "open('x', 'w').write('#!/bin/sh')\nattempt('./x')", "EACCES\n",
                "exec.allow execve ./x 13"},
        Refusal{"descriptor_of_a_copy",
                "fd = os.open('copied', os.O_RDONLY)\nattempt('copied', program=fd)", "EACCES\n",
                "exec.allow execve"},
        Refusal{"proc_self_fd",
                "fd = os.open('copied', os.O_RDONLY)\nos.set_inheritable(fd, True)\n"
                "attempt('/proc/self/fd/%d' % fd)",
                "EACCES\n", "exec.allow execve /proc/self/fd/3 13"},
        Refusal{"dev_fd",
                "fd = os.open('copied', os.O_RDONLY)\nos.set_inheritable(fd, True)\n"
                "print(attempt('/dev/fd/%d' % fd) == 9)",
                "EACCES\nTrue\n", "exec.allow execve /dev/fd/"},
        Refusal{"unnamed_file",
                "fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o777)\n"
                "os.write(fd, open('copied', 'rb').read())\n"
                "ro = os.open('/proc/self/fd/%d' % fd, os.O_RDONLY)\nos.close(fd)\n"
                "attempt('x', program=ro)",
                "EACCES\n", "exec.allow execveat"},
        Refusal{"memfd",
                "fd = libc.syscall(319, b'x', 0)\nprint(errno.errorcode[ctypes.get_errno()])",
                "EPERM\n", "syscall.memfd_create memfd_create"},
        Refusal{"memfd_that_may_not_run",
                "fd = libc.syscall(319, b'x', 8)\nos.write(fd, open('copied', 'rb').read())\n"
                "attempt('x', program=fd)",
                "EACCES\n", "exec.allow execveat"},
        Refusal{"memfd_that_is_made_executable",
                "fd = libc.syscall(319, b'x', 8)\nos.write(fd, open('copied', 'rb').read())\n"
                "try: os.fchmod(fd, 0o777)\nexcept OSError as e: print(errno.errorcode[e.errno])\n"
                "attempt('x', program=fd)",
                "EPERM\nEACCES\n", "exec.allow execveat"},
        Refusal{"memfd_with_exec",
                "fd = libc.syscall(319, b'x', 16)\nprint(errno.errorcode[ctypes.get_errno()])",
                "EPERM\n", "syscall.memfd_create memfd_create"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Exec, WhatIsNotThereIsNoRefusal) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) +
                                                      "attempt('/usr/bin/no-such-program')\n"
                                                      "attempt('/etc/passwd/x')\n"
                                                      "attempt('./no')\nattempt('/tmp')\n");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "ENOENT\nENOTDIR\nENOENT\nEACCES\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

TEST(Exec, PointersThatLeadNowhereAreFaults) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) + R"(
for path, argv in ((8, 0), (b'/usr/bin/git', 8), (0, 0)):
    print(libc.syscall(59, path, ctypes.c_void_p(argv), None), errno.errorcode[ctypes.get_errno()])
print(libc.syscall(59, b'x' * 5000, None, None), errno.errorcode[ctypes.get_errno()])
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "-1 EFAULT\n-1 EFAULT\n-1 EFAULT\n-1 ENAMETOOLONG\n") << ran.all();
}

TEST(Exec, WhatIsAllowedRunsByEveryName) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.exec.allow = {"/bin/true"};
  const auto ran = run_python(policy, std::string(kTry) + R"(
print(attempt('true', program='/usr/bin/true'))
os.symlink('/bin/true', 'link')
print(attempt('./link'))
print(attempt('true', program=os.open('/bin/true', os.O_RDONLY)))
os.chdir('/usr/bin')
print(attempt('./true'))
print(attempt('/proc/self/exe', '-c', '1'))
print(attempt('/proc/self/cwd/true'))
print(subprocess.run(['true']).returncode)
print(subprocess.run(['git', '--version'], stdout=subprocess.DEVNULL).returncode)
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "0\n0\n0\n0\n0\n0\n0\n0\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
  EXPECT_EQ(ran.count("Finding"), 0U) << ran.all();
  EXPECT_EQ(ran.count("Exec "), 9U) << ran.all();
}

TEST(Exec, LongArgumentsAreKeptInPartAndCountedWhole) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.exec.allow = {"/bin/true"};
  const auto ran =
      run_python(policy, std::string(kTry) + "print(attempt('/bin/true', *['x' * 100000] * 10))");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "0\n");
  // "/bin/true" and ten words of 100,000 bytes, each with its NUL: sha256sum's answer to that.
  EXPECT_EQ(ran.count("Exec /usr/bin/true /bin/true 64 of 1000020 sha256 "
                      "2a37548faac8a6bb053e6475aa397ca38db706ea86be825d5a843122bd279753"),
            1U)
      << ran.all();
}

// Where a thread of machine code writes two words in turn, without a pause, into memory that
// children share and execute from: `path` and `argument` are Python expressions of addresses.
struct Race {
  const char* memory;    // what stands there at first
  const char* one;       // four bytes
  const char* other;     // four bytes
  int at;                // where they are written
  const char* fixed;     // the other text
  const char* path;      // "at": the memory; "kept": the other text
  const char* argument;  // the only one, likewise
  const char* outcomes;  // exit codes that may be, in Python
  const char* both;      // those that must be seen before it may end early
};

std::string race(const Race& of, int seconds) {
  return std::string(kTry) + R"(
import mmap, threading, time
shared = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(shared))
first = )" +
         of.memory + R"(
ctypes.memmove(at, first, len(first))
fixed = ctypes.create_string_buffer(b')" +
         of.fixed + R"(')
kept = ctypes.addressof(fixed)
code = mmap.mmap(-1, 4096, prot=7)
# void swap(char *memory, int *stop): writes the one and the other into it in turn, until *stop
code.write(b'\xc7\x47' + bytes([)" +
         std::to_string(of.at) + "]) + " + of.one + R"( + b'\xc7\x47' + bytes([)" +
         std::to_string(of.at) + "]) + " + of.other + R"( + b'\x83\x3e\x00\x74\xed\xc3')
swap = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
stop = ctypes.c_int(0)
thread = threading.Thread(target=swap, args=(at, ctypes.addressof(stop))); thread.start()
argv = (ctypes.c_void_p * 3)(kept, )" +
         of.argument + R"(, None)
outcomes = {}
must = )" +
         of.both + R"(
until = time.monotonic() + )" +
         std::to_string(seconds) + R"(
while time.monotonic() < until + 20 * (not must <= set(outcomes)) and sum(outcomes.values()) < 3000:
    pid = os.fork()
    if pid == 0:
        libc.execv(ctypes.c_void_p()" +
         of.path + R"(), argv)
        os._exit(100 + ctypes.get_errno())
    result = os.waitpid(pid, 0)[1] >> 8
    outcomes[result] = outcomes.get(result, 0) + 1
stop.value = 1
thread.join()
print('never', sorted(must - set(outcomes)), 'odd', sorted(set(outcomes) - )" +
         of.outcomes + R"())
print('counts', outcomes)
)";
}

constexpr const char* kBothSeen = "never [] odd []\n";

// The path is /bin/true and another one.
Race race_on_the_path(const char* other, const char* both) {
  return {"b'/bin/true\\0'",
          "b'true'",
          other,
          5,
          "WON",
          "at",
          "kept",
          "{0, 100 + errno.EACCES, 100 + errno.ENOENT}",
          both};
}

Policy policy_for_a_race(const Folder& folder) {
  auto policy = policy_for(folder);
  policy.exec.allow = {"/bin/true"};
  policy.exec.jit = true;  // for the machine code
  return policy;
}

// Whatever guard read, the kernel runs nothing but what is allowed.
TEST(Exec, ARaceOnThePathWinsNothing) {
  const Folder folder;
  const auto ran = run_python(policy_for_a_race(folder),
                              race(race_on_the_path("b'echo'", "{0, 100 + errno.EACCES}"), 5));
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_TRUE(ran.output.starts_with(kBothSeen)) << ran.output;
}

// Between two that are allowed it decides which one runs, and the record says that it was played.
TEST(Exec, ARaceBetweenAllowedProgramsIsOnRecord) {
  const Folder folder;
  auto policy = policy_for_a_race(folder);
  policy.exec.allow.push_back("/bin/test");
  const auto ran = run_python(policy, race(race_on_the_path("b'test'", "{0}"), 2));
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_TRUE(ran.output.starts_with(kBothSeen)) << ran.output;
  EXPECT_GE(ran.count("Finding exec.mismatch /usr/bin/"), 1U) << ran.all();
  const auto told = std::ranges::find_if(
      ran.events, [](const auto& event) { return event.starts_with("Finding exec.mismatch"); });
  ASSERT_NE(told, ran.events.end());
  EXPECT_NE(told->find("the name was changed meanwhile"), std::string::npos) << *told;
}

// How often the program was called with that argument, as the kernel had it.
std::size_t calls(const Ran& ran, int code) {
  const auto key = std::to_string(code) + ": ";
  const auto from = ran.output.find("counts ");
  const auto found = ran.output.find(key, from);
  return found == std::string::npos ? 0 : std::stoul(ran.output.substr(found + key.size()));
}

// What is on record of the arguments is what guard read. Where the kernel was shown others, each
// such call is found out, and nothing is found where they are the same.
TEST(Exec, ARaceOnAnArgumentIsOnRecord) {
  const Folder folder;
  auto policy = policy_for_a_race(folder);
  policy.exec.allow = {"/usr/bin/test"};
  // `test WORD` ends with 0, `test ""` with 1.
  const auto ran = run_python(policy, race({"b'x\\0\\0\\0'", "b'x\\0\\0\\0'", "b'\\0\\0\\0\\0'", 0,
                                            "/usr/bin/test", "kept", "at", "{0, 1}", "{0, 1}"},
                                           3));
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_TRUE(ran.output.starts_with(kBothSeen)) << ran.output;
  const auto recorded = ran.count("Exec /usr/bin/test /usr/bin/test 64 [/usr/bin/test] [x]");
  const auto found = ran.count(
      "Finding exec.mismatch /usr/bin/test was let through, and runs with "
      "other arguments");
  const auto with_a_word = calls(ran, 0);
  EXPECT_GE(found, 1U) << ran.output;
  EXPECT_GE(found, std::max(recorded, with_a_word) - std::min(recorded, with_a_word));
  EXPECT_LT(found, calls(ran, 0) + calls(ran, 1)) << "what is on record rightly is no finding";
}

TEST(Exec, ArgumentsOfEveryKindAreNoMismatch) {
  const Folder folder;
  auto policy = policy_for(folder);

  policy.exec.allow = {"/bin/true"};
  const auto ran = run_python(policy, std::string(kTry) + R"(
import threading
for argv in (['true'], [' '], ['true', '', 'a b', '\n', '\xff'], ['true'] + ['x' * 30000] * 10, ['x'] * 3000, ['true'] + ['x'] * 40000):
    attempt(*argv, program='/bin/true')
if os.fork() == 0:
    libc.execve(b'/bin/true', None, None)
os.wait()
if os.fork() == 0:
    libc.execve(b'/bin/true', (ctypes.c_char_p * 1)(None), None)
os.wait()
for environment in ({}, dict(os.environ)):
    subprocess.run(['git', '--version'], env=environment, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, '-c', 'import math, ctypes'], env=environment)
def starts():
    for i in range(20): subprocess.run([sys.executable, '-I', '-c', 'import _ctypes'])
threads = [threading.Thread(target=starts) for i in range(3)]
for thread in threads: thread.start()
import sqlite3
for thread in threads: thread.join()
if os.fork() == 0:  # a thread becomes another program while the first thread goes on loading libraries
    threading.Thread(target=lambda: os.execv(sys.executable, [sys.executable, '-c', 'import sqlite3'])).start()
    for i in range(1000):
        try: ctypes.CDLL('libm.so.6'); ctypes.CDLL('libutil.so.1'); ctypes.CDLL('libresolv.so.2')
        except OSError: pass
    os._exit(0)
print(os.wait()[1])
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "0\n") << ran.all();
  EXPECT_EQ(ran.count("Finding"), 0U) << ran.all();
  EXPECT_GE(ran.count("Exec /usr/bin/python3"), 62U);
}

}  // namespace
}  // namespace palisade::guard::testing
