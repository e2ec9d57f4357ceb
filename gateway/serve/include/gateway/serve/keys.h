// Keys of LLM upstreams and tokens of git hosts: Secrets of the gateway's own namespace, and of no
// other. A watch keeps them; the newest counts at once.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/core/services.h>

#include <kube/client.h>
#include <kube/reflector.h>

namespace palisade::gateway {

// git-WORKSPACEUID, written by the operator: labelled as a git token, and annotated with the
// workspace that it is for. One that says otherwise is not used. A key is used without the blanks
// around it, and not at all where it could not stand in a header field.
//
// Rights: list and watch of Secrets in that namespace. Thread-safe.
class SecretKeys : public Keys {
 public:
  SecretKeys(std::shared_ptr<const kube::Client> client, std::string ns);
  ~SecretKeys() override;

  void start();
  [[nodiscard]] std::string not_synced() const;  // "" when it has
  [[nodiscard]] const kube::Reflector& watch() const;

  [[nodiscard]] std::optional<std::string> key(std::string_view secret,
                                               std::string_view key) const override;
  [[nodiscard]] std::optional<std::string> git_token(const Caller& caller) const override;
  // The name that goes with the token; nullopt where the Secret has none.
  [[nodiscard]] std::optional<std::string> git_username(const Caller& caller) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
