#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <gateway/http/server.h>
#include <gateway/http/workers.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "pool.h"

namespace palisade::gateway {

namespace {

using namespace std::chrono_literals;

constexpr int kBacklog = 1024;
constexpr int kAcceptAtOnce = 64;
constexpr auto kNoDescriptors = 100ms;  // until the next try
constexpr auto kUnwinding = 5s;         // for coroutines that have been told to end
constexpr std::size_t kMaxLookups = 1024;

std::string text_of(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET6) {
    const auto* six = reinterpret_cast<const sockaddr_in6*>(&address);
    ::inet_ntop(AF_INET6, &six->sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(six->sin6_port));
  }
  const auto* four = reinterpret_cast<const sockaddr_in*>(&address);
  ::inet_ntop(AF_INET, &four->sin_addr, text.data(), text.size());
  return std::string(text.data()) + ":" + std::to_string(ntohs(four->sin_port));
}

std::unexpected<NetError> cannot(const ServerOptions& options, const char* what) {
  return std::unexpected(NetError{Fault::kConnect, "listen on " + options.address + ":" +
                                                       std::to_string(options.port) + ": " + what});
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions server_options, Handler server_handler)
      : options(std::move(server_options)), handler(std::move(server_handler)) {}

  ServerOptions options;
  Handler handler;
  std::vector<std::unique_ptr<ServerThread>> loops;
  std::vector<std::thread> threads;
  std::optional<boost::asio::posix::stream_descriptor> listener;  // of the first loop
  std::optional<boost::asio::steady_timer> again;
  std::uint16_t port = 0;

  mutable std::mutex mutex;
  std::condition_variable gone;
  TlsContext tls;
  std::size_t connections = 0;
  bool started = false;
  bool stopped = false;

  NetResult<int> bind_socket();
  void accept();
  void accept_some();
  void take(int fd, std::string client, TlsContext context);
  void start_connection(ServerThread& thread, int fd, const std::string& client,
                        TlsContext context);
  void count_out(ServerThread& thread);
  Task<void> serve(ServerThread& thread, StreamPtr stream, std::string client, TlsContext context);
  bool wait_for_none(std::chrono::milliseconds limit);
};

NetResult<int> Server::Impl::bind_socket() {
  sockaddr_storage address{};
  socklen_t size = 0;
  auto* six = reinterpret_cast<sockaddr_in6*>(&address);
  auto* four = reinterpret_cast<sockaddr_in*>(&address);
  if (::inet_pton(AF_INET, options.address.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(options.port);
    size = sizeof(*four);
  } else if (::inet_pton(AF_INET6, options.address.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(options.port);
    size = sizeof(*six);
  } else {
    return cannot(options, "not an IP address");
  }
  const int fd =
      ::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return cannot(options, std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, kBacklog) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const int error = errno;
    ::close(fd);
    return cannot(options, std::strerror(error));
  }
  port = ntohs(address.ss_family == AF_INET6 ? six->sin6_port : four->sin_port);
  return fd;
}

void Server::Impl::accept() {
  listener->async_wait(boost::asio::posix::descriptor_base::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (!error) accept_some();
                       });
}

void Server::Impl::accept_some() {
  if (!listener || !listener->is_open()) return;
  TlsContext context;
  {
    const std::scoped_lock lock(mutex);
    context = tls;
  }
  for (int i = 0; i < kAcceptAtOnce; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    const int fd = ::accept4(listener->native_handle(), reinterpret_cast<sockaddr*>(&from), &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      take(fd, text_of(from), context);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) break;
    // No descriptors or no memory: the kernel would say at once that there is one to accept.
    again->expires_after(kNoDescriptors);
    again->async_wait([this](const boost::system::error_code& error) {
      if (!error) accept_some();
    });
    return;
  }
  accept();
}

void Server::Impl::take(int fd, std::string client, TlsContext context) {
  ServerThread* thread =
      std::ranges::min_element(loops, {}, [](const auto& one) { return one->open.load(); })->get();
  {
    const std::scoped_lock lock(mutex);
    ++connections;
    ++thread->open;
  }
  if (thread == loops.front().get())
    return start_connection(*thread, fd, client, std::move(context));
  boost::asio::post(thread->loop.io(), [this, thread, fd, client = std::move(client),
                                        context = std::move(context)]() mutable {
    start_connection(*thread, fd, client, std::move(context));
  });
}

