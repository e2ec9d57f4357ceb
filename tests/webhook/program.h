// The real palisade-webhook as a process of a test, and what can be seen of it from outside.
#pragma once

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <envtest_process.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "free_port.h"
#include "kube/raw_client.h"
#include "webhook/eventually.h"

namespace palisade::webhook::testing {

// The certificate that is served on loopback, as PEM; "" where none is.
inline std::string served_certificate(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::unique_ptr<const int, void (*)(const int*)> closing(
      &socket, [](const int* fd) { ::close(*fd); });
  timeval patience{10, 0};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return {};
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context.get()), SSL_free);
  SSL_set_fd(tls.get(), socket);
  if (SSL_connect(tls.get()) != 1) return {};
  const std::unique_ptr<X509, decltype(&X509_free)> peer(SSL_get1_peer_certificate(tls.get()),
                                                         X509_free);
  const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), BIO_free);
  if (!peer || PEM_write_bio_X509(memory.get(), peer.get()) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

class Webhook {
 public:
  struct Options {
    std::string kubeconfig;
    std::filesystem::path log;
    std::string secret = "palisade-webhook-tls";
    std::string configuration = "palisade-webhook";
    std::string lease = "palisade-webhook";
    std::uint16_t port = free_port();
    std::uint16_t metrics_port = free_port();
    int drain_seconds = 1;
    std::vector<std::string> more;  // further arguments
  };
  explicit Webhook(Options options) : options_(std::move(options)) {
    // No leak check at its end: cpprestsdk's threads are stopped there with tasks of their own
    // under way. The transports' own tests, where they are not, do check.
    std::vector<std::string> command = {"/usr/bin/env",
                                        "ASAN_OPTIONS=detect_leaks=0",
                                        PALISADE_WEBHOOK_PROGRAM,
                                        "--kubeconfig",
                                        options_.kubeconfig,
                                        "--address",
                                        "127.0.0.1",
                                        "--port",
                                        std::to_string(options_.port),
                                        "--namespace",
                                        "palisade-system",
                                        "--secret",
                                        options_.secret,
                                        "--webhook-configuration",
                                        options_.configuration,
                                        "--lease",
                                        options_.lease,
                                        "--extra-san",
                                        "127.0.0.1",
                                        "--metrics-address",
                                        "127.0.0.1",
                                        "--metrics-port",
                                        std::to_string(options_.metrics_port),
                                        "--drain-seconds",
                                        std::to_string(options_.drain_seconds)};
    command.insert(command.end(), options_.more.begin(), options_.more.end());
    const auto started = process_.start(command, options_.log);
    if (!started) throw std::runtime_error(started.error().text());
  }

  [[nodiscard]] std::uint16_t port() const { return options_.port; }

  // The answer of /readyz and the like; 0 where there is none.
  [[nodiscard]] raw::Reply probe(const std::string& path) const {
    try {
      raw::Client client(options_.metrics_port, false);
      client.write("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
      return client.reply().value_or(raw::Reply{});
    } catch (const std::runtime_error&) {
      return {};  // not listening
    }
  }
  [[nodiscard]] bool becomes_ready() {
    return eventually([&] { return !process_.running() || probe("/readyz").status == 200; }) &&
           process_.running();
  }
  [[nodiscard]] bool running() { return process_.running(); }
  // SIGTERM; how it ended.
  std::string end() {
    process_.stop(SIGTERM, std::chrono::seconds(20));
    return process_.ending();
  }
  [[nodiscard]] std::string log() const { return kube::envtest::tail(options_.log, 30); }

 private:
  Options options_;
  kube::envtest::Process process_;
};

}  // namespace palisade::webhook::testing
