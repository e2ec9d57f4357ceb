// The memory of kube/http_server.h under a crowd of slow connections. Built without a sanitizer in
// every build, server included: one keeps what was freed, and its red zones.
#ifdef __SANITIZE_ADDRESS__
#error "what is measured here is the sanitizer's memory"
#endif
#include <atomic>
#include <fstream>
#include <iostream>
#include <thread>

#include <malloc.h>
#include <sys/resource.h>

#include "kube/http_fixture.h"

namespace {

using namespace http_testing;

INSTANTIATE_TEST_SUITE_P(Both, HttpServerTest, testing::Bool(),
                         [](const auto& tls) { return tls.param ? "Tls" : "Plain"; });

// How many descriptors this process may have, raised to its hard limit.
std::size_t descriptors() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_cur;
}

std::size_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  in >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// The bytes of a ClientHello.
std::string client_hello() {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_connect(ssl.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(SSL_get_wbio(ssl.get()), &data);
  return {data, static_cast<std::size_t>(size)};
}

// Sockets only: what the clients hold must not count as the server's.
class Crowd {
 public:
  ~Crowd() {
    for (const int socket : sockets_)
      ::close(socket);
  }
  void add(std::uint16_t port, std::string_view bytes) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(socket, 0) << std::strerror(errno);
    sockets_.push_back(socket);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0)
        << std::strerror(errno);
    std::ignore = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Secured, with the beginning of a request; then only the socket of it is kept.
  void add_secured(std::uint16_t port) {
    raw::Client client(port, true);
    if (!client.secured()) return;
    client.write("POST /p HTTP/1.1\r\nHost: x\r\nContent-Le");
    sockets_.push_back(::dup(client.socket()));
  }

 private:
  std::vector<int> sockets_;
};

TEST_P(HttpServerTest, FiveThousandSlowConnectionsNeitherLockOutNorFillTheMemory) {
  constexpr std::size_t kMax = 1000;
  constexpr std::size_t kPerConnection = 24 * 1024;  // a slow one's, handshakes included
  constexpr std::size_t kCrowd = 5000;
  ASSERT_GE(descriptors(), kCrowd + kMax + 500)
      << "5000 slow connections are more than this process may have open: raise the hard limit of "
         "descriptors (ulimit -Hn)";
  HttpServerOptions options;
  options.max_connections = kMax;
  options.handshake_deadline = 60s;  // nothing but room ends them
  options.read_deadline = 60s;
  start(options);
  const auto kept_alive = connect();
  kept_alive->write(get("/"));
  ASSERT_TRUE(kept_alive->reply());
  malloc_trim(0);
  const std::size_t before = resident_bytes();

  std::atomic<bool> over{false};
  std::atomic<int> answered{0};
  std::atomic<int> unanswered{0};
  std::jthread reviews([&] {
    while (!over) {
      kept_alive->write(get("/"));
      ++(kept_alive->reply() ? answered : unanswered);
    }
  });
  Crowd crowd;
  const std::string hello = GetParam() ? client_hello() : "GET /slow HTTP/1.1\r\nX";
  std::size_t most = 0;
  int let_in = 0;
  for (std::size_t i = 0; i < kCrowd && !HasFatalFailure(); ++i) {
    switch (i % 4) {
      case 0:
        crowd.add(server_->port(), {});
        break;
      case 1:
        crowd.add(server_->port(), std::string_view(hello).substr(0, 20));
        break;
      case 2:
        crowd.add(server_->port(), hello);
        break;
      default:
        if (GetParam() && i % 16 == 3)
          crowd.add_secured(server_->port());
        else
          crowd.add(server_->port(), hello);
    }
    if (i % 500 == 499) {
      most = std::max(most, resident_bytes());
      // Each thread counts one in before it makes room for it.
      EXPECT_LE(server_->connections(), kMax + static_cast<std::size_t>(options.threads));
      let_in += status_of(get("/new")) == 200 ? 1 : 0;
    }
  }
  ASSERT_TRUE(eventually([&] { return server_->counters().accepted >= kCrowd; }));
  most = std::max(most, resident_bytes());
  // Full of them, it takes new ones in as if it were empty.
  EXPECT_EQ(status_of(get("/new")), 200);
  over = true;
  reviews.join();
  EXPECT_EQ(unanswered, 0);
  EXPECT_GT(answered, 100);
  EXPECT_EQ(let_in, static_cast<int>(kCrowd / 500));
  // Handshakes that hang make room for others by themselves.
  EXPECT_GT(server_->connections(), kMax - 200);
  EXPECT_GE(server_->counters().evicted, kCrowd - kMax);
  EXPECT_EQ(server_->counters().refused, 0U);
  const std::size_t growth = most - std::min(most, before);
  std::cerr << "resident memory grew by " << growth / 1024 << " KiB: " << growth / kMax
            << " bytes for each connection held\n";
  EXPECT_LT(growth, kMax * kPerConnection);
}

}  // namespace
