// Git hosts' token APIs, replayed on loopback over TLS: answers of the shape that the hosts'
// documents show, and a state behind them. What a real host would refuse (method, path, header,
// signature, scope) is refused here.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <operator/tokens/provider.h>
#include <operator/tokens/steward.h>

#include "kube/scripted_server.h"
#include "kube/test_pki.h"

namespace replay {

using nlohmann::json;
using palisade::op::tokens::Time;

struct Asked {
  std::string method;
  std::string path;                            // without the query
  std::map<std::string, std::string> query;    // percent-decoded
  std::map<std::string, std::string> headers;  // lower-case names
  json body;                                   // discarded where it is no JSON
  [[nodiscard]] std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};
struct Reply {
  int status = 200;
  std::string body;
  std::string headers;  // each with its line's end
};
using Handler = std::function<Reply(const Asked&)>;

// One server for any host's name that its certificate has.
class Host {
 public:
  explicit Host(Handler handler);
  // A transport that comes here, whatever the base URL's host; its name is verified.
  [[nodiscard]] palisade::op::tokens::TransportFactory transports() const;
  [[nodiscard]] std::shared_ptr<kube::Transport> transport(const std::string& base_url) const;

  // Answers first, where it does; nullopt leaves it to the handler.
  void interpose(std::function<std::optional<Reply>(const Asked&)> fault);
  [[nodiscard]] std::vector<Asked> asked() const;
  [[nodiscard]] std::size_t count(const std::string& method, const std::string& path_end) const;

 private:
  mutable std::mutex mutex_;
  std::vector<Asked> asked_;
  std::function<std::optional<Reply>(const Asked&)> fault_;
  Handler handler_;
  std::unique_ptr<scripted::Server> server_;  // last: its threads use the others
};

[[nodiscard]] Asked parse_request(const std::string& text);
[[nodiscard]] std::string authority_pem();

struct AppKey {
  std::string pem;         // PKCS #1, as GitHub hands it out
  std::string public_pem;  // what the host has
};
[[nodiscard]] const AppKey& app_key();
[[nodiscard]] AppKey make_app_key(int bits = 2048);
// The claims, or null where the signature is not of that key.
[[nodiscard]] json verified_jwt(const std::string& jwt, const std::string& public_pem);

// An App with id 12345, installed (as 777) on team/app alone.
class GithubModel {
 public:
  struct Token {
    std::string value;
    json permissions;
    bool revoked = false;
  };
  struct Pull {
    std::int64_t number;
    json body;
    std::string state;
    std::string sha;
  };
  [[nodiscard]] Reply answer(const Asked& asked);
  std::function<Time()> now = [] { return std::chrono::system_clock::now(); };
  std::mutex mutex;
  std::string public_key = app_key().public_pem;
  std::vector<Token> tokens;
  std::vector<Pull> pulls;
  std::string classic_scopes = "repo, workflow";  // of the token ghp_classic
  [[nodiscard]] std::size_t living();

 private:
  const Token* holder(const Asked& asked);
};

// The project team/app, with a Maintainer's token glpat-maintainer.
class GitlabModel {
 public:
  struct Token {
    std::int64_t id;
    std::string name;
    std::string value;
    json scopes;
    std::int64_t level;
    std::string expires;
    bool revoked = false;
  };
  [[nodiscard]] Reply answer(const Asked& asked);
  std::mutex mutex;
  std::vector<Token> tokens;
  std::vector<json> merge_requests;
  [[nodiscard]] std::size_t living();
};

}  // namespace replay
