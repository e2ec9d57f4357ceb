// Each case is a network of its own: a child enters a network namespace that has nothing but what
// the case gives it.
#include "guard/preflight.h"

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/proc.h"
#include "namespaces.h"

namespace palisade::guard {
namespace {

using std::chrono::milliseconds;

void require(bool holds, const char* what) {
  if (holds) return;
  perror(what);
  _exit(1);
}

sockaddr_in ipv4(const char* text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  require(inet_pton(AF_INET, text, &address.sin_addr) == 1, text);
  return address;
}

std::uint16_t checksum(const std::uint8_t* bytes, std::size_t size) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < size; i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  }
  if (size % 2 == 1) sum += static_cast<std::uint32_t>(bytes[size - 1] << 8);
  while (sum > 0xffff)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// The world behind the interface t0 (10.77.0.1/16), as packets: what every target there answers is
// written here, byte by byte.
class World {
 public:
  World() {
    tun_ = Fd{open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
    require(static_cast<bool>(tun_), "/dev/net/tun");
    ifreq request{};
    std::strncpy(request.ifr_name, "t0", IFNAMSIZ - 1);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    require(ioctl(tun_.get(), TUNSETIFF, &request) == 0, "TUNSETIFF");
    require(configure_interface("t0", "10.77.0.1", "255.255.0.0"), "t0");
  }

  // 10.77.CODE.1 answers with ICMP destination unreachable, code CODE, in its own name;
  // 10.77.CODE.2 has 10.77.0.254 answer so; 10.77.100.1 answers UDP; anything else is silent.
  void serve() {
    std::array<std::uint8_t, 2048> packet{};
    while (true) {
      auto got = read(tun_.get(), packet.data(), packet.size());
      if (got < 28 || packet[0] >> 4 != 4) continue;
      const auto size = static_cast<std::size_t>(got);
      const std::uint8_t code = packet[18];
      const std::uint8_t host = packet[19];
      if (code == 100 && packet[9] == IPPROTO_UDP) {
        echo(packet, size);
      } else if (code < 20 && (host == 1 || host == 2)) {
        unreachable(packet, size, code, host == 2);
      }
    }
  }

 private:
  void send(std::vector<std::uint8_t>& answer) {
    answer[2] = static_cast<std::uint8_t>(answer.size() >> 8);
    answer[3] = static_cast<std::uint8_t>(answer.size());
    answer[10] = answer[11] = 0;
    auto sum = checksum(answer.data(), 20);
    answer[10] = static_cast<std::uint8_t>(sum >> 8);
    answer[11] = static_cast<std::uint8_t>(sum);
    require(write(tun_.get(), answer.data(), answer.size()) == static_cast<ssize_t>(answer.size()),
            "write to t0");
  }
  void echo(const std::array<std::uint8_t, 2048>& packet, std::size_t size) {
    std::vector<std::uint8_t> answer(packet.begin(),
                                     packet.begin() + static_cast<std::ptrdiff_t>(size));
    std::swap_ranges(answer.begin() + 12, answer.begin() + 16, answer.begin() + 16);
    std::swap_ranges(answer.begin() + 20, answer.begin() + 22, answer.begin() + 22);
    answer[26] = answer[27] = 0;  // UDP without a checksum
    send(answer);
  }
  void unreachable(const std::array<std::uint8_t, 2048>& packet, std::size_t size,
                   std::uint8_t code, bool router) {
    const std::size_t quoted = std::min<std::size_t>(size, 48);
    std::vector<std::uint8_t> answer(28 + quoted);
    answer[0] = 0x45;
    answer[8] = 64;
    answer[9] = IPPROTO_ICMP;
    std::copy_n(packet.begin() + 16, 4, answer.begin() + 12);
    if (router) {
      answer[14] = 0;
      answer[15] = 254;
    }
    std::copy_n(packet.begin() + 12, 4, answer.begin() + 16);
    answer[20] = 3;
    answer[21] = code;
    std::copy_n(packet.begin(), quoted, answer.begin() + 28);
    auto sum = checksum(answer.data() + 20, answer.size() - 20);
    answer[22] = static_cast<std::uint8_t>(sum >> 8);
    answer[23] = static_cast<std::uint8_t>(sum);
    send(answer);
  }

  Fd tun_;
};

// Runs `body` in a network namespace with loopback alone and expects it to return "".
void alone(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::string failed = enter_namespaces(CLONE_NEWNET);
    if (failed.empty()) {
      require(configure_interface("lo", nullptr, nullptr), "lo");
      failed = body();
    }
    require(write(ends[1], failed.data(), failed.size()) == static_cast<ssize_t>(failed.size()),
            "write");
    _exit(0);
  }
  close(ends[1]);
  std::string failed;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = read(ends[0], buffer.data(), buffer.size())) > 0;) {
    failed.append(buffer.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(failed, "");
}

Fd listener(const char* address, std::uint16_t port) {
  Fd fd{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  auto own = ipv4(address, port);
  require(bind(fd.get(), reinterpret_cast<sockaddr*>(&own), sizeof own) == 0, "bind");
  require(listen(fd.get(), 16) == 0, "listen");
  return fd;
}

Unreachable tcp(const char* address, std::uint16_t port = 443) {
  return {"", address, port, false};
}
Unreachable udp(const char* address, std::uint16_t port = 53) {
  return {"", address, port, true};
}

// "" or which targets were judged otherwise than said.
std::string judged(const std::vector<std::pair<Unreachable, bool>>& cases, milliseconds timeout) {
  std::vector<Unreachable> targets;
  for (const auto& [target, open] : cases)
    targets.push_back(target);
  auto found = reachable(targets, timeout);
  std::string wrong;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const bool open = std::find(found.begin(), found.end(), i) != found.end();
    if (open != cases[i].second) {
      wrong += targets[i].address + (targets[i].udp ? "/udp" : "/tcp") +
               (open ? " counted as open\n" : " counted as closed\n");
    }
  }
  return wrong;
}

TEST(Preflight, LoopbackSaysWhatTheKernelSays) {
  alone([] {
    auto server = listener("127.0.0.1", 443);
    return judged({{tcp("127.0.0.1"), true},       // made
                   {tcp("127.0.0.1", 444), true},  // refused by itself
                   {tcp("::1", 444), true},
                   {udp("127.0.0.1"), true},  // port unreachable, by itself
                   {udp("::1"), true},
                   {tcp("10.9.9.9"), false},  // no route
                   {udp("10.9.9.9"), false},
                   {tcp("2001:db8::1"), false},
                   {udp("2001:db8::1"), false},
                   {tcp("255.255.255.255"), false},
                   {tcp("no address"), true}},  // nothing was proven
                  milliseconds{10'000});
  });
}

TEST(Preflight, WhoAnswersDecides) {
  alone([] {
    World world;
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      world.serve();
    }
    auto wrong = judged({{tcp("10.77.3.1"), true},   // port unreachable, in its own name
                         {tcp("10.77.3.2"), false},  // in its place: a firewall's REJECT
                         {udp("10.77.3.1"), true},
                         {udp("10.77.3.2"), false},
                         {tcp("10.77.1.1"), false},  // host unreachable
                         {udp("10.77.1.1"), false},
                         {tcp("10.77.13.1"), false},  // administratively prohibited
                         {udp("10.77.13.1"), false},
                         {udp("10.77.13.2"), false},
                         {udp("10.77.10.1"), false},
                         {udp("10.77.100.1"), true},  // answered
                         {tcp("10.77.50.1"), false},  // silence
                         {udp("10.77.50.1"), false}},
                        milliseconds{2'000});
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return wrong;
  });
}

TEST(Preflight, AllAtOnceAndNotOneAfterTheOther) {
  alone([]() -> std::string {
    World world;  // silent: nobody serves it
    std::vector<Unreachable> targets(64, tcp("10.77.50.1"));
    const auto begun = std::chrono::steady_clock::now();
    if (!reachable(targets, milliseconds{300}).empty()) return "silence counted as open";
    const auto took = std::chrono::steady_clock::now() - begun;
    return took < milliseconds{64 * 300} ? "" : "tried one after the other";
  });
}

TEST(Preflight, WaitsUntilAllAreClosed) {
  alone([]() -> std::string {
    auto server = std::make_unique<Fd>(listener("127.0.0.1", 443));
    std::thread plugin([] {
      std::this_thread::sleep_for(milliseconds{400});
      ifreq request{};
      std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
      Fd control{socket(AF_INET, SOCK_DGRAM, 0)};
      require(ioctl(control.get(), SIOCSIFFLAGS, &request) == 0, "lo down");
    });
    PreflightPolicy policy;
    policy.unreachable = {tcp("127.0.0.1")};
    policy.timeout = milliseconds{200};
    policy.within = milliseconds{30'000};
    auto result = preflight(policy);
    plugin.join();
    return result ? "" : result.error();
  });
}

TEST(Preflight, NamesOneOfEachKindAndTheFix) {
  alone([]() -> std::string {
    PreflightPolicy policy;
    policy.unreachable = {{"the API server", "127.0.0.1", 443, false},
                          {"the API server", "127.0.0.1", 6443, false},
                          {"nowhere", "10.9.9.9", 80, false},
                          {"DNS", "127.0.0.1", 53, true},
                          {"", "::1", 80, false},
                          {"another pod", "127.0.0.1", 8443, false}};
    policy.within = milliseconds{0};
    auto result = preflight(policy);
    if (result) return "nothing was open";
    const std::string expected =
        "egress is open: the API server (127.0.0.1 port 443/tcp), DNS (127.0.0.1 port 53/udp), ::1 "
        "port 80/tcp, another pod (127.0.0.1 port 8443/tcp) and 1 more can be reached: the "
        "cluster's network plugin does not enforce NetworkPolicy (install one that does), or "
        "another policy lets the pod's traffic out (remove it)";
    return result.error() == expected ? "" : result.error();
  });
}

TEST(Preflight, NothingToTryIsFine) {
  EXPECT_TRUE(preflight(PreflightPolicy{}));
}

TEST(Preflight, LeavesNoDescriptor) {
  alone([]() -> std::string {
    const int before = dup(0);
    close(before);
    for (int i = 0; i < 20; ++i) {
      static_cast<void>(
          reachable({tcp("127.0.0.1"), udp("127.0.0.1"), tcp("10.9.9.9")}, milliseconds{1'000}));
    }
    const int after = dup(0);
    close(after);
    return before == after ? "" : "descriptors leak";
  });
}

}  // namespace
}  // namespace palisade::guard
