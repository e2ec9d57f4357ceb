// GitLab: project access tokens.
// Source: https://docs.gitlab.com/api/project_access_tokens/, /api/merge_requests/ and
// /api/personal_access_tokens/ (self)
#include <algorithm>

#include <fmt/format.h>

#include "api.h"
#include "text.h"

namespace palisade::op::tokens {

namespace {

// A token ends as its expires_at begins (UTC), so today's would be none and tomorrow's may last a
// minute.
constexpr std::chrono::hours kDaysAhead{48};

struct Role {
  std::string_view name;
  std::int64_t level;
};
constexpr Role kRoles[] = {{"Guest", 10},     {"Planner", 15},    {"Reporter", 20},
                           {"Developer", 30}, {"Maintainer", 40}, {"Owner", 50}};

bool reaches_beyond(const std::string& scope) {
  return scope != "read_repository" && scope != "write_repository" && scope != "self_rotate";
}

class Gitlab final : public TokenProvider {
 public:
  Gitlab(std::shared_ptr<kube::Transport> transport, const std::string& api, Repository repository,
         GitlabSettings settings)
      : api_(std::move(transport), api, {{"Accept", "application/json"}}, {settings.token}),
        repository_(std::move(repository)),
        settings_(std::move(settings)) {}

  Outcome<MintedToken> mint(const MintRequest& request, Time now, std::stop_token stop) override {
    const auto role = std::ranges::find(kRoles, settings_.role, &Role::name);
    if (role == std::end(kRoles))
      return std::unexpected(
          Problem{"RequestRefused",
                  "spec.repository.credentials.gitlab.role is none of Guest, Planner, Reporter, "
                  "Developer, Maintainer, Owner",
                  {}});
    Json scopes = Json::array({"read_repository"});
    if (request.write) scopes.push_back("write_repository");
    const std::string ends = format_date(now + kDaysAhead);
    const Json body{{"name", request.name},
                    {"scopes", scopes},
                    {"access_level", role->level},
                    {"expires_at", ends}};
    auto answer =
        api_.call(kMinting, "POST", project() + "/access_tokens", authorization(), body, now, stop);
    if (!answer) return std::unexpected(std::move(answer.error()));
    if (!answer->ok()) return refuse(kMinting, *answer);
    auto minted = read_token(*answer, body, request, now);
    if (!minted) {
      // What cannot be used or is too broad is not left behind.
      const auto id = number_of(answer->body, "id");
      if (id) static_cast<void>(revoke({request.name, std::to_string(*id), ""}, now, stop));
    }
    return minted;
  }

