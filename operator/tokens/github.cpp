// GitHub and GitHub Enterprise Server.
// Source: https://docs.github.com/en/rest/apps/apps (installations and their tokens) and
// https://docs.github.com/en/rest/pulls/pulls
#include <algorithm>

#include <fmt/format.h>

#include <operator/tokens/jwt.h>

#include "api.h"
#include "text.h"

namespace palisade::op::tokens {

namespace {

// Every App has it.
constexpr const char* kMetadata = "metadata";

bool equal_names(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::vector<std::string> scopes_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty() && out.size() < 40) {
    const auto comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    while (word.starts_with(' '))
      word.remove_prefix(1);
    while (word.ends_with(' '))
      word.remove_suffix(1);
    if (!word.empty()) out.push_back(printable(word, 60));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

class Github final : public TokenProvider {
 public:
  Github(std::shared_ptr<kube::Transport> transport, const std::string& api, Repository repository,
         GithubSettings settings)
      : api_(std::move(transport), api,
             {{"Accept", "application/vnd.github+json"}, {"X-GitHub-Api-Version", "2022-11-28"}},
             {settings.token}),
        repository_(std::move(repository)),
        settings_(std::move(settings)) {}

  Outcome<MintedToken> mint(const MintRequest& request, Time now, std::stop_token stop) override {
    if (settings_.app_id.empty())
      return std::unexpected(
          Problem{"RequestRefused", "a token that a Secret names mints no others", {}});
    if (!is_word(settings_.app_id, 64))
      return std::unexpected(Problem{
          "AppKeyInvalid",
          "spec.repository.credentials.githubApp.appId is neither an App's ID nor a client ID",
          {}});
    if (std::ranges::count(repository_.path, '/') != 1)
      return std::unexpected(Problem{
          "RepositoryNotFound",
          "spec.repository.url is not the URL of a GitHub repository (https://HOST/OWNER/NAME)",
          {}});
    const auto jwt = sign_app_jwt(settings_.app_id, settings_.private_key, now);
    if (!jwt)
      return std::unexpected(Problem{
          "AppKeyInvalid",
          fmt::format("the key that spec.repository.credentials.githubApp.privateKeySecretRef "
                      "names {}: put the App's private key (PEM) there",
                      jwt.error()),
          {}});
    const auto installation = find_installation(*jwt, now, stop);
    if (!installation) return std::unexpected(installation.error());
    Json permissions{{"contents", request.write ? "write" : "read"}};
    if (request.merge_request) permissions["pull_requests"] = "write";
    const Json body{{"repositories", Json::array({repository_.name()})},
                    {"permissions", permissions}};
    auto answer = api_.call(kMinting, "POST",
                            fmt::format("/app/installations/{}/access_tokens", *installation),
                            bearer(*jwt), body, now, stop);
    if (!answer) return std::unexpected(std::move(answer.error()));
    if (!answer->ok()) return refuse_mint(*answer, permissions);
    auto minted = read_token(*answer, permissions, request, now);
    // What is more than was asked for is not kept.
    if (!minted && minted.error().reason == "TokenTooBroad")
      static_cast<void>(revoke({{}, {}, text_of(answer->body, "token")}, now, stop));
    return minted;
  }

  Outcome<void> revoke(const Record& record, Time now, std::stop_token stop) override {
    if (!is_word(record.value, kMaxToken)) return {};  // nothing to show: it ends by itself
    const auto answer = api_.call(kRevoking, "DELETE", "/installation/token", bearer(record.value),
                                  nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    // 401: the host does not know the token any more.
    if (answer->ok() || answer->status == 401 || answer->status == 404) return {};
    return refused("RequestRefused", api_, kRevoking, *answer, "it ends by itself within the hour");
  }

  Outcome<std::optional<std::vector<Record>>> find(const std::string&, Time,
                                                   std::stop_token) override {
    return std::optional<std::vector<Record>>();  // no list of them is to be had
  }

  Outcome<Inspection> inspect(const std::string& token, Time now, std::stop_token stop) override {
    if (!is_word(token, kMaxToken)) return Inspection{};
    const auto answer = api_.call(kInspecting, "GET", "/", bearer(token), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok())
      return refused("CredentialsRefused", api_, kInspecting, *answer, "is the token still valid?");
    Inspection out;
    const bool classic = std::ranges::any_of(answer->headers, [](const auto& header) {
      return equal_names(header.first, "X-OAuth-Scopes");
    });
    // Fine-grained tokens and those of Apps have permissions instead, which nobody tells.
    if (!classic) return out;
    out.told = true;
    out.scopes = scopes_of(kube::header(answer->headers, "X-OAuth-Scopes"));
    out.broad = !out.scopes.empty();
    std::string names;
    for (const std::string& scope : out.scopes)
      names += (names.empty() ? "" : ", ") + scope;
    out.message =
        out.broad ? fmt::format(
                        "this is a classic token: its scopes ({}) reach every repository of its "
                        "user. Use githubApp, or a fine-grained token for this repository alone",
                        names)
                  : "this is a classic token without scopes: it reads public repositories alone";
    return out;
  }

  Outcome<MergeRequest> open_merge_request(const MergeRequestWish& wish, Time now,
                                           std::stop_token stop) override {
    // A token for this moment alone: the session's own can open nothing.
    std::string token = settings_.token;
    if (token.empty()) {
      auto minted = mint({"", false, true}, now, stop);
      if (!minted) return std::unexpected(std::move(minted.error()));
      token = minted->record.value;
    }
    auto opened = open(wish, bearer(token), now, stop);
    // It ends within the hour in any case.
    if (settings_.token.empty()) static_cast<void>(revoke({{}, {}, token}, now, stop));
    return opened;
  }

 private:
  static constexpr const char* kMinting = "minting a token";
  static constexpr const char* kLookingUp = "looking up the App's installation";
  static constexpr const char* kOpening = "opening a pull request";
  static constexpr const char* kListing = "listing pull requests";
  static constexpr const char* kInspecting = "telling a token's scopes";
  static constexpr const char* kRevoking = "revoking a token";
  static constexpr const char* kUsername = "x-access-token";
  // "Installation tokens expire one hour from creation"
  static constexpr std::chrono::seconds kLife{3600};

  [[nodiscard]] std::string path() const {
    return "/repos/" + segment(repository_.owner()) + "/" + segment(repository_.name());
  }

  Outcome<std::int64_t> find_installation(const std::string& jwt, Time now,
                                          const std::stop_token& stop) {
    if (settings_.installation_id) return *settings_.installation_id;
    const auto answer =
        api_.call(kLookingUp, "GET", path() + "/installation", bearer(jwt), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (answer->status == 401) return key_refused(kLookingUp, *answer);
    if (answer->status == 404)
      return refused("AppNotInstalled", api_, kLookingUp, *answer,
                     fmt::format("install App {} on {} (the App's page, Install App) and give it "
                                 "that repository",
                                 settings_.app_id, repository_.path));
    if (!answer->ok())
      return refused("RequestRefused", api_, kLookingUp, *answer, "see the App's page");
    const auto id = number_of(answer->body, "id");
    if (!id) return invalid(api_, kLookingUp, "has no number in id");
    return *id;
  }

  [[nodiscard]] std::unexpected<Problem> key_refused(const char* what, const Answer& answer) const {
    return refused("CredentialsRefused", api_, what, answer,
                   fmt::format("is the key that privateKeySecretRef names one of App {}, and not "
                               "deleted?",
                               settings_.app_id));
  }

  [[nodiscard]] std::unexpected<Problem> refuse_mint(const Answer& answer,
                                                     const Json& permissions) const {
    if (answer.status == 401) return key_refused(kMinting, answer);
    if (answer.status == 404)
      return refused("AppNotInstalled", api_, kMinting, answer,
                     fmt::format("App {} has no such installation; leave installationId away, or "
                                 "install the App on {}",
                                 settings_.app_id, repository_.path));
    std::string wanted;
    for (const auto& [name, level] : permissions.items())
      wanted += (wanted.empty() ? "" : ", ") + name + ": " + level.get<std::string>();
    if (answer.status == 403)
      return refused("PermissionMissing", api_, kMinting, answer,
                     "the installation may be suspended; see the App's page");
    return refused("PermissionMissing", api_, kMinting, answer,
                   fmt::format("the App's installation must include {} and grant {}",
                               repository_.path, wanted));
  }

  // Exactly what was asked for, and nothing beside it.
  [[nodiscard]] Outcome<MintedToken> read_token(const Answer& answer, const Json& asked,
                                                const MintRequest& request, Time now) const {
    MintedToken out;
    out.record.name = request.name;
    out.record.value = text_of(answer.body, "token");
    if (!is_word(out.record.value, kMaxToken))
      return invalid(api_, kMinting, "has no token that can be used");
    const auto expires = parse_time(text_of(answer.body, "expires_at"));
    if (!expires) return invalid(api_, kMinting, "has no time in expires_at");
    if (*expires <= now)
      return invalid(api_, kMinting,
                     fmt::format("is a token that has ended at {} already: the clock here or the "
                                 "host's is wrong",
                                 format_time(*expires)));
    out.minted = now;
    out.expires = std::min(*expires, now + kLife);
    out.username = kUsername;
    const auto too_broad = [&](const std::string& what) {
      return std::unexpected(Problem{
          "TokenTooBroad",
          fmt::format("{} minted a token that {}; it was taken back. Is installationId that of {}?",
                      api_.host(), what, repository_.path),
          {}});
    };
    const Json& repositories = member_of(answer.body, "repositories");
    if (!repositories.is_array() || repositories.size() != 1)
      return too_broad("is not for one repository alone");
    if (!equal_names(text_of(repositories.front(), "full_name"), repository_.path))
      return too_broad("is for another repository");
    const Json& granted = member_of(answer.body, "permissions");
    if (!granted.is_object()) return too_broad("does not tell its permissions");
    for (const auto& [name, level] : granted.items()) {
      const bool fits = name == kMetadata
                            ? level == "read"
                            : asked.contains(name) && (level == asked[name] || level == "read");
      if (!fits) return too_broad("has the permission " + printable(name, 60));
    }
    for (const auto& [name, level] : asked.items()) {
      if (member_of(granted, name.c_str()) != level)
        return std::unexpected(Problem{
            "PermissionMissing",
            fmt::format("{} minted a token without {}: {}; grant it on the App's page, and accept "
                        "it where the App is installed",
                        api_.host(), name, level.get<std::string>()),
            {}});
    }
    out.note = fmt::format("{} of {} alone", request.write ? "contents: write" : "contents: read",
                           repository_.path);
    return out;
  }

  Outcome<MergeRequest> open(const MergeRequestWish& wish, const kube::Headers& authorization,
                             Time now, const std::stop_token& stop) {
    const auto made = [&](std::int64_t number, bool existed) {
      return MergeRequest{fmt::format("{}/pull/{}", repository_.url, number), number, existed};
    };
    auto present = list(wish, authorization, now, stop);
    if (!present) return std::unexpected(std::move(present.error()));
    if (*present) return made(**present, true);
    const Json body{{"title", wish.title}, {"body", wish.body},   {"head", wish.head},
                    {"base", wish.base},   {"draft", wish.draft}, {"maintainer_can_modify", false}};
    const auto answer =
        api_.call(kOpening, "POST", path() + "/pulls", authorization, body, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok())
      return refused("RequestRefused", api_, kOpening, *answer,
                     fmt::format("{} must be a branch, {} must have commits that it has not, and "
                                 "the credentials must be allowed to open pull requests",
                                 wish.base, wish.head));
    const auto number = number_of(answer->body, "number");
    if (!number) return invalid(api_, kOpening, "has no number in number");
    return made(*number, false);
  }

  Outcome<std::optional<std::int64_t>> list(const MergeRequestWish& wish,
                                            const kube::Headers& authorization, Time now,
                                            const std::stop_token& stop) {
    const auto answer =
        api_.call(kListing, "GET",
                  fmt::format("{}/pulls?state=all&per_page=30&head={}&base={}", path(),
                              segment(repository_.owner() + ":" + wish.head), segment(wish.base)),
                  authorization, nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok())
      return refused("RequestRefused", api_, kListing, *answer,
                     "the credentials must be allowed to read pull requests");
    if (!answer->body.is_array()) return invalid(api_, kListing, "is no list");
    std::vector<Listed> found;
    for (const Json& entry : answer->body) {
      const Json& head = member_of(entry, "head");
      const auto number = number_of(entry, "number");
      if (!number || text_of(head, "ref") != wish.head ||
          text_of(member_of(entry, "base"), "ref") != wish.base)
        continue;
      found.push_back({*number, text_of(entry, "state") == "open", text_of(head, "sha")});
    }
    return matching(found, wish);
  }

  Api api_;
  const Repository repository_;
  const GithubSettings settings_;
};

}  // namespace

std::unique_ptr<TokenProvider> make_github(std::shared_ptr<kube::Transport> transport,
                                           const std::string& api, Repository repository,
                                           GithubSettings settings) {
  return std::make_unique<Github>(std::move(transport), api, std::move(repository),
                                  std::move(settings));
}

}  // namespace palisade::op::tokens
