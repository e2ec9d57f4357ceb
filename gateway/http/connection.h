// One client's connection: its requests, one after the other, each given to the handler.
#pragma once

#include <atomic>
#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include <gateway/http/client.h>
#include <gateway/http/server.h>

#include "channel.h"

namespace palisade::gateway {

class Connection;

// What the connections of a thread share with it.
struct ServerThread {
  ServerThread(const ServerOptions& server_options, const Handler& server_handler)
      : options(server_options), handler(server_handler) {}

  const ServerOptions& options;
  const Handler& handler;
  Loop loop;
  std::unique_ptr<Clients> clients;
  std::list<Connection*> idle;  // between requests; the longest first
  std::atomic<bool> draining{false};
  std::atomic<std::size_t> open{0};
};

class Connection {
 public:
  Connection(ServerThread& thread, StreamPtr stream, std::string client);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // To the connection's end. `tls`: null for none.
  [[nodiscard]] Task<void> serve(TlsContext tls);
  // While it is in `idle`.
  void end_idle() { channel_.stream().abort(); }

 private:
  class OneExchange;

  [[nodiscard]] Task<void> requests();
  // The next request's head; false where the connection ends.
  [[nodiscard]] Task<bool> next_head(RequestHead& head, RequestMeta& meta);
  // Whether another request may come.
  [[nodiscard]] Task<bool> one(const RequestHead& head, const RequestMeta& meta);
  [[nodiscard]] Task<void> refuse(int status, const char* what);
  [[nodiscard]] Task<void> linger();

  ServerThread& thread_;
  const std::string client_;
  Channel channel_;
};

// One line on standard error, or to the server's log.
void log_line(const ServerOptions& options, const std::string& line);

}  // namespace palisade::gateway
