// Memory becomes executable from files that the agent cannot change, and from nothing else.
#include <gtest/gtest.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

constexpr const char* kTry = R"(
import ctypes, errno, mmap, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
R, W, X, SHARED, PRIVATE, ANON = 1, 2, 4, 1, 2, 32
def told(failed):
    print(errno.errorcode[ctypes.get_errno()] if failed else 'done')
def map(prot, flags, fd=-1, size=4096):
    at = libc.mmap(None, size, prot, flags, fd, 0)
    failed = at == ctypes.c_void_p(-1).value
    told(failed)
    return at
)";

struct Refusal {
  const char* name;
  const char* code;
  const char* prints;
  const char* on_record;
};

class RefusedMapping : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusedMapping, IsRefusedByTheKernelAndOnRecord) {
  const Folder folder;
  folder.copy("/bin/true", "true", 0755);
  folder.copy("/lib/x86_64-linux-gnu/libm.so.6", "libevil.so", 0755);
  const auto ran = run_python(policy_for(folder), std::string(kTry) + GetParam().code);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, GetParam().prints) << ran.all();
  EXPECT_GE(ran.count(std::string("Refused ") + GetParam().on_record), 1U) << ran.all();
}

INSTANTIATE_TEST_SUITE_P(
    Attempts, RefusedMapping,
    ::testing::Values(
        Refusal{"library_in_a_writable_place",
                "try: ctypes.CDLL('./libevil.so')\n"
                "except OSError as e: print('failed to map' in str(e))",
                "True\n", "exec.mapping mmap /"},
        Refusal{"library_by_a_link",
                "os.symlink('./libevil.so', 'liblink.so')\ntry: ctypes.CDLL('./liblink.so')\n"
                "except OSError as e: print('failed to map' in str(e))",
                "True\n", "exec.mapping mmap /"},
        Refusal{"written_file",
                "open('code', 'wb').write(b'\\xc3' * 4096)\n"
                "map(R | X, PRIVATE, os.open('code', os.O_RDONLY))",
                "EACCES\n", "exec.mapping mmap /"},
        Refusal{"written_file_shared",
                "open('code', 'wb').write(b'\\xc3' * 4096)\n"
                "map(R | X, SHARED, os.open('code', os.O_RDONLY))",
                "EACCES\n", "exec.mapping mmap /"},
        Refusal{"unlisted_program", "map(R | X, PRIVATE, os.open('/bin/ls', os.O_RDONLY))",
                "EACCES\n", "exec.mapping mmap /usr/bin/ls (lies outside exec.libraries)"},
        Refusal{
            "text_that_is_called_a_library",
            "os.symlink('/etc/passwd', 'x.so')\nmap(R | X, PRIVATE, os.open('x.so', os.O_RDONLY))",
            "EACCES\n", "exec.mapping mmap /etc/passwd (lies outside"},
        Refusal{"program_below_libraries",
                "map(R | X, PRIVATE, os.open('/usr/lib/git-core/git-shell', os.O_RDONLY))",
                "EACCES\n", "exec.mapping mmap /usr/lib/git-core/git-shell (is no library"},
        Refusal{"device", "map(R | X, PRIVATE, os.open('/dev/zero', os.O_RDWR))", "EACCES\n",
                "exec.mapping mmap /dev/zero (is no regular file)"},
        Refusal{"no_descriptor", "map(R | X, PRIVATE, 99)", "EACCES\n", "exec.mapping mmap "},
        Refusal{"memfd",
                "fd = libc.syscall(319, b'x', 8)\nos.truncate(fd, 4096)\nmap(R | X, PRIVATE, fd)",
                "EACCES\n", "exec.mapping mmap /memfd:x (deleted)"},
        Refusal{"deleted_file",
                "open('code', 'wb').write(b'\\xc3' * 4096)\nfd = os.open('code', os.O_RDONLY)\n"
                "os.unlink('code')\nmap(R | X, PRIVATE, fd)",
                "EACCES\n", "exec.mapping mmap /"},
        Refusal{"anonymous", "map(R | X, PRIVATE | ANON)", "EACCES\n", "exec.memory mmap"},
        Refusal{"writable_and_executable", "map(R | W | X, PRIVATE | ANON)", "EACCES\n",
                "exec.memory mmap"},
        Refusal{"writable_and_executable_library",
                "map(R | W | X, PRIVATE, os.open('/lib/x86_64-linux-gnu/libm.so.6', os.O_RDONLY))",
                "EACCES\n", "exec.mapping mmap /"},
        Refusal{"python_made_callable_from_c",
                "try: ctypes.CFUNCTYPE(None)(print)\nexcept MemoryError: print('no')", "no\n",
                "exec.memory mmap"},
        Refusal{"only_executable", "map(X, SHARED | ANON)", "EACCES\n", "exec.memory mmap"},
        Refusal{"mprotect", "at = map(R | W, PRIVATE | ANON)\ntold(libc.mprotect(at, 4096, R | X))",
                "done\nEACCES\n", "exec.memory mprotect"},
        Refusal{"pkey_mprotect",
                "at = map(R | W, PRIVATE | ANON)\n"
                "told(libc.syscall(329, ctypes.c_void_p(at), 4096, R | X, -1))",
                "done\nEACCES\n", "exec.memory pkey_mprotect"},
        Refusal{
            "text_that_is_written_and_made_executable_again",
            "at = map(R | X, PRIVATE, os.open('/lib/x86_64-linux-gnu/libm.so.6', os.O_RDONLY))\n"
            "told(libc.mprotect(at, 4096, R | W))\ntold(libc.mprotect(at, 4096, R | X))",
            "done\ndone\nEACCES\n", "exec.memory mprotect"},
        Refusal{"shared_memory",
                "id = libc.shmget(0, 4096, 0o1777)\nlibc.shmat.restype = ctypes.c_void_p\n"
                "told(libc.shmat(id, None, 0o100000) == ctypes.c_void_p(-1).value)\n"
                "libc.shmctl(id, 0, None)",
                "EACCES\n", "exec.memory shmat"},
        Refusal{"high_half_of_a_register",
                "at = map(R | W, PRIVATE | ANON)\n"
                "told(libc.syscall(10, ctypes.c_void_p(at), 4096, ctypes.c_ulong(5 | 1 << 40)))",
                "done\nEACCES\n", "exec.memory mprotect"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Mapping, LibrariesOfTheImageLoad) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) + R"(
import sqlite3, ssl, _ctypes
ctypes.CDLL('libm.so.6'); ctypes.CDLL('libz.so.1')
map(R | X, PRIVATE, os.open('/lib/x86_64-linux-gnu/libm.so.6', os.O_RDONLY))
print(sqlite3.connect(':memory:').execute('select 1').fetchone())
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "done\n(1,)\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

TEST(Mapping, TheTextOfAProcessCannotBeWritten) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) + R"(
for path in ('/proc/self/mem', '/proc/%d/mem' % os.getpid(), '/proc/thread-self/mem'):
    try:
        os.open(path, os.O_RDWR)
        print('opened')
    except OSError as error:
        print(errno.errorcode[error.errno])
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "EACCES\nEACCES\nEACCES\n") << ran.all();
}

