#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>

#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <kube/config.h>

#include "url.h"

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kReread = std::chrono::seconds(60);
constexpr std::size_t kMaxFile = 4 * 1024 * 1024;

std::unexpected<Error> config_error(const std::filesystem::path& file, const std::string& what) {
  return std::unexpected(Error{0, "InvalidConfiguration", file.string() + ": " + what, {}, {}});
}

Result<std::string> read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return config_error(file, "cannot be read");
  std::string text(kMaxFile + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxFile) return config_error(file, "is larger than 4 MiB");
  return text;
}

std::string trimmed(std::string text) {
  const auto last = text.find_last_not_of(" \t\r\n");
  text.erase(last == std::string::npos ? 0 : last + 1);
  return text;
}

// A small file that others rotate: re-read at most once a minute; the last good text stays while it
// cannot be read. Thread-safe.
class RotatedFile {
 public:
  explicit RotatedFile(std::filesystem::path file, std::string first)
      : file_(std::move(file)), text_(std::move(first)) {}
  std::string text() {
    const std::scoped_lock lock(mutex_);
    const auto now = Clock::now();
    if (now - read_at_ >= kReread) {
      read_at_ = now;
      if (auto fresh = read_file(file_); fresh && !fresh->empty()) text_ = std::move(*fresh);
    }
    return text_;
  }

 private:
  const std::filesystem::path file_;
  std::mutex mutex_;
  std::string text_;
  Clock::time_point read_at_ = Clock::now();
};

std::function<std::string()> rotated(std::filesystem::path file, std::string first) {
  auto source = std::make_shared<RotatedFile>(std::move(file), std::move(first));
  return [source] { return trimmed(source->text()); };
}

std::optional<std::string> decode_base64(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  std::size_t padding = 0;
  if (text.ends_with("==")) {
    padding = 2;
  } else if (text.ends_with('=')) {
    padding = 1;
  }
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

std::string text_of(const YAML::Node& node) {
  return node && node.IsScalar() ? node.Scalar() : std::string();
}

// Entry `name` of a kubeconfig list such as clusters: its `inner` map.
Result<YAML::Node> entry(const std::filesystem::path& file, const YAML::Node& root,
                         const std::string& list, const std::string& inner,
                         const std::string& name) {
  if (root[list] && root[list].IsSequence()) {
    for (const auto& item : root[list]) {
      if (item.IsMap() && text_of(item["name"]) == name) {
        if (!item[inner] || !item[inner].IsMap())
          return config_error(file, list + "[" + name + "]." + inner + " is missing");
        return item[inner];
      }
    }
  }
  return config_error(file, list + " has no entry named \"" + name + "\"");
}

// FIELD-data (base64) or FIELD (a path, relative to the kubeconfig); a source that is asked again
// on each connection.
Result<std::function<std::string()>> pem_source(const std::filesystem::path& file,
                                                const YAML::Node& node, const std::string& field) {
  if (const std::string data = text_of(node[field + "-data"]); !data.empty()) {
    auto pem = decode_base64(data);
    if (!pem) return config_error(file, field + "-data is not base64");
    return [text = *pem] { return text; };
  }
  if (const std::string path = text_of(node[field]); !path.empty()) {
    const auto full = std::filesystem::path(path).is_absolute() ? std::filesystem::path(path)
                                                                : file.parent_path() / path;
    auto first = read_file(full);
    if (!first) return config_error(file, field + ": " + first.error().message);
    auto source = std::make_shared<RotatedFile>(full, std::move(*first));
    return [source] { return source->text(); };
  }
  return [] { return std::string(); };
}

}  // namespace

