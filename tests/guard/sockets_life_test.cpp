// Connections that hang, callers that die, and what Python makes of it all.
#include <filesystem>

#include <sys/resource.h>

#include "client.h"

namespace palisade::guard {
namespace {

namespace fs = std::filesystem;

const auto* const kNetwork = ::testing::AddGlobalTestEnvironment(new OwnNetwork);

std::size_t descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator{}));
}

// A server that takes no connection: a connect to it waits until it is full no longer.
class FullServer {
 public:
  explicit FullServer(const fs::path& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_EQ(try_bind(fd_.get(), unix_path(path)), 0);
    EXPECT_EQ(listen(fd_.get(), 0), 0);
    fs::permissions(path, fs::perms::all);
    while (true) {
      fillers_.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const int error = try_connect(fillers_.back().get(), unix_path(path));
      if (error == EAGAIN) break;
      EXPECT_EQ(error, 0);
    }
  }
  void accept_all() {
    fcntl(fd_.get(), F_SETFL, O_NONBLOCK);
    while (accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC) >= 0) {
    }
  }

 private:
  Fd fd_;
  std::vector<Fd> fillers_;
};

class SocketsLife : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "palisade-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    fs::permissions(folder_, fs::perms::all);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs Python's `script` behind guard; its arguments are sys.argv[1:].
  int python(const Policy& policy, const std::string& script,
             const std::vector<std::string>& arguments) {
    Supervised guard(policy, [&] {
      std::vector<std::string> words{"/usr/bin/python3", "-c", script};
      words.insert(words.end(), arguments.begin(), arguments.end());
      std::vector<char*> argv;
      argv.reserve(words.size() + 1);
      for (auto& word : words)
        argv.push_back(word.data());
      argv.push_back(nullptr);
      HOLDS(chdir(folder_.c_str()) == 0);
      setenv("TMPDIR", folder_.c_str(), 1);
      execv(argv[0], argv.data());
      return 127;
    });
    const int code = guard.wait();
    guard.finish();
    refused_ = refusals(guard.events);
    connected_ = guard.events.all<Connected>().size();
    return code;
  }

  fs::path folder_;
  std::vector<std::string> refused_;
  std::size_t connected_ = 0;
};

// Two workers, both held up; two that wait; then no more. Nobody else is kept waiting for them.
TEST_F(SocketsLife, HangingConnectionsHoldNobodyUp) {
  FullServer full(folder_ / "full");
  EchoServer server("127.0.0.1");
  auto policy = allow(server.port());
  policy.files.write = {folder_};
  Supervised guard(policy,
                   [&] {
                     const auto path = unix_path(folder_ / "full");
                     std::vector<pid_t> hanging;
                     for (int i = 0; i < 4; ++i) {
                       hanging.push_back(fork());
                       if (hanging.back() == 0) {
                         prctl(PR_SET_PDEATHSIG, SIGKILL);
                         _exit(try_connect(socket(AF_UNIX, SOCK_STREAM, 0), path) == 0 ? 0 : 1);
                       }
                     }
                     for (int i = 0; i < 200; ++i) {
                       const int fd = socket(AF_INET, SOCK_STREAM, 0);
                       HOLDS(try_connect(fd, internet("127.0.0.1", 1)) == EACCES);
                       close(fd);
                       usleep(500);
                     }
                     // Their end ends their calls too.
                     for (const pid_t pid : hanging) {
                       kill(pid, SIGKILL);
                       HOLDS(waitpid(pid, nullptr, 0) == pid);
                     }
                     return 0;
                   },
                   {.unconnected = 64, .listeners = 4, .workers = 2, .waiting = 2});
  EXPECT_EQ(guard.wait(), 0);
}

