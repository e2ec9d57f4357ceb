#include <algorithm>
#include <thread>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <kube/http_server.h>

#include "http_loop.h"
#include "http_waiters.h"

namespace kube {

namespace {

std::unexpected<Error> server_error(std::string message) {
  return std::unexpected(Error{0, "ServerError", std::move(message), {}, {}});
}

struct Endpoint {
  sockaddr_storage address{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&address); }
  [[nodiscard]] std::uint16_t port() const {
    return ntohs(address.ss_family == AF_INET6
                     ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                     : reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
};

std::optional<Endpoint> endpoint_of(const std::string& address, std::uint16_t port) {
  Endpoint out;
  auto& four = reinterpret_cast<sockaddr_in&>(out.address);
  if (::inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    out.length = sizeof four;
    return out;
  }
  auto& six = reinterpret_cast<sockaddr_in6&>(out.address);
  if (::inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) != 1) return std::nullopt;
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  out.length = sizeof six;
  return out;
}

}  // namespace

struct HttpServer::Impl {
  HttpShared shared;
  std::vector<std::jthread> threads;
  std::uint16_t port = 0;
  bool running = false;

  // The two things that a TLS context is made of: set one at a time, by whoever watches its file.
  std::mutex mutex;
  ServingCertificate certificate;
  std::optional<ClientCertificates> clients;

  Result<void> set_tls(const ServingCertificate& new_certificate,
                       const std::optional<ClientCertificates>& new_clients) {
    auto context = make_server_context(new_certificate, new_clients);
    if (!context) return std::unexpected(std::move(context.error()));
    certificate = new_certificate;
    clients = new_clients;
    shared.set_tls(std::move(*context));
    return {};
  }

  Result<Descriptor> bind() {
    const auto& options = shared.options;
    auto endpoint = endpoint_of(options.address, options.port);
    if (!endpoint)
      return server_error("listen address \"" + options.address + "\" is no IP address");
    Descriptor socket(
        ::socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int yes = 1;
    if (socket.get() < 0 ||
        ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        ::bind(socket.get(), endpoint->get(), endpoint->length) != 0 ||
        ::listen(socket.get(), 1024) != 0 ||
        ::getsockname(socket.get(), endpoint->get(), &endpoint->length) != 0) {
      return server_error(fmt::format("listen on {}:{}: {}", options.address, options.port,
                                      std::generic_category().message(errno)));
    }
    port = endpoint->port();
    return socket;
  }
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler)
    : impl_(std::make_unique<Impl>()) {
  impl_->shared.options = std::move(options);
  impl_->shared.handler = std::move(handler);
}

HttpServer::~HttpServer() {
  stop(std::chrono::milliseconds(0));
}

Result<void> HttpServer::start() {
  Impl& impl = *impl_;
  const HttpServerOptions& options = impl.shared.options;
  if (options.tls) {
    const std::scoped_lock lock(impl.mutex);
    if (auto set = impl.set_tls(*options.tls, options.clients); !set) return set;
  }
  auto listener = impl.bind();
  if (!listener) return std::unexpected(std::move(listener.error()));

  // Each thread holds its share of the connections.
  const std::size_t most = std::max<std::size_t>(options.max_connections, 1);
  const auto loops = std::min(most, static_cast<std::size_t>(std::max(1, options.threads)));
  try {
    for (std::size_t i = 0; i < loops; ++i) {
      impl.shared.loops.push_back(
          std::make_unique<HttpLoop>(impl.shared, most / loops + (i < most % loops ? 1 : 0)));
    }
    impl.shared.loops.front()->listen(std::move(*listener));
  } catch (const std::system_error& error) {
    impl.shared.loops.clear();
    return server_error(error.what());
  }
  if (options.waiting_threads > 0) {
    impl.shared.waiters =
        std::make_unique<HttpWaiters>(impl.shared, options.waiting_threads, options.max_waiting);
  }
  impl.shared.retiring = false;
  impl.running = true;
  for (auto& loop : impl.shared.loops) {
    impl.threads.emplace_back([&loop = *loop] { loop.run(); });
    pthread_setname_np(impl.threads.back().native_handle(), "http");
  }
  return {};
}

std::uint16_t HttpServer::port() const {
  return impl_->port;
}

Result<void> HttpServer::set_certificate(const ServingCertificate& certificate) {
  if (!impl_->shared.options.tls) return server_error("the server was made for plain HTTP");
  const std::scoped_lock lock(impl_->mutex);
  return impl_->set_tls(certificate, impl_->clients);
}

Result<void> HttpServer::set_clients(const ClientCertificates& clients) {
  if (!impl_->shared.options.tls || !impl_->shared.options.clients)
    return server_error("the server was made to ask for no client certificates");
  const std::scoped_lock lock(impl_->mutex);
  return impl_->set_tls(impl_->certificate, clients);
}

void HttpServer::retire() {
  impl_->shared.retiring = true;
}

void HttpServer::stop(std::chrono::milliseconds drain) {
  Impl& impl = *impl_;
  if (!impl.running) return;
  impl.running = false;
  for (auto& loop : impl.shared.loops)
    loop->drain();
  const auto deadline = HttpClock::now() + drain;
  while (connections() > 0 && HttpClock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (auto& loop : impl.shared.loops)
    loop->stop();
  impl.threads.clear();         // joins
  impl.shared.waiters.reset();  // waits for handlers, which know the loops
  impl.shared.loops.clear();
}

std::size_t HttpServer::connections() const {
  return impl_->shared.open;
}

HttpServerCounters HttpServer::counters() const {
  const HttpCounts& counts = impl_->shared.counts;
  return {counts.accepted,          counts.refused, counts.evicted,
          counts.failed_handshakes, counts.shed,    counts.late};
}

}  // namespace kube