void Server::Impl::count_out(ServerThread& thread) {
  const std::scoped_lock lock(mutex);
  --thread.open;
  if (--connections == 0) gone.notify_all();
}

void Server::Impl::start_connection(ServerThread& thread, int fd, const std::string& client,
                                    TlsContext context) {
  if (thread.open > std::max<std::size_t>(1, options.max_connections / loops.size())) {
    if (thread.idle.empty() || thread.draining) {
      ::close(fd);
      return count_out(thread);
    }
    Connection* longest = thread.idle.front();
    thread.idle.splice(thread.idle.end(), thread.idle, thread.idle.begin());
    longest->end_idle();
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  StreamPtr stream;
  try {
    stream = Stream::make(thread.loop, fd);
  } catch (const std::system_error& error) {
    log_line(options, std::string("a connection cannot be served: ") + error.what());
    return count_out(thread);
  }
  boost::asio::co_spawn(thread.loop.io(),
                        serve(thread, std::move(stream), client, std::move(context)),
                        boost::asio::detached);
}

Task<void> Server::Impl::serve(ServerThread& thread, StreamPtr stream, std::string client,
                               TlsContext context) {
  struct Counted {
    Impl& impl;
    ServerThread& thread;
    ~Counted() { impl.count_out(thread); }
  };
  const Counted counted{*this, thread};
  Connection connection(thread, std::move(stream), std::move(client));
  try {
    co_await connection.serve(std::move(context));
  } catch (const std::exception& error) {
    log_line(options, std::string("a connection failed: ") + error.what());
  }
}

bool Server::Impl::wait_for_none(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex);
  return gone.wait_for(lock, limit, [this] { return connections == 0; });
}

Server::Server(ServerOptions options, Handler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}

Server::~Server() {
  stop(0ms);
}

NetResult<void> Server::start() {
  Impl& impl = *impl_;
  std::signal(SIGPIPE, SIG_IGN);
  if (impl.options.tls) {
    if (auto set = set_identity(*impl.options.tls); !set) return set;
  }
  const auto fd = impl.bind_socket();
  if (!fd) return std::unexpected(fd.error());
  auto lookups = std::make_shared<Workers>(1, kMaxLookups);
  for (int i = 0; i < std::max(1, impl.options.threads); ++i) {
    auto& thread =
        impl.loops.emplace_back(std::make_unique<ServerThread>(impl.options, impl.handler));
    thread->clients = make_clients(thread->loop, lookups);
  }
  auto& first = impl.loops.front()->loop.io();
  impl.again.emplace(first);
  impl.listener.emplace(first, *fd);
  impl.accept();
  for (auto& thread : impl.loops)
    impl.threads.emplace_back([loop = &thread->loop] { loop->run(); });
  impl.started = true;
  return {};
}

std::uint16_t Server::port() const {
  return impl_->port;
}

NetResult<void> Server::set_identity(const ServingIdentity& identity) {
  auto context = make_server_tls(identity);
  if (!context) return std::unexpected(std::move(context.error()));
  const std::scoped_lock lock(impl_->mutex);
  impl_->tls = std::move(*context);
  return {};
}

void Server::stop(std::chrono::milliseconds drain) {
  Impl& impl = *impl_;
  {
    const std::scoped_lock lock(impl.mutex);
    if (!impl.started || std::exchange(impl.stopped, true)) return;
  }
  boost::asio::post(impl.loops.front()->loop.io(), [&impl] {
    boost::system::error_code ignored;  // it is closed in any case
    impl.listener->close(ignored);
    impl.again->cancel();
  });
  for (auto& thread : impl.loops) {
    thread->draining = true;
    boost::asio::post(thread->loop.io(), [one = thread.get()] {
      for (Connection* connection : one->idle)
        connection->end_idle();
    });
  }
  if (!impl.wait_for_none(drain)) {
    for (auto& thread : impl.loops)
      boost::asio::post(thread->loop.io(), [one = thread.get()] { one->loop.abort_all(); });
    impl.wait_for_none(kUnwinding);
  }
  for (auto& thread : impl.loops)
    thread->loop.stop();
  for (auto& thread : impl.threads)
    thread.join();
  impl.listener.reset();
  impl.again.reset();
  for (auto& thread : impl.loops)
    thread->loop.shutdown();
  impl.loops.clear();
}

std::size_t Server::connections() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->connections;
}

}  // namespace palisade::gateway
