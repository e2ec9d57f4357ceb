// Where the API server is and how to prove who we are: a kubeconfig file or the pod's
// ServiceAccount.
// https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include <kube/transport.h>

namespace kube {

struct Config {
  std::string server;       // https://HOST:PORT, maybe with a path prefix
  std::string path_prefix;  // "" or "/prefix", taken off `server`
  std::string namespace_;   // the context's or the pod's namespace; "default" where none is named
  std::string server_name;
  bool insecure_skip_verify = false;
  std::function<TlsMaterial()> tls_material;
  // The bearer token now ("" where none): in a cluster re-read from its file at most once a minute.
  // Thread-safe.
  std::function<std::string()> bearer_token;
};

// Reads one kubeconfig (clusters, users with client certificate, token or tokenFile, by data or by
// path). `context` empty: the current one. Files are read again at most once a minute of `now`
// (empty: the steady clock); the last good content stays while the new one is unreadable or half
// rotated. What is not supported and would change who we are or where we connect is refused by
// name: exec, auth-provider, username, password, as*, proxy-url. Errors name the file and the
// field.
[[nodiscard]] Result<Config> load_kubeconfig(
    const std::filesystem::path& file, const std::string& context = "",
    std::function<std::chrono::steady_clock::time_point()> now = {});

// /var/run/secrets/kubernetes.io/serviceaccount and KUBERNETES_SERVICE_HOST/PORT.
// Token and authority are read again as above.
[[nodiscard]] Result<Config> load_in_cluster(
    const std::filesystem::path& directory = "/var/run/secrets/kubernetes.io/serviceaccount",
    std::function<std::chrono::steady_clock::time_point()> now = {});

// `explicit_file` if not empty, else the pod's account if KUBERNETES_SERVICE_HOST is set, else
// $KUBECONFIG (first entry), else ~/.kube/config.
[[nodiscard]] Result<Config> load_config(const std::filesystem::path& explicit_file = {},
                                         const std::string& context = "");

}  // namespace kube
