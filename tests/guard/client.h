// What the clients of the tests say and do.
#pragma once

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "network.h"
#include "supervised.h"

// In a client: says which line does not hold, and ends it.
#define HOLDS(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "client, line %d: %s (errno: %s)\n", __LINE__, #condition, strerror(errno)); \
      return 1;                                                                                    \
    }                                                                                              \
  } while (false)

namespace palisade::guard {

inline bool echoes(int fd) {
  std::array<char, 4> answer{};
  return send(fd, "ping", 4, MSG_NOSIGNAL) == 4 && recv(fd, answer.data(), 4, MSG_WAITALL) == 4 &&
         std::memcmp(answer.data(), "ping", 4) == 0;
}

inline int error_of(int fd) {
  int error = -1;
  socklen_t size = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

inline bool wait_for(int fd, short events) {
  pollfd one{fd, events, 0};
  return poll(&one, 1, 20'000) == 1;
}

inline std::vector<std::string> refusals(const Events& events) {
  std::vector<std::string> found;
  for (const auto& one : events.all<Refused>()) {
    found.push_back(one.rule + " " + one.call + " " + one.target + " " + std::to_string(one.error) +
                    (one.enforced ? "" : " audit"));
  }
  return found;
}

}  // namespace palisade::guard
