// What HTTP/1.1 messages are made of, apart from their bodies.
// Source: RFC 9110 (fields), RFC 9112 (framing).
#pragma once

#include <cstdint>
#include <expected>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway {

enum class Fault : std::uint8_t {
  kClosed,    // the peer ended the connection, or cut a message short
  kTimeout,   // a deadline passed
  kConnect,   // no connection: refused, unreachable, name not found
  kTls,       // handshake: not trusted, wrong name
  kProtocol,  // not HTTP as it must be; smuggling included
  kTooLarge,
  kStopped,  // this side is ending
};
[[nodiscard]] std::string_view name_of(Fault fault);

struct NetError {
  Fault fault = Fault::kClosed;
  std::string message;  // for logs and answers; nothing of the peer's but its address
};
template <class T>
using NetResult = std::expected<T, NetError>;

struct Field {
  std::string name;
  std::string value;
};

// Header fields in their order. Names are compared without case.
class Fields {
 public:
  Fields() = default;
  Fields(std::initializer_list<Field> fields) : fields_(fields) {}

  // The first one's value; "" where there is none.
  [[nodiscard]] std::string_view get(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::size_t count(std::string_view name) const;
  void add(std::string name, std::string value);
  void set(std::string_view name, std::string value);  // in place of all of that name
  void remove(std::string_view name);
  [[nodiscard]] const std::vector<Field>& all() const { return fields_; }
  // Connection, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade, Content-Length, and
  // whatever Connection names: what belongs to one hop and is never passed on.
  void remove_hop_by_hop();

 private:
  std::vector<Field> fields_;
};

// What Content-Length says, where there is one.
[[nodiscard]] std::optional<std::uint64_t> content_length(const Fields& fields);

struct RequestHead {
  std::string method;
  std::string target;  // origin-form, as sent
  Fields fields;       // Host included

  [[nodiscard]] std::string_view path() const;   // before the "?"
  [[nodiscard]] std::string_view query() const;  // behind it; "" where there is none
};

struct ResponseHead {
  int status = 0;
  Fields fields;
};

}  // namespace palisade::gateway
