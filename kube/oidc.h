// The tokens of an OpenID Connect provider, named by a kubeconfig (auth-provider: oidc), as
// client-go renews them. Sources:
// https://github.com/kubernetes/client-go/tree/master/plugin/pkg/client/auth/oidc,
// https://openid.net/specs/openid-connect-core-1_0.html#RefreshTokens and
// https://openid.net/specs/openid-connect-discovery-1_0.html
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <kube/config.h>

namespace kube {

struct OidcProvider {
  std::string where;           // FILE: users[NAME].user.auth-provider.config, for messages
  std::filesystem::path file;  // where the tokens stand
  std::string user;            // NAME
  std::string issuer;          // idp-issuer-url, without / at its end
  std::string client_id;
  std::string client_secret;                       // "" for a public client
  std::string ca;                                  // PEM; "": the system's authorities
  std::chrono::milliseconds longest{30'000};       // for each answer of the provider
  std::chrono::milliseconds longest_wait{10'000};  // for others who write the file
};

// Gives the id-token while it holds. Then the file is looked at, where somebody else may have put a
// new one; else the refresh-token is shown to the provider, and what it answers stands in the file
// before it is used. One at a time for each file: a refresh-token may serve once only. Errors name
// the field and the fix, and have no token in them. Thread-safe.
class OidcCredentials final : public Credentials {
 public:
  // `id_token` "" where there is none.
  OidcCredentials(OidcProvider provider, std::string id_token);
  ~OidcCredentials() override;

  [[nodiscard]] Result<std::uint64_t> obtain(const std::stop_token& stop) override;
  // An id-token that holds is not renewed: the provider would give the same user another.
  void refuse(std::uint64_t which) override;

  // As of the last obtain().
  [[nodiscard]] std::string token() const;

 private:
  struct State;
  const OidcProvider provider_;
  const std::unique_ptr<State> state_;
};

// When an id-token ends: its claim `exp`. Nothing where it is no token. The server checks the rest.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> end_of_id_token(
    const std::string& token);

// Whether a token with that end is to be shown: not in its last ten seconds, for clocks differ.
[[nodiscard]] bool id_token_holds(std::chrono::system_clock::time_point end);

}  // namespace kube
