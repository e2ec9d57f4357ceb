// Certificates for tests: a CA and leaves of it, ECDSA P-256, valid for a day.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <kube/error.h>

namespace kube::envtest {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, PKCS #8
};

struct Leaf {
  std::string common_name;
  std::string organization;  // "" for none; a Kubernetes client's group
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;  // IP literals
};

class Authority {
 public:
  [[nodiscard]] static Result<Authority> make(const std::string& common_name);
  ~Authority();
  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;

  [[nodiscard]] const std::string& certificate() const;  // PEM
  // For both server and client authentication.
  [[nodiscard]] Result<KeyPair> issue(const Leaf& leaf) const;

 private:
  Authority();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A bare key pair for signing tokens: `certificate` holds the public key.
[[nodiscard]] Result<KeyPair> make_signing_key();

}  // namespace kube::envtest
