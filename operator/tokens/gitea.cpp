// Gitea and Forgejo. Their tokens are scoped by kind of thing and not by repository, and do not
// end: the user's collaborations are the scope, and the operator's revoking is the end.
// Source: the API document of an instance (/swagger.v1.json): users/{username}/tokens,
// repos/{owner}/{repo}/pulls, user/repos
#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "api.h"
#include "text.h"

namespace palisade::op::tokens {

namespace {

class Gitea final : public TokenProvider {
 public:
  Gitea(std::shared_ptr<kube::Transport> transport, const std::string& api, Repository repository,
        GiteaSettings settings)
      : api_(std::move(transport), api, {{"Accept", "application/json"}},
             {settings.password, settings.token}),
        repository_(std::move(repository)),
        settings_(std::move(settings)) {}

  Outcome<MintedToken> mint(const MintRequest& request, Time now, std::stop_token stop) override {
    if (settings_.password.empty())
      return std::unexpected(
          Problem{"RequestRefused", "a token that a Secret names mints no others", {}});
    // First, so that there is no token yet that would have to be taken back.
    if (auto may = check_repository(request.write, now, stop); !may)
      return std::unexpected(std::move(may.error()));
    auto beyond = reaches_beyond(now, stop);
    if (!beyond) return std::unexpected(std::move(beyond.error()));
    const std::string scope = request.write ? "write:repository" : "read:repository";
    const Json body{{"name", request.name}, {"scopes", Json::array({scope})}};
    const auto answer = api_.call(kMinting, "POST", tokens(), authorization(), body, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kMinting, *answer);
    const auto id = number_of(answer->body, "id");
    MintedToken out;
    out.record = {request.name, id ? std::to_string(*id) : "", text_of(answer->body, "sha1")};
    const Json& granted = member_of(answer->body, "scopes");
    const bool narrow = granted.is_array() && std::ranges::all_of(granted, [&](const Json& entry) {
                          return entry == scope;
                        });
    if (!id || !is_word(out.record.value, kMaxToken) || !narrow) {
      static_cast<void>(revoke(out.record, now, stop));
      if (id && !narrow)
        return std::unexpected(Problem{
            "TokenTooBroad",
            fmt::format("{} minted a token with other scopes than {}; it was taken back. Gitea "
                        "knows scopes since 1.19",
                        api_.host(), scope),
            {}});
      return invalid(api_, kMinting, "has no token that can be used, or no number in id");
    }
    out.username = settings_.username;
    out.minted = now;
    out.expires = now + kLife;
    out.note = fmt::format("{} of what user {} collaborates on", scope, settings_.username);
    out.broad = std::move(*beyond);
    return out;
  }

