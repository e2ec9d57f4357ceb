// Namespaces that a test makes for itself, with or without privileges.
#pragma once

#include <cstring>
#include <fstream>
#include <string>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace palisade::guard {

// A user namespace in which the caller is root, and the others that `flags` name. The caller must
// have one thread. "" or what failed.
inline std::string enter_namespaces(int flags) {
  const uid_t user = geteuid();
  const gid_t group = getegid();
  // After a change of user /proc/self belongs to root.
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return "PR_SET_DUMPABLE";
  if (unshare(CLONE_NEWUSER | flags) != 0) return "unshare";
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream users("/proc/self/uid_map");
  users << "0 " << user << " 1" << std::flush;
  std::ofstream groups("/proc/self/gid_map");
  groups << "0 " << group << " 1" << std::flush;
  return users && groups ? "" : "uid_map, gid_map";
}

// Gives an interface of this network namespace an IPv4 address (none: nullptr) and puts it up.
inline bool configure_interface(const char* interface, const char* address, const char* mask) {
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  bool fine = control >= 0;
  const auto set = [&](unsigned long what, const char* text) {
    sockaddr_in value{};
    value.sin_family = AF_INET;
    fine = fine && inet_pton(AF_INET, text, &value.sin_addr) == 1;
    std::memcpy(&request.ifr_addr, &value, sizeof value);
    fine = fine && ioctl(control, what, &request) == 0;
  };
  if (address != nullptr) {
    set(SIOCSIFADDR, address);
    set(SIOCSIFNETMASK, mask);
  }
  fine = fine && ioctl(control, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  fine = fine && ioctl(control, SIOCSIFFLAGS, &request) == 0;
  close(control);
  return fine;
}

}  // namespace palisade::guard
