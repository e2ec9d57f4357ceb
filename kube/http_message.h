// HTTP/1.1 messages without a socket: bytes to requests, replies to bytes. Beast's parser decides
// what is well formed (RFC 9112); nothing here copies a body that came whole.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <kube/http_server.h>

namespace kube {

struct MessageLimits {
  std::size_t header_bytes = 0;
  std::size_t body_bytes = 0;
};

// A request as it comes in. Its texts are kept for the next one, so that a connection's usual
// requests allocate nothing.
struct RequestParts {
  std::string method;
  std::string target;
  std::string content_type;
  std::string host;
  std::string traceparent;
  std::string_view body;  // into the bytes that were read, or into `joined`
  std::string joined;     // a body that came in pieces
  bool keep_alive = false;
  bool old_version = false;  // HTTP/1.0
  bool wants_continue = false;

  [[nodiscard]] HttpRequest view() const;
};

// Reads one request after another, each after restart(). Feed it what came; what it does not take
// comes again with more behind it.
class RequestReader {
 public:
  enum class State : std::uint8_t {
    kMore,     // needs more bytes
    kHeader,   // the header is over and a body is to come: said once
    kDone,     // parts() are complete
    kRefused,  // see status()
  };
  explicit RequestReader(const MessageLimits& limits);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  void restart();
  // Takes bytes from the front of `bytes`. A body that came in one piece is viewed, not copied:
  // `bytes` must live until the request is answered.
  State read(std::string_view& bytes);
  [[nodiscard]] int status() const { return status_; }  // 400, 413, 431, 501 or 505
  // After kHeader: what the body takes at most.
  [[nodiscard]] std::size_t body_bound() const;
  [[nodiscard]] RequestParts& parts() { return parts_; }

 private:
  class Parser;

  State refuse(int status);

  const MessageLimits limits_;
  RequestParts parts_;
  std::unique_ptr<Parser> parser_;
  bool header_said_ = false;
  int status_ = 0;
};

// Appends a reply in full. `keep`: whether the connection goes on.
void append_reply(std::string& out, const HttpResponse& response, const RequestParts& request,
                  bool keep);
// Appends a reply of the server's own, after which the connection ends.
void append_refusal(std::string& out, int status);

// The time that the caller says it waits, from the query's `timeout` as API servers send it
// (`?timeout=10s`, Go's duration syntax). nullopt where there is none, two, or one that is no
// positive duration.
// Source: https://pkg.go.dev/time#ParseDuration
[[nodiscard]] std::optional<std::chrono::nanoseconds> requested_timeout(std::string_view target);

}  // namespace kube
