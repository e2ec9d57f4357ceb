#include "guard/sockets.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "connector.h"
#include "duplicates.h"
#include "guard/address.h"
#include "guard/memory.h"
#include "guard/proc.h"
#include "listeners.h"
#include "unix_path.h"

namespace palisade::guard {

namespace {

constexpr int kTypeMask = 0xf;  // of socket(2)'s second argument; above it are flags

// A judgement that is no "yes": a rule that is broken, or an error that the kernel would give too.
struct No {
  std::string rule;  // "" for an error alone
  int error;
};

struct AllowedRange {
  Cidr range;
  std::uint16_t first;  // 0: every port
  std::uint16_t last;
};

std::vector<AllowedRange> ranges_of(const NetworkPolicy& policy) {
  std::vector<AllowedRange> ranges;
  for (const auto& peer : policy.connect) {
    auto range = parse_cidr(peer.cidr);
    if (!range) {
      throw std::runtime_error("network.connect: " + peer.cidr + " " + range.error());
    }
    ranges.push_back({*range, peer.port, std::max(peer.port, peer.end_port)});
  }
  return ranges;
}

// The caller's descriptor: a socket by its inode, or an errno.
std::expected<std::uint64_t, int> socket_inode(const Notification& notification) {
  const auto fd = static_cast<std::int32_t>(notification.call.data.args[0]);
  if (fd < 0) return std::unexpected(EBADF);
  auto about = stat_of(static_cast<pid_t>(notification.call.pid), "fd/" + std::to_string(fd));
  if (!about) return std::unexpected(about.error() == ENOENT ? EBADF : about.error());
  if (!S_ISSOCK(about->st_mode)) return std::unexpected(ENOTSOCK);
  return about->st_ino;
}

// One copy of the address; it is not read again.
std::expected<SocketAddress, int> read_address(const Notification& notification) {
  const auto size = static_cast<std::int32_t>(notification.call.data.args[2]);
  std::array<std::byte, sizeof(sockaddr_storage)> bytes{};
  if (size < 0 || static_cast<std::size_t>(size) > bytes.size()) return std::unexpected(EINVAL);
  const auto used = std::span{bytes}.first(static_cast<std::size_t>(size));
  if (size > 0) {
    auto read =
        read_all(static_cast<pid_t>(notification.call.pid), notification.call.data.args[1], used);
    if (!read) return std::unexpected(read.error());
  }
  return decode(used);
}

Endpoint own_endpoint(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return decode(std::as_bytes(std::span{&storage, 1}).first(size)).endpoint;
}

bool bound_to_path(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) == 0 &&
         decode(std::as_bytes(std::span{&storage, 1}).first(size)).kind ==
             SocketAddress::Kind::kPath;
}

}  // namespace

class Sockets::Impl {
 public:
  Impl(const Policy& policy, Recorder& recorder, std::function<void()> activity,
       SocketBounds bounds)
      : audit_(policy.mode == Mode::kAudit),
        own_listeners_(policy.network.own_listeners),
        ranges_(ranges_of(policy.network)),
        places_(policy.files.write),
        recorder_(recorder),
        activity_(std::move(activity)),
        duplicates_(bounds.unconnected),
        listeners_(bounds.listeners),
        connector_(bounds.workers, bounds.waiting, bounds.unconnected,
                   [this](std::uint64_t inode) { duplicates_.drop(inode); }) {}

  Answer make(const Notification& notification);
  Answer pair(const Notification& notification);
  Answer connect(const Notification& notification);
  Answer bind(const Notification& notification);
  Answer listen(const Notification& notification);
  std::size_t kept() const { return duplicates_.size(); }

 private:
  // What a judge needs to know of its caller, read once and then found to have been the caller's.
  struct Request {
    Process by;
    std::uint64_t inode = 0;
    SharedDuplicate socket;  // none: not guard's, or connected, or listening
    SocketAddress address;
  };
  std::expected<Request, Answer> request(const Notification& notification, bool with_address);