Result<Config> load_kubeconfig(const std::filesystem::path& file, const std::string& context_name) {
  auto text = read_file(file);
  if (!text) return std::unexpected(std::move(text.error()));
  YAML::Node root;
  try {
    root = YAML::Load(*text);
  } catch (const YAML::Exception& error) {
    return config_error(file, "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  if (!root.IsMap()) return config_error(file, "is not a kubeconfig (no YAML map)");

  const std::string wanted = context_name.empty() ? text_of(root["current-context"]) : context_name;
  if (wanted.empty())
    return config_error(file, "current-context is not set; choose one with --context");
  auto context = entry(file, root, "contexts", "context", wanted);
  if (!context) return std::unexpected(std::move(context.error()));
  auto cluster = entry(file, root, "clusters", "cluster", text_of((*context)["cluster"]));
  if (!cluster) return std::unexpected(std::move(cluster.error()));
  const std::string user_name = text_of((*context)["user"]);
  auto user = user_name.empty() ? Result<YAML::Node>(YAML::Node(YAML::NodeType::Map))
                                : entry(file, root, "users", "user", user_name);
  if (!user) return std::unexpected(std::move(user.error()));
  for (const char* unsupported : {"exec", "auth-provider"}) {
    if ((*user)[unsupported]) {
      return config_error(file,
                          "users[" + user_name + "]." + unsupported +
                              " is not supported; use a client certificate, token or tokenFile");
    }
  }

  Config config;
  config.namespace_ = text_of((*context)["namespace"]);
  if (config.namespace_.empty()) config.namespace_ = "default";
  const std::string server = text_of((*cluster)["server"]);
  auto url = parse_url(server);
  if (!url) return config_error(file, "clusters[].cluster.server: " + url.error().message);
  config.path_prefix = url->path;
  config.server = (url->tls ? "https://" : "http://") + url->authority();
  config.server_name = text_of((*cluster)["tls-server-name"]);
  const std::string insecure = text_of((*cluster)["insecure-skip-tls-verify"]);
  config.insecure_skip_verify = insecure == "true";

  auto ca = pem_source(file, *cluster, "certificate-authority");
  if (!ca) return std::unexpected(std::move(ca.error()));
  auto certificate = pem_source(file, *user, "client-certificate");
  if (!certificate) return std::unexpected(std::move(certificate.error()));
  auto key = pem_source(file, *user, "client-key");
  if (!key) return std::unexpected(std::move(key.error()));
  config.tls_material = [ca = *ca, certificate = *certificate, key = *key] {
    return TlsMaterial{ca(), certificate(), key()};
  };

  if (const std::string token = text_of((*user)["token"]); !token.empty()) {
    config.bearer_token = [token] { return token; };
  } else if (const std::string path = text_of((*user)["tokenFile"]); !path.empty()) {
    const auto full = std::filesystem::path(path).is_absolute() ? std::filesystem::path(path)
                                                                : file.parent_path() / path;
    auto first = read_file(full);
    if (!first)
      return config_error(file,
                          "users[" + user_name + "].user.tokenFile: " + first.error().message);
    config.bearer_token = rotated(full, std::move(*first));
  }
  return config;
}

Result<Config> load_in_cluster(const std::filesystem::path& directory) {
  const char* host = std::getenv(
      "KUBERNETES_SERVICE_HOST");  // NOLINT(concurrency-mt-unsafe): read before threads start
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");  // NOLINT(concurrency-mt-unsafe)
  if (host == nullptr || port == nullptr) {
    return config_error(
        directory, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not in a pod");
  }
  auto token = read_file(directory / "token");
  if (!token) return std::unexpected(std::move(token.error()));
  auto ca = read_file(directory / "ca.crt");
  if (!ca) return std::unexpected(std::move(ca.error()));
  Config config;
  const std::string address =
      std::string(host).find(':') == std::string::npos ? host : "[" + std::string(host) + "]";
  config.server = "https://" + address + ":" + port;
  auto ns = read_file(directory / "namespace");
  config.namespace_ = ns ? trimmed(std::move(*ns)) : "default";
  auto ca_source = std::make_shared<RotatedFile>(directory / "ca.crt", std::move(*ca));
  config.tls_material = [ca_source] { return TlsMaterial{ca_source->text(), {}, {}}; };
  config.bearer_token = rotated(directory / "token", std::move(*token));
  return config;
}

Result<Config> load_config(const std::filesystem::path& explicit_file, const std::string& context) {
  if (!explicit_file.empty()) return load_kubeconfig(explicit_file, context);
  if (std::getenv("KUBERNETES_SERVICE_HOST") != nullptr)
    return load_in_cluster();  // NOLINT(concurrency-mt-unsafe)
  if (const char* list = std::getenv("KUBECONFIG");
      list != nullptr && *list != '\0') {  // NOLINT(concurrency-mt-unsafe)
    const std::string first = std::string(list).substr(0, std::string(list).find(':'));
    return load_kubeconfig(first, context);
  }
  const char* home = std::getenv("HOME");  // NOLINT(concurrency-mt-unsafe)
  return load_kubeconfig(
      std::filesystem::path(home != nullptr ? home : "/root") / ".kube" / "config", context);
}

}  // namespace kube
