// What the webhook reads of registries: manifests and small blobs, over HTTPS. A registry is no
// friend: it says where a token is to be had and where a blob really is, and neither may send the
// webhook, or a credential, to a host that no administrator named. Sources: the OCI distribution
// specification 1.1 (pull), and the token authentication of the CNCF distribution project.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <kube/transport.h>
#include <policy/signatures.h>

#include "signatures/authentication.h"

namespace palisade::webhook {

struct RegistryOptions {
  // PEM of the only authorities that may vouch for registries; empty: the system's.
  std::filesystem::path ca_file;
  // Of the form of Docker's config.json; empty: none. Read for each image, so that it may be
  // replaced.
  std::filesystem::path credentials_file;
  // HOST or HOST:PORT that registries may send the webhook to, beside themselves: token services,
  // and storage of blobs, which never gets a credential.
  std::vector<std::string> other_hosts;
};

// Speaks with one registry about one repository, until `deadline` at the latest. Not thread-safe.
// Errors are one sentence without the credential.
class RegistryReader {
 public:
  RegistryReader(const RegistryOptions& options, const policy::ImageName& image,
                 std::chrono::steady_clock::time_point deadline);

  // By tag or digest; nullopt: there is none, or no such repository.
  [[nodiscard]] std::expected<std::optional<std::string>, std::string> manifest(
      std::string_view reference);
  // The list of what refers to an image with a bundle, as the registry keeps it or, where it keeps
  // none, as clients do, under a tag of it; nullopt: there is no list.
  [[nodiscard]] std::expected<std::optional<std::string>, std::string> referrers(
      std::string_view digest);
  [[nodiscard]] std::expected<std::string, std::string> blob(std::string_view digest);

 private:
  using Text = std::expected<std::string, std::string>;
  using Answer = std::expected<kube::Response, std::string>;

  using Found = std::expected<std::optional<std::string>, std::string>;

  Answer get(const std::string& target, const std::string& accept);
  // nullopt where `absent` says so of the status.
  Found document(const std::string& target, const std::string& accept, bool (*absent)(int status));
  Answer send(const std::string& authority, const std::string& target, kube::Headers headers);
  // Reads the challenge of a 401 and finds what answers it.
  std::expected<void, std::string> authorize(const kube::Response& refusal);
  Text token(const Challenge& challenge, const std::string& credential);
  Answer follow(kube::Response answer);
  // Splits https://HOST[:PORT]/PATH of a host that may be asked.
  struct Place {
    std::string authority, target;
  };
  std::expected<Place, std::string> place(std::string_view url, std::string_view what) const;
  kube::Transport& transport(const std::string& authority);

  const RegistryOptions& options_;
  const policy::ImageName image_;
  const std::string authority_;  // where the registry's API is
  const std::chrono::steady_clock::time_point deadline_;
  std::string authorization_;
  std::string ca_;
  std::string broken_;  // why nothing can be asked, or ""
  std::map<std::string, std::unique_ptr<kube::Transport>> transports_;
};

}  // namespace palisade::webhook