TEST_F(SocketsLife, TooManyThatHangAreToldSo) {
  FullServer full(folder_ / "full");
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  auto policy = allow(port);
  policy.files.write = {folder_};
  std::array<int, 2> go{};
  ASSERT_EQ(pipe(go.data()), 0);
  Supervised guard(
      policy,
      [&] {
        const auto path = unix_path(folder_ / "full");
        std::vector<pid_t> hanging;
        for (int i = 0; i < 6; ++i) {
          hanging.push_back(fork());
          if (hanging.back() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const int error = try_connect(socket(AF_UNIX, SOCK_STREAM, 0), path);
            _exit(error == EAGAIN ? 7 : 8);
          }
          usleep(
              100'000);  // until a worker has taken it: one that still waits takes another's place
        }
        // Two too many are refused; four hang.
        int told = 0;
        for (int i = 0; i < 2; ++i) {
          int status = 0;
          const pid_t pid = wait(&status);
          HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 7);
          ++told;
          std::erase(hanging, pid);
        }
        HOLDS(told == 2 && hanging.size() == 4);
        HOLDS(try_connect(socket(AF_INET, SOCK_STREAM, 0), internet("127.0.0.1", port)) == EAGAIN);
        for (const pid_t pid : hanging) {
          HOLDS(kill(pid, SIGKILL) == 0 && waitpid(pid, nullptr, 0) == pid);
        }
        // Their threads come free.
        int error = EAGAIN;
        for (int i = 0; i < 1'000 && error == EAGAIN; ++i) {
          usleep(10'000);
          const int fd = socket(AF_INET, SOCK_STREAM, 0);
          error = try_connect(fd, internet("127.0.0.1", port));
          close(fd);
        }
        HOLDS(error == 0);
        return 0;
      },
      {.unconnected = 64, .listeners = 4, .workers = 2, .waiting = 2});
  EXPECT_EQ(guard.wait(), 0);
}

TEST_F(SocketsLife, AHangingConnectionIsMadeInTheEnd) {
  FullServer full(folder_ / "full");
  Policy policy;
  policy.files.write = {folder_};
  Supervised guard(policy, [&] {
    const auto path = unix_path(folder_ / "full");
    const int late = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    HOLDS(try_connect(late, path) == EAGAIN);
    HOLDS(try_connect(socket(AF_UNIX, SOCK_STREAM, 0), path) == 0);
    return 0;
  });
  EXPECT_TRUE(eventually([&] { return guard.activities == 2; }));
  full.accept_all();
  EXPECT_EQ(guard.wait(), 0);
}

// Whether a connect blocks is for the agent to change at any time. Guard answers all the same.
TEST_F(SocketsLife, NonBlockingOnesThatBecomeBlocking) {
  FullServer full(folder_ / "full");
  Policy policy;
  policy.files.write = {folder_};
  Supervised guard(policy, [&] {
    const auto path = unix_path(folder_ / "full");
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
      std::thread toggle([fd] {
        for (int flags = 0;; flags ^= O_NONBLOCK)
          fcntl(fd, F_SETFL, flags);
      });
      while (true)
        static_cast<void>(try_connect(fd, path));
    }
    for (int i = 0; i < 2'000; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      HOLDS(fd >= 0);
      HOLDS(try_connect(fd, internet("127.0.0.1", 1)) == EACCES);
      close(fd);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
}

TEST_F(SocketsLife, ManySocketsLeaveNoDescriptor) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  const auto before = descriptors();
  {
    Supervised guard(allow(port),
                     [port] {
                       for (int i = 0; i < 3'000; ++i) {
                         const int fd = socket(i % 3 == 0 ? AF_UNIX : AF_INET,
                                               SOCK_STREAM | (i % 2 == 0 ? SOCK_CLOEXEC : 0), 0);
                         HOLDS(fd >= 0);
                         if (i % 10 == 1)
                           HOLDS(try_connect(fd, internet("127.0.0.1", port)) == 0 || i % 3 == 0);
                         close(fd);
                       }
                       return 0;
                     },
                     {.unconnected = 100});
    EXPECT_EQ(guard.wait(), 0);
    EXPECT_LE(guard.sockets().kept(), 100U);
    EXPECT_TRUE(guard.events.all<Finding>().empty()) << "what is closed crowds nobody";

    // The server's ends are in this process as well.
    EXPECT_TRUE(eventually([&] { return server.ended == server.accepted; }));
    EXPECT_LE(descriptors(), before + 110);
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_F(SocketsLife, TheOldestCanNoLongerBeConnected) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  Supervised guard(allow(port),
                   [port] {
                     const int oldest = socket(AF_INET, SOCK_STREAM, 0);
                     for (int i = 0; i < 20; ++i)
                       close(socket(AF_INET, SOCK_STREAM, 0));
                     const int second = socket(AF_INET, SOCK_STREAM, 0);
                     for (int i = 0; i < 3; ++i)
                       HOLDS(socket(AF_INET, SOCK_STREAM, 0) >= 0);
                     HOLDS(try_connect(oldest, internet("127.0.0.1", port)) == EISCONN);
                     HOLDS(try_connect(second, internet("127.0.0.1", port)) == 0);
                     return 0;
                   },
                   {.unconnected = 4});
  EXPECT_EQ(guard.wait(), 0);
  auto crowded = guard.events.all<Finding>();
  ASSERT_EQ(crowded.size(), 1U);
  EXPECT_EQ(crowded[0].id, "network.crowded");
}

TEST_F(SocketsLife, NoDescriptorLeftForTheCaller) {
  Supervised guard(Policy{}, [] {
    const rlimit few{16, 16};
    HOLDS(setrlimit(RLIMIT_NOFILE, &few) == 0);
    int made = 0;
    while (socket(AF_INET, SOCK_STREAM, 0) >= 0)
      ++made;
    HOLDS(errno == EMFILE);
    HOLDS(made > 0 && made < 16);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  EXPECT_LE(guard.sockets().kept(), 16U);
}

// Processes that are killed at every possible instant.
TEST_F(SocketsLife, CallersThatDie) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  const auto before = descriptors();
  {
    Supervised guard(allow(port), [port] {
      for (int i = 0; i < 100; ++i) {
        const pid_t child = fork();
        if (child == 0) {
          prctl(PR_SET_PDEATHSIG, SIGKILL);
          while (true) {
            const int fd = socket(AF_INET, SOCK_STREAM, 0);
            static_cast<void>(try_connect(fd, internet("127.0.0.1", port)));
            static_cast<void>(try_connect(fd, internet("127.0.0.1", 1)));
            close(fd);
          }
        }
        usleep(static_cast<useconds_t>(i * 37 % 5'000));
        kill(child, SIGKILL);
        HOLDS(waitpid(child, nullptr, 0) == child);
      }
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      HOLDS(try_connect(fd, internet("127.0.0.1", port)) == 0 && echoes(fd));
      return 0;
    });
    EXPECT_EQ(guard.wait(), 0);
    EXPECT_TRUE(eventually([&] { return server.ended == server.accepted; }));
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_F(SocketsLife, Asyncio) {
  EchoServer server("127.0.0.1");
  EXPECT_EQ(python(allow(server.port()), R"(
import asyncio, sys
port = int(sys.argv[1])
async def one(i):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    writer.write(b'hello %d\n' % i)
    assert await reader.readline() == b'hello %d\n' % i
    writer.close()
    await writer.wait_closed()
async def main():
    await asyncio.gather(*(one(i) for i in range(50)))
    for address in (('127.0.0.1', 1), ('10.66.0.1', port)):
        try:
            await asyncio.open_connection(*address)
            assert False
        except PermissionError:
            pass
asyncio.run(main())
)",
                   {std::to_string(server.port())}),
            0);
  EXPECT_TRUE(eventually([&] { return server.ended == 50; }));
  EXPECT_EQ(connected_, 50U);
  EXPECT_EQ(refused_.size(), 2U);
}

TEST_F(SocketsLife, Http) {
  auto policy = allow(1);
  policy.network.own_listeners = true;
  EXPECT_EQ(python(policy, R"(
import http.client, http.server, socket, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = 'http://127.0.0.1:%d/' % server.server_port
body = bytes(range(256)) * 1000
for timeout in (None, 20):
    for i in range(20):
        with urllib.request.urlopen(url, data=body, timeout=timeout) as answer:
            assert answer.read() == body[::-1]
kept = http.client.HTTPConnection('127.0.0.1', server.server_port)
for i in range(20):
    kept.request('POST', '/', body)
    assert kept.getresponse().read() == body[::-1]
server.shutdown()
server.server_close()
try:
    urllib.request.urlopen(url, data=body)
    assert False
except OSError as error:
    assert error.reason.errno == 13, error
)",
                   {}),
            0);
}

TEST_F(SocketsLife, Multiprocessing) {
  Policy policy;
  policy.files.write = {folder_};
  EXPECT_EQ(python(policy, R"(
import multiprocessing
def work(i): return i * i
def fill(shared, i): shared[i] = i
if __name__ == '__main__':
    multiprocessing.set_start_method('fork')
    with multiprocessing.Pool(2) as pool:
        assert pool.map(work, range(50)) == [i * i for i in range(50)]
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        processes = [multiprocessing.Process(target=fill, args=(shared, i)) for i in range(4)]
        for process in processes: process.start()
        for process in processes: process.join()
        assert dict(shared) == {i: i for i in range(4)}
)",
                   {}),
            0);
  EXPECT_TRUE(refused_.empty()) << refused_[0];
  EXPECT_GT(connected_, 0U);
}

}  // namespace
}  // namespace palisade::guard