TEST(Mapping, MdweIsSetForTheAgent) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) +
                                                      "print(libc.prctl(66, 0, 0, 0, 0))\n"
                                                      "print(libc.prctl(65, 0, 0, 0, 0))\n");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "1\n-1\n") << ran.all();
}

TEST(Mapping, ThePolicyCanAllowCodeThatIsMadeAtRunTime) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.exec.jit = true;
  const auto ran = run_python(policy, std::string(kTry) + R"(
at = map(R | W | X, PRIVATE | ANON)
ctypes.memmove(at, b'\xb8\x2a\0\0\0\xc3', 6)
print(ctypes.CFUNCTYPE(ctypes.c_int)(at)())
open('code', 'wb').write(b'\xc3' * 4096)
map(R | X, PRIVATE, os.open('code', os.O_RDONLY))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "done\n42\nEACCES\n") << ran.all();
}

TEST(Mapping, ProcessesWithThreadsLoadLibraries) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kTry) + R"(
import subprocess, time
stop = False
def busy():
    while not stop: sum(range(1000))
def starts():
    while not stop: subprocess.run(['git', '--version'], stdout=subprocess.DEVNULL)
def sleeps():
    while not stop: time.sleep(0.001)
threads = [threading.Thread(target=f) for f in (busy, starts, sleeps, starts)]
for t in threads: t.start()
lib = os.open('/lib/x86_64-linux-gnu/libm.so.6', os.O_RDONLY)
failed = 0
import time
until = time.monotonic() + 8
for i in range(200):
    if time.monotonic() > until: break
    at = libc.mmap(None, 4096, R | X, PRIVATE, lib, 0)
    if at == ctypes.c_void_p(-1).value: failed += 1
    else: libc.munmap(ctypes.c_void_p(at), 4096)
stop = True
for t in threads: t.join()
print(failed)
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "0\n") << ran.all();
}

// Two threads of machine code change the descriptor between a library and a written file without
// a pause, one maps it. Had one try won, the memory would hold the file's bytes.
TEST(Mapping, ARaceOnTheDescriptorWinsNothing) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.exec.jit = true;  // for the machine code; files are judged all the same
  With with;
  with.folder = folder.path();
  const auto ran = run_guarded(policy, {"/usr/bin/python3", "-c", std::string(kTry) + R"(
open('code', 'wb').write(b'PWNEDPWN' * 512)
good = os.open('/lib/x86_64-linux-gnu/libm.so.6', os.O_RDONLY)
evil = os.open('code', os.O_RDONLY)
raced = os.dup(good)
# void swap(int evil, int raced, int good, int *stop): dup2 of the one, dup2 of the other, until *stop
swap = bytes.fromhex('5341544155415689fb4189f44189d54989ceb82100000089df4489e60f05'
                     'b8210000004489ef4489e60f0541833e0074e1415e415d415c5bc3')
at = libc.mmap(None, 4096, R | W | X, PRIVATE | ANON, -1, 0)
ctypes.memmove(at, swap, len(swap))
swap = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(at)
stop = ctypes.c_int(0)
threads = [threading.Thread(target=swap, args=(evil, raced, good, ctypes.addressof(stop))) for _ in range(2)]
for t in threads: t.start()
import time
until = time.monotonic() + 8
won = mapped = 0
failed = ctypes.c_void_p(-1).value
tries = 0
while time.monotonic() < until + 20 * (mapped in (0, tries)) and tries < 10000:
    tries += 1
    at = libc.mmap(None, 4096, R | X, PRIVATE, raced, 0)
    if at != failed:
        mapped += 1
        won += ctypes.string_at(at, 8) == b'PWNEDPWN'
        libc.munmap(ctypes.c_void_p(at), 4096)
stop.value = 1
for t in threads: t.join()
print(won, mapped > 0, mapped < tries)
)"},
                               with);
  EXPECT_TRUE(exited(ran, 0)) << ran.trouble << ran.output;
  EXPECT_EQ(ran.output, "0 True True\n") << "both the library and the file must have been judged";
}

}  // namespace
}  // namespace palisade::guard::testing
