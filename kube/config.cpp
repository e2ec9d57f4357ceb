#include <algorithm>

#include <kube/config.h>

#include "identity.h"
#include "proxy.h"
#include "rotated.h"
#include "tls.h"
#include "url.h"

namespace kube {

namespace {

// An empty entry is none.
std::vector<std::filesystem::path> split_list(std::string_view list) {
  std::vector<std::filesystem::path> out;
  while (!list.empty()) {
    const auto colon = list.find(':');
    if (colon != 0) out.emplace_back(list.substr(0, colon));
    if (colon == std::string_view::npos) break;
    list.remove_prefix(colon + 1);
  }
  return out;
}

}  // namespace

Result<Config> load_in_cluster(const std::filesystem::path& directory,
                               std::function<std::chrono::steady_clock::time_point()> now) {
  const auto failed = [](const std::filesystem::path& file, const std::string& what) {
    return std::unexpected(Error{0, "InvalidConfiguration", file.string() + ": " + what, {}, {}});
  };
  if (!now) now = std::chrono::steady_clock::now;
  const std::string host = environment_variable("KUBERNETES_SERVICE_HOST");
  const std::string port = environment_variable("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return failed(directory,
                  "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not in a pod");
  }
  Config config;
  config.server =
      "https://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
  if (auto url = parse_base_url(config.server); !url)
    return failed(directory, "KUBERNETES_SERVICE_HOST and _PORT: " + url.error().message);

  auto token = read_small_file(directory / "token");
  if (!token) return std::unexpected(std::move(token.error()));
  if (trimmed(*token).empty()) return failed(directory / "token", "is empty");
  auto ca = read_small_file(directory / "ca.crt");
  if (!ca) return std::unexpected(std::move(ca.error()));
  // An empty one would mean that the system's authorities are trusted.
  if (const std::string fault = certificates_fault(*ca); !fault.empty())
    return failed(directory / "ca.crt", fault);
  auto ns = read_small_file(directory / "namespace");
  config.namespace_ = ns ? trimmed(std::move(*ns)) : "";
  if (config.namespace_.empty()) config.namespace_ = "default";

  const auto ca_file = std::make_shared<RotatedFile>(
      directory / "ca.crt", std::move(*ca),
      [](const std::string& text) { return certificates_fault(text).empty(); }, now);
  config.tls_material = [ca_file] { return TlsMaterial{ca_file->text(), {}, {}}; };
  const auto token_file = std::make_shared<RotatedFile>(
      directory / "token", std::move(*token),
      [](const std::string& text) { return !trimmed(text).empty(); }, now);
  config.bearer_token = [token_file] { return trimmed(token_file->text()); };
  return config;
}

Result<Config> load_config(const std::filesystem::path& explicit_file, const std::string& context,
                           const Impersonation& as) {
  if (!explicit_file.empty()) return load_kubeconfig(explicit_file, context, {}, as);
  std::vector<std::filesystem::path> files = split_list(environment_variable("KUBECONFIG"));
  if (const std::string home = environment_variable("HOME"); files.empty() && !home.empty())
    files.push_back(std::filesystem::path(home) / ".kube" / "config");
  const bool is_there = std::ranges::any_of(files, [](const std::filesystem::path& file) {
    std::error_code unknown;  // then the reader says what it is
    return std::filesystem::exists(file, unknown) || unknown;
  });
  if (!is_there && !environment_variable("KUBERNETES_SERVICE_HOST").empty()) {
    auto config = load_in_cluster();
    if (!config) return config;
    if (auto whole = impersonate(*config, as); !whole)
      return std::unexpected(std::move(whole.error()));
    return config;
  }
  if (!files.empty()) return load_kubeconfig(files, context, {}, as);
  return std::unexpected(Error{0,
                               "InvalidConfiguration",
                               "no --kubeconfig, no KUBECONFIG, no HOME, and not in a pod",
                               {},
                               {}});
}

}  // namespace kube