  std::optional<No> judge_kind(int family, int type, int protocol) const;
  std::optional<No> judge_address(const Request& request);
  Answer refuse(const Process& by, const No& no, const char* call, std::string target);
  Answer refuse_kind(const Notification& notification, const No& no, const char* call);
  Answer connect_internet(const Notification& notification, Request request);
  Answer connect_path(const Notification& notification, Request request);
  Answer submit(const Notification& notification, Request request, Connector::Job job);
  Answer connected(const Request& request, const SharedDuplicate& socket, int error);
  Answer bind_internet(const Request& request);
  bool release_closed(std::uint16_t port);
  Answer bind_path(const Notification& notification, const Request& request);

  const bool audit_;
  const bool own_listeners_;
  const std::vector<AllowedRange> ranges_;
  const WritablePlaces places_;
  Recorder& recorder_;
  const std::function<void()> activity_;
  Duplicates duplicates_;
  Listeners listeners_;
  std::once_flag crowded_;
  Connector connector_;  // last: its threads use the others
};

std::expected<Sockets::Impl::Request, Answer> Sockets::Impl::request(
    const Notification& notification, bool with_address) {
  Request request;
  if (with_address) {
    auto address = read_address(notification);
    if (!address) return std::unexpected(Answer::refuse(address.error()));
    request.address = std::move(*address);
  }
  auto inode = socket_inode(notification);
  request.by = process_of(static_cast<pid_t>(notification.call.pid));
  if (!notification.alive()) return std::unexpected(Answer::done());
  if (!inode) return std::unexpected(Answer::refuse(inode.error()));
  request.inode = *inode;
  request.socket = duplicates_.find(*inode);
  return request;
}

// On record; then the errno for the caller, or, in an audit, CONTINUE.
Answer Sockets::Impl::refuse(const Process& by, const No& no, const char* call,
                             std::string target) {
  if (no.rule.empty()) return Answer::refuse(no.error);
  const bool kept =
      recorder_.put(Refused{by, no.rule, call, std::move(target), {}, no.error, !audit_});
  return audit_ && kept ? Answer::go_on() : Answer::refuse(no.error);
}

std::optional<No> Sockets::Impl::judge_kind(int family, int type, int protocol) const {
  const int base = type & kTypeMask;
  if (family == AF_UNIX) {
    const bool fine =
        (base == SOCK_STREAM || base == SOCK_SEQPACKET) && (protocol == 0 || protocol == PF_UNIX);
    return fine ? std::nullopt : std::optional{No{"network.type", EPROTONOSUPPORT}};
  }
  if (family == AF_INET || family == AF_INET6) {
    const bool fine = base == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP);
    return fine ? std::nullopt : std::optional{No{"network.type", EPROTONOSUPPORT}};
  }
  return No{"network.family", EAFNOSUPPORT};
}

Answer Sockets::Impl::refuse_kind(const Notification& notification, const No& no,
                                  const char* call) {
  const auto& args = notification.call.data.args;
  const auto by = process_of(static_cast<pid_t>(notification.call.pid));
  if (!notification.alive()) return Answer::done();
  return refuse(by, no, call,
                "family " + std::to_string(static_cast<int>(args[0])) + " type " +
                    std::to_string(static_cast<int>(args[1]) & kTypeMask) + " protocol " +
                    std::to_string(static_cast<int>(args[2])));
}