  Outcome<void> revoke(const Record& record, Time now, std::stop_token stop) override {
    // By id, or by name where that is all that is known: a name of digits would be taken for an id.
    const std::string& which = record.id.empty() ? record.name : record.id;
    if (which.empty())
      return std::unexpected(
          Problem{"RequestRefused", "a token without id and name cannot be revoked", {}});
    const auto answer = api_.call(kRevoking, "DELETE", tokens() + "/" + segment(which),
                                  authorization(), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (answer->ok() || answer->status == 404) return {};
    return refuse(kRevoking, *answer);
  }

  Outcome<std::optional<std::vector<Record>>> find(const std::string& prefix, Time now,
                                                   std::stop_token stop) override {
    std::vector<Record> out;
    for (int page = 1; page <= kMostPages; ++page) {
      const auto answer = api_.call(kListingTokens, "GET",
                                    fmt::format("{}?limit={}&page={}", tokens(), kPage, page),
                                    authorization(), nullptr, now, stop);
      if (!answer) return std::unexpected(answer.error());
      if (!answer->ok()) return refuse(kListingTokens, *answer);
      if (!answer->body.is_array()) return invalid(api_, kListingTokens, "is no list");
      for (const Json& entry : answer->body) {
        const auto id = number_of(entry, "id");
        const std::string name = text_of(entry, "name");
        if (id && name.starts_with(prefix)) out.push_back({name, std::to_string(*id), ""});
      }
      // An instance may allow shorter pages than were asked for: an empty one is the end.
      if (answer->body.empty()) return std::optional(std::move(out));
    }
    return invalid(api_, kListingTokens, "has no end");
  }

  // No Gitea tells what a token may do but to its user by password.
  Outcome<Inspection> inspect(const std::string&, Time, std::stop_token) override {
    return Inspection{};
  }

  Outcome<MergeRequest> open_merge_request(const MergeRequestWish& wish, Time now,
                                           std::stop_token stop) override {
    const auto made = [&](std::int64_t number, bool existed) {
      return MergeRequest{fmt::format("{}/pulls/{}", repository_.url, number), number, existed};
    };
    auto present = list(wish, now, stop);
    if (!present) return std::unexpected(std::move(present.error()));
    if (*present) return made(**present, true);
    const Json body{{"title", wish.draft ? "WIP: " + wish.title : wish.title},
                    {"body", wish.body},
                    {"head", wish.head},
                    {"base", wish.base}};
    const auto answer =
        api_.call(kOpening, "POST", repository() + "/pulls", authorization(), body, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kOpening, *answer);
    const auto number = number_of(answer->body, "number");
    if (!number) return invalid(api_, kOpening, "has no number in number");
    return made(*number, false);
  }

 private:
  static constexpr const char* kMinting = "minting a token";
  static constexpr const char* kListingTokens = "listing tokens";
  static constexpr const char* kRevoking = "revoking a token";
  static constexpr const char* kOpening = "opening a pull request";
  static constexpr const char* kListing = "listing pull requests";
  static constexpr const char* kLooking = "looking up the repository";
  static constexpr const char* kCounting = "counting the user's repositories";
  static constexpr int kMostPages = 40;
  static constexpr std::size_t kPage = 50;
  // They have no end of their own; it is as short as GitHub's.
  static constexpr std::chrono::seconds kLife{3600};

  [[nodiscard]] std::string tokens() const {
    return "/users/" + segment(settings_.username) + "/tokens";
  }
  [[nodiscard]] std::string repository() const {
    // An instance may live below a path: the repository's own last two segments count.
    const std::string owner = repository_.owner();
    return "/repos/" + segment(owner.substr(owner.rfind('/') + 1)) + "/" +
           segment(repository_.name());
  }
  [[nodiscard]] kube::Headers authorization() const {
    if (settings_.password.empty()) return {{"Authorization", "token " + settings_.token}};
    return basic_authorization(settings_.username, settings_.password);
  }

  [[nodiscard]] std::unexpected<Problem> refuse(const char* what, const Answer& answer) const {
    if (answer.status == 401)
      return refused("CredentialsRefused", api_, what, answer,
                     fmt::format("user {} and the password in the Secret do not fit, or the user "
                                 "has a second factor, which a bot cannot have",
                                 settings_.username));
    if (answer.status == 403)
      return refused("PermissionMissing", api_, what, answer,
                     fmt::format("user {} must be allowed to do that", settings_.username));
    if (answer.status == 404)
      return refused("RepositoryNotFound", api_, what, answer,
                     fmt::format("is {} the repository's path, and does user {} collaborate on it "
                                 "(write, where spec.repository.access is ReadWrite)?",
                                 repository_.path, settings_.username));
    return refused("RequestRefused", api_, what, answer, "see spec.repository.credentials.gitea");
  }

  Outcome<void> check_repository(bool write, Time now, const std::stop_token& stop) {
    const auto answer =
        api_.call(kLooking, "GET", repository(), authorization(), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kLooking, *answer);
    const Json& permissions = member_of(answer->body, "permissions");
    if (!permissions.is_object()) return invalid(api_, kLooking, "does not tell permissions");
    if (write && member_of(permissions, "push") != true)
      return std::unexpected(
          Problem{"PermissionMissing",
                  fmt::format("{}: user {} may only read {}; give it write access there, or set "
                              "spec.repository.access to ReadOnly",
                              api_.host(), printable(settings_.username, 60), repository_.path),
                  {}});
    return {};
  }

  // Why the user's tokens reach further than this repository, or "".
  Outcome<std::string> reaches_beyond(Time now, const std::stop_token& stop) {
    const auto answer =
        api_.call(kCounting, "GET", "/user/repos?limit=2", authorization(), nullptr, now, stop);
    if (!answer) return std::unexpected(answer.error());
    if (!answer->ok()) return refuse(kCounting, *answer);
    if (!answer->body.is_array()) return invalid(api_, kCounting, "is no list");
    if (answer->body.size() < 2) return std::string();
    std::uint64_t count = answer->body.size();
    const std::string_view total = kube::header(answer->headers, "X-Total-Count");
    std::from_chars(total.data(), total.data() + total.size(), count);
    return fmt::format(
        "user {} owns or collaborates on {} repositories, and its tokens reach all "
        "of them: use a user that collaborates on this one alone",
        printable(settings_.username, 60), count);
  }

  Outcome<std::optional<std::int64_t>> list(const MergeRequestWish& wish, Time now,
                                            const std::stop_token& stop) {
    std::vector<Listed> found;
    for (int page = 1; page <= kMostPages; ++page) {
      const auto answer =
          api_.call(kListing, "GET",
                    fmt::format("{}/pulls?state=all&sort=recentupdate&limit={}&page={}",
                                repository(), kPage, page),
                    authorization(), nullptr, now, stop);
      if (!answer) return std::unexpected(answer.error());
      if (!answer->ok()) return refuse(kListing, *answer);
      if (!answer->body.is_array()) return invalid(api_, kListing, "is no list");
      for (const Json& entry : answer->body) {
        const Json& head = member_of(entry, "head");
        const Json& base = member_of(entry, "base");
        const auto number = number_of(entry, "number");
        // One from a fork has a branch of the same name.
        if (!number || text_of(head, "ref") != wish.head || text_of(base, "ref") != wish.base ||
            member_of(head, "repo_id") != member_of(base, "repo_id"))
          continue;
        found.push_back({*number, text_of(entry, "state") == "open", text_of(head, "sha")});
      }
      // The host cannot filter by branch: all that are open are looked through.
      if (answer->body.empty()) break;
    }
    return matching(found, wish);
  }

  Api api_;
  const Repository repository_;
  const GiteaSettings settings_;
};

}  // namespace

std::unique_ptr<TokenProvider> make_gitea(std::shared_ptr<kube::Transport> transport,
                                          const std::string& api, Repository repository,
                                          GiteaSettings settings) {
  return std::make_unique<Gitea>(std::move(transport), api, std::move(repository),
                                 std::move(settings));
}

}  // namespace palisade::op::tokens
