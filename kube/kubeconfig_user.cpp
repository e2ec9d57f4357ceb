#include <chrono>
#include <memory>

#include <fmt/format.h>

#include <kube/base64.h>
#include <kube/rfc3339.h>

#include "exec_plugin.h"
#include "kubeconfig_section.h"
#include "status_error.h"
#include "tls.h"

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

Result<void> read_lists(const Section& exec, ExecPlugin& plugin) {
  const YAML::Node arguments = exec.node["args"];
  if (arguments && !arguments.IsNull() && !arguments.IsSequence())
    return exec.fault("args", "is no list of texts");
  for (const YAML::Node& one : arguments) {
    if (!one.IsScalar()) return exec.fault("args", "is no list of texts");
    plugin.arguments.push_back(one.Scalar());
  }
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

// The claim `exp` of a JWT, whose signature is the server's to check.
std::optional<std::chrono::system_clock::time_point> end_of(const std::string& token) {
  const auto first = token.find('.');
  const auto second = first == std::string::npos ? first : token.find('.', first + 1);
  if (second == std::string::npos) return std::nullopt;
  const auto text = decode_base64url(token.substr(first + 1, second - first - 1));
  const Json claims = text ? Json::parse(*text, nullptr, false) : Json();
  const auto exp = claims.is_object() ? claims.find("exp") : claims.end();
  constexpr std::int64_t kMost = 253'402'300'799;  // the year 9999
  if (exp == claims.end() || !exp->is_number_integer() || exp->get<std::int64_t>() < 0 ||
      exp->get<std::int64_t>() > kMost)
    return std::nullopt;
  return std::chrono::system_clock::time_point(std::chrono::seconds(exp->get<std::int64_t>()));
}

Result<void> read_auth_provider(const Section& user, Config& config) {
  constexpr const char* kInstead =
      "use users[].user.exec with a credential plugin in its place (for OpenID Connect kubelogin)";
  auto provider = user.inner("auth-provider");
  if (!provider) return std::unexpected(std::move(provider.error()));
  if (const std::string name = provider->text("name"); name != "oidc")
    return provider->fault("name", "\"" + name + "\" is not supported, as in kubectl; " + kInstead);
  auto settings = provider->inner("config");
  if (!settings) return std::unexpected(std::move(settings.error()));
  const std::string token = settings->text("id-token");
  if (token.empty())
    return settings->fault("id-token", std::string("is missing, and it is not asked for here; "
                                                   "log in with kubectl first, or ") +
                                           kInstead);
  const auto end = end_of(token);
  if (!end) return settings->fault("id-token", std::string("is no token with an end; ") + kInstead);
  if (*end <= std::chrono::system_clock::now())
    return settings->fault("id-token",
                           "has expired at " + rfc3339(*end) +
                               ", and it is not refreshed here; any kubectl command refreshes it, "
                               "or " +
                               kInstead);
  config.bearer_token = [token] { return token; };
  return {};
}

}  // namespace

Result<Identity> read_user(const Section& user, const Json& cluster, const Now& now,
                           Config& config) {
  auto fit = refuse(user, {"username", "password", "as", "as-uid", "as-groups", "as-user-extra"},
                    "use a client certificate, token, tokenFile or exec");
  if (!fit) return std::unexpected(std::move(fit.error()));
  for (const char* own : {"exec", "auth-provider"}) {
    if (!user.has(own)) continue;
    for (const char* other : {"token", "tokenFile", "client-certificate", "client-certificate-data",
                              "client-key", "client-key-data", "auth-provider"}) {
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
    fit = read_auth_provider(user, config);
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