Answer Sockets::Impl::make(const Notification& notification) {
  const auto& args = notification.call.data.args;
  const int family = static_cast<int>(args[0]);
  const int type = static_cast<int>(args[1]);
  const int protocol = static_cast<int>(args[2]);
  if (auto no = judge_kind(family, type, protocol)) {
    return refuse_kind(notification, *no, "socket");
  }
  auto socket = std::make_shared<Duplicate>();
  socket->fd = Fd{::socket(family, type | SOCK_CLOEXEC, protocol)};
  if (!socket->fd) return Answer::refuse(errno);
  struct stat about {};
  if (fstat(socket->fd.get(), &about) != 0) return Answer::refuse(errno);
  socket->family = family;
  socket->inode = about.st_ino;
  const int fd = socket->fd.get();
  if (duplicates_.add(socket)) {
    std::call_once(crowded_, [&] {
      recorder_.put(Finding{process_of(static_cast<pid_t>(notification.call.pid)),
                            "network.crowded",
                            "more sockets are open and not connected than guard keeps: the oldest "
                            "can no longer be connected"});
    });
  }
  if (notification.give(fd, (type & SOCK_CLOEXEC) != 0)) return Answer::done();
  duplicates_.drop(socket->inode);
  return Answer::refuse(EMFILE);  // or the caller has gone, and nobody hears it
}

Answer Sockets::Impl::pair(const Notification& notification) {
  const auto& args = notification.call.data.args;
  const auto no =
      judge_kind(static_cast<int>(args[0]), static_cast<int>(args[1]), static_cast<int>(args[2]));
  // All that decides is in registers, and the kernel makes a pair that is connected already.
  return no ? refuse_kind(notification, *no, "socketpair") : Answer::go_on();
}

std::optional<No> Sockets::Impl::judge_address(const Request& request) {
  switch (request.address.kind) {
    case SocketAddress::Kind::kBroken:
      return No{"", EINVAL};
    case SocketAddress::Kind::kAbstract:
      return No{"network.unix-abstract", EACCES};
    case SocketAddress::Kind::kScoped:
    case SocketAddress::Kind::kOther:
      return No{"network.connect", EACCES};
    case SocketAddress::Kind::kPath:
    case SocketAddress::Kind::kInternet:
      break;
  }
  if (request.socket && request.socket->family != request.address.family) {
    return No{"network.connect", EAFNOSUPPORT};
  }
  if (request.address.kind == SocketAddress::Kind::kPath) return std::nullopt;  // judged by file
  const auto& endpoint = request.address.endpoint;
  for (const auto& allowed : ranges_) {
    if (allowed.range.contains(endpoint.address) &&
        (allowed.first == 0 || (allowed.first <= endpoint.port && endpoint.port <= allowed.last))) {
      return std::nullopt;
    }
  }
  if (own_listeners_ && listeners_.at(endpoint)) return std::nullopt;
  return No{"network.connect", EACCES};
}

Answer Sockets::Impl::connect(const Notification& notification) {
  auto request = this->request(notification, true);
  if (!request) return request.error();
  auto& address = request->address;
  if (address.kind == SocketAddress::Kind::kInternet && address.endpoint.address.unspecified()) {
    // What the kernel makes of it; then it is judged as what it is.
    address.endpoint.address = *parse_address(address.endpoint.address.v6 ? "::1" : "127.0.0.1");
  }
  auto no = judge_address(*request);
  if (no) {
    const auto answer = refuse(request->by, *no, "connect", address.text());
    if (answer.kind != Answer::Kind::kContinue) return answer;
    const bool able = request->socket && address.kind == SocketAddress::Kind::kInternet &&
                      request->socket->family == address.family;
    if (!able) {
      duplicates_.drop(request->inode);
      return answer;
    }
  }
  if (!request->socket) {
    // Connected already, or one of a pair: guard has nothing to connect. What an audit let the
    // kernel make is the kernel's.
    return audit_ ? Answer::go_on() : Answer::refuse(EISCONN);
  }
  return address.kind == SocketAddress::Kind::kPath
             ? connect_path(notification, std::move(*request))
             : connect_internet(notification, std::move(*request));
}

