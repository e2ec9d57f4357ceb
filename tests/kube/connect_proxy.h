// An HTTP proxy that knows CONNECT alone, and takes every host for one port of this machine.
#pragma once

#include <array>
#include <memory>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kube/scripted_server.h"

namespace scripted {

// Passes bytes on in both directions until either side ends.
inline void relay(int one, int other) {
  std::array<char, 16UL * 1024> bytes{};
  while (true) {
    std::array<pollfd, 2> waiting{{{one, POLLIN, 0}, {other, POLLIN, 0}}};
    if (poll(waiting.data(), waiting.size(), 60'000) <= 0) return;
    for (int i = 0; i < 2; ++i) {
      if (waiting[static_cast<std::size_t>(i)].revents == 0) continue;
      const ssize_t got = recv(i == 0 ? one : other, bytes.data(), bytes.size(), 0);
      if (got <= 0) return;
      if (send(i == 0 ? other : one, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) !=
          got)
        return;
    }
  }
}

// Notes the head of each request. `answer` other than 200 is all that a client gets.
inline std::unique_ptr<Server> connect_proxy(int port, std::string answer = "200 Connected") {
  const auto self = std::make_shared<std::atomic<Server*>>(nullptr);
  auto out = std::make_unique<Server>(
      Options{}, [self, port, answer = std::move(answer)](Peer& peer, int) {
        while (self->load() == nullptr)
          std::this_thread::yield();
        self->load()->note(peer.read_request());
        if (!answer.starts_with("200")) {
          peer.write("HTTP/1.1 " + answer + "\r\nContent-Length: 0\r\n\r\n");
          peer.wait_for_close();
          return;
        }
        const int onward = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(onward, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
            peer.write("HTTP/1.1 " + answer + "\r\n\r\n"))
          relay(peer.handle(), onward);
        close(onward);
        peer.cut();
      });
  *self = out.get();
  return out;
}

}  // namespace scripted
