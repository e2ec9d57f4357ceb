// Credentials that a program gives, named by a kubeconfig.
// Source:
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/config.h>

namespace kube {

struct ExecPlugin {
  enum class Interactive { kNever, kIfAvailable, kAlways };

  std::string where;        // FILE: users[NAME].user.exec, for messages
  std::string api_version;  // client.authentication.k8s.io/v1 or /v1beta1
  std::string command;      // a name for PATH, or a path
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;  // beside our own
  std::string install_hint;
  Interactive interactive = Interactive::kIfAvailable;
  nlohmann::json cluster;  // spec.cluster of what the program is told; null: nothing is told
  std::chrono::milliseconds longest{60'000};          // where it asks nobody
  std::chrono::milliseconds longest_asking{600'000};  // where it may ask the user
};

// Runs the program when credentials are asked for and none are there that hold. Thread-safe.
class ExecCredentials final : public Credentials {
 public:
  explicit ExecCredentials(ExecPlugin plugin);
  ~ExecCredentials() override;

  [[nodiscard]] Result<std::uint64_t> obtain(const std::stop_token& stop) override;
  void refuse(std::uint64_t which) override;

  // As of the last obtain(); "" where the program gives none.
  [[nodiscard]] std::string token() const;
  // Certificate and key; both "" where the program gives none.
  [[nodiscard]] std::pair<std::string, std::string> identity() const;

 private:
  struct State;
  const ExecPlugin plugin_;
  const std::unique_ptr<State> state_;
};

}  // namespace kube
