// Where the API server is and how to prove who we are: a kubeconfig file or the pod's
// ServiceAccount.
// https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include <kube/transport.h>

namespace kube {

// Credentials that do not last: a program or an identity provider gives them. Thread-safe.
class Credentials {
 public:
  Credentials() = default;
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;
  virtual ~Credentials() = default;

  // Makes bearer_token and tls_material of the Config give what holds now, and says which that is.
  // At once while it lasts; else it takes as long as the program does, a minute at most where
  // nobody is asked anything.
  [[nodiscard]] virtual Result<std::uint64_t> obtain(const std::stop_token& stop) = 0;
  // The server has answered 401 to those: the next obtain() gives others.
  virtual void refuse(std::uint64_t which) = 0;
};

// Whom the server is asked to take us for; it asks its RBAC whether we may.
// Source:
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
struct Impersonation {
  std::string user;  // "": nobody, and the rest is empty
  std::string uid;
  std::vector<std::string> groups;
  std::vector<std::pair<std::string, std::vector<std::string>>> extra;
};

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
  // Where there is one, Client and Attachment ask it before each request, and after a 401 once
  // more.
  std::shared_ptr<Credentials> credentials;
  std::optional<Login> basic;  // user and password instead of a token
  Impersonation impersonation;
  std::optional<Proxy> proxy;
  bool compression = true;  // answers may come compressed
};

// Reads kubeconfigs as kubectl merges them: the first file that has an entry, or a current-context,
// has it whole; one that is not there is passed over where there are several; paths in a file are
// relative to it. `context` empty: the current one. A user is a client certificate, token or
// tokenFile, by data or by path, a user name and password, an exec credential plugin, or
// auth-provider oidc, whose tokens are renewed and written back; `as` and its like count. Files are
// read again at most once a minute of `now` (empty: the steady clock); the last good content stays
// while the new one is unreadable or half rotated. HTTPS_PROXY and NO_PROXY count where the cluster
// has no proxy-url. What is not supported and would change who we are or where we connect is
// refused by name: other auth-providers, two ways to say who we are, http:// off loopback. Errors
// name the file, the field and the fix. `as` is kubectl's --as, --as-uid and --as-group: each part
// that is given goes in place of the user's own.
[[nodiscard]] Result<Config> load_kubeconfig(
    const std::vector<std::filesystem::path>& files, const std::string& context = "",
    std::function<std::chrono::steady_clock::time_point()> now = {}, const Impersonation& as = {});
[[nodiscard]] Result<Config> load_kubeconfig(
    const std::filesystem::path& file, const std::string& context = "",
    std::function<std::chrono::steady_clock::time_point()> now = {}, const Impersonation& as = {});

// /var/run/secrets/kubernetes.io/serviceaccount and KUBERNETES_SERVICE_HOST/PORT.
// Token and authority are read again as above.
[[nodiscard]] Result<Config> load_in_cluster(
    const std::filesystem::path& directory = "/var/run/secrets/kubernetes.io/serviceaccount",
    std::function<std::chrono::steady_clock::time_point()> now = {});

// `explicit_file` if not empty, else the files of $KUBECONFIG, else ~/.kube/config. Where none of
// these is there: the pod's account, if KUBERNETES_SERVICE_HOST is set.
[[nodiscard]] Result<Config> load_config(const std::filesystem::path& explicit_file = {},
                                         const std::string& context = "",
                                         const Impersonation& as = {});

}  // namespace kube
