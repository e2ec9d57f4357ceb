// An HTTP/1.1 server whose handlers are coroutines that stream both ways. One thread serves a
// connection for its whole life, and its handlers run there: they must never block (workers.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/http/message.h>
#include <gateway/http/task.h>

namespace palisade::gateway {

class Clients;

struct ServingIdentity {
  std::string certificate;  // PEM chain, leaf first
  std::string key;          // PEM
};

struct ServerOptions {
  std::string address = "0.0.0.0";
  std::uint16_t port = 0;  // 0: any free one, see port()
  std::optional<ServingIdentity> tls;
  int threads = 1;
  std::size_t max_head_bytes = 32 * 1024;  // 431 above
  std::size_t max_connections = 8192;      // per server; above: the one idle longest goes
  std::chrono::milliseconds handshake_deadline{5'000};
  std::chrono::milliseconds head_deadline{10'000};  // from a request's first byte to its head's end
  std::chrono::milliseconds read_idle{60'000};      // longest silence within a request's body
  std::chrono::milliseconds write_idle{60'000};     // longest time without the client taking a byte
  std::chrono::milliseconds idle{120'000};          // between requests
  // A line for each handler that throws; on standard error where there is none. Thread-safe.
  std::function<void(const std::string&)> log;
};

// One request and its answer. Lives as long as its handler runs. Not thread-safe: used on the
// handler's thread alone.
//
// A handler that returns without an answer makes a 500; one that returns within an answer
// that it has begun cuts the connection, so that the client sees that it is not whole. What
// is left of the request's body is read away if it is small, else the connection ends.
class Exchange {
 public:
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  [[nodiscard]] virtual const RequestHead& request() const = 0;
  [[nodiscard]] virtual std::string_view client() const = 0;  // ADDRESS:PORT
  [[nodiscard]] virtual std::optional<std::uint64_t> content_length() const = 0;
  // The next piece of the body, decoded; valid until the next read. "" at its end.
  [[nodiscard]] virtual Task<NetResult<std::string_view>> read() = 0;
  // All of it; kTooLarge above `limit`, without reading the rest.
  [[nodiscard]] virtual Task<NetResult<std::string>> read_all(std::size_t limit) = 0;

  // The whole answer at once. Content-Length is set here.
  [[nodiscard]] virtual Task<NetResult<void>> reply(int status, Fields fields,
                                                    std::string_view body) = 0;
  // An answer in pieces: with Content-Length where `length` is known, else chunked.
  [[nodiscard]] virtual Task<NetResult<void>> begin(int status, Fields fields,
                                                    std::optional<std::uint64_t> length) = 0;
  [[nodiscard]] virtual Task<NetResult<void>> write(
      std::string_view piece) = 0;  // goes out at once
  [[nodiscard]] virtual Task<NetResult<void>> end() = 0;
  [[nodiscard]] virtual bool begun() const = 0;

  // Called once, on this thread, if the client goes away while the handler waits for something
  // else; such as to abort a Call. At once if it has gone already, and not after the handler has
  // returned. Where it ends its sending alone (a FIN), that counts as gone.
  virtual void when_gone(std::function<void()> callback) = 0;
  // Ends the reading: whoever waits in read() gets kStopped, and the connection ends with the
  // answer. For a handler that reads in one coroutine and answers in another (together.h).
  virtual void stop_reading() {}
  // This thread's connections to others.
  [[nodiscard]] virtual Clients& clients() = 0;

 protected:
  Exchange() = default;
};

// Called concurrently, for different exchanges, on the server's threads. An exception is logged and
// counts as a return.
using Handler = std::function<Task<void>(Exchange&)>;

class Server {
 public:
  Server(ServerOptions options, Handler handler);
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] NetResult<void> start();  // binds, then starts the threads
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] NetResult<void> set_identity(const ServingIdentity& identity);  // new connections
  // Stops accepting, ends idle connections and each other one with its answer; after `drain` those
  // that are left, whose waits end with kStopped. Returns when all are gone. Thread-safe, blocks:
  // not to be called by a handler.
  void stop(std::chrono::milliseconds drain);
  [[nodiscard]] std::size_t connections() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
