// Names to addresses, and addresses to connections.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gateway/http/workers.h>
#include <sys/socket.h>

#include "stream.h"

namespace palisade::gateway {

struct Endpoint {
  sockaddr_storage address{};
  socklen_t size = 0;
};

// A thread's look-ups. What was found is used for some seconds, so that a burst of calls is one
// look-up. Not thread-safe.
class Resolver {
 public:
  Resolver(Loop& loop, std::shared_ptr<Workers> workers);
  ~Resolver();
  // At least one, without a port. IP addresses are not looked up.
  [[nodiscard]] Task<NetResult<std::vector<Endpoint>>> find(std::string host,
                                                            Clock::time_point deadline);

 private:
  struct Lookup;
  static Task<void> look_up(std::shared_ptr<Workers> workers, std::shared_ptr<Lookup> lookup,
                            std::string host);

  Loop& loop_;
  std::shared_ptr<Workers> workers_;
  std::map<std::string, std::shared_ptr<Lookup>> lookups_;
};

// One after the other until one answers.
[[nodiscard]] Task<NetResult<StreamPtr>> connect_to(Loop& loop, std::vector<Endpoint> endpoints,
                                                    std::uint16_t port, Clock::time_point deadline);

}  // namespace palisade::gateway
