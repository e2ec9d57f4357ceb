#include "operator/chaos_proxy.h"

#include <array>
#include <charconv>
#include <stdexcept>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace palisade::op::testing {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMostHead = 64 * 1024;

bool send_all(int socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::string as_text(const kube::Response& response) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + " X\r\n";
  for (const char* name : {"Content-Type", "Retry-After"}) {
    const std::string_view value = kube::header(response.headers, name);
    if (!value.empty()) out += std::string(name) + ": " + std::string(value) + "\r\n";
  }
  return out + "Content-Length: " + std::to_string(response.body.size()) + "\r\n\r\n" +
         response.body;
}

std::string chunk(std::string_view piece) {
  std::array<char, 20> size{};
  const auto end = std::to_chars(size.data(), size.data() + size.size(), piece.size(), 16).ptr;
  return std::string(size.data(), end) + "\r\n" + std::string(piece) + "\r\n";
}

kube::Response refusal(int code, const char* reason) {
  kube::Response out{code, {{"Content-Type", "application/json"}}, ""};
  out.body = R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":")" +
             std::string(reason) + R"(","message":"of the test","code":)" + std::to_string(code) +
             "}";
  if (code == 429) out.headers.emplace_back("Retry-After", "1");
  return out;
}

// A request from a socket that is read piece by piece; false at its end.
bool read_request(int socket, std::string& buffer, kube::Request& request) {
  const auto more = [&] {
    std::array<char, 16384> piece{};
    const ssize_t got = recv(socket, piece.data(), piece.size(), 0);
    if (got <= 0) return false;
    buffer.append(piece.data(), static_cast<std::size_t>(got));
    return true;
  };
  std::size_t head = std::string::npos;
  while ((head = buffer.find("\r\n\r\n")) == std::string::npos) {
    if (buffer.size() > kMostHead || !more()) return false;
  }
  const std::size_t first = buffer.find("\r\n");
  const std::string line = buffer.substr(0, first);
  const auto space = line.find(' ');
  const auto last = line.rfind(' ');
  if (space == std::string::npos || last <= space) return false;
  request.method = line.substr(0, space);
  request.target = line.substr(space + 1, last - space - 1);
  request.headers.clear();
  std::size_t length = 0;
  for (std::size_t at = first + 2; at < head + 2;) {
    const auto end = buffer.find("\r\n", at);
    const auto colon = buffer.find(':', at);
    if (colon < end) {
      const std::string name = buffer.substr(at, colon - at);
      const auto value = buffer.find_first_not_of(' ', colon + 1);
      const kube::Headers one{{name, buffer.substr(value, end - value)}};
      for (const char* kept : {"Accept", "Content-Type", "User-Agent"}) {
        if (!kube::header(one, kept).empty()) request.headers.push_back(one[0]);
      }
      if (const auto size = kube::header(one, "Content-Length"); !size.empty())
        std::from_chars(size.data(), size.data() + size.size(), length);
    }
    at = end + 2;
  }
  buffer.erase(0, head + 4);
  while (buffer.size() < length) {
    if (!more()) return false;
  }
  request.body = buffer.substr(0, length);
  buffer.erase(0, length);
  return true;
}

}  // namespace

ChaosProxy::ChaosProxy(std::shared_ptr<kube::Transport> upstream, std::uint64_t seed)
    : upstream_(std::move(upstream)), random_(seed) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener_, raw, size) != 0 || listen(listener_, 128) != 0 ||
      getsockname(listener_, raw, &size) != 0)
    throw std::runtime_error("no port for the proxy");
  port_ = ntohs(address.sin_port);
  accepting_ = std::thread([this] {
    while (!ended_) {
      pollfd waiting{listener_, POLLIN, 0};
      if (poll(&waiting, 1, 100) <= 0) continue;
      const int accepted = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (accepted < 0) continue;
      const std::scoped_lock lock(mutex_);
      open_.insert(accepted);
      threads_.emplace_back([this, accepted] { serve(accepted); });
    }
  });
}

ChaosProxy::~ChaosProxy() {
  ended_ = true;
  accepting_.join();
  release();
  cut();
  for (std::thread& thread : threads_)
    thread.join();
  close(listener_);
}

int ChaosProxy::pick(int below) {
  const std::scoped_lock lock(mutex_);
  return static_cast<int>(random_() % static_cast<unsigned>(below));
}

void ChaosProxy::trouble(int refused, int lost) {
  refused_ = refused;
  lost_ = lost;
}

void ChaosProxy::cut() {
  const std::scoped_lock lock(mutex_);
  watches_.request_stop();
  watches_ = std::stop_source();
  for (const int socket : open_)
    shutdown(socket, SHUT_RDWR);
}