  Outcome<void> revoke(const Record& record, Time now, std::stop_token stop) override {
    if (record.id.empty() || record.id.find_first_not_of("0123456789") != std::string::npos)
      return std::unexpected(
          Problem{"RequestRefused", "a token without an id cannot be revoked", {}});
    const auto answer = api_.call(kRevoking, "DELETE", project() + "/access_tokens/" + record.id,
                                  authorization(), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (answer->ok() || answer->status == 404) return {};
    return refuse(kRevoking, *answer);
  }

  Outcome<std::optional<std::vector<Record>>> find(const std::string& prefix, Time now,
                                                   std::stop_token stop) override {
    std::vector<Record> out;
    for (int page = 1; page <= kMostPages; ++page) {
      const auto answer =
          api_.call(kListingTokens, "GET",
                    fmt::format("{}/access_tokens?state=active&search={}&per_page={}&page={}",
                                project(), segment(prefix), kPage, page),
                    authorization(), nullptr, now, stop);
      if (!answer) return std::unexpected(answer.error());
      if (!answer->ok()) return refuse(kListingTokens, *answer);
      if (!answer->body.is_array()) return invalid(api_, kListingTokens, "is no list");
      for (const Json& entry : answer->body) {
        const auto id = number_of(entry, "id");
        const std::string name = text_of(entry, "name");
        // Older versions know neither `state` nor `search`.
        if (!id || !name.starts_with(prefix) || member_of(entry, "revoked") == true ||
            member_of(entry, "active") == false)
          continue;
        out.push_back({name, std::to_string(*id), ""});
      }
      if (answer->body.size() < kPage) return std::optional(std::move(out));
    }
    return invalid(api_, kListingTokens, "has no end");
  }

  Outcome<Inspection> inspect(const std::string& token, Time now, std::stop_token stop) override {
    if (!is_word(token, kMaxToken)) return Inspection{};
    const auto answer = api_.call(kInspecting, "GET", "/personal_access_tokens/self",
                                  {{"PRIVATE-TOKEN", token}}, nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    Inspection out;
    // It has no scope of the API's, so it may not even ask.
    if (answer->status == 403) {
      out.told = true;
      out.message = "the token cannot use the API";
      return out;
    }
    if (!answer->ok())
      return refused("CredentialsRefused", api_, kInspecting, *answer, "is the token still valid?");
    const Json& scopes = member_of(answer->body, "scopes");
    if (!scopes.is_array()) return invalid(api_, kInspecting, "has no list in scopes");
    out.told = true;
    std::string beyond;
    for (const Json& scope : scopes) {
      if (!scope.is_string() || out.scopes.size() == 40) continue;
      out.scopes.push_back(printable(scope.get<std::string>(), 60));
      if (reaches_beyond(scope.get<std::string>()))
        beyond += (beyond.empty() ? "" : ", ") + out.scopes.back();
    }
    out.broad = !beyond.empty();
    out.message = out.broad ? fmt::format(
                                  "the token's scopes ({}) reach further than a repository's "
                                  "contents. Use credentials.gitlab, or a project access token "
                                  "with read_repository and write_repository alone",
                                  beyond)
                            : "the token reaches the contents of repositories alone";
    return out;
  }

  Outcome<MergeRequest> open_merge_request(const MergeRequestWish& wish, Time now,
                                           std::stop_token stop) override {
    const auto made = [&](std::int64_t number, bool existed) {
      return MergeRequest{fmt::format("{}/-/merge_requests/{}", repository_.url, number), number,
                          existed};
    };
    auto present = list(wish, now, stop);
    if (!present) return std::unexpected(std::move(present.error()));
    if (*present) return made(**present, true);
    const Json body{{"source_branch", wish.head},
                    {"target_branch", wish.base},
                    {"title", wish.draft ? "Draft: " + wish.title : wish.title},
                    {"description", wish.body},
                    {"remove_source_branch", false}};
    const auto answer = api_.call(kOpening, "POST", project() + "/merge_requests", authorization(),
                                  body, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kOpening, *answer);
    const auto number = number_of(answer->body, "iid");
    if (!number) return invalid(api_, kOpening, "has no number in iid");
    return made(*number, false);
  }

 private:
  static constexpr const char* kMinting = "minting a project access token";
  static constexpr const char* kListingTokens = "listing project access tokens";
  static constexpr const char* kRevoking = "revoking a project access token";
  static constexpr const char* kOpening = "opening a merge request";
  static constexpr const char* kListing = "listing merge requests";
  static constexpr const char* kInspecting = "telling a token's scopes";
  static constexpr const char* kUsername = "oauth2";  // any will do
  static constexpr int kMostPages = 20;
  static constexpr std::size_t kPage = 100;

  [[nodiscard]] std::string project() const { return "/projects/" + segment(repository_.path); }
  [[nodiscard]] kube::Headers authorization() const { return {{"PRIVATE-TOKEN", settings_.token}}; }

  [[nodiscard]] std::unexpected<Problem> refuse(const char* what, const Answer& answer) const {
    if (answer.status == 401)
      return refused("CredentialsRefused", api_, what, answer,
                     "the token in the Secret is not valid (any more): put a new one there");
    if (answer.status == 403)
      return refused("PermissionMissing", api_, what, answer,
                     fmt::format("the token in the Secret must have the scope api and be of a "
                                 "Maintainer of {}, and project access tokens must be allowed",
                                 repository_.path));
    if (answer.status == 404)
      return refused("RepositoryNotFound", api_, what, answer,
                     fmt::format("the token in the Secret sees no project {}: give its user the "
                                 "role Maintainer there",
                                 repository_.path));
    return refused("RequestRefused", api_, what, answer, "see spec.repository.credentials.gitlab");
  }

  [[nodiscard]] Outcome<MintedToken> read_token(const Answer& answer, const Json& asked,
                                                const MintRequest& request, Time now) const {
    const auto id = number_of(answer.body, "id");
    if (!id) return invalid(api_, kMinting, "has no number in id");
    MintedToken out;
    out.record = {request.name, std::to_string(*id), text_of(answer.body, "token")};
    if (!is_word(out.record.value, kMaxToken))
      return invalid(api_, kMinting, "has no token that can be used");
    const auto expires = parse_time(text_of(answer.body, "expires_at"));
    if (!expires) return invalid(api_, kMinting, "has no date in expires_at");
    if (*expires <= now)
      return invalid(api_, kMinting,
                     "is a token that has ended already: the clock here or the host's is wrong");
    out.minted = now;
    out.expires = std::min(*expires, now + kDaysAhead);
    out.username = kUsername;
    const Json& scopes = member_of(answer.body, "scopes");
    const bool narrow = scopes.is_array() && std::ranges::all_of(scopes, [&](const Json& scope) {
                          return std::ranges::find(asked["scopes"], scope) != asked["scopes"].end();
                        });
    const auto level = number_of(answer.body, "access_level");
    if (!narrow || !level || *level > asked["access_level"].get<std::int64_t>())
      return std::unexpected(
          Problem{"TokenTooBroad",
                  fmt::format("{} minted a token with other scopes or a higher role than was asked "
                              "for; it was taken back",
                              api_.host()),
                  {}});
    out.note =
        fmt::format("{} as {} of {} alone", request.write ? "write_repository" : "read_repository",
                    settings_.role, repository_.path);
    return out;
  }

  Outcome<std::optional<std::int64_t>> list(const MergeRequestWish& wish, Time now,
                                            const std::stop_token& stop) {
    const auto answer = api_.call(
        kListing, "GET",
        fmt::format("{}/merge_requests?state=all&per_page=30&source_branch={}&target_branch={}",
                    project(), segment(wish.head), segment(wish.base)),
        authorization(), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kListing, *answer);
    if (!answer->body.is_array()) return invalid(api_, kListing, "is no list");
    std::vector<Listed> found;
    for (const Json& entry : answer->body) {
      const auto number = number_of(entry, "iid");
      // One from a fork has a branch of the same name.
      if (!number || text_of(entry, "source_branch") != wish.head ||
          text_of(entry, "target_branch") != wish.base ||
          member_of(entry, "source_project_id") != member_of(entry, "target_project_id"))
        continue;
      found.push_back({*number, text_of(entry, "state") == "opened", text_of(entry, "sha")});
    }
    return matching(found, wish);
  }

  Api api_;
  const Repository repository_;
  const GitlabSettings settings_;
};

}  // namespace

std::unique_ptr<TokenProvider> make_gitlab(std::shared_ptr<kube::Transport> transport,
                                           const std::string& api, Repository repository,
                                           GitlabSettings settings) {
  return std::make_unique<Gitlab>(std::move(transport), api, std::move(repository),
                                  std::move(settings));
}

}  // namespace palisade::op::tokens
