// A container's terminal over the API server: pods/attach by WebSocket, subprotocols
// v5.channel.k8s.io and v4.channel.k8s.io.
// Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ and
// https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <kube/config.h>
#include <kube/error.h>

namespace kube {

struct AttachOptions {
  std::string ns;
  std::string pod;
  std::string container;
  std::chrono::milliseconds open_timeout{30'000};  // until the server has taken the upgrade
  // A peer that is silent for so long and does not answer a ping either is lost.
  std::chrono::milliseconds silence{30'000};
};

// How an attachment that was open came to its end.
struct AttachEnd {
  enum class Kind : std::uint8_t {
    kEnded,   // the server said so: the container has ended
    kClosed,  // close() was called
    kLost,    // the connection broke, or the server did not say why it closed it
  };
  Kind kind = Kind::kLost;
  std::string message;  // the server's, or what broke
};

// One connection with standard input, output and a terminal. run() once; the others are
// thread-safe and may come at any time, also before it is open.
class Attachment {
 public:
  Attachment(Config config, AttachOptions options);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // Opens it, calls `opened`, then `output` with what the container prints, all on this thread,
  // until the end. Not returning from `output` holds the peer back. An Error: it was never open;
  // with a code it is the API server's answer (403: the webhook or RBAC).
  [[nodiscard]] Result<AttachEnd> run(const std::function<void()>& opened,
                                      const std::function<void(std::string_view)>& output);

  // False where more than 256 KiB wait to be sent: nothing was taken, try again later.
  bool send(std::string_view input);
  void resize(unsigned columns, unsigned rows);
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
