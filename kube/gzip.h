// Answers in gzip, decoded as they come.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <kube/transport.h>

struct z_stream_s;

namespace kube {

[[nodiscard]] bool is_gzip(const Headers& headers);

// One gzip member (RFC 1952) and nothing after it.
class Gunzip {
 public:
  Gunzip();
  ~Gunzip();
  Gunzip(const Gunzip&) = delete;
  Gunzip& operator=(const Gunzip&) = delete;

  enum class State { kMore, kBroken, kTooLarge };
  // Appends what `piece` holds to `out`, which never grows beyond `limit` bytes.
  [[nodiscard]] State append(std::string_view piece, std::size_t limit, std::string& out);
  // Its checksum has come, and held.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  std::unique_ptr<z_stream_s> stream_;
  bool ready_ = false;
  bool ended_ = false;
};

}  // namespace kube
