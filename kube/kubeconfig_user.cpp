#include <memory>

#include <fmt/format.h>

#include <kube/rfc3339.h>

#include "exec_plugin.h"
#include "kubeconfig_section.h"
#include "oidc.h"
#include "tls.h"
#include "url.h"

namespace kube {

namespace {

using Json = nlohmann::json;
using Identity = std::function<std::pair<std::string, std::string>()>;

constexpr const char* kExecV1 = "client.authentication.k8s.io/v1";
constexpr const char* kExecV1Beta1 = "client.authentication.k8s.io/v1beta1";

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

// As kubectl: tokenFile goes before token, which serves until the file is there.
Result<void> read_token(const Section& user, Config& config, const Now& now) {
  const std::string login = user.text("username");
  const std::string password = user.text("password");
  if (!login.empty() || !password.empty()) {
    if (!user.text("token").empty() || !user.text("tokenFile").empty())
      return user.fault(login.empty() ? "password" : "username",
                        "stands beside a token; take one of them out");
    config.basic = Login{login, password};
    return {};
  }
  if (const std::string path = user.text("tokenFile"); !path.empty()) {
    const auto file = user.resolve(path);
    auto first = read_small_file(file);
    const std::string token = user.text("token");
    if (!token.empty() && (!first || trimmed(*first).empty())) first = token;
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

bool is_list_of_texts(const YAML::Node& node) {
  if (!node || node.IsNull()) return true;
  if (!node.IsSequence()) return false;
  for (const auto& one : node) {
    if (!one.IsScalar()) return false;
  }
  return true;
}

std::vector<std::string> texts_of(const YAML::Node& node) {
  std::vector<std::string> out;
  for (const auto& one : node)
    out.push_back(one.Scalar());
  return out;
}

Result<void> read_impersonation(const Section& user, Config& config) {
  Impersonation& as = config.impersonation;
  as.user = user.text("as");
  as.uid = user.text("as-uid");
  const YAML::Node groups = user.node["as-groups"];
  if (!is_list_of_texts(groups)) return user.fault("as-groups", "is no list of texts");
  as.groups = texts_of(groups);
  const YAML::Node extra = user.node["as-user-extra"];
  if (extra && !extra.IsNull() && !extra.IsMap())
    return user.fault("as-user-extra", "is no map of lists of texts");
  for (const auto& member : extra) {
    if (!is_list_of_texts(member.second))
      return user.fault("as-user-extra", "is no map of lists of texts");
    as.extra.emplace_back(text_of(member.first), texts_of(member.second));
  }
  return {};
}

Result<void> read_lists(const Section& exec, ExecPlugin& plugin) {
  const YAML::Node arguments = exec.node["args"];
  if (!is_list_of_texts(arguments)) return exec.fault("args", "is no list of texts");
  plugin.arguments = texts_of(arguments);
  const YAML::Node environment = exec.node["env"];
  if (environment && !environment.IsNull() && !environment.IsSequence())
    return exec.fault("env", "is no list of {name, value}");
  for (const YAML::Node& one : environment) {
    const std::string name = one.IsMap() ? text_of(one["name"]) : "";
    if (name.empty() || name.find('=') != std::string::npos)
      return exec.fault("env", "is no list of {name, value}");
    plugin.environment.emplace_back(name, text_of(one["value"]));
  }
  return {};
}

Result<ExecPlugin> read_exec(const Section& exec, const Json& cluster) {
  ExecPlugin plugin;
  plugin.where = exec.where("");
  plugin.api_version = exec.text("apiVersion");
  if (plugin.api_version != kExecV1 && plugin.api_version != kExecV1Beta1)
    return exec.fault("apiVersion", fmt::format("must be {} or {}; see which of them the program "
                                                "speaks, and update it where it is neither",
                                                kExecV1, kExecV1Beta1));
  plugin.command = exec.text("command");
  if (plugin.command.empty())
    return exec.fault("command", "is missing; name the program that gives the credentials");
  if (plugin.command.find('/') != std::string::npos)
    plugin.command = exec.resolve(plugin.command).string();
  if (auto lists = read_lists(exec, plugin); !lists)
    return std::unexpected(std::move(lists.error()));
  plugin.install_hint = exec.text("installHint");
  const std::string mode = exec.text("interactiveMode");
  if (mode == "Never") {
    plugin.interactive = ExecPlugin::Interactive::kNever;
  } else if (mode == "Always") {
    plugin.interactive = ExecPlugin::Interactive::kAlways;
  } else if (mode != "IfAvailable" && (!mode.empty() || plugin.api_version == kExecV1)) {
    return exec.fault("interactiveMode", "must be Never, IfAvailable or Always");
  }
  auto told = exec.flag("provideClusterInfo");
  if (!told) return std::unexpected(std::move(told.error()));
  if (*told) plugin.cluster = cluster;
  return plugin;
}

Result<void> read_auth_provider(const Section& user, const std::string& name, Config& config) {
  constexpr const char* kInstead =
      "use users[].user.exec with a credential plugin in its place (for OpenID Connect kubelogin)";
  auto provider = user.inner("auth-provider");
  if (!provider) return std::unexpected(std::move(provider.error()));
  if (const std::string kind = provider->text("name"); kind != "oidc")
    return provider->fault("name", "\"" + kind + "\" is not supported, as in kubectl; " + kInstead);
  auto settings = provider->inner("config");
  if (!settings) return std::unexpected(std::move(settings.error()));
  const std::string token = settings->text("id-token");
  const auto end = end_of_id_token(token);
  if (!token.empty() && !end)
    return settings->fault("id-token", std::string("is no token with an end; ") + kInstead);
  OidcProvider out;
  out.where = settings->where("");
  out.file = user.file;
  out.user = name;
  out.issuer = settings->text("idp-issuer-url");
  out.client_id = settings->text("client-id");
  out.client_secret = settings->text("client-secret");
  const bool renews = settings->has("refresh-token") && !settings->text("refresh-token").empty();
  if (!renews && (!end || !id_token_holds(*end)))
    return settings->fault("refresh-token",
                           (end ? "is missing, and the id-token has ended at " + rfc3339(*end)
                                : std::string("is missing, and so is the id-token")) +
                               "; log in again with what made this kubeconfig, or " + kInstead);
  if (renews) {
    if (out.client_id.empty())
      return settings->fault("client-id", std::string("is missing; the provider knows us by it"));
    if (auto issuer = parse_url(out.issuer); !issuer)
      return settings->fault("idp-issuer-url",
                             "must be the issuer of the tokens: " + issuer.error().message);
  }
  while (out.issuer.ends_with('/'))
    out.issuer.pop_back();
  auto ca = pem_of(*settings, "idp-certificate-authority");
  if (!ca) return std::unexpected(std::move(ca.error()));
  out.ca = ca->text;
  if (!out.ca.empty() || !ca->file.empty()) {
    if (const std::string fault = certificates_fault(out.ca); !fault.empty())
      return settings->fault(used_field(*ca, "idp-certificate-authority"), fault);
  }
  const auto credentials = std::make_shared<OidcCredentials>(std::move(out), token);
  config.credentials = credentials;
  config.bearer_token = [credentials] { return credentials->token(); };
  return {};
}

}  // namespace

Result<Identity> read_user(const Section& user, const std::string& name, const Json& cluster,
                           const Now& now, Config& config) {
  auto fit = read_impersonation(user, config);
  if (!fit) return std::unexpected(std::move(fit.error()));
  for (const char* own : {"exec", "auth-provider"}) {
    if (!user.has(own)) continue;
    for (const char* other :
         {"token", "tokenFile", "client-certificate", "client-certificate-data", "client-key",
          "client-key-data", "username", "password", "auth-provider"}) {
      if (user.has(other) && std::string_view(own) != other)
        return user.fault(own, std::string("stands beside ") + other + "; take one of them out");
    }
  }
  if (user.has("exec")) {
    auto section = user.inner("exec");
    if (!section) return std::unexpected(std::move(section.error()));
    auto plugin = read_exec(*section, cluster);
    if (!plugin) return std::unexpected(std::move(plugin.error()));
    const auto credentials = std::make_shared<ExecCredentials>(std::move(*plugin));
    config.credentials = credentials;
    config.bearer_token = [credentials] { return credentials->token(); };
    return [credentials] { return credentials->identity(); };
  }
  TextSource certificate;
  TextSource key;
  if (user.has("auth-provider")) {
    fit = read_auth_provider(user, name, config);
  } else {
    fit = read_identity(user, certificate, key);
    if (fit) fit = read_token(user, config, now);
  }
  if (!fit) return std::unexpected(std::move(fit.error()));
  const auto identity =
      std::make_shared<RotatedIdentity>(std::move(certificate), std::move(key), now);
  return [identity] { return identity->pair(); };
}

}  // namespace kube
