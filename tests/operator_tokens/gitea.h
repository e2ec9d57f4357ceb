// A real Gitea on loopback over TLS, with an authority of its own: its folder is temporary, and it
// ends with the test.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>
#include <sys/types.h>

#include <operator/tokens/steward.h>

namespace gitea {

using nlohmann::json;

struct Said {
  int code = 0;
  std::string text;  // both streams
};

class Server {
 public:
  // Throws where it does not answer within two minutes, with the end of its log.
  Server();
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::string url() const { return "https://" + authority_; }
  [[nodiscard]] std::string authority() const { return authority_; }
  [[nodiscard]] const std::string& ca() const { return ca_; }
  [[nodiscard]] palisade::op::tokens::TransportFactory transports() const;
  // As the administrator, or as `user`. Throws for what is not 2xx.
  json call(const std::string& method, const std::string& path, const json& body = nullptr,
            const std::string& user = "", const std::string& password = "") const;
  [[nodiscard]] int status(const std::string& method, const std::string& path,
                           const std::string& user, const std::string& password) const;

  // A private repository of the administrator's, with one commit on main; its https URL.
  std::string make_repository(const std::string& name) const;
  // A user with that password who collaborates on `repository`.
  void make_bot(const std::string& user, const std::string& password, const std::string& repository,
                const std::string& permission = "write") const;
  // From now on a push to `repository` waits inside of the host (in a hook) until it is let go.
  void hold_pushes(const std::string& repository) const;
  [[nodiscard]] bool push_is_held() const;  // one waits there, or has
  void let_go() const;

  // Clones `url` with that token into a new folder and returns it; "" where it is refused.
  [[nodiscard]] std::filesystem::path clone(const std::string& url, const std::string& user,
                                            const std::string& token) const;
  // Commits a new file in `folder` and pushes it to `branch` with that token.
  Said push(const std::filesystem::path& folder, const std::string& branch, const std::string& url,
            const std::string& user, const std::string& token) const;

  static constexpr const char* kAdmin = "palisade-admin";

 private:
  Said git(const std::filesystem::path& folder, const std::string& arguments) const;
  [[nodiscard]] std::string with_credentials(const std::string& url, const std::string& user,
                                             const std::string& token) const;
  void start();
  void end();
  void configure();
  [[nodiscard]] std::string as_user() const;

  std::filesystem::path folder_;
  std::string authority_;
  std::string ca_;
  std::string password_;
  pid_t process_ = -1;
};

// Started at the first use, ended with the program.
Server& server();

}  // namespace gitea
