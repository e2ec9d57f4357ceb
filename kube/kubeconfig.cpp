// kubeconfig v1: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
// A field that would change who we are or where the connection goes, and that is not supported, is
// refused: to pass over `as` would act with more rights than were asked for.
#include <cstdlib>
#include <memory>
#include <optional>
#include <tuple>

#include <fmt/format.h>

#include <kube/base64.h>
#include <kube/config.h>

#include "kubeconfig_section.h"
#include "proxy.h"
#include "rotated.h"
#include "tls.h"
#include "url.h"

namespace kube {

namespace {

using Json = nlohmann::json;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::optional<std::string> decoded(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  return decode_base64(text);
}

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
      const YAML::Node items = root.node[list];
      if (!items || !items.IsSequence()) continue;
      for (const auto& item : items) {
        if (!item.IsMap() || text_of(item["name"]) != name) continue;
        const std::string path = fmt::format("{}[{}].{}", list, name, inner);
        if (!item[inner] || !item[inner].IsMap()) return root.fault(path, "is missing");
        return Section{root.file, path, item[inner]};
      }
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
    auto text = read_small_file(file);
    if (!text) return std::unexpected(std::move(text.error()));
    Section root{file, "", {}};
    try {
      root.node = YAML::Load(*text);
    } catch (const YAML::Exception& error) {
      return root.fault("", "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
    }
    if (paths.size() > 1 && root.node.IsNull()) continue;
    if (!root.node.IsMap()) return root.fault("", "is not a kubeconfig (no YAML map)");
    out.names += (out.names.empty() ? "" : ", ") + file.string();
    out.roots.push_back(std::move(root));
  }
  if (!out.roots.empty()) return out;
  out.names = all;
  return out.fault("none of these files is there; KUBECONFIG or --kubeconfig names one that is");
}

// What stands in the file, for a program that is told of the cluster; scalars that YAML takes for
// numbers and truth values are these.
Json json_of(const YAML::Node& node, int depth = 0) {
  constexpr int kMostDepth = 16;
  if (depth > kMostDepth) return {};
  if (node.IsMap()) {
    Json out = Json::object();
    for (const auto& member : node)
      out[text_of(member.first)] = json_of(member.second, depth + 1);
    return out;
  }
  if (node.IsSequence()) {
    Json out = Json::array();
    for (const auto& one : node)
      out.push_back(json_of(one, depth + 1));
    return out;
  }
  if (!node.IsScalar()) return {};
  if (node.Tag() == "!") return node.Scalar();  // in quotes
  const Json plain = Json::parse(node.Scalar(), nullptr, false);
  return plain.is_number() || plain.is_boolean() ? plain : Json(node.Scalar());
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
    auto proxy = proxy_of_environment(url, environment);
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

std::string text_of(const YAML::Node& node) {
  return node && node.IsScalar() ? node.Scalar() : std::string();
}

std::string Section::text(const std::string& field) const {
  return text_of(node[field]);
}

std::string Section::where(const std::string& field) const {
  return file.string() + ": " + (path.empty() || field.empty() ? path + field : path + "." + field);
}

std::unexpected<Error> Section::fault(const std::string& field, const std::string& why) const {
  std::string message = where(field);
  if (!message.ends_with(' ')) message += ' ';
  return std::unexpected(Error{0, "InvalidConfiguration", message + why, {}, {}});
}

std::filesystem::path Section::resolve(const std::string& text) const {
  const std::filesystem::path given(text);
  return given.is_absolute() ? given : std::filesystem::absolute(file).parent_path() / given;
}

Result<bool> Section::flag(const std::string& field) const {
  const std::string value = text(field);
  if (!value.empty() && value != "true" && value != "false")
    return fault(field, "is neither true nor false");
  return value == "true";
}

Result<Section> Section::inner(const std::string& field) const {
  if (!node[field] || !node[field].IsMap()) return fault(field, "is missing, or no map");
  return Section{file, path + "." + field, node[field]};
}

Result<void> refuse(const Section& section, std::initializer_list<const char*> fields,
                    const std::string& instead) {
  for (const char* field : fields) {
    if (section.has(field)) return section.fault(field, "is not supported; " + instead);
  }
  return {};
}

Result<TextSource> pem_of(const Section& section, const std::string& field) {
  if (const std::string data = section.text(field + "-data"); !data.empty()) {
    auto pem = decoded(data);
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

Result<Config> load_kubeconfig(const std::filesystem::path& file, const std::string& context,
                               std::function<std::chrono::steady_clock::time_point()> now) {
  return load_kubeconfig(std::vector{file}, context, std::move(now));
}

Result<Config> load_kubeconfig(const std::vector<std::filesystem::path>& paths,
                               const std::string& context_name,
                               std::function<std::chrono::steady_clock::time_point()> now) {
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
    auto read = read_user(*user, told_of(*cluster, config, ca), now, config);
    if (!read) return std::unexpected(std::move(read.error()));
    identity = std::move(*read);
  }

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
