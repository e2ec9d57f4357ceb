#include "operator_tokens/replay.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <kube/base64.h>

namespace replay {

namespace {

const test_pki::Pair& authority() {
  static const test_pki::Pair kAuthority = test_pki::make_ca();
  return kAuthority;
}

scripted::Options identity() {
  test_pki::Leaf leaf;
  leaf.dns_names = {"api.github.com", "gitlab.com", "git.example.com"};
  leaf.addresses = {"127.0.0.1"};
  scripted::Options options;
  options.identity = test_pki::issue(authority(), leaf);
  return options;
}

std::string percent_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string from_base64_url(std::string text) {
  std::ranges::replace(text, '-', '+');
  std::ranges::replace(text, '_', '/');
  while (text.size() % 4 != 0)
    text += '=';
  return kube::decode_base64(text).value_or("");
}

Reply says(int status, const json& body) {
  return {status, body.dump(), "Content-Type: application/json\r\n"};
}
Reply not_found() {
  return says(404,
              {{"message", "Not Found"}, {"documentation_url", "https://docs.github.com/rest"}});
}

}  // namespace

std::string authority_pem() {
  return authority().certificate;
}

Asked parse_request(const std::string& text) {
  Asked out;
  const auto end = text.find("\r\n\r\n");
  std::string target;
  std::size_t at = text.find("\r\n");
  {
    const std::string line = text.substr(0, at);
    const auto first = line.find(' ');
    const auto second = line.rfind(' ');
    out.method = line.substr(0, first);
    target = line.substr(first + 1, second - first - 1);
  }
  while (at < end) {
    const auto next = text.find("\r\n", at + 2);
    const std::string line = text.substr(at + 2, next - at - 2);
    const auto colon = line.find(':');
    if (colon != std::string::npos)
      out.headers[lower(line.substr(0, colon))] =
          line.substr(std::min(line.find_first_not_of(' ', colon + 1), line.size()));
    at = next;
  }
  const auto question = target.find('?');
  out.path = target.substr(0, question);
  if (question != std::string::npos) {
    std::string rest = target.substr(question + 1);
    while (!rest.empty()) {
      const std::string pair = rest.substr(0, rest.find('&'));
      const auto equals = pair.find('=');
      out.query[pair.substr(0, equals)] = percent_decoded(pair.substr(equals + 1));
      rest = pair.size() < rest.size() ? rest.substr(pair.size() + 1) : "";
    }
  }
  out.body = json::parse(text.substr(end + 4), nullptr, false);
  return out;
}

Host::Host(Handler handler) : handler_(std::move(handler)) {
  server_ = std::make_unique<scripted::Server>(identity(), [this](scripted::Peer& peer, int) {
    for (std::string text; !(text = peer.read_request()).empty();) {
      const Asked asked = parse_request(text);
      std::function<std::optional<Reply>(const Asked&)> fault;
      {
        const std::scoped_lock lock(mutex_);
        asked_.push_back(asked);
        fault = fault_;
      }
      std::optional<Reply> reply;
      if (fault) reply = fault(asked);
      if (!reply) reply = handler_(asked);
      if (reply->status == 0) {  // no answer: the connection breaks
        peer.cut();
        return;
      }
      if (!peer.respond(reply->body, std::to_string(reply->status) + " X", reply->headers)) return;
    }
  });
}

std::shared_ptr<kube::Transport> Host::transport(const std::string& base_url) const {
  kube::TransportOptions options;
  options.base_url = server_->url();
  const std::string host = base_url.substr(8);
  options.server_name = host.substr(0, host.find(':'));
  options.max_response_bytes = palisade::op::tokens::kMaxAnswer;
  options.tls_material = [] { return kube::TlsMaterial{authority().certificate, "", ""}; };
  return kube::make_beast_transport(std::move(options));
}

palisade::op::tokens::TransportFactory Host::transports() const {
  return [this](const std::string& base_url) { return transport(base_url); };
}

void Host::interpose(std::function<std::optional<Reply>(const Asked&)> fault) {
  const std::scoped_lock lock(mutex_);
  fault_ = std::move(fault);
}

std::vector<Asked> Host::asked() const {
  const std::scoped_lock lock(mutex_);
  return asked_;
}

std::size_t Host::count(const std::string& method, const std::string& path_end) const {
  const auto all = asked();
  return static_cast<std::size_t>(std::ranges::count_if(
      all, [&](const Asked& one) { return one.method == method && one.path.ends_with(path_end); }));
}

AppKey make_app_key(int bits) {
  const kube::KeyPtr key(EVP_RSA_gen(static_cast<unsigned>(bits)));
  if (!key) throw std::runtime_error("no RSA key");
  const auto pem = [](auto write) {
    const kube::BioPtr bio(BIO_new(BIO_s_mem()));
    if (write(bio.get()) != 1) throw std::runtime_error("no PEM");
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<std::size_t>(size));
  };
  AppKey out;
  out.pem = pem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey_traditional(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                nullptr);
  });
  out.public_pem = pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key.get()); });
  return out;
}

