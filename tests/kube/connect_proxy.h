// Proxies that take every host for one port of this machine: HTTP's CONNECT, maybe over TLS, and
// SOCKS 5.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kube/scripted_server.h"

namespace scripted {

// Whatever the client has said through a tunnel, as the proxy sees it.
class Heard {
 public:
  void add(const std::string& text) {
    const std::scoped_lock lock(mutex_);
    text_ += text;
  }
  [[nodiscard]] std::string text() {
    const std::scoped_lock lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

// Passes bytes on in both directions until either side ends.
inline void relay(Peer& peer, int onward, Heard& heard) {
  std::array<char, 16UL * 1024> bytes{};
  while (true) {
    const bool pending = peer.has_pending();
    std::array<pollfd, 2> waiting{{{peer.handle(), POLLIN, 0}, {onward, POLLIN, 0}}};
    if (poll(waiting.data(), waiting.size(), pending ? 0 : 60'000) <= 0 && !pending) return;
    if (pending || waiting[0].revents != 0) {
      const std::string said = peer.read_some();
      heard.add(said);
      if (said.empty() ||
          send(onward, said.data(), said.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(said.size()))
        return;
    }
    if (waiting[1].revents != 0) {
      const ssize_t got = recv(onward, bytes.data(), bytes.size(), 0);
      if (got <= 0 || !peer.write({bytes.data(), static_cast<std::size_t>(got)})) return;
    }
  }
}

// Says `welcome` to the client once the port is reached, and is in the way no longer.
inline void pass_on(Peer& peer, int port, const std::string& welcome, Heard& heard) {
  const int onward = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(onward, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      peer.write(welcome))
    relay(peer, onward, heard);
  close(onward);
  peer.cut();
}

using HeardPtr = std::shared_ptr<Heard>;

// A server whose script may note something from the first connection on.
inline std::unique_ptr<Server> noting(Options options, std::function<void(Server&, Peer&)> script) {
  const auto self = std::make_shared<std::atomic<Server*>>(nullptr);
  auto out = std::make_unique<Server>(std::move(options),
                                      [self, script = std::move(script)](Peer& peer, int) {
                                        while (self->load() == nullptr)
                                          std::this_thread::yield();
                                        script(*self->load(), peer);
                                      });
  *self = out.get();
  return out;
}

// Notes the head of each request. `answer` other than 200 is all that a client gets.
inline std::unique_ptr<Server> connect_proxy(int port, std::string answer = "200 Connected",
                                             Options options = {},
                                             HeardPtr heard = std::make_shared<Heard>()) {
  return noting(std::move(options), [port, answer = std::move(answer), heard = std::move(heard)](
                                        Server& server, Peer& peer) {
    server.note(peer.read_request());
    if (!answer.starts_with("200")) {
      peer.write("HTTP/1.1 " + answer + "\r\nContent-Length: 0\r\n\r\n");
      peer.wait_for_close();
      return;
    }
    pass_on(peer, port, "HTTP/1.1 " + answer + "\r\n\r\n", *heard);
  });
}

// Notes "USER:PASSWORD NAME:PORT" of each connection; the user is asked for where `login` is one.
inline std::unique_ptr<Server> socks_proxy(int port, const std::string& login = "",
                                           HeardPtr heard = std::make_shared<Heard>()) {
  return noting({}, [port, login, heard = std::move(heard)](Server& server, Peer& peer) {
    const auto number = [&peer] {
      const std::string byte = peer.read(1);
      return byte.empty() ? 0U : static_cast<unsigned char>(byte[0]);
    };
    const auto text = [&] { return peer.read(number()); };
    peer.read(1);
    const char method = login.empty() ? '\0' : '\2';
    if (text().find(method) == std::string::npos) {
      peer.write(std::string("\x05\xff", 2));
      return peer.wait_for_close();
    }
    peer.write(std::string("\x05", 1) + method);
    std::string who;
    if (!login.empty()) {
      peer.read(1);
      who = text();
      who += ":" + text();
      peer.write(who == login ? std::string("\x01\x00", 2) : std::string("\x01\x01", 2));
      if (who != login) return peer.wait_for_close();
    }
    const std::string head = peer.read(4);
    std::string name = "?";
    if (head == std::string("\x05\x01\x00\x03", 4)) name = text();
    if (head == std::string("\x05\x01\x00\x01", 4)) {
      std::array<char, INET_ADDRSTRLEN> shown{};
      name = inet_ntop(AF_INET, peer.read(4).data(), shown.data(), shown.size());
    }
    const unsigned high = number();
    server.note(who + " " + name + ":" + std::to_string(high * 256 + number()));
    // Bound to a name, which has a length of its own.
    pass_on(peer, port, std::string("\x05\x00\x00\x03\x02hi\x00\x00", 9), *heard);
  });
}

}  // namespace scripted
