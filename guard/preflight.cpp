#include "guard/preflight.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "guard/address.h"
#include "guard/proc.h"

namespace palisade::guard {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPause{250};  // between two rounds
constexpr std::size_t kNamed = 4;    // open targets that a message names

// A question for the name servers of the root: what serves DNS answers it, with a refusal at least.
constexpr std::array<std::uint8_t, 17> kQuestion{0x50, 0x4c, 0x01, 0x00, 0, 1, 0, 0, 0,
                                                 0,    0,    0,    0,    0, 2, 0, 1};

enum class Door { kUndecided, kClosed, kOpen };

struct Probe {
  std::size_t target = 0;
  Address address;
  bool udp = false;
  Fd fd;
  Door door = Door::kUndecided;
};

std::optional<Address> address_in(const sockaddr_storage& storage) {
  auto decoded = decode(std::as_bytes(std::span{&storage, 1}));
  if (decoded.kind == SocketAddress::Kind::kInternet ||
      decoded.kind == SocketAddress::Kind::kScoped) {
    return decoded.endpoint.address;
  }
  return std::nullopt;
}

// Who sent the ICMP error that the socket has: nobody where there was none (a RST).
struct Icmp {
  bool administrative = false;
  std::optional<Address> sender;
};

std::optional<Icmp> icmp_error(int fd) {
  std::array<char, 512> control{};
  std::array<char, 256> data{};
  sockaddr_storage name{};
  iovec part{data.data(), data.size()};
  msghdr message{};
  message.msg_name = &name;
  message.msg_namelen = sizeof name;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return std::nullopt;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    const bool ip = header->cmsg_level == SOL_IP && header->cmsg_type == IP_RECVERR;
    const bool ipv6 = header->cmsg_level == SOL_IPV6 && header->cmsg_type == IPV6_RECVERR;
    if (!ip && !ipv6) continue;
    sock_extended_err error{};
    std::memcpy(&error, CMSG_DATA(header), sizeof error);
    sockaddr_storage offender{};
    const auto room = header->cmsg_len - CMSG_LEN(sizeof error);
    std::memcpy(&offender, CMSG_DATA(header) + sizeof error, std::min(room, sizeof offender));
    if (error.ee_origin == SO_EE_ORIGIN_ICMP) {
      const bool administrative =
          error.ee_type == ICMP_DEST_UNREACH &&
          (error.ee_code == ICMP_NET_ANO || error.ee_code == ICMP_HOST_ANO ||
           error.ee_code == ICMP_PKT_FILTERED);
      return Icmp{administrative, address_in(offender)};
    }
    if (error.ee_origin == SO_EE_ORIGIN_ICMP6) {
      // RFC 4443: type 1, code 1 prohibited, 5 failed policy, 6 reject route.
      const bool administrative =
          error.ee_type == 1 && (error.ee_code == 1 || error.ee_code == 5 || error.ee_code == 6);
      return Icmp{administrative, address_in(offender)};
    }
  }
  return std::nullopt;
}

// What `error` of a connect, a send or a receive says about the target.
Door judge(const Probe& probe, int error) {
  switch (error) {
    case EINPROGRESS:
    case EAGAIN:
    case EINTR:
      return Door::kUndecided;
    case ECONNREFUSED:
      if (auto icmp = icmp_error(probe.fd.get())) {
        const bool elsewhere = icmp->sender && *icmp->sender != probe.address;
        return icmp->administrative || elsewhere ? Door::kClosed : Door::kOpen;
      }
      return Door::kOpen;
    case ECONNRESET:
    case EPROTO:
      return Door::kOpen;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENONET:
    case ENETDOWN:
    case EACCES:
    case EPERM:
    case ETIMEDOUT:
    case EADDRNOTAVAIL:  // an IPv6 target where there is no IPv6
    case EINVAL:         // a blackhole route; the arguments themselves are always good
      return Door::kClosed;
    default:
      return Door::kOpen;  // nothing was proven
  }
}

