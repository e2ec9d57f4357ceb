// kubeconfig v1: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
// A field that would change who we are or where the connection goes, and that is not supported, is
// refused: to pass over `as` would act with more rights than were asked for.
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <kube/config.h>

#include "rotated.h"
#include "tls.h"
#include "url.h"

namespace kube {

namespace {

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

// The file and one map in it, with the map's path for messages.
struct Section {
  std::filesystem::path file;
  std::string path;  // e.g. users[admin].user
  YAML::Node node;

  [[nodiscard]] std::string text(const std::string& field) const { return text_of(node[field]); }
  [[nodiscard]] bool has(const std::string& field) const { return bool(node[field]); }
  [[nodiscard]] std::unexpected<Error> fault(const std::string& field,
                                             const std::string& why) const {
    std::string message = file.string() + ": ";
    message += path.empty() || field.empty() ? path + field : path + "." + field;
    return std::unexpected(Error{0, "InvalidConfiguration", message + " " + why, {}, {}});
  }
  // A path in the file is relative to the file.
  [[nodiscard]] std::filesystem::path resolve(const std::string& text) const {
    const std::filesystem::path given(text);
    return given.is_absolute() ? given : file.parent_path() / given;
  }
};

// Entry `name` of a list such as clusters: its `inner` map.
Result<Section> entry(const Section& root, const std::string& list, const std::string& inner,
                      const std::string& name) {
  const YAML::Node items = root.node[list];
  if (items && items.IsSequence()) {
    for (const auto& item : items) {
      if (!item.IsMap() || text_of(item["name"]) != name) continue;
      const std::string path = fmt::format("{}[{}].{}", list, name, inner);
      if (!item[inner] || !item[inner].IsMap()) return root.fault(path, "is missing");
      return Section{root.file, path, item[inner]};
    }
  }
  return root.fault(list, "has no entry named \"" + name + "\"");
}

Result<void> refuse(const Section& section, std::initializer_list<const char*> fields,
                    const std::string& instead) {
  for (const char* field : fields) {
    if (section.has(field)) return section.fault(field, "is not supported; " + instead);
  }
  return {};
}

// FIELD-data (base64) goes before FIELD (a path). Neither: an empty text.
Result<TextSource> pem_of(const Section& section, const std::string& field) {
  if (const std::string data = section.text(field + "-data"); !data.empty()) {
    auto pem = decode_base64(data);
    if (!pem) return section.fault(field + "-data", "is not base64");
    return TextSource{std::move(*pem), {}};
  }
  if (const std::string path = section.text(field); !path.empty()) {
    const auto file = section.resolve(path);
    auto pem = read_small_file(file);
    if (!pem) return section.fault(field, "names " + pem.error().message);
    return TextSource{std::move(*pem), file};
  }
  return TextSource{};
}

std::string used_field(const TextSource& source, const std::string& field) {
  return source.file.empty() ? field + "-data" : field;
}

Result<void> read_cluster(const Section& cluster, Config& config, TextSource& ca) {
  if (auto fit = refuse(cluster, {"proxy-url"}, "connect without a proxy"); !fit) return fit;
  auto url = parse_url(cluster.text("server"));
  if (!url) return cluster.fault("server", url.error().message);
  config.path_prefix = url->path;
  config.server = (url->tls ? "https://" : "http://") + url->authority();
  if (auto base = parse_base_url(config.server); !base)
    return cluster.fault("server", base.error().message);
  config.server_name = cluster.text("tls-server-name");
  const std::string insecure = cluster.text("insecure-skip-tls-verify");
  if (!insecure.empty() && insecure != "true" && insecure != "false")
    return cluster.fault("insecure-skip-tls-verify", "is neither true nor false");
  config.insecure_skip_verify = insecure == "true";

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

Result<void> read_identity(const Section& user, TextSource& certificate, TextSource& key) {
  auto certificate_pem = pem_of(user, "client-certificate");
  if (!certificate_pem) return std::unexpected(std::move(certificate_pem.error()));
  auto key_pem = pem_of(user, "client-key");
  if (!key_pem) return std::unexpected(std::move(key_pem.error()));
  certificate = std::move(*certificate_pem);
  key = std::move(*key_pem);
  const bool has_certificate = !certificate.text.empty() || !certificate.file.empty();
  const bool has_key = !key.text.empty() || !key.file.empty();
  if (!has_certificate && !has_key) return {};
  if (!has_key) return user.fault("client-key", "is missing beside client-certificate");
  if (!has_certificate) return user.fault("client-certificate", "is missing beside client-key");
  if (const std::string fault = certificates_fault(certificate.text); !fault.empty())
    return user.fault(used_field(certificate, "client-certificate"), fault);
  if (const std::string fault = identity_fault(certificate.text, key.text); !fault.empty())
    return user.fault(used_field(key, "client-key"), "is refused: " + fault);
  return {};
}

// As kubectl: tokenFile goes before token.
Result<void> read_token(const Section& user, Config& config, const Now& now) {
  if (const std::string path = user.text("tokenFile"); !path.empty()) {
    const auto file = user.resolve(path);
    auto first = read_small_file(file);
    if (!first) return user.fault("tokenFile", "names " + first.error().message);
    if (trimmed(*first).empty()) return user.fault("tokenFile", "names an empty file");
    const auto source = std::make_shared<RotatedFile>(
        file, std::move(*first), [](const std::string& text) { return !trimmed(text).empty(); },
        now);
    config.bearer_token = [source] { return trimmed(source->text()); };
  } else if (std::string token = user.text("token"); !token.empty()) {
    config.bearer_token = [token = std::move(token)] { return token; };
  }
  return {};
}

}  // namespace

Result<Config> load_kubeconfig(const std::filesystem::path& file, const std::string& context_name,
                               std::function<std::chrono::steady_clock::time_point()> now) {
  if (!now) now = std::chrono::steady_clock::now;
  auto text = read_small_file(file);
  if (!text) return std::unexpected(std::move(text.error()));
  Section root{file, "", {}};
  try {
    root.node = YAML::Load(*text);
  } catch (const YAML::Exception& error) {
    return root.fault("", "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  if (!root.node.IsMap()) return root.fault("", "is not a kubeconfig (no YAML map)");

  const std::string wanted = context_name.empty() ? root.text("current-context") : context_name;
  if (wanted.empty()) return root.fault("current-context", "is not set; name a context or set it");
  auto context = entry(root, "contexts", "context", wanted);
  if (!context) return std::unexpected(std::move(context.error()));
  auto cluster = entry(root, "clusters", "cluster", context->text("cluster"));
  if (!cluster) return std::unexpected(std::move(cluster.error()));
  Config config;
  config.namespace_ = context->text("namespace");
  if (config.namespace_.empty()) config.namespace_ = "default";
  TextSource ca;
  TextSource certificate;
  TextSource key;
  if (auto read = read_cluster(*cluster, config, ca); !read)
    return std::unexpected(std::move(read.error()));

  if (const std::string name = context->text("user"); !name.empty()) {
    auto user = entry(root, "users", "user", name);
    if (!user) return std::unexpected(std::move(user.error()));
    auto fit = refuse(*user,
                      {"exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups",
                       "as-user-extra"},
                      "use a client certificate, token or tokenFile");
    if (fit) fit = read_identity(*user, certificate, key);
    if (fit) fit = read_token(*user, config, now);
    if (!fit) return std::unexpected(std::move(fit.error()));
  }

  std::function<std::string()> ca_text = [pem = ca.text] { return pem; };
  if (!ca.file.empty()) {
    const auto source = std::make_shared<RotatedFile>(
        ca.file, ca.text, [](const std::string& pem) { return certificates_fault(pem).empty(); },
        now);
    ca_text = [source] { return source->text(); };
  }
  const auto identity =
      std::make_shared<RotatedIdentity>(std::move(certificate), std::move(key), now);
  config.tls_material = [ca_text, identity] {
    auto [chain, own_key] = identity->pair();
    return TlsMaterial{ca_text(), std::move(chain), std::move(own_key)};
  };
  return config;
}

}  // namespace kube
