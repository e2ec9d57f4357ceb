// What kube/http_server.h does on the wire, seen from within its process: nothing waits for an
// acknowledgement, and an answer is one write.
#include <atomic>
#include <filesystem>
#include <map>

#include <netinet/tcp.h>
#include <sys/syscall.h>

#include "kube/http_fixture.h"

namespace {

// Writes by send(2), by descriptor. The server's loop uses nothing else; clients with TLS do not
// use it.
std::atomic<bool> watched{false};
std::array<std::atomic<int>, 4096> writes;

}  // namespace

// In front of libc's, for the whole program.
extern "C" ssize_t send(int fd, const void* data, std::size_t size, int flags) {
  if (watched && fd >= 0 && static_cast<std::size_t>(fd) < writes.size())
    ++writes[static_cast<std::size_t>(fd)];
  return ::syscall(SYS_sendto, fd, data, size, flags, nullptr, 0);
}

namespace {

using namespace http_testing;

INSTANTIATE_TEST_SUITE_P(Both, HttpServerTest, testing::Bool(),
                         [](const auto& tls) { return tls.param ? "Tls" : "Plain"; });

std::uint16_t port_of(int fd, bool own) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  auto* const out = reinterpret_cast<sockaddr*>(&address);
  const int known = own ? ::getsockname(fd, out, &length) : ::getpeername(fd, out, &length);
  return known == 0 && address.sin_family == AF_INET ? ntohs(address.sin_port) : 0;
}

// This process's descriptor of the server's end of a connection; -1: it has none.
int server_end(const raw::Client& client) {
  const std::uint16_t port = port_of(client.socket(), true);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    if (fd != client.socket() && port_of(fd, false) == port) return fd;
  }
  return -1;
}

TEST_P(HttpServerTest, NoConnectionWaitsForAcknowledgements) {
  HttpServerOptions options;
  options.threads = 2;  // one takes connections in for both
  start(options);
  std::vector<std::unique_ptr<raw::Client>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(connect());
    clients.back()->write(get("/"));
    ASSERT_TRUE(clients.back()->reply());
    const int fd = server_end(*clients.back());
    ASSERT_GE(fd, 0);
    int set = 0;
    socklen_t length = sizeof set;
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &set, &length), 0);
    EXPECT_NE(set, 0);
  }
}

// Up to the largest that a review is answered with: a denial with all its findings, twice.
TEST_P(HttpServerTest, AnAnswerIsOneWrite) {
  const std::map<std::string, std::size_t> sizes{
      {"/0", 0}, {"/300", 300}, {"/17000", 17'000}, {"/40000", 40'000}};
  start({}, [&](const HttpRequest& request) {
    return HttpResponse{200, "text/plain", std::string(sizes.at(std::string(request.target)), 'x')};
  });
  const auto client = connect();
  client->write(get("/300"));
  ASSERT_TRUE(client->reply());  // the handshake, and a session ticket, are over
  const int fd = server_end(*client);
  ASSERT_TRUE(fd >= 0 && static_cast<std::size_t>(fd) < writes.size());
  const auto at = static_cast<std::size_t>(fd);
  for (const auto& [target, size] : sizes) {
    writes[at] = 0;
    watched = true;
    client->write(get(target));
    const auto reply = client->reply();
    watched = false;
    ASSERT_TRUE(reply) << target;
    EXPECT_EQ(reply->body.size(), size);
    EXPECT_EQ(writes[at], 1) << target;
  }
}

}  // namespace
