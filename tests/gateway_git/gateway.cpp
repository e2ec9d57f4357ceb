#include "gateway.h"

#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace palisade::gateway::git::testing {

std::optional<std::string> TestKeys::git_token(const Caller&) const {
  const std::lock_guard lock(mutex_);
  ++asked_;
  std::optional<std::string> out = tokens_.front();
  if (tokens_.size() > 1) tokens_.erase(tokens_.begin());
  return out;
}

void TestKeys::set(std::vector<std::optional<std::string>> tokens) {
  const std::lock_guard lock(mutex_);
  tokens_ = std::move(tokens);
}

void TestRecord::write(nlohmann::json line) {
  const std::lock_guard lock(mutex_);
  lines_.push_back(std::move(line));
}

std::vector<nlohmann::json> TestRecord::lines(std::size_t least) const {
  courier::testing::eventually(
      [&] {
        const std::lock_guard lock(mutex_);
        return lines_.size() >= least;
      },
      std::chrono::seconds(10));
  const std::lock_guard lock(mutex_);
  return lines_;
}

void TestRecord::clear() {
  const std::lock_guard lock(mutex_);
  lines_.clear();
}

Gateway::Gateway(const GitConfig& config) : config_(config) {
  fs::create_directory(spool);
  if (config_.spool == GitConfig{}.spool) config_.spool = spool;
  config_.authorities = read_file(host.certificate());
  grant.url = host.url();
  grant.branch = kBranch;
  grant.read_only = false;
  grant.username = kUser;
  Services services;
  services.keys = keys;
  services.record = record;
  proxy_ = std::make_unique<GitProxy>(config_, services);
  ServerOptions options;
  options.address = "127.0.0.1";
  options.read_idle =
      std::chrono::seconds(config_.idle_timeout < std::chrono::seconds(10) ? 1 : 60);
  server_ = std::make_unique<Server>(options, [this](Exchange& exchange) -> Task<void> {
    auto granted = std::make_shared<Grant>();
    granted->repository = grant;
    Caller caller;
    caller.ns = "team";
    caller.workspace = "fix";
    caller.workspace_uid = "uid-1";
    caller.pod = "fix-agent";
    caller.grant = std::move(granted);
    co_await proxy_->handle(exchange, caller);
  });
  if (auto started = server_->start(); !started)
    throw std::runtime_error("server: " + started.error().message);
}

Gateway::~Gateway() {
  server_->stop(std::chrono::seconds(5));
}

std::string Gateway::url() const {
  return "http://127.0.0.1:" + std::to_string(port()) + "/git";
}

fs::path Gateway::repository(const std::string& name, const Arguments& options) {
  const fs::path path = base.path() / "host" / "repositories" / (name + ".git");
  Arguments arguments = {"init", "-q", "--bare"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(path);
  git_text(base.path(), arguments);
  return path;
}

void Gateway::use(const std::string& name) {
  grant.url = host.url("git", name);
}

fs::path Gateway::work(const std::string& name) {
  const fs::path out = base.path() / name;
  git_text(base.path(), {"init", "-q", out});
  git_text(out, {"remote", "add", "origin", url()});
  git_text(out, {"checkout", "-q", "-b", kBranch});
  return out;
}

fs::path Gateway::clone(const std::string& name) {
  const fs::path out = work(name);
  git_text(out, {"fetch", "-q", "origin"});
  git_text(out, {"reset", "-q", "--hard", "origin/main"});
  return out;
}

std::vector<std::string> Gateway::asked() const {
  std::vector<std::string> out;
  for (const nlohmann::json& entry : host.requests()) {
    if (entry.at("authorized") == true)
      out.push_back(entry.at("method").get<std::string>() + ' ' +
                    entry.at("path").get<std::string>());
  }
  return out;
}

Gateway::Wire::Wire(std::uint16_t port)
    : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{30, 0};
  setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("connect");
}

Gateway::Wire::~Wire() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Gateway::Wire::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

std::string Gateway::Wire::read() const {
  std::string out;
  char buffer[16384];
  while (true) {
    const std::size_t head = out.find("\r\n\r\n");
    if (head != std::string::npos) {
      const std::size_t field = out.find("Content-Length: ");
      if (field < head && out.size() >= head + 4 + std::stoul(out.substr(field + 16))) return out;
      if (field > head && out.ends_with("0\r\n\r\n")) return out;
    }
    const ssize_t count = ::recv(descriptor_, buffer, sizeof buffer, 0);
    if (count <= 0) return out;
    out.append(buffer, static_cast<std::size_t>(count));
  }
}

void Gateway::Wire::cut() {
  const linger at_once{1, 0};
  setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(std::exchange(descriptor_, -1));
}

std::string Gateway::post(std::string_view service, std::string_view body,
                          std::string_view fields) const {
  const Wire wire(port());
  const std::string name(service);
  wire.send("POST /git/" + name + " HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/x-" +
            name + "-request\r\n" + std::string(fields) +
            "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n");
  wire.send(body);
  return wire.read();
}

std::string commit(const fs::path& work, std::string_view file, std::string_view content) {
  write_file(work / file, content);
  git_text(work, {"add", "."});
  git_text(work, {"commit", "-q", "-m", "Change " + std::string(file)});
  return git_text(work, {"rev-parse", "HEAD"});
}

Outcome git(const fs::path& directory, const Arguments& arguments) {
  return courier::testing::git(directory, arguments);
}

}  // namespace palisade::gateway::git::testing