void ChaosProxy::hold(bool watches) {
  held_ = watches;
}

void ChaosProxy::stop_at(int write, bool forwarded, const std::string& of) {
  const std::scoped_lock lock(mutex_);
  stop_of_ = of;
  writes_left_ = write;
  stop_when_forwarded_ = forwarded;
  stopped_ = false;
}

bool ChaosProxy::await_stop(milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return stopped_; });
}

void ChaosProxy::release() {
  const std::scoped_lock lock(mutex_);
  writes_left_ = 0;
  stopped_ = false;
  changed_.notify_all();
}

bool ChaosProxy::wait_here(bool forwarded, const kube::Request& request) {
  std::unique_lock lock(mutex_);
  if (writes_left_ == 0 || stopped_ || forwarded != stop_when_forwarded_) return false;
  if (!(request.method + " " + request.target).starts_with(stop_of_)) return false;
  if (--writes_left_ > 0) return false;
  stopped_ = true;
  changed_.notify_all();
  changed_.wait_for(lock, std::chrono::minutes(1), [this] { return !stopped_; });
  return true;
}

void ChaosProxy::serve(int socket) {
  std::string buffer;
  kube::Request request;
  while (!ended_ && read_request(socket, buffer, request)) {
    if (request.target.find("watch=true") != std::string::npos ||
        request.target.find("watch=1") != std::string::npos) {
      watch(socket, request);
      break;
    }
    if (!answer(socket, request)) break;
  }
  const std::scoped_lock lock(mutex_);
  open_.erase(socket);
  close(socket);
}

bool ChaosProxy::answer(int socket, const kube::Request& request) {
  if (request.target.find("/leases") != std::string::npos) return answer_lease(socket, request);
  const bool write = request.method != "GET";
  if (write) note(writes_);
  const bool held = write && wait_here(false, request);
  const int refused = refused_;
  if (pick(100) < refused) {
    ++misdeeds_;
    switch (pick(write ? 4 : 3)) {
      case 0:
        return send_all(socket, as_text(refusal(429, "TooManyRequests")));
      case 1:
        return send_all(socket, as_text(refusal(500, "InternalError")));
      case 2:
        return send_all(socket, as_text(refusal(504, "Timeout")));
      default:
        return send_all(socket, as_text(refusal(409, "Conflict")));
    }
  }
  const bool lost = write && pick(100) < lost_;
  if (lost) ++misdeeds_;
  if (lost && pick(2) == 0) return false;
  const auto response = upstream_->send(request, {});
  if (response && held) held_answer_ = response->status;
  if (!response || lost) return false;
  if (write) static_cast<void>(wait_here(true, request));
  return send_all(socket, as_text(*response));
}

bool ChaosProxy::answer_lease(int socket, const kube::Request& request) {
  if (request.method != "GET") note(lease_writes_);
  {
    std::unique_lock lock(mutex_);
    if (!leases_) {
      changed_.wait(lock, [this] { return leases_ || ended_; });
      return false;
    }
  }
  const auto response = upstream_->send(request, {});
  return response && send_all(socket, as_text(*response));
}

void ChaosProxy::leases(bool through) {
  const std::scoped_lock lock(mutex_);
  leases_ = through;
  changed_.notify_all();
}

void ChaosProxy::note(Asked& asked) {
  const std::scoped_lock lock(mutex_);
  asked.last = std::chrono::steady_clock::now();
  if (asked.times++ == 0) asked.first = asked.last;
}

ChaosProxy::Asked ChaosProxy::writes() const {
  const std::scoped_lock lock(mutex_);
  return writes_;
}

ChaosProxy::Asked ChaosProxy::lease_writes() const {
  const std::scoped_lock lock(mutex_);
  return lease_writes_;
}

// The header goes out at once; what the API server refuses becomes the watch's ERROR event.
void ChaosProxy::watch(int socket, const kube::Request& request) {
  std::stop_token stop;
  {
    const std::scoped_lock lock(mutex_);
    stop = watches_.get_token();
  }
  if (!send_all(socket,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"))
    return;
  const auto ended = upstream_->stream(
      request,
      [&](std::string_view piece) {
        while (held_ && !ended_ && !stop.stop_requested())
          std::this_thread::sleep_for(milliseconds(5));
        return !stop.stop_requested() && (piece.empty() || send_all(socket, chunk(piece)));
      },
      std::chrono::minutes(10), stop);
  if (!ended) return;
  if (ended->status < 200 || ended->status > 299)
    static_cast<void>(
        send_all(socket, chunk(R"({"type":"ERROR","object":)" + ended->body + "}\n")));
  static_cast<void>(send_all(socket, "0\r\n\r\n"));
}

}  // namespace palisade::op::testing
