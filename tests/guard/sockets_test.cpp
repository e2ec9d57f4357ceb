#include "guard/sockets.h"

#include <filesystem>

#include <linux/netlink.h>

#include "client.h"

namespace palisade::guard {
namespace {

namespace fs = std::filesystem;

const auto* const kNetwork = ::testing::AddGlobalTestEnvironment(new OwnNetwork);

TEST(Sockets, BlockingConnection) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  Supervised guard(allow(port), [port] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(fd >= 0);
    HOLDS(fcntl(fd, F_GETFD) == 0);
    HOLDS((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    HOLDS(try_connect(fd, internet("127.0.0.1", port)) == 0);
    HOLDS(echoes(fd));
    HOLDS(try_connect(fd, internet("127.0.0.1", port)) == EISCONN);
    close(fd);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  EXPECT_TRUE(eventually([&] { return server.ended == 1; }));
  EXPECT_EQ(guard.sockets().kept(), 0U);
  guard.finish();
  auto made = guard.events.all<Connected>();
  ASSERT_EQ(made.size(), 1U);
  EXPECT_EQ(made[0].address, "127.0.0.1");
  EXPECT_EQ(made[0].port, port);
  EXPECT_EQ(made[0].error, 0);
  EXPECT_EQ(made[0].by.parent, getpid());
  EXPECT_EQ(made[0].by.program, fs::read_symlink("/proc/self/exe"));
  EXPECT_EQ(guard.activities, 1);
  EXPECT_TRUE(refusals(guard.events).empty());
}

TEST(Sockets, NonBlockingConnection) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  std::array<int, 2> close_now{};
  ASSERT_EQ(pipe(close_now.data()), 0);
  Supervised guard(allow(port), [port, &close_now] {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    HOLDS(fd >= 0);
    HOLDS(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    HOLDS((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    const int begun = try_connect(fd, internet("127.0.0.1", port));
    HOLDS(begun == EINPROGRESS || begun == 0);
    HOLDS(wait_for(fd, POLLOUT));
    HOLDS(error_of(fd) == 0);
    fcntl(fd, F_SETFL, 0);
    HOLDS(echoes(fd));
    char byte = 0;
    HOLDS(read(close_now[0], &byte, 1) == 1);
    close(fd);
    HOLDS(read(close_now[0], &byte, 1) == 1);
    return 0;
  });
  EXPECT_TRUE(eventually([&] { return guard.sockets().kept() == 0 && server.accepted == 1; }));
  EXPECT_EQ(server.ended, 0);
  ASSERT_EQ(write(close_now[1], "c", 1), 1);
  // The agent lives on: it is its close(2) that the server sees.
  EXPECT_TRUE(eventually([&] { return server.ended == 1; }));
  ASSERT_EQ(write(close_now[1], "e", 1), 1);
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  auto made = guard.events.all<Connected>();
  ASSERT_EQ(made.size(), 1U);
  EXPECT_EQ(made[0].error, 0);
}

TEST(Sockets, OtherFamiliesAndTypes) {
  struct Case {
    int family;
    int type;
    int protocol;
    int error;
    const char* record;
  };
  static constexpr std::array kCases{
      Case{AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, EAFNOSUPPORT, "network.family"},
      Case{AF_PACKET, SOCK_RAW, 0, EAFNOSUPPORT, "network.family"},
      Case{AF_VSOCK, SOCK_STREAM, 0, EAFNOSUPPORT, "network.family"},
      Case{AF_ALG, SOCK_SEQPACKET, 0, EAFNOSUPPORT, "network.family"},
      Case{AF_UNSPEC, SOCK_STREAM, 0, EAFNOSUPPORT, "network.family"},
      Case{-1, SOCK_STREAM, 0, EAFNOSUPPORT, "network.family"},
      Case{AF_INET, SOCK_DGRAM, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET6, SOCK_DGRAM, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_RAW, IPPROTO_ICMP, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_DGRAM, IPPROTO_ICMP, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_STREAM, IPPROTO_MPTCP, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_STREAM, IPPROTO_SCTP, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_SEQPACKET, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_INET, SOCK_PACKET, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_UNIX, SOCK_DGRAM, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_UNIX, SOCK_RAW, 0, EPROTONOSUPPORT, "network.type"},
      Case{AF_UNIX, SOCK_STREAM, 7, EPROTONOSUPPORT, "network.type"},
  };
  Supervised guard(Policy{}, [] {
    for (const auto& one : kCases) {
      errno = 0;
      HOLDS(socket(one.family, one.type | SOCK_CLOEXEC, one.protocol) == -1);
      HOLDS(errno == one.error);
    }
    std::array<int, 2> pair{};
    HOLDS(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair.data()) == -1 && errno == EPROTONOSUPPORT);
    HOLDS(socketpair(AF_TIPC, SOCK_STREAM, 0, pair.data()) == -1 && errno == EAFNOSUPPORT);
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0);
    HOLDS(send(pair[0], "x", 1, 0) == 1);
    HOLDS(try_connect(pair[0], unix_path("/tmp/none")) != 0);
    HOLDS(socket(AF_UNIX, SOCK_SEQPACKET, 0) >= 0);
    HOLDS(socket(AF_INET, SOCK_STREAM | 0x40000, 0) == -1 && errno == EINVAL);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  auto refused = guard.events.all<Refused>();
  ASSERT_EQ(refused.size(), kCases.size() + 2);
  for (std::size_t i = 0; i < kCases.size(); ++i) {
    EXPECT_EQ(refused[i].rule, kCases.at(i).record) << i;
    EXPECT_EQ(refused[i].error, kCases.at(i).error) << i;
    EXPECT_EQ(refused[i].call, "socket");
    EXPECT_EQ(refused[i].target, "family " + std::to_string(kCases.at(i).family) + " type " +
                                     std::to_string(kCases.at(i).type) + " protocol " +
                                     std::to_string(kCases.at(i).protocol));
  }
  EXPECT_EQ(refused[kCases.size()].call, "socketpair");
}

TEST(Sockets, OnlyAddressesOfThePolicy) {
  EchoServer server("127.0.0.1");
  EchoServer other("127.0.0.1");
  EchoServer foreign(kForeign);
  EchoServer ipv6("::1", AF_INET6);
  const auto port = server.port();
  const auto foreign_port = foreign.port();
  const auto other_port = other.port();
  const auto ipv6_port = ipv6.port();
  Supervised guard(allow(port), [=] {
    const auto refused = [](const EncodedAddress& address, int family, int error) {
      const int fd = socket(family, SOCK_STREAM, 0);
      const int got = try_connect(fd, address);
      close(fd);
      if (got != error) fprintf(stderr, "errno %s\n", strerror(got));
      return got == error;
    };
    HOLDS(refused(internet(kForeign, foreign_port), AF_INET, EACCES));
    HOLDS(refused(internet(kForeign, port), AF_INET, EACCES));
    HOLDS(refused(internet("127.0.0.1", other_port), AF_INET, EACCES));
    HOLDS(refused(internet("127.0.0.2", port), AF_INET, EACCES));
    HOLDS(refused(internet("::1", ipv6_port, AF_INET6), AF_INET6, EACCES));
    HOLDS(refused(internet("::1", port, AF_INET6), AF_INET6, EACCES));
    HOLDS(refused(internet(kForeign, foreign_port, AF_INET6), AF_INET6, EACCES));
    HOLDS(refused(internet("0.0.0.0", other_port), AF_INET, EACCES));
    HOLDS(refused(internet("::", port, AF_INET6), AF_INET6, EACCES));
    // The family is the socket's own.
    HOLDS(refused(internet("127.0.0.1", port, AF_INET6), AF_INET, EAFNOSUPPORT));
    HOLDS(refused(internet("127.0.0.1", port), AF_INET6, EAFNOSUPPORT));
    HOLDS(refused(internet("127.0.0.1", port), AF_UNIX, EAFNOSUPPORT));
    auto scoped = internet("fe80::1", port, AF_INET6);
    reinterpret_cast<sockaddr_in6*>(&scoped.storage)->sin6_scope_id = 1;
    HOLDS(refused(scoped, AF_INET6, EACCES));
    auto unspec = internet("127.0.0.1", port);
    unspec.storage.ss_family = AF_UNSPEC;
    HOLDS(refused(unspec, AF_INET, EACCES));
    auto shorter = internet("127.0.0.1", port);
    shorter.size = 8;
    HOLDS(refused(shorter, AF_INET, EINVAL));
    shorter.size = 0;
    HOLDS(refused(shorter, AF_INET, EINVAL));
    shorter.size = 4096;
    HOLDS(refused(shorter, AF_INET, EINVAL));
    // And the disguises of what is allowed.
    HOLDS(refused(internet("127.0.0.1", port, AF_INET6), AF_INET6, 0));
    HOLDS(refused(internet("0.0.0.0", port), AF_INET, 0));
    HOLDS(refused(internet("0.0.0.0", port, AF_INET6), AF_INET6, 0));
    // No descriptors and no addresses.
    const auto fine = internet("127.0.0.1", port);
    HOLDS(try_connect(-1, fine) == EBADF);
    HOLDS(try_connect(1000, fine) == EBADF);
    const int file = open("/dev/null", O_RDONLY);
    HOLDS(try_connect(file, fine) == ENOTSOCK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(connect(fd, nullptr, 16) == -1 && errno == EFAULT);
    HOLDS(syscall(SYS_connect, fd, &fine.storage, -1) == -1 && errno == EINVAL);
    // Upper halves of the registers are nothing to the kernel, nor to guard.
    HOLDS(syscall(SYS_connect, static_cast<long>(fd) | 0x100000000L, &fine.storage, fine.size) ==
          0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_TRUE(eventually([&] { return server.accepted == 4; }));
  EXPECT_EQ(other.accepted, 0);
  EXPECT_EQ(foreign.accepted, 0);
  EXPECT_EQ(ipv6.accepted, 0);
  const auto p = std::to_string(port);
  EXPECT_EQ(refusals(guard.events),
            (std::vector<std::string>{
                "network.connect connect 10.66.0.1:" + std::to_string(foreign_port) + "/tcp 13",
                "network.connect connect 10.66.0.1:" + p + "/tcp 13",
                "network.connect connect 127.0.0.1:" + std::to_string(other_port) + "/tcp 13",
                "network.connect connect 127.0.0.2:" + p + "/tcp 13",
                "network.connect connect [::1]:" + std::to_string(ipv6_port) + "/tcp 13",
                "network.connect connect [::1]:" + p + "/tcp 13",
                "network.connect connect 10.66.0.1:" + std::to_string(foreign_port) + "/tcp 13",
                "network.connect connect 127.0.0.1:" + std::to_string(other_port) + "/tcp 13",
                "network.connect connect [::1]:" + p + "/tcp 13",
                "network.connect connect 127.0.0.1:" + p + "/tcp 97",
                "network.connect connect 127.0.0.1:" + p + "/tcp 97",
                "network.connect connect 127.0.0.1:" + p + "/tcp 97",
                "network.connect connect [fe80::1]:" + p + "/tcp with a scope 13",
                "network.connect connect family 0 13"}));
}

TEST(Sockets, PortsAndRanges) {
  Policy policy;
  policy.network.connect = {{"10.66.0.0/24", 7000, 7002}, {"127.0.0.1", 0, 0}};
  Supervised guard(policy, [] {
    const auto result = [](const char* address, std::uint16_t port) {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      const int got = try_connect(fd, internet(address, port));
      close(fd);
      return got;
    };
    HOLDS(result(kForeign, 6999) == EACCES);
    HOLDS(result(kForeign, 7000) == ECONNREFUSED);
    HOLDS(result(kForeign, 7002) == ECONNREFUSED);
    HOLDS(result(kForeign, 7003) == EACCES);
    HOLDS(result("127.0.0.1", 1) == ECONNREFUSED);
    HOLDS(result("127.0.0.1", 65535) == ECONNREFUSED);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  auto tried = guard.events.all<Connected>();
  ASSERT_EQ(tried.size(), 4U);
  for (const auto& one : tried)
    EXPECT_EQ(one.error, ECONNREFUSED);
}

TEST(Sockets, AgainAfterARefusal) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  auto policy = allow(port);
  policy.network.connect.push_back({"127.0.0.1/32", 9, 0});  // nobody listens there
  Supervised guard(policy, [port] {
    for (int flags : {0, int{SOCK_NONBLOCK}}) {
      const int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
      for (int i = 0; i < 3; ++i) {
        int error = try_connect(fd, internet("127.0.0.1", 9));
        if (error == EINPROGRESS) {
          HOLDS(wait_for(fd, POLLOUT));
          error = error_of(fd);
          // As without guard: the socket says once more that it failed, then it can be used again.
          HOLDS(try_connect(fd, internet("127.0.0.1", 9)) == ECONNABORTED);
        }
        HOLDS(error == ECONNREFUSED);
      }
      int error = try_connect(fd, internet("127.0.0.1", port));
      if (error == EINPROGRESS) {
        HOLDS(wait_for(fd, POLLOUT));
        error = error_of(fd);
      }
      HOLDS(error == 0);
      fcntl(fd, F_SETFL, 0);
      HOLDS(echoes(fd));
    }
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  EXPECT_TRUE(eventually([&] { return server.ended == 2; }));
  EXPECT_TRUE(eventually([&] { return guard.sockets().kept() == 0; }));
}

TEST(Sockets, DuplicatedInheritedAndPassedOn) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  Supervised guard(allow(port), [port] {
    const auto address = internet("127.0.0.1", port);
    const int first = socket(AF_INET, SOCK_STREAM, 0);
    const int second = dup(first);
    close(first);
    HOLDS(try_connect(second, address) == 0 && echoes(second));

    const int inherited = socket(AF_INET, SOCK_STREAM, 0);
    const pid_t child = fork();
    if (child == 0) _exit(try_connect(inherited, address));
    int status = -1;
    waitpid(child, &status, 0);
    HOLDS(status == 0 && echoes(inherited));

    std::array<int, 2> pair{};
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0);
    const pid_t receiver = fork();
    if (receiver == 0) {
      const Fd got = Supervised::take_over(pair[1]);
      _exit(try_connect(got.get(), address) == 0 && echoes(got.get()) ? 0 : 1);
    }
    const int passed = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(Supervised::hand_over(pair[0], passed));
    close(passed);
    waitpid(receiver, &status, 0);
    HOLDS(status == 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  EXPECT_TRUE(eventually([&] { return server.ended == 3; }));
}

TEST(Sockets, OwnListeners) {
  auto policy = allow(1);
  policy.network.own_listeners = true;
  std::array<int, 2> to_test{};
  std::array<int, 2> to_client{};
  ASSERT_EQ(pipe(to_test.data()), 0);
  ASSERT_EQ(pipe(to_client.data()), 0);
  Supervised guard(policy, [&] {
    for (int family : {AF_INET, AF_INET6}) {
      const auto any_port = internet(family == AF_INET ? "127.0.0.1" : "::1", 0, family);
      const int server = socket(family, SOCK_STREAM, 0);
      const int on = 1;
      setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      HOLDS(bind(server, raw(any_port), any_port.size) == 0);
      HOLDS(listen(server, 5) == 0);
      HOLDS(listen(server, 50) == 0);
      const auto port = port_of(server);
      const auto address = internet(family == AF_INET ? "127.0.0.1" : "::1", port, family);
      const int client = socket(family, SOCK_STREAM, 0);
      HOLDS(try_connect(client, address) == 0);
      const int peer = accept(server, nullptr, nullptr);
      HOLDS(peer >= 0 && send(peer, "x", 1, 0) == 1);
      char byte = 0;
      HOLDS(recv(client, &byte, 1, 0) == 1);
      HOLDS(try_connect(peer, address) == EISCONN);
      // The same port of another address is not its own.
      const int wrong = socket(AF_INET, SOCK_STREAM, 0);
      HOLDS(try_connect(wrong, internet("127.0.0.2", port)) == EACCES);
      // The port is taken, and free again once it is closed.
      const int second = socket(family, SOCK_STREAM, 0);
      HOLDS(bind(second, raw(address), address.size) == -1 && errno == EADDRINUSE);
      close(peer);
      close(client);
      close(server);
      HOLDS(write(to_test[1], &port, sizeof port) == sizeof port);
      HOLDS(read(to_client[0], &byte, 1) == 1);
      // Somebody else listens there now.
      const int late = socket(family, SOCK_STREAM, 0);
      HOLDS(try_connect(late, address) == EACCES);
    }
    // How a free port is looked for.
    const int probe = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(bind(probe, raw(internet("127.0.0.1", 0)), sizeof(sockaddr_in)) == 0);
    const auto free_port = internet("127.0.0.1", port_of(probe));
    close(probe);
    const int real = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(bind(real, raw(free_port), free_port.size) == 0);
    HOLDS(listen(real, 1) == 0);

    for (const char* address : {kForeign, "0.0.0.0"}) {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      HOLDS(bind(fd, raw(internet(address, 0)), sizeof(sockaddr_in)) == -1 && errno == EACCES);
    }
    const int any6 = socket(AF_INET6, SOCK_STREAM, 0);
    HOLDS(bind(any6, raw(internet("::", 0, AF_INET6)), sizeof(sockaddr_in6)) == -1);
    const int unbound = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(listen(unbound, 1) == -1 && errno == EACCES);
    return 0;
  });
  for (const char* address : {"127.0.0.1", "::1"}) {
    std::uint16_t port = 0;
    ASSERT_EQ(read(to_test[0], &port, sizeof port), ssize_t{sizeof port});
    const int family = *address == ':' ? AF_INET6 : AF_INET;
    const Fd squatter{socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int on = 1;
    setsockopt(squatter.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const auto own = internet(address, port, family);
    ASSERT_EQ(bind(squatter.get(), raw(own), own.size), 0) << strerror(errno);
    ASSERT_EQ(listen(squatter.get(), 5), 0);
    ASSERT_EQ(write(to_client[1], "g", 1), 1);
    pollfd one{squatter.get(), POLLIN, 0};
    EXPECT_EQ(poll(&one, 1, 200), 0);
  }
  EXPECT_EQ(guard.wait(), 0);
}

TEST(Sockets, NoListenersUnlessThePolicySaysSo) {
  Supervised guard(allow(1), [] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(bind(fd, raw(internet("127.0.0.1", 0)), sizeof(sockaddr_in)) == -1 && errno == EACCES);
    HOLDS(listen(fd, 1) == -1 && errno == EACCES);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_EQ(refusals(guard.events),
            (std::vector<std::string>{"network.bind bind 127.0.0.1:0/tcp 13",
                                      "network.listen listen 0.0.0.0:0/tcp 13"}));
}

TEST(Sockets, Audit) {
  EchoServer foreign(kForeign);
  const auto port = foreign.port();
  auto policy = allow(1);
  policy.mode = Mode::kAudit;
  Supervised guard(policy, [port] {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(try_connect(fd, internet(kForeign, port)) == 0);
    HOLDS(echoes(fd));
    close(fd);
    const int datagram = socket(AF_INET, SOCK_DGRAM, 0);
    HOLDS(datagram >= 0);
    HOLDS(try_connect(datagram, internet(kForeign, port)) == 0);
    const int server = socket(AF_INET, SOCK_STREAM, 0);
    HOLDS(listen(server, 1) == 0);
    const int abstract = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, "\0audit", 6);
    HOLDS(try_bind(abstract, name, 8) == 0);
    HOLDS(listen(abstract, 1) == 0);
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    HOLDS(try_connect(client, name, 8) == 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_TRUE(eventually([&] { return foreign.ended == 1; }));
  const auto p = std::to_string(port);
  EXPECT_EQ(refusals(guard.events),
            (std::vector<std::string>{
                "network.connect connect 10.66.0.1:" + p + "/tcp 13 audit",
                "network.type socket family 2 type 2 protocol 0 93 audit",
                "network.connect connect 10.66.0.1:" + p + "/tcp 13 audit",
                "network.listen listen 0.0.0.0:0/tcp 13 audit",
                "network.unix-abstract bind unix:@audit 13 audit",
                "network.listen listen unix socket that is bound to no path 13 audit",
                "network.unix-abstract connect unix:@audit 13 audit"}));
  ASSERT_EQ(guard.events.all<Connected>().size(), 1U);
}

TEST(Sockets, NothingGoesThroughWithoutARecord) {
  EchoServer server("127.0.0.1");
  const auto port = server.port();
  for (Mode mode : {Mode::kEnforce, Mode::kAudit}) {
    auto policy = allow(port);
    policy.mode = mode;
    std::array<int, 2> ready{};
    ASSERT_EQ(pipe(ready.data()), 0);
    Supervised guard(policy, [port, &ready] {
      char byte = 0;
      HOLDS(read(ready[0], &byte, 1) == 1);
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      HOLDS(try_connect(fd, internet("127.0.0.1", port)) == EACCES);
      HOLDS(send(fd, "x", 1, MSG_NOSIGNAL) == -1);
      HOLDS(socket(AF_INET, SOCK_DGRAM, 0) == -1);
      return 0;
    });
    guard.events.broken = true;
    ASSERT_EQ(write(ready[1], "g", 1), 1);
    EXPECT_EQ(guard.wait(), 0);
    close(ready[0]);
    close(ready[1]);
  }
}

}  // namespace
}  // namespace palisade::guard