const AppKey& app_key() {
  static const AppKey kKey = make_app_key();
  return kKey;
}

json verified_jwt(const std::string& jwt, const std::string& public_pem) {
  const auto first = jwt.find('.');
  const auto second = jwt.rfind('.');
  if (first == std::string::npos || second == first) return nullptr;
  const json head = json::parse(from_base64_url(jwt.substr(0, first)), nullptr, false);
  if (!head.is_object() || head.value("alg", "") != "RS256") return nullptr;
  const std::string text = jwt.substr(0, second);
  const std::string signature = from_base64_url(jwt.substr(second + 1));
  const kube::BioPtr bio(BIO_new_mem_buf(public_pem.data(), static_cast<int>(public_pem.size())));
  const kube::KeyPtr key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  const kube::OpenSslPtr<EVP_MD_CTX, EVP_MD_CTX_free> digest(EVP_MD_CTX_new());
  if (EVP_DigestVerifyInit(digest.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestVerify(digest.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                       signature.size(), reinterpret_cast<const unsigned char*>(text.data()),
                       text.size()) != 1)
    return nullptr;
  return json::parse(from_base64_url(jwt.substr(first + 1, second - first - 1)), nullptr, false);
}

const GithubModel::Token* GithubModel::holder(const Asked& asked) {
  const std::string bearer = asked.header("authorization");
  for (const Token& token : tokens) {
    if (!token.revoked && bearer == "Bearer " + token.value) return &token;
  }
  return nullptr;
}

std::size_t GithubModel::living() {
  const std::scoped_lock lock(mutex);
  return static_cast<std::size_t>(
      std::ranges::count_if(tokens, [](const Token& token) { return !token.revoked; }));
}

Reply GithubModel::answer(const Asked& asked) {
  const std::scoped_lock lock(mutex);
  const std::string bearer = asked.header("authorization");
  if (asked.header("accept") != "application/vnd.github+json" ||
      asked.header("x-github-api-version") != "2022-11-28" || asked.header("user-agent").empty())
    return says(400, {{"message", "headers are missing"}});
  const auto as_app = [&]() -> std::optional<Reply> {
    const json claims =
        verified_jwt(bearer.starts_with("Bearer ") ? bearer.substr(7) : "", public_key);
    if (!claims.is_object())
      return says(401, {{"message", "A JSON web token could not be decoded"}});
    const auto seconds =
        std::chrono::duration_cast<std::chrono::seconds>(now().time_since_epoch()).count();
    if (claims.at("iat").get<std::int64_t>() > seconds)
      return says(401, {{"message",
                         "'Issued at' claim ('iat') must be an Integer representing the "
                         "time that the assertion was issued"}});
    if (claims.at("exp").get<std::int64_t>() > seconds + 600)
      return says(401, {{"message", "'Expiration time' claim ('exp') is too far in the future"}});
    if (claims.at("exp").get<std::int64_t>() < seconds)
      return says(401, {{"message", "'Expiration time' claim ('exp') must be in the future"}});
    if (claims.at("iss") != "12345") return says(404, {{"message", "Integration not found"}});
    return std::nullopt;
  };
  if (asked.method == "GET" && asked.path.starts_with("/repos/") &&
      asked.path.ends_with("/installation")) {
    if (auto no = as_app()) return *no;
    if (asked.path != "/repos/team/app/installation") return not_found();
    return says(200, {{"id", 777},
                      {"account", {{"login", "team"}}},
                      {"repository_selection", "selected"},
                      {"app_id", 12345},
                      {"permissions", {{"contents", "write"}, {"metadata", "read"}}},
                      {"suspended_at", nullptr}});
  }
  if (asked.method == "POST" && asked.path.starts_with("/app/installations/")) {
    if (auto no = as_app()) return *no;
    if (asked.path != "/app/installations/777/access_tokens") return not_found();
    if (asked.body.value("repositories", json()) != json::array({"app"}))
      return says(422, {{"message",
                         "There is at least one repository that does not exist or is "
                         "not accessible to the parent installation."}});
    json permissions = asked.body.at("permissions");
    permissions["metadata"] = "read";
    tokens.push_back({fmt::format("ghs_{:036}", tokens.size() + 1), permissions, false});
    const std::time_t ends = std::chrono::system_clock::to_time_t(now()) + 3600;
    char text[32] = {};
    std::tm parts{};
    gmtime_r(&ends, &parts);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return says(
        201, {{"token", tokens.back().value},
              {"expires_at", text},
              {"permissions", permissions},
              {"repository_selection", "selected"},
              {"repositories",
               json::array(
                   {{{"id", 1}, {"name", "app"}, {"full_name", "team/app"}, {"private", true}}})}});
  }
  if (asked.method == "DELETE" && asked.path == "/installation/token") {
    const Token* token = holder(asked);
    if (token == nullptr) return says(401, {{"message", "Bad credentials"}});
    for (Token& one : tokens)
      one.revoked = one.revoked || one.value == token->value;
    return {204, "", ""};
  }
  if (asked.method == "GET" && asked.path == "/") {
    if (bearer == "Bearer ghp_classic")
      return {200, "{}", "X-OAuth-Scopes: " + classic_scopes + "\r\n"};
    if (bearer == "Bearer github_pat_fine") return {200, "{}", ""};
    return says(401, {{"message", "Bad credentials"}});
  }
  if (asked.path == "/repos/team/app/pulls") {
    const Token* token = holder(asked);
    const bool classic = bearer == "Bearer ghp_classic";
    if (!classic && (token == nullptr || token->permissions.value("pull_requests", "") != "write"))
      return says(403, {{"message", "Resource not accessible by integration"}});
    const auto shown = [](const Pull& pull) {
      return json{{"number", pull.number},
                  {"html_url", "https://evil.example/" + std::to_string(pull.number)},
                  {"state", pull.state},
                  {"head", {{"ref", pull.body.at("head")}, {"sha", pull.sha}}},
                  {"base", {{"ref", pull.body.at("base")}}}};
    };
    if (asked.method == "GET") {
      json list = json::array();
      for (const Pull& pull : pulls) {
        if (asked.query.at("head") == "team:" + pull.body.at("head").get<std::string>() &&
            asked.query.at("base") == pull.body.at("base"))
          list.push_back(shown(pull));
      }
      return says(200, list);
    }
    if (asked.method == "POST") {
      pulls.push_back({static_cast<std::int64_t>(pulls.size() + 1), asked.body, "open", "c0ffee"});
      return says(201, shown(pulls.back()));
    }
  }
  return not_found();
}

std::size_t GitlabModel::living() {
  const std::scoped_lock lock(mutex);
  return static_cast<std::size_t>(
      std::ranges::count_if(tokens, [](const Token& token) { return !token.revoked; }));
}

Reply GitlabModel::answer(const Asked& asked) {
  const std::scoped_lock lock(mutex);
  const std::string given = asked.header("private-token");
  const std::string project = "/api/v4/projects/team%2Fapp";
  if (asked.path == "/api/v4/personal_access_tokens/self") {
    if (given == "glpat-wide")
      return says(200, {{"id", 4}, {"scopes", {"api", "read_repository"}}, {"active", true}});
    if (given == "glpat-narrow")
      return says(200, {{"id", 5}, {"scopes", {"read_repository", "write_repository"}}});
    if (given == "glpat-git-only") return says(403, {{"error", "insufficient_scope"}});
    return says(401, {{"message", "401 Unauthorized"}});
  }
  if (given != "glpat-maintainer") return says(401, {{"message", "401 Unauthorized"}});
  if (!asked.path.starts_with(project + "/"))
    return says(404, {{"message", "404 Project Not Found"}});
  const std::string rest = asked.path.substr(project.size());
  const auto shown = [](const Token& token) {
    return json{{"id", token.id},
                {"name", token.name},
                {"scopes", token.scopes},
                {"access_level", token.level},
                {"expires_at", token.expires},
                {"active", !token.revoked},
                {"revoked", token.revoked}};
  };
  if (rest == "/access_tokens" && asked.method == "POST") {
    const json& body = asked.body;
    if (!body.contains("name") || !body.contains("scopes") || !body.contains("expires_at"))
      return says(400, {{"error", "name is missing"}});
    tokens.push_back({static_cast<std::int64_t>(tokens.size() + 40), body.at("name"),
                      fmt::format("glpat-minted-{}", tokens.size() + 1), body.at("scopes"),
                      body.value("access_level", 40), body.at("expires_at"), false});
    json out = shown(tokens.back());
    out["token"] = tokens.back().value;
    return says(201, out);
  }
  if (rest == "/access_tokens" && asked.method == "GET") {
    json list = json::array();
    for (const Token& token : tokens) {
      // The search is anywhere in the name, as GitLab's is.
      if (token.name.find(asked.query.at("search")) != std::string::npos)
        list.push_back(shown(token));
    }
    return says(200, list);
  }
  if (rest.starts_with("/access_tokens/") && asked.method == "DELETE") {
    for (Token& token : tokens) {
      if (rest == "/access_tokens/" + std::to_string(token.id) && !token.revoked) {
        token.revoked = true;
        return {204, "", ""};
      }
    }
    return says(404, {{"message", "404 Could not find project access token"}});
  }
  if (rest == "/merge_requests" && asked.method == "GET") {
    json list = json::array();
    for (const json& one : merge_requests) {
      if (one.at("source_branch") == asked.query.at("source_branch")) list.push_back(one);
    }
    return says(200, list);
  }
  if (rest == "/merge_requests" && asked.method == "POST") {
    json one = asked.body;
    one["iid"] = merge_requests.size() + 1;
    one["state"] = "opened";
    one["sha"] = "c0ffee";
    one["source_project_id"] = 9;
    one["target_project_id"] = 9;
    merge_requests.push_back(one);
    return says(201, one);
  }
  return says(404, {{"message", "404 Not Found"}});
}

}  // namespace replay
