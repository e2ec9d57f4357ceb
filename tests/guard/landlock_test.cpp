// The domain alone: a child that entered it and has no filter. What the ABI brings holds by itself,
// behind the judges; what it does not bring goes through here, and is the filter's alone to refuse.
#include "guard/landlock.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guarded.h"
#include "guard/programs.h"

namespace palisade::guard::testing {
namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// An abstract name that no other test has, and its length.
// Another one each time: what a test before has forked may hold its own a little longer.
std::pair<sockaddr_un, socklen_t> abstract_name() {
  static int count = 0;
  const auto name = "palisade-landlock-" + std::to_string(getpid()) + "-" + std::to_string(++count);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

template <typename Address>
const sockaddr* generic(const Address& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// The errno of what was tried, 0 for none.
using Try = std::function<int()>;

int errno_of(bool done) {
  return done ? 0 : errno;
}

constexpr int kNotEntered = 255;

// In the child: who it is decides what it could change, so the programs are looked for as nobody.
int enter_and_try(const Policy& policy, int abi, const Try& attempt) {
  if (geteuid() == 0 &&
      (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0)) {
    return kNotEntered;
  }
  const auto programs = find_programs(policy, {"/usr/bin/python3"}, "/usr/bin:/bin");
  if (!programs) {
    std::fprintf(stderr, "%s\n", programs.error().message.c_str());
    return kNotEntered;
  }
  const auto ruleset = landlock_ruleset(policy, *programs, std::min(abi, landlock_abi()));
  if (!ruleset) {
    std::fprintf(stderr, "%s\n", ruleset.error().c_str());
    return kNotEntered;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !landlock_enter(*ruleset)) {
    return kNotEntered;
  }
  return attempt();
}

// What `attempt` gets in an unprivileged child in the policy's domain, as an older kernel has it
// for a smaller `abi`.
int in_domain(const Policy& policy, int abi, const Try& attempt) {
  const pid_t child = fork();
  if (child == 0) {
    _exit(enter_and_try(policy, abi, attempt));
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_NE(WEXITSTATUS(status), kNotEntered) << "the child is in no domain";
  return WEXITSTATUS(status);
}

class Landlock : public ::testing::Test {
 protected:
  Landlock() {
    tcp_ = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(tcp_.get(), generic(address), size), 0);
    EXPECT_EQ(listen(tcp_.get(), 8), 0);
    EXPECT_EQ(getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    unix_ = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto [name, length] = abstract_name();
    name_ = name;
    length_ = length;
    EXPECT_EQ(bind(unix_.get(), generic(name_), length_), 0);
    EXPECT_EQ(listen(unix_.get(), 8), 0);
  }

  [[nodiscard]] Try connecting() const {
    return [port = port_] {
      const int own = socket(AF_INET, SOCK_STREAM, 0);
      const auto to = loopback(port);
      return own < 0 ? 254 : errno_of(connect(own, generic(to), sizeof to) == 0);
    };
  }
  [[nodiscard]] static Try binding() {
    return [] {
      const int own = socket(AF_INET, SOCK_STREAM, 0);
      const auto to = loopback(0);
      return own < 0 ? 254 : errno_of(bind(own, generic(to), sizeof to) == 0);
    };
  }
  [[nodiscard]] Try connecting_to_the_abstract() const {
    return [this] {
      const int own = socket(AF_UNIX, SOCK_STREAM, 0);
      return own < 0 ? 254 : errno_of(connect(own, generic(name_), length_) == 0);
    };
  }

  const Folder folder_;
  const Policy policy_ = policy_for(folder_);
  Fd tcp_;
  Fd unix_;
  std::uint16_t port_ = 0;
  sockaddr_un name_{};
  socklen_t length_ = 0;
};

TEST_F(Landlock, RefusesTcpWhereTheAbiHasIt) {
  ASSERT_GE(landlock_abi(), kLeastLandlock);
  const bool has = landlock_abi() >= kLandlockNetwork;
  EXPECT_EQ(in_domain(policy_, 100, connecting()), has ? EACCES : 0);
  EXPECT_EQ(in_domain(policy_, 100, binding()), has ? EACCES : 0);
  EXPECT_EQ(in_domain(policy_, kLandlockNetwork - 1, connecting()), 0) << "an older kernel";
  EXPECT_EQ(in_domain(policy_, kLandlockNetwork - 1, binding()), 0) << "an older kernel";
}

// The domain knows ports and no addresses, so it has none: what the policy allows, guard connects.
TEST_F(Landlock, HasNoPortOfThePolicys) {
  auto policy = policy_;
  policy.network.connect = {{"127.0.0.1/32", port_, 0}};
  policy.network.own_listeners = true;
  const bool has = landlock_abi() >= kLandlockNetwork;
  EXPECT_EQ(in_domain(policy, 100, connecting()), has ? EACCES : 0);
  EXPECT_EQ(in_domain(policy, 100, binding()), has ? EACCES : 0);
}

TEST_F(Landlock, RefusesAbstractSocketsOutsideWhereTheAbiHasIt) {
  const bool has = landlock_abi() >= kLandlockScope;
  EXPECT_EQ(in_domain(policy_, 100, connecting_to_the_abstract()), has ? EPERM : 0);
  EXPECT_EQ(in_domain(policy_, kLandlockScope - 1, connecting_to_the_abstract()), 0);
  // One of its own is inside.
  EXPECT_EQ(in_domain(policy_, 100,
                      [] {
                        const int server = socket(AF_UNIX, SOCK_STREAM, 0);
                        const int client = socket(AF_UNIX, SOCK_STREAM, 0);
                        const auto [name, length] = abstract_name();  // of this process's number
                        return errno_of(bind(server, generic(name), length) == 0 &&
                                        listen(server, 1) == 0 &&
                                        connect(client, generic(name), length) == 0);
                      }),
            0);
}

TEST_F(Landlock, RefusesSignalsToTheOutsideWhereTheAbiHasIt) {
  // Another process of the same user, outside: who may signal it is the domain's matter alone.
  const pid_t other = fork();
  if (other == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid() == 0 && setuid(kNobody) != 0) _exit(1);
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user takes it away
    for (;;)
      pause();
  }
  ASSERT_GT(other, 0);
  // It has changed its user once the domain's user may look for it.
  const auto look = [other] { return errno_of(kill(other, 0) == 0); };
  int allowed = EPERM;
  for (int i = 0; i < 1000 && allowed != 0; ++i) {
    allowed = in_domain(policy_, kLandlockScope - 1, look);
    if (allowed != 0) usleep(10'000);
  }
  EXPECT_EQ(allowed, 0) << "an older kernel";
  EXPECT_EQ(in_domain(policy_, 100, look), landlock_abi() >= kLandlockScope ? EPERM : 0);
  EXPECT_EQ(in_domain(policy_, 100,
                      [] {
                        const pid_t own = fork();
                        if (own == 0) _exit(0);
                        return errno_of(kill(own, SIGTERM) == 0);
                      }),
            0)
      << "one that it started";
  kill(other, SIGKILL);
  EXPECT_EQ(waitpid(other, nullptr, 0), other);
}

TEST_F(Landlock, InAuditModeOnlyTheRecordIsShut) {
  auto policy = policy_;
  policy.mode = Mode::kAudit;
  const Folder record;
  policy.record.path = record.write("record.jsonl", "", 0644);
  EXPECT_EQ(in_domain(policy, 100, connecting()), 0);
  EXPECT_EQ(in_domain(policy, 100, connecting_to_the_abstract()), 0);
  const auto write = [path = policy.record.path] {
    return errno_of(open(path.c_str(), O_WRONLY) >= 0);
  };
  EXPECT_EQ(in_domain(policy, 100, write), EACCES);
  EXPECT_EQ(
      in_domain(policy, 100, [] { return errno_of(execl("/bin/true", "true", nullptr) == 0); }), 0);
}

}  // namespace
}  // namespace palisade::guard::testing
