// Calls to other HTTP/1.1 servers, streamed both ways, over connections that are kept. One thread's
// alone: each server thread has its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/http/message.h>
#include <gateway/http/task.h>

namespace palisade::gateway {

// Where a call goes. What differs in any part shares no connection.
struct Origin {
  bool tls = true;
  std::string host;  // for Host, TLS SNI and the certificate's name
  std::uint16_t port = 443;
  std::string address;      // connect here; "": host is looked up (on a thread of its own)
  std::string authorities;  // PEM; the only ones trusted; "": the system's
  bool system_too = false;  // the system's beside `authorities`
  bool operator==(const Origin&) const = default;
};

// One request and its answer. Destroyed before the answer's end it closes its connection; else
// the connection is kept for the next. Redirects are never followed. No compression is asked for.
class Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual ~Call() = default;

  // Host, Content-Length, Transfer-Encoding and Connection are set here. `length`: of the body to
  // come; nullopt: chunked; 0: none.
  [[nodiscard]] virtual Task<NetResult<void>> send(RequestHead head,
                                                   std::optional<std::uint64_t> length) = 0;
  [[nodiscard]] virtual Task<NetResult<void>> write(std::string_view piece) = 0;
  [[nodiscard]] virtual Task<NetResult<void>> finish() = 0;  // of the body, where there is one
  // The answer's head; 1xx are skipped. May be called before finish(): servers may answer early.
  [[nodiscard]] virtual Task<NetResult<ResponseHead>> response(
      std::chrono::milliseconds deadline) = 0;
  // The next piece of its body; valid until the next read. "" at its end; a cut one is kClosed.
  [[nodiscard]] virtual Task<NetResult<std::string_view>> read(std::chrono::milliseconds idle) = 0;
  // Ends it: whoever waits gets kStopped.
  virtual void abort() = 0;
  // Whether the connection had been used before: a kClosed on it before any byte of the answer
  // may mean no more than that the server had closed it meanwhile.
  [[nodiscard]] virtual bool reused() const = 0;

 protected:
  Call() = default;
};

class Clients {
 public:
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;
  virtual ~Clients() = default;
  // A connection, kept or new.
  [[nodiscard]] virtual Task<NetResult<std::unique_ptr<Call>>> open(
      const Origin& origin, std::chrono::milliseconds deadline) = 0;

 protected:
  Clients() = default;
};

}  // namespace palisade::gateway
