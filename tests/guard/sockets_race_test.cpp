// Threads that change what guard looks at while it looks: addresses, descriptors. A listener on the
// forbidden address counts what gets through: nothing may.
#include "client.h"

namespace palisade::guard {
namespace {

const auto* const kNetwork = ::testing::AddGlobalTestEnvironment(new OwnNetwork);

constexpr int kTries = 4'000;

// Runs threads until it goes out of scope.
class Meddlers {
 public:
  ~Meddlers() {
    stop_ = true;
    for (auto& thread : threads_)
      thread.join();
  }
  template <typename Work>
  void add(Work work) {
    threads_.emplace_back([this, work] {
      while (!stop_)
        work();
    });
  }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

TEST(SocketsRace, AnAddressThatChanges) {
  EchoServer fine("127.0.0.1");
  EchoServer forbidden(kForeign);
  const auto fine_port = fine.port();
  const auto forbidden_port = forbidden.port();
  Supervised guard(allow(fine_port), [=] {
    auto address = internet("127.0.0.1", fine_port);
    auto* shared = reinterpret_cast<volatile std::uint64_t*>(&address.storage);
    const auto good = *reinterpret_cast<const std::uint64_t*>(&address.storage);
    const auto other = internet(kForeign, forbidden_port);
    const auto bad = *reinterpret_cast<const std::uint64_t*>(&other.storage);
    int made = 0;
    int refused = 0;
    {
      Meddlers meddlers;
      meddlers.add([=] {
        *shared = bad;
        *shared = good;
      });
      for (int i = 0; i < kTries; ++i) {
        const int fd = socket(AF_INET, SOCK_STREAM | (i % 2 == 0 ? SOCK_NONBLOCK : 0), 0);
        const int error = try_connect(fd, address);
        made += error == 0 || error == EINPROGRESS ? 1 : 0;
        refused += error == EACCES ? 1 : 0;
        close(fd);
      }
    }
    HOLDS(made + refused == kTries);
    HOLDS(made > 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_GT(fine.accepted, 0);
  EXPECT_EQ(forbidden.accepted, 0);
}

// The descriptor is another socket, or none, or a file, at every instant; also while one of the
// sockets is connected already.
TEST(SocketsRace, ADescriptorThatChanges) {
  EchoServer fine("127.0.0.1");
  EchoServer forbidden(kForeign);
  const auto fine_port = fine.port();
  const auto forbidden_port = forbidden.port();
  Supervised guard(allow(fine_port), [=] {
    const auto good = internet("127.0.0.1", fine_port);
    const auto bad = internet(kForeign, forbidden_port);
    const int target = 100;
    const int file = open("/dev/null", O_RDONLY);
    int made = 0;
    {
      Meddlers meddlers;
      meddlers.add([=] {
        const int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int other = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        dup2(fresh, target);
        dup2(other, target);
        dup2(file, target);
        dup2(fresh, target);
        close(other);
        close(fresh);
      });
      meddlers.add([=] { static_cast<void>(try_connect(target, bad)); });
      for (int i = 0; i < kTries; ++i) {
        switch (const int error = try_connect(target, good)) {
          case 0:
            ++made;
            break;
          case EBADF:
          case ENOTSOCK:
          case EISCONN:
          case EAFNOSUPPORT:
          case EINPROGRESS:
          case EALREADY:
            break;
          default:
            fprintf(stderr, "client: %s\n", strerror(error));
            return 1;
        }
      }
    }
    HOLDS(made > 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_GT(fine.accepted, 0);
  EXPECT_EQ(forbidden.accepted, 0);
  // Whatever guard put on record as made or tried was the allowed address.
  for (const auto& one : guard.events.all<Connected>()) {
    EXPECT_EQ(one.address, "127.0.0.1");
    EXPECT_EQ(one.port, fine_port);
  }
}

// bind and listen, while another thread has another socket there.
TEST(SocketsRace, AListenerThatChanges) {
  auto policy = allow(1);
  policy.network.own_listeners = true;
  Supervised guard(policy, [] {
    const int target = 100;
    auto address = internet("127.0.0.1", 0);
    auto* shared = reinterpret_cast<volatile std::uint64_t*>(&address.storage);
    const auto good = *reinterpret_cast<const std::uint64_t*>(&address.storage);
    const auto other = internet("0.0.0.0", 0);
    const auto bad = *reinterpret_cast<const std::uint64_t*>(&other.storage);
    int listening = 0;
    {
      Meddlers meddlers;
      meddlers.add([=] {
        *shared = bad;
        *shared = good;
      });
      meddlers.add([=] {
        const int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        dup2(fresh, target);
        close(fresh);
      });
      // On a busy machine a turn of all three threads is longer than all tries.
      for (int i = 0; i < kTries || (listening == 0 && i < 20 * kTries); ++i) {
        static_cast<void>(bind(target, raw(address), address.size));
        if (listen(target, 1) != 0) continue;
        ++listening;
        sockaddr_in own{};
        socklen_t size = sizeof own;
        int on = 0;
        socklen_t on_size = sizeof on;
        const int held = dup(target);
        if (held < 0 || getsockopt(held, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_size) != 0) return 2;
        HOLDS(getsockname(held, reinterpret_cast<sockaddr*>(&own), &size) == 0);
        HOLDS(on == 0 || own.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
        close(held);
      }
    }
    HOLDS(listening > 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
}

// The agent closes, executes and dies in the middle of it all.
TEST(SocketsRace, ProcessesThatBecomeOthers) {
  EchoServer fine("127.0.0.1");
  EchoServer forbidden(kForeign);
  const auto fine_port = fine.port();
  const auto forbidden_port = forbidden.port();
  Supervised guard(allow(fine_port), [=] {
    for (int i = 0; i < 150; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        std::thread connecting([&] {
          while (true) {
            static_cast<void>(try_connect(fd, internet("127.0.0.1", fine_port)));
            static_cast<void>(try_connect(fd, internet(kForeign, forbidden_port)));
          }
        });
        std::thread swapping([&] {
          while (true) {
            const int other = socket(AF_INET, SOCK_STREAM, 0);
            dup2(other, fd);
            close(other);
          }
        });
        usleep(static_cast<useconds_t>(i * 53 % 4'000));
        if (i % 2 == 0) _exit(0);
        execl("/bin/true", "true", nullptr);
        _exit(127);
      }
      int status = -1;
      HOLDS(waitpid(child, &status, 0) == child && status == 0);
    }
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  EXPECT_TRUE(eventually([&] { return fine.ended == fine.accepted; }));
  guard.finish();
  EXPECT_EQ(forbidden.accepted, 0);
}

}  // namespace
}  // namespace palisade::guard