Answer Sockets::Impl::connect_internet(const Notification& notification, Request request) {
  const auto encoded = encode(request.address.endpoint, request.socket->family);
  if (!encoded) return Answer::refuse(EAFNOSUPPORT);
  Connector::Job job;
  job.address = encoded->storage;
  job.size = encoded->size;
  return submit(notification, std::move(request), std::move(job));
}

Answer Sockets::Impl::connect_path(const Notification& notification, Request request) {
  auto file = resolve(static_cast<pid_t>(notification.call.pid), request.address.name);
  if (!notification.alive()) return Answer::done();
  if (!file) return Answer::refuse(file.error());
  request.address.name = file->name;
  if (!places_.covers(file->name)) {
    const auto answer =
        refuse(request.by, {"network.connect", EACCES}, "connect", request.address.text());
    if (answer.kind != Answer::Kind::kContinue) return answer;
  }
  struct stat about {};
  if (fstat(file->file.get(), &about) != 0) return Answer::refuse(errno);
  if (!S_ISSOCK(about.st_mode)) return Answer::refuse(ECONNREFUSED);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto name = "/proc/self/fd/" + std::to_string(file->file.get());
  std::memcpy(address.sun_path, name.data(), name.size());
  Connector::Job job;
  std::memcpy(&job.address, &address, sizeof address);
  job.size = sizeof address;
  job.path = std::move(file->file);
  return submit(notification, std::move(request), std::move(job));
}

Answer Sockets::Impl::submit(const Notification& notification, Request request,
                             Connector::Job job) {
  if (activity_) activity_();
  job.call = notification.call;
  job.listener = notification.listener;
  job.socket = std::move(request.socket);
  job.done = [this, request = std::move(request), socket = std::weak_ptr(job.socket)](int error) {
    return connected(request, socket.lock(), error);
  };
  return connector_.submit(std::move(job)) ? Answer::done() : Answer::refuse(EAGAIN);
}

Answer Sockets::Impl::connected(const Request& request, const SharedDuplicate& socket, int error) {
  const auto& address = request.address;
  const bool internet = address.kind == SocketAddress::Kind::kInternet;
  const bool kept = recorder_.put(Connected{
      request.by, internet ? address.endpoint.address.text() : address.text(),
      internet ? address.endpoint.port : std::uint16_t{0}, error == EINPROGRESS ? 0 : error});
  if (!kept) shutdown(socket->fd.get(), SHUT_RDWR);
  if (error == 0 || error == EISCONN || !kept) {
    duplicates_.drop(request.inode);
    connector_.forget(request.inode);
  } else if (error == EINPROGRESS) {
    connector_.watch(socket);
  }
  if (!kept) return Answer::refuse(EACCES);
  return error == 0 ? Answer::returned(0) : Answer::refuse(error);
}

Answer Sockets::Impl::bind(const Notification& notification) {
  auto request = this->request(notification, true);
  if (!request) return request.error();
  const auto& address = request->address;
  if (address.kind == SocketAddress::Kind::kBroken) return Answer::refuse(EINVAL);
  if (address.kind == SocketAddress::Kind::kAbstract) {
    return refuse(request->by, {"network.unix-abstract", EACCES}, "bind", address.text());
  }
  if (!request->socket) {
    // Bound sockets that are connected or listen cannot be bound again.
    return audit_ ? Answer::go_on() : Answer::refuse(EINVAL);
  }
  if (address.kind == SocketAddress::Kind::kPath && request->socket->family == AF_UNIX) {
    return bind_path(notification, *request);
  }
  return bind_internet(*request);
}

