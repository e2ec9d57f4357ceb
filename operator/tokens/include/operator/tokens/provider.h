// Tokens for git hosts: minted for one repository and a short life, taken back by hand, and asked
// what they may do. One class a kind of host; how long a token is kept and where is life.h and
// keeper.h.
//
// Everything that a host answers is hostile: read strictly, bounded, never repeated in a message
// but for printable text without secrets.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/transport.h>

namespace palisade::op::tokens {

using Time = std::chrono::system_clock::time_point;

// A failure in the course of things. `reason` is a condition's reason, `message` names what was
// asked of whom and what to do; neither holds a secret.
//   HostUnavailable, HostRateLimited, HostAnswerInvalid: the host; tried again by itself
//   CredentialsRefused, AppKeyInvalid, AppNotInstalled, PermissionMissing, RepositoryNotFound,
//   RequestRefused: somebody has to put something right
//   TokenTooBroad: the host gave more than was asked for; the token was taken back
struct Problem {
  std::string reason;
  std::string message;
  std::optional<std::chrono::seconds> retry_after;  // what the host asked for, at most an hour
};
template <class T>
using Outcome = std::expected<T, Problem>;

// spec.repository.url, taken apart.
struct Repository {
  std::string url;        // without a trailing .git
  std::string authority;  // HOST[:PORT]
  std::string host;       // without the port and an IPv6 literal's brackets
  std::string path;       // OWNER/NAME, or GROUP/.../NAME

  [[nodiscard]] std::string owner() const;  // all but the last segment
  [[nodiscard]] std::string name() const;   // the last segment
};
// The error says what is wrong with the URL.
[[nodiscard]] std::expected<Repository, std::string> parse_repository(const std::string& url);

struct MintRequest {
  std::string name;            // the token's name where tokens have names; see life.h
  bool write = false;          // contents
  bool merge_request = false;  // to open one: only GitHub's tokens tell it from contents
};

// What is known of a token: enough to take it back.
struct Record {
  std::string name;
  std::string id;     // the host's; "" where it has none
  std::string value;  // the token; may be empty where `id` is enough to revoke it
};

struct MintedToken {
  Record record;
  std::string username;  // to go with the token in git's basic authentication
  Time minted;
  Time expires;       // never more than the provider's longest life after `minted`
  std::string note;   // what it may do, for people
  std::string broad;  // why it reaches beyond the repository, or "": for the condition
};

// What the host tells of a token.
struct Inspection {
  bool told = false;                // false: this host does not tell
  std::vector<std::string> scopes;  // printable
  bool broad = false;               // more than the contents of one repository
  std::string message;              // names the scopes; never the token
};

struct MergeRequestWish {
  std::string title;
  std::string body;
  std::string head;  // the branch that was pushed
  std::string base;  // where it should go
  std::string
      commit;  // of the head; tells this session's request from an earlier one, closed since
  bool draft = false;
};
struct MergeRequest {
  std::string url;  // made from the repository's own URL
  std::int64_t number = 0;
  bool existed = false;
};

// Thread-safe where its transport is. Calls block, each for at most kCallDeadline per request and a
// handful of requests; `stop` ends them early (HostUnavailable).
class TokenProvider {
 public:
  TokenProvider() = default;
  TokenProvider(const TokenProvider&) = delete;
  TokenProvider& operator=(const TokenProvider&) = delete;
  virtual ~TokenProvider() = default;

  [[nodiscard]] virtual Outcome<MintedToken> mint(const MintRequest& request, Time now,
                                                  std::stop_token stop) = 0;
  // Success too where the host does not know the token (any more).
  [[nodiscard]] virtual Outcome<void> revoke(const Record& record, Time now,
                                             std::stop_token stop) = 0;
  // The living tokens whose name begins with `prefix`; nullopt where the host cannot list them.
  [[nodiscard]] virtual Outcome<std::optional<std::vector<Record>>> find(const std::string& prefix,
                                                                         Time now,
                                                                         std::stop_token stop) = 0;
  [[nodiscard]] virtual Outcome<Inspection> inspect(const std::string& token, Time now,
                                                    std::stop_token stop) = 0;
  // Opens one, or finds the one that is there: open, or of the same commit.
  [[nodiscard]] virtual Outcome<MergeRequest> open_merge_request(const MergeRequestWish& wish,
                                                                 Time now,
                                                                 std::stop_token stop) = 0;
};

inline constexpr std::chrono::milliseconds kCallDeadline{15'000};
inline constexpr std::size_t kMaxAnswer = 1024 * 1024;  // bytes; the transport's bound
inline constexpr std::size_t kMaxToken = 4096;          // of what a host hands out

// GitHub: https://docs.github.com/en/rest/apps and /rest/pulls
struct GithubSettings {
  std::string app_id;                           // or the client ID
  std::optional<std::int64_t> installation_id;  // absent: found by the repository
  std::string private_key;                      // PEM
  std::string token;  // instead of an App: a token that a Secret names; mints nothing
};
// GitLab: https://docs.gitlab.com/api/project_access_tokens/ and /api/merge_requests/
struct GitlabSettings {
  std::string token;               // of a Maintainer, scope api; mints the others
  std::string role = "Developer";  // Guest, Planner, Reporter, Developer, Maintainer or Owner
};
// Gitea and Forgejo: the API document at /api/swagger of each instance. Its tokens are scoped by
// kind alone: the user must collaborate on the one repository, which mint() checks.
struct GiteaSettings {
  std::string username;
  std::string password;  // or "" with `token`
  std::string token;     // instead: what a Secret names; mints nothing
};

// `api` is the API's base URL (see api_url); `transport` goes to its origin.
[[nodiscard]] std::unique_ptr<TokenProvider> make_github(std::shared_ptr<kube::Transport> transport,
                                                         const std::string& api,
                                                         Repository repository,
                                                         GithubSettings settings);
[[nodiscard]] std::unique_ptr<TokenProvider> make_gitlab(std::shared_ptr<kube::Transport> transport,
                                                         const std::string& api,
                                                         Repository repository,
                                                         GitlabSettings settings);
[[nodiscard]] std::unique_ptr<TokenProvider> make_gitea(std::shared_ptr<kube::Transport> transport,
                                                        const std::string& api,
                                                        Repository repository,
                                                        GiteaSettings settings);

enum class HostKind { kUnknown, kGithub, kGitlab, kGitea };
// By the token's prefix, then by the host's name. A Gitea is never recognised.
[[nodiscard]] HostKind guess_host(const Repository& repository, const std::string& token);

// The API's base URL: `given`, or where it is empty the host's usual one. A credential goes there,
// so it must be https and its host the repository's, or that with "api." before it. The error says
// so, with the field's name.
[[nodiscard]] std::expected<std::string, std::string> api_url(HostKind kind,
                                                              const Repository& repository,
                                                              const std::string& given);
// Its scheme, host and port, as TransportOptions::base_url wants them.
[[nodiscard]] std::string origin_of(const std::string& api);

}  // namespace palisade::op::tokens
