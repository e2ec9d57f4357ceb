// A gateway for tests: the proxy in the project's own server, in front of a real git host (TLS,
// Basic authentication, `git http-backend`).
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gateway/core/services.h>
#include <gateway/git/proxy.h>
#include <gateway/http/server.h>

#include "courier/git_host.h"

namespace palisade::gateway::git::testing {

namespace fs = std::filesystem;
using courier::testing::Arguments;
using courier::testing::Directory;
using courier::testing::git_text;
using courier::testing::GitHost;
using courier::testing::kToken;
using courier::testing::kUser;
using courier::testing::Outcome;
using courier::testing::read_file;
using courier::testing::write_file;

inline constexpr const char* kBranch = "palisade/fix";
inline constexpr const char* kBranchRef = "refs/heads/palisade/fix";

class TestKeys final : public Keys {
 public:
  [[nodiscard]] std::optional<std::string> key(std::string_view, std::string_view) const override {
    return std::nullopt;
  }
  [[nodiscard]] std::optional<std::string> git_token(const Caller& caller) const override;
  // One answer each from now on, the last one for good.
  void set(std::vector<std::optional<std::string>> tokens);
  [[nodiscard]] int asked() const { return asked_; }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<std::optional<std::string>> tokens_{std::string(kToken)};
  mutable std::atomic<int> asked_{0};
};

class TestRecord final : public Record {
 public:
  void write(nlohmann::json line) override;
  // The lines of requests that are over; waits until there are `least`, ten seconds at most.
  [[nodiscard]] std::vector<nlohmann::json> lines(std::size_t least = 0) const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::vector<nlohmann::json> lines_;
};

class Gateway {
 public:
  explicit Gateway(const GitConfig& config = {});
  ~Gateway();

  Directory base;
  GitHost host{base.path() / "host"};
  const fs::path spool = base.path() / "spool";
  std::shared_ptr<TestKeys> keys = std::make_shared<TestKeys>();
  std::shared_ptr<TestRecord> record = std::make_shared<TestRecord>();
  RepositoryGrant grant;  // from the next request on

  [[nodiscard]] std::string url() const;  // for git
  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] std::uint64_t spooled_bytes() const { return proxy_->spooled_bytes(); }
  [[nodiscard]] std::size_t connections() const { return server_->connections(); }
  // A bare repository of the host besides app.git.
  fs::path repository(const std::string& name, const Arguments& options = {});
  void use(const std::string& name);  // the grant names it
  // A repository of a user with the remote `origin`, empty; `clone` fetches main into it.
  fs::path work(const std::string& name);
  fs::path clone(const std::string& name);
  // What the host was asked: "METHOD /path", those that were authorized.
  [[nodiscard]] std::vector<std::string> asked() const;

  // A connection that is written to and read from as bytes.
  class Wire {
   public:
    explicit Wire(std::uint16_t port);
    ~Wire();
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;
    bool send(std::string_view bytes) const;  // false: the other side has ended
    // Everything until the other side ends or an answer with a Content-Length is whole.
    [[nodiscard]] std::string read() const;
    void cut();  // with a reset

   private:
    int descriptor_;
  };
  // A whole POST of `service`.
  [[nodiscard]] std::string post(std::string_view service, std::string_view body,
                                 std::string_view fields = {}) const;

 private:
  Services services() const;
  GitConfig config_;
  std::unique_ptr<GitProxy> proxy_;
  std::unique_ptr<Server> server_;
};

// A commit in `work` that sets `file`; its name.
std::string commit(const fs::path& work, std::string_view file, std::string_view content);
Outcome git(const fs::path& directory, const Arguments& arguments);

}  // namespace palisade::gateway::git::testing