Answer Sockets::Impl::bind_internet(const Request& request) {
  const auto& address = request.address;
  const bool allowed = own_listeners_ && address.kind == SocketAddress::Kind::kInternet &&
                       address.family == request.socket->family &&
                       address.endpoint.address.loopback();
  if (!allowed) return refuse(request.by, {"network.bind", EACCES}, "bind", address.text());
  const auto encoded = encode(address.endpoint, request.socket->family);
  if (!encoded) return Answer::refuse(EAFNOSUPPORT);
  const auto try_it = [&] {
    const int bound = ::bind(request.socket->fd.get(),
                             reinterpret_cast<const sockaddr*>(&encoded->storage), encoded->size);
    return bound == 0 ? 0 : errno;
  };
  int error = try_it();
  if (error == EADDRINUSE && release_closed(address.endpoint.port)) error = try_it();
  return error == 0 ? Answer::returned(0) : Answer::refuse(error);
}

// A free port is looked for by binding a socket and closing it again: guard's duplicate must not
// keep the port then. True: one was kept.
bool Sockets::Impl::release_closed(std::uint16_t port) {
  std::vector<std::uint64_t> bound;
  for (const auto& socket : duplicates_.all()) {
    if (socket->family != AF_UNIX && own_endpoint(socket->fd.get()).port == port) {
      bound.push_back(socket->inode);
    }
  }
  if (bound.empty()) return false;
  const auto held = sockets_held_elsewhere();
  bool any = false;
  for (const auto inode : bound) {
    if (held.contains(inode)) continue;
    duplicates_.drop(inode);
    any = true;
  }
  return any;
}

Answer Sockets::Impl::bind_path(const Notification& notification, const Request& request) {
  const auto thread = static_cast<pid_t>(notification.call.pid);
  const auto parent = resolve_parent(thread, request.address.name);
  if (!notification.alive()) return Answer::done();
  if (!parent) return Answer::refuse(parent.error());
  if (!places_.covers(parent->name)) {
    return refuse(request.by, {"network.bind", EACCES}, "bind", request.address.text());
  }
  const int error = places_.bind_path(thread, request.socket->fd.get(), request.address.name);
  return error == 0 ? Answer::returned(0) : Answer::refuse(error);
}

Answer Sockets::Impl::listen(const Notification& notification) {
  auto request = this->request(notification, false);
  if (!request) return request.error();
  if (!request->socket) {
    if (audit_) return Answer::go_on();
    // Again, for another backlog: it stays as it is.
    return listeners_.knows(request->inode) ? Answer::returned(0) : Answer::refuse(EINVAL);
  }
  const int fd = request->socket->fd.get();
  const bool internet = request->socket->family != AF_UNIX;
  const auto endpoint = internet ? own_endpoint(fd) : Endpoint{};
  const bool allowed = internet
                           ? own_listeners_ && endpoint.address.loopback() && endpoint.port != 0
                           : bound_to_path(fd);
  if (!allowed) {
    const auto answer =
        refuse(request->by, {"network.listen", EACCES}, "listen",
               internet ? endpoint.text() + "/tcp" : "unix socket that is bound to no path");
    if (answer.kind == Answer::Kind::kContinue) duplicates_.drop(request->inode);
    return answer;
  }
  if (::listen(fd, static_cast<int>(notification.call.data.args[1])) != 0) {
    return Answer::refuse(errno);
  }
  listeners_.add(request->inode, endpoint);
  duplicates_.drop(request->inode);
  return Answer::returned(0);
}

Sockets::Sockets(const Policy& policy, Recorder& recorder, std::function<void()> activity,
                 SocketBounds bounds)
    : impl_(std::make_unique<Impl>(policy, recorder, std::move(activity), bounds)) {}
Sockets::~Sockets() = default;

Answer Sockets::socket(const Notification& notification) {
  return impl_->make(notification);
}
Answer Sockets::socketpair(const Notification& notification) {
  return impl_->pair(notification);
}
Answer Sockets::connect(const Notification& notification) {
  return impl_->connect(notification);
}
Answer Sockets::bind(const Notification& notification) {
  return impl_->bind(notification);
}
Answer Sockets::listen(const Notification& notification) {
  return impl_->listen(notification);
}
std::size_t Sockets::kept() const {
  return impl_->kept();
}

}  // namespace palisade::guard