Probe start(const Unreachable& target, std::size_t index) {
  Probe probe;
  probe.target = index;
  probe.udp = target.udp;
  auto address = parse_address(target.address);
  if (!address) {
    probe.door = Door::kOpen;
    return probe;
  }
  probe.address = *address;
  const int family = address->v6 ? AF_INET6 : AF_INET;
  const int type = target.udp ? SOCK_DGRAM : SOCK_STREAM;
  probe.fd = Fd{socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!probe.fd) {
    // A kernel without IPv6 reaches no IPv6 address.
    probe.door = errno == EAFNOSUPPORT ? Door::kClosed : Door::kOpen;
    return probe;
  }
  const int on = 1;
  const int level = address->v6 ? SOL_IPV6 : SOL_IP;
  if (setsockopt(probe.fd.get(), level, address->v6 ? IPV6_RECVERR : IP_RECVERR, &on, sizeof on) !=
      0) {
    probe.door = Door::kOpen;
    return probe;
  }
  auto encoded = encode({*address, target.port}, family);
  if (connect(probe.fd.get(), reinterpret_cast<const sockaddr*>(&encoded->storage),
              encoded->size) != 0) {
    probe.door = judge(probe, errno);
  } else if (!target.udp) {
    probe.door = Door::kOpen;
  }
  if (target.udp && probe.door == Door::kUndecided &&
      send(probe.fd.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) < 0) {
    probe.door = judge(probe, errno);
  }
  return probe;
}

void look(Probe& probe) {
  if (probe.udp) {
    std::array<char, 1> answer{};
    probe.door = recv(probe.fd.get(), answer.data(), answer.size(), MSG_DONTWAIT) >= 0
                     ? Door::kOpen
                     : judge(probe, errno);
    // An error that decided nothing must not wake the next poll.
    if (probe.door == Door::kUndecided) static_cast<void>(icmp_error(probe.fd.get()));
    return;
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(probe.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  probe.door = error == 0 ? Door::kOpen : judge(probe, error);
}

std::string named(const Unreachable& target) {
  std::string text = target.name.empty() ? std::string{} : target.name + " (";
  text += target.address + " port " + std::to_string(target.port) + (target.udp ? "/udp" : "/tcp");
  return target.name.empty() ? text : text + ")";
}

// One of each name first, so that a message has them all: three addresses of the API server say no
// more than one.
std::vector<std::size_t> by_name(const std::vector<std::size_t>& open,
                                 const std::vector<Unreachable>& targets) {
  std::vector<std::size_t> first;
  std::vector<std::size_t> rest;
  for (const std::size_t index : open) {
    const bool told = std::ranges::any_of(first, [&](std::size_t other) {
      return !targets[index].name.empty() && targets[other].name == targets[index].name;
    });
    (told ? rest : first).push_back(index);
  }
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

}  // namespace

std::vector<std::size_t> reachable(const std::vector<Unreachable>& targets, milliseconds timeout) {
  const auto until = Clock::now() + timeout;
  std::vector<Probe> probes;
  probes.reserve(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i)
    probes.push_back(start(targets[i], i));
  while (true) {
    std::vector<pollfd> waiting;
    std::vector<std::size_t> whose;
    for (std::size_t i = 0; i < probes.size(); ++i) {
      if (probes[i].door != Door::kUndecided) continue;
      waiting.push_back({probes[i].fd.get(), probes[i].udp ? short{POLLIN} : short{POLLOUT}, 0});
      whose.push_back(i);
    }
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
    if (waiting.empty() || left.count() <= 0) break;
    const int ready = poll(waiting.data(), waiting.size(), static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) {
      for (std::size_t i : whose)
        probes[i].door = Door::kOpen;  // nothing was proven
      break;
    }
    for (std::size_t i = 0; ready > 0 && i < waiting.size(); ++i) {
      if (waiting[i].revents != 0) look(probes[whose[i]]);
    }
  }
  std::vector<std::size_t> open;
  for (const Probe& probe : probes) {
    if (probe.door == Door::kOpen) open.push_back(probe.target);
  }
  return open;
}

std::expected<void, std::string> preflight(const PreflightPolicy& policy) {
  const auto until = Clock::now() + policy.within;
  while (true) {
    const auto open = by_name(reachable(policy.unreachable, policy.timeout), policy.unreachable);
    if (open.empty()) return {};
    if (Clock::now() + kPause >= until) {
      std::string message = "egress is open: ";
      for (std::size_t i = 0; i < std::min(open.size(), kNamed); ++i) {
        message += (i == 0 ? "" : ", ") + named(policy.unreachable[open[i]]);
      }
      if (open.size() > kNamed) message += " and " + std::to_string(open.size() - kNamed) + " more";
      return std::unexpected(message +
                             " can be reached: the cluster's network plugin does not enforce "
                             "NetworkPolicy (install one that does), or another policy "
                             "lets the pod's traffic out (remove it)");
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace palisade::guard
