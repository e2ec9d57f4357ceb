// kubeconfig v1: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
// A field that would change who we are or where the connection goes, and that is not supported, is
// refused: to pass over `as` would act with more rights than were asked for.
#include <memory>
#include <optional>
#include <tuple>

#include <fmt/format.h>

#include <kube/base64.h>
#include <kube/config.h>

#include "identity.h"
#include "kubeconfig_section.h"
#include "proxy.h"
#include "rotated.h"
#include "tls.h"
#include "url.h"

namespace kube {

namespace {

using Json = nlohmann::json;

// All files of one configuration, in the order of KUBECONFIG: what stands in several is the
// first's.
struct Files {
  std::vector<Section> roots;
  std::string names;  // for messages

  [[nodiscard]] std::unexpected<Error> fault(const std::string& why) const {
    return std::unexpected(Error{0, "InvalidConfiguration", names + ": " + why, {}, {}});
  }
  // Entry `name` of a list such as clusters: its `inner` map.
  [[nodiscard]] Result<Section> entry(const std::string& list, const std::string& inner,
                                      const std::string& name) const {
    for (const Section& root : roots) {
      auto found = root.entry(list, inner, name);
      if (!found) return std::unexpected(std::move(found.error()));
      if (*found) return std::move(**found);
    }
    return fault(list + " has no entry named \"" + name + "\"");
  }
};

Result<Files> read_files(const std::vector<std::filesystem::path>& paths) {
  Files out;
  std::string all;
  for (const auto& file : paths) {
    all += (all.empty() ? "" : ", ") + file.string();
    std::error_code failed;
    // As kubectl: in a list some may be missing.
    if (paths.size() > 1 && !std::filesystem::exists(file, failed) && !failed) continue;
    auto root = read_root(file);
    if (!root) return std::unexpected(std::move(root.error()));
    if (paths.size() > 1 && root->node.IsNull()) continue;
    if (!root->node.IsMap()) return root->fault("", "is not a kubeconfig (no YAML map)");
    out.names += (out.names.empty() ? "" : ", ") + file.string();
    out.roots.push_back(std::move(*root));
  }
  if (!out.roots.empty()) return out;
  out.names = all;
  return out.fault("none of these files is there; KUBECONFIG or --kubeconfig names one that is");
}

// https://kubernetes.io/docs/reference/config-api/client-authentication.v1/#client-authentication-k8s-io-v1-Cluster
Json told_of(const Section& cluster, const Config& config, const TextSource& ca) {
  Json out{{"server", cluster.text("server")}};
  if (!config.server_name.empty()) out["tls-server-name"] = config.server_name;
  if (config.insecure_skip_verify) out["insecure-skip-tls-verify"] = true;
  if (!ca.text.empty()) out["certificate-authority-data"] = encode_base64(ca.text);
  if (const std::string proxy = cluster.text("proxy-url"); !proxy.empty()) out["proxy-url"] = proxy;
  if (!config.compression) out["disable-compression"] = true;
  const YAML::Node extensions = cluster.node["extensions"];
  if (!extensions || !extensions.IsSequence()) return out;
  for (const auto& one : extensions) {
    if (one.IsMap() && text_of(one["name"]) == "client.authentication.k8s.io/exec" &&
        one["extension"])
      out["config"] = json_of(one["extension"]);
  }
  return out;
}

Result<void> read_proxy(const Section& cluster, const Url& url, Config& config) {
  const std::string text = cluster.text("proxy-url");
  if (text.empty()) {
    auto proxy = proxy_of_environment(url, environment_variable);
    if (!proxy) return std::unexpected(std::move(proxy.error()));
    config.proxy = std::move(*proxy);
    return {};
  }
  auto proxy = parse_proxy(text);
  if (!proxy) return cluster.fault("proxy-url", proxy.error().message);
  if (!url.tls) return cluster.fault("proxy-url", "goes with an https:// server only; take it out");
  config.proxy = std::move(*proxy);
  return {};
}

Result<void> read_cluster(const Section& cluster, Config& config, TextSource& ca) {
  auto url = parse_url(cluster.text("server"));
  if (!url) return cluster.fault("server", url.error().message);
  config.path_prefix = url->path;
  config.server = (url->tls ? "https://" : "http://") + url->authority();
  if (auto base = parse_base_url(config.server); !base)
    return cluster.fault("server", base.error().message);
  config.server_name = cluster.text("tls-server-name");
  auto insecure = cluster.flag("insecure-skip-tls-verify");
  if (!insecure) return std::unexpected(std::move(insecure.error()));
  config.insecure_skip_verify = *insecure;
  auto uncompressed = cluster.flag("disable-compression");
  if (!uncompressed) return std::unexpected(std::move(uncompressed.error()));
  config.compression = !*uncompressed;
  if (auto proxy = read_proxy(cluster, *url, config); !proxy) return proxy;

  auto pem = pem_of(cluster, "certificate-authority");
  if (!pem) return std::unexpected(std::move(pem.error()));
  ca = std::move(*pem);
  const std::string field = used_field(ca, "certificate-authority");
  // Also a file that is empty: it would mean that the system's authorities are trusted.
  if (ca.text.empty() && ca.file.empty()) return {};
  if (const std::string fault = certificates_fault(ca.text); !fault.empty())
    return cluster.fault(field, fault);
  if (config.insecure_skip_verify)
    return cluster.fault("insecure-skip-tls-verify",
                         "contradicts certificate-authority; take one of them out");
  return {};
}

}  // namespace

Result<Config> load_kubeconfig(const std::filesystem::path& file, const std::string& context,
                               std::function<std::chrono::steady_clock::time_point()> now,
                               const Impersonation& as) {
  return load_kubeconfig(std::vector{file}, context, std::move(now), as);
}

Result<Config> load_kubeconfig(const std::vector<std::filesystem::path>& paths,
                               const std::string& context_name,
                               std::function<std::chrono::steady_clock::time_point()> now,
                               const Impersonation& as) {
  if (!now) now = std::chrono::steady_clock::now;
  auto files = read_files(paths);
  if (!files) return std::unexpected(std::move(files.error()));
  std::string wanted = context_name;
  for (const Section& root : files->roots) {
    if (wanted.empty()) wanted = root.text("current-context");
  }
  if (wanted.empty()) return files->fault("current-context is not set; name a context or set it");
  auto context = files->entry("contexts", "context", wanted);
  if (!context) return std::unexpected(std::move(context.error()));
  auto cluster = files->entry("clusters", "cluster", context->text("cluster"));
  if (!cluster) return std::unexpected(std::move(cluster.error()));
  Config config;
  config.namespace_ = context->text("namespace");
  if (config.namespace_.empty()) config.namespace_ = "default";
  TextSource ca;
  if (auto read = read_cluster(*cluster, config, ca); !read)
    return std::unexpected(std::move(read.error()));

  std::function<std::pair<std::string, std::string>()> identity;
  if (const std::string name = context->text("user"); !name.empty()) {
    auto user = files->entry("users", "user", name);
    if (!user) return std::unexpected(std::move(user.error()));
    auto read = read_user(*user, name, told_of(*cluster, config, ca), now, config);
    if (!read) return std::unexpected(std::move(read.error()));
    identity = std::move(*read);
  }
  if (auto whole = impersonate(config, as); !whole) return files->fault(whole.error().message);

  std::function<std::string()> ca_text = [pem = ca.text] { return pem; };
  if (!ca.file.empty()) {
    const auto source = std::make_shared<RotatedFile>(
        ca.file, ca.text, [](const std::string& pem) { return certificates_fault(pem).empty(); },
        now);
    ca_text = [source] { return source->text(); };
  }
  config.tls_material = [ca_text, identity] {
    TlsMaterial out{ca_text(), {}, {}};
    if (identity) std::tie(out.certificate, out.key) = identity();
    return out;
  };
  return config;
}

}  // namespace kube
