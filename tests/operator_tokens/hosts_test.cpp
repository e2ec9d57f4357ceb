// GitHub and GitLab as documented, replayed (replay.h): every request is checked there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <operator/tokens/jwt.h>
#include <operator/tokens/provider.h>

#include "operator_tokens/replay.h"

namespace palisade::op::tokens {
namespace {

using namespace std::chrono_literals;
using replay::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kGithubUrl = "https://github.com/team/app.git";
constexpr const char* kGitlabUrl = "https://gitlab.com/team/app.git";

Repository repository(const std::string& url) {
  auto out = parse_repository(url);
  if (!out) throw std::invalid_argument(out.error());
  return *out;
}

Time at(const char* text) {
  std::tm parts{};
  if (strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) throw std::invalid_argument(text);
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}
const Time kNow = at("2026-03-01T12:00:00Z");

TEST(Repository, IsTakenApart) {
  struct Row {
    const char* url;
    const char* authority;
    const char* host;
    const char* path;
    const char* owner;
    const char* name;
  };
  const Row rows[] = {
      {"https://github.com/team/app.git", "github.com", "github.com", "team/app", "team", "app"},
      {"https://GitHub.com/team/app/", "GitHub.com", "github.com", "team/app", "team", "app"},
      {"https://git.example.com:8443/a/b/c.git", "git.example.com:8443", "git.example.com", "a/b/c",
       "a/b", "c"},
      {"https://[fd00::1]:3000/o/n", "[fd00::1]:3000", "fd00::1", "o/n", "o", "n"}};
  for (const Row& row : rows) {
    const auto found = parse_repository(row.url);
    ASSERT_TRUE(found) << row.url << ": " << found.error();
    EXPECT_EQ(found->authority, row.authority) << row.url;
    EXPECT_EQ(found->host, row.host) << row.url;
    EXPECT_EQ(found->path, row.path) << row.url;
    EXPECT_EQ(found->owner(), row.owner) << row.url;
    EXPECT_EQ(found->name(), row.name) << row.url;
  }
}

TEST(Repository, IsRefused) {
  for (const char* url :
       {"http://github.com/team/app", "https://github.com/app", "https://github.com/",
        "https://github.com", "https:///team/app", "https://github.com/team//app",
        "https://github.com/team/../app", "https://user@github.com/team/app",
        "https://github.com/team/app?x=1", "https://github.com/team/a%2fb",
        "https://github.com:port/team/app", "https://github.com:/team/app", "https://[::1/team/app",
        "https://github.com/team/app\r\nX: y", "ssh://github.com/a/b"})
    EXPECT_FALSE(parse_repository(url)) << url;
}

TEST(ApiUrl, GoesToTheRepositorysOwnHostAlone) {
  struct Row {
    HostKind kind;
    const char* repository;
    const char* given;
    const char* expected;  // "": refused
  };
  const Row rows[] = {
      {HostKind::kGithub, kGithubUrl, "", "https://api.github.com"},
      {HostKind::kGithub, "https://x.ghe.com/a/b", "", "https://api.x.ghe.com"},
      {HostKind::kGithub, "https://git.corp/a/b", "", "https://git.corp/api/v3"},
      {HostKind::kGithub, kGithubUrl, "https://api.github.com/", "https://api.github.com"},
      {HostKind::kGitlab, "https://git.corp:8443/a/b", "", "https://git.corp:8443/api/v4"},
      {HostKind::kGitlab, "https://git.corp/x/a/b", "https://git.corp/x/api/v4",
       "https://git.corp/x/api/v4"},
      {HostKind::kGitea, "https://git.corp/a/b", "https://git.corp:3000/api/v1",
       "https://git.corp:3000/api/v1"},
      {HostKind::kGithub, kGithubUrl, "https://evil.example", ""},
      {HostKind::kGithub, kGithubUrl, "https://github.com.evil.example", ""},
      {HostKind::kGithub, kGithubUrl, "https://evil.example/github.com", ""},
      {HostKind::kGithub, kGithubUrl, "https://github.com@evil.example/", ""},
      {HostKind::kGithub, kGithubUrl, "http://api.github.com", ""},
      {HostKind::kGithub, kGithubUrl, "https://api.github.com/a/../b", ""},
      {HostKind::kGithub, kGithubUrl, "https://api.github.com?x", ""}};
  for (const Row& row : rows) {
    const auto url = api_url(row.kind, repository(row.repository), row.given);
    EXPECT_EQ(url.value_or(""), row.expected) << row.repository << " " << row.given;
    if (!url) {
      EXPECT_THAT(url.error(), HasSubstr("apiUrl"));
    }
  }
  EXPECT_EQ(origin_of("https://git.corp:8443/x/api/v4"), "https://git.corp:8443");
}

TEST(GuessHost, ByPrefixThenByName) {
  struct Row {
    const char* url;
    const char* token;
    HostKind kind;
  };
  const Row rows[] = {{kGithubUrl, "x", HostKind::kGithub},
                      {"https://git.corp/a/b", "ghp_1", HostKind::kGithub},
                      {"https://git.corp/a/b", "github_pat_1", HostKind::kGithub},
                      {"https://git.corp/a/b", "glpat-1", HostKind::kGitlab},
                      {"https://gitlab.corp/a/b", "x", HostKind::kGitlab},
                      {"https://git.corp/a/b", "x", HostKind::kUnknown},
                      {"https://notgithub.com/a/b", "x", HostKind::kUnknown}};
  for (const Row& row : rows)
    EXPECT_EQ(guess_host(repository(row.url), row.token), row.kind) << row.url << " " << row.token;
}

TEST(Jwt, IsSignedAndShort) {
  const auto jwt = sign_app_jwt("12345", replay::app_key().pem, kNow);
  ASSERT_TRUE(jwt) << jwt.error();
  const json claims = replay::verified_jwt(*jwt, replay::app_key().public_pem);
  ASSERT_TRUE(claims.is_object());
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(kNow.time_since_epoch()).count();
  EXPECT_EQ(claims, json({{"iat", now - 60}, {"exp", now + 540}, {"iss", "12345"}}));
  EXPECT_TRUE(replay::verified_jwt(*jwt, replay::make_app_key().public_pem).is_null());
  EXPECT_EQ(jwt->find_first_of("+/="), std::string::npos);
}

TEST(Jwt, SaysWhatIsWrongWithTheKey) {
  const std::string good = replay::app_key().pem;
  const test_pki::Pair elliptic = test_pki::make_ca();
  struct Row {
    std::string key;
    const char* error;
  };
  const Row rows[] = {{"", "is empty"},
                      {"secret", "is no private key in PEM"},
                      {good.substr(0, good.size() / 2), "is no private key in PEM"},
                      {replay::app_key().public_pem, "is no private key in PEM"},
                      {elliptic.key, "is not an RSA key"},
                      {replay::make_app_key(1024).pem, "shorter than 2048 bits"},
                      {std::string(20'000, 'x'), "longer than a key can be"}};
  for (const Row& row : rows) {
    const auto jwt = sign_app_jwt("12345", row.key, kNow);
    ASSERT_FALSE(jwt) << row.error;
    EXPECT_THAT(jwt.error(), HasSubstr(row.error));
  }
}

class GithubTest : public ::testing::Test {
 protected:
  GithubTest() {
    model_.now = [] { return kNow; };
  }
  std::unique_ptr<TokenProvider> provider(
      GithubSettings settings = {"12345", {}, replay::app_key().pem, ""},
      const std::string& url = kGithubUrl) {
    return make_github(host_.transport("https://api.github.com"), "https://api.github.com",
                       repository(url), std::move(settings));
  }
  replay::GithubModel model_;
  replay::Host host_{[this](const replay::Asked& asked) { return model_.answer(asked); }};
};

TEST_F(GithubTest, MintsForOneRepositoryAndTakesBack) {
  const auto token = provider()->mint({"palisade-u-1", true, false}, kNow, {});
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->record.value, model_.tokens.at(0).value);
  EXPECT_EQ(token->username, "x-access-token");
  EXPECT_EQ(token->expires, kNow + 1h);
  EXPECT_EQ(token->broad, "");
  const auto asked = host_.asked();
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[1].body,
            json({{"repositories", {"app"}}, {"permissions", {{"contents", "write"}}}}));
  ASSERT_TRUE(provider()->revoke(token->record, kNow, {}));
  EXPECT_EQ(model_.living(), 0U);
  EXPECT_TRUE(provider()->revoke(token->record, kNow, {})) << "revoking twice is no error";
}

TEST_F(GithubTest, AsksForNoMoreThanTheSessionMay) {
  ASSERT_TRUE(
      provider({"12345", 777, replay::app_key().pem, ""})->mint({"n", false, false}, kNow, {}));
  EXPECT_EQ(host_.asked().at(0).path, "/app/installations/777/access_tokens");
  EXPECT_EQ(host_.asked().at(0).body.at("permissions"), json({{"contents", "read"}}));
}

TEST_F(GithubTest, TellsWhatToDo) {
  struct Row {
    const char* what;
    GithubSettings settings;
    const char* url;
    Time now;
    const char* reason;
    const char* message;
  };
  const std::string key = replay::app_key().pem;
  const Row rows[] = {
      {"not installed",
       {"12345", {}, key, ""},
       "https://github.com/team/other",
       kNow,
       "AppNotInstalled",
       "install App 12345 on team/other"},
      {"wrong installation",
       {"12345", 778, key, ""},
       kGithubUrl,
       kNow,
       "AppNotInstalled",
       "leave installationId away"},
      {"wrong key",
       {"12345", {}, replay::make_app_key().pem, ""},
       kGithubUrl,
       kNow,
       "CredentialsRefused",
       "privateKeySecretRef"},
      {"clock behind",
       {"12345", {}, key, ""},
       kGithubUrl,
       kNow - 20min,
       "CredentialsRefused",
       "must be in the future"},
      {"clock ahead",
       {"12345", {}, key, ""},
       kGithubUrl,
       kNow + 20min,
       "CredentialsRefused",
       "'iat'"},
      {"broken key",
       {"12345", {}, "x", ""},
       kGithubUrl,
       kNow,
       "AppKeyInvalid",
       "privateKeySecretRef names is no private key"},
      {"broken id", {"1 2", {}, key, ""}, kGithubUrl, kNow, "AppKeyInvalid", "appId"},
      {"not a GitHub path",
       {"12345", {}, key, ""},
       "https://github.com/a/b/c",
       kNow,
       "RepositoryNotFound",
       "spec.repository.url"}};
  for (const Row& row : rows) {
    const auto token = provider(row.settings, row.url)->mint({"n", true, false}, row.now, {});
    ASSERT_FALSE(token) << row.what;
    EXPECT_EQ(token.error().reason, row.reason) << row.what;
    EXPECT_THAT(token.error().message, HasSubstr(row.message)) << row.what;
    EXPECT_THAT(token.error().message, Not(HasSubstr("PRIVATE KEY"))) << row.what;
  }
  EXPECT_EQ(model_.living(), 0U);
}

TEST_F(GithubTest, AClockThatIsOffIsTold) {
  host_.interpose([](const replay::Asked&) {
    return replay::Reply{401, R"({"message": "'Expiration time' claim ('exp') is too far"})",
                         "Date: Sun, 01 Mar 2026 11:40:00 GMT\r\n"};
  });
  const auto token = provider()->mint({"n", true, false}, kNow, {});
  ASSERT_FALSE(token);
  EXPECT_THAT(token.error().message, HasSubstr("1200 s ahead of the host's"));
}

// What the host gives beyond what was asked for is taken back at once.
TEST_F(GithubTest, KeepsNothingTooBroad) {
  const json good{{"token", "ghs_1"},
                  {"expires_at", "2026-03-01T13:00:00Z"},
                  {"permissions", {{"contents", "write"}, {"metadata", "read"}}},
                  {"repositories", json::array({{{"full_name", "Team/App"}}})}};
  struct Row {
    const char* what;
    json change;  // merged
    const char* reason;
  };
  const Row rows[] = {
      {"as asked", json::object(), ""},
      {"another repository",
       {{"repositories", json::array({{{"full_name", "team/other"}}})}},
       "TokenTooBroad"},
      {"two repositories",
       {{"repositories",
         json::array({{{"full_name", "team/app"}}, {{"full_name", "team/other"}}})}},
       "TokenTooBroad"},
      {"all repositories", {{"repositories", nullptr}}, "TokenTooBroad"},
      {"more permissions", {{"permissions", {{"actions", "write"}}}}, "TokenTooBroad"},
      {"a higher one", {{"permissions", {{"contents", "admin"}}}}, "TokenTooBroad"},
      {"metadata to write", {{"permissions", {{"metadata", "write"}}}}, "TokenTooBroad"},
      {"no permissions told", {{"permissions", nullptr}}, "TokenTooBroad"},
      {"fewer permissions", {{"permissions", {{"contents", "read"}}}}, "PermissionMissing"},
      {"ended already", {{"expires_at", "2026-03-01T11:59:00Z"}}, "HostAnswerInvalid"},
      {"no end", {{"expires_at", nullptr}}, "HostAnswerInvalid"},
      {"an end that is no day", {{"expires_at", "2026-02-31T11:59:00Z"}}, "HostAnswerInvalid"},
      {"no token", {{"token", nullptr}}, "HostAnswerInvalid"},
      {"a token of two lines", {{"token", "a\r\nX: y"}}, "HostAnswerInvalid"},
      {"a token without end", {{"token", std::string(5000, 'x')}}, "HostAnswerInvalid"},
      {"a token that is a number", {{"token", 7}}, "HostAnswerInvalid"}};
  for (const Row& row : rows) {
    json body = good;
    body.merge_patch(row.change);
    std::size_t revoked = 0;
    host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
      if (asked.method == "DELETE") {
        ++revoked;
        return replay::Reply{204, "", ""};
      }
      return replay::Reply{201, body.dump(), ""};
    });
    const auto token =
        provider({"12345", 777, replay::app_key().pem, ""})->mint({"n", true, false}, kNow, {});
    EXPECT_EQ(token ? "" : token.error().reason, row.reason) << row.what;
    EXPECT_EQ(revoked, row.reason == std::string("TokenTooBroad") ? 1U : 0U) << row.what;
    if (!token) {
      EXPECT_THAT(token.error().message, Not(HasSubstr("ghs_1"))) << row.what;
    }
  }
}

TEST_F(GithubTest, AnEndThatIsFarAwayIsAnHour) {
  host_.interpose([](const replay::Asked&) {
    return replay::Reply{201,
                         R"({"token": "ghs_1", "expires_at": "9999-12-31T23:59:59Z",
                             "permissions": {"contents": "read"},
                             "repositories": [{"full_name": "team/app"}]})",
                         ""};
  });
  const auto token =
      provider({"12345", 777, replay::app_key().pem, ""})->mint({"n", false, false}, kNow, {});
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->expires, kNow + 1h);
}

TEST_F(GithubTest, InspectsWhatASecretHolds) {
  const auto classic = provider()->inspect("ghp_classic", kNow, {});
  ASSERT_TRUE(classic);
  EXPECT_TRUE(classic->told);
  EXPECT_TRUE(classic->broad);
  EXPECT_THAT(classic->scopes, ::testing::ElementsAre("repo", "workflow"));
  EXPECT_THAT(classic->message, HasSubstr("repo, workflow"));
  EXPECT_THAT(classic->message, Not(HasSubstr("ghp_")));
  model_.classic_scopes = "";
  const auto bare = provider()->inspect("ghp_classic", kNow, {});
  ASSERT_TRUE(bare);
  EXPECT_TRUE(bare->told);
  EXPECT_FALSE(bare->broad);
  const auto fine = provider()->inspect("github_pat_fine", kNow, {});
  ASSERT_TRUE(fine);
  EXPECT_FALSE(fine->told);
  EXPECT_FALSE(fine->broad);
  const auto dead = provider()->inspect("ghp_dead", kNow, {});
  ASSERT_FALSE(dead);
  EXPECT_EQ(dead.error().reason, "CredentialsRefused");
}

const MergeRequestWish kWish{"Fix the login", "2 commits", "palisade/fix-login",
                             "main",          "c0ffee",    true};

TEST_F(GithubTest, OpensOnePullRequestWithATokenForThatAlone) {
  const auto opened = provider()->open_merge_request(kWish, kNow, {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->url, "https://github.com/team/app/pull/1") << "never what the host says";
  EXPECT_FALSE(opened->existed);
  EXPECT_EQ(model_.tokens.at(0).permissions,
            json({{"contents", "read"}, {"pull_requests", "write"}, {"metadata", "read"}}));
  EXPECT_EQ(model_.living(), 0U);
  EXPECT_EQ(model_.pulls.at(0).body, json({{"title", "Fix the login"},
                                           {"body", "2 commits"},
                                           {"head", "palisade/fix-login"},
                                           {"base", "main"},
                                           {"draft", true},
                                           {"maintainer_can_modify", false}}));
  const auto again = provider()->open_merge_request(kWish, kNow, {});
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->existed);
  EXPECT_EQ(again->number, 1);
  // Closed by somebody: this session's own is not opened again; a later session's is.
  model_.pulls.at(0).state = "closed";
  EXPECT_EQ(provider()->open_merge_request(kWish, kNow, {})->number, 1);
  MergeRequestWish later = kWish;
  later.commit = "beef";
  EXPECT_EQ(provider()->open_merge_request(later, kNow, {})->number, 2);
}

TEST_F(GithubTest, OpensWithTheSecretsTokenWhereThereIsNoApp) {
  const auto opened = provider({"", {}, "", "ghp_classic"})->open_merge_request(kWish, kNow, {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->number, 1);
  EXPECT_TRUE(model_.tokens.empty());
  EXPECT_FALSE(provider({"", {}, "", "ghp_classic"})->mint({"n", true, false}, kNow, {}));
}

class GitlabTest : public ::testing::Test {
 protected:
  std::unique_ptr<TokenProvider> provider(GitlabSettings settings = {"glpat-maintainer",
                                                                     "Developer"},
                                          const std::string& url = kGitlabUrl) {
    return make_gitlab(host_.transport("https://gitlab.com"), "https://gitlab.com/api/v4",
                       repository(url), std::move(settings));
  }
  replay::GitlabModel model_;
  replay::Host host_{[this](const replay::Asked& asked) { return model_.answer(asked); }};
};

TEST_F(GitlabTest, MintsWithRoleScopesAndEnd) {
  const auto token = provider()->mint({"palisade-u-1", true, false}, kNow, {});
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->record.id, "40");
  EXPECT_EQ(token->username, "oauth2");
  EXPECT_EQ(host_.asked().at(0).body, json({{"name", "palisade-u-1"},
                                            {"scopes", {"read_repository", "write_repository"}},
                                            {"access_level", 30},
                                            {"expires_at", "2026-03-03"}}));
  EXPECT_EQ(token->expires, at("2026-03-03T00:00:00Z"));
  const auto reading = provider()->mint({"palisade-u-2", false, false}, kNow, {});
  ASSERT_TRUE(reading);
  EXPECT_EQ(model_.tokens.at(1).scopes, json({"read_repository"}));

  model_.tokens.push_back({90, "my-palisade-u-9", "x", json::array(), 30, "", false});
  const auto found = provider()->find("palisade-u-", kNow, {});
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->size(), 2U) << "a name that has it in the middle is another's";
  for (const Record& record : **found)
    EXPECT_TRUE(provider()->revoke(record, kNow, {}));
  EXPECT_EQ(model_.living(), 1U);
  EXPECT_TRUE(provider()->revoke(token->record, kNow, {})) << "revoking twice is no error";
  EXPECT_FALSE(provider()->revoke({"n", "../../users/1", ""}, kNow, {}));
}

TEST_F(GitlabTest, TellsWhatToDo) {
  struct Row {
    GitlabSettings settings;
    const char* url;
    const char* reason;
    const char* message;
  };
  const Row rows[] = {
      {{"glpat-old", "Developer"}, kGitlabUrl, "CredentialsRefused", "put a new one there"},
      {{"glpat-maintainer", "Developer"},
       "https://gitlab.com/team/other",
       "RepositoryNotFound",
       "role Maintainer"},
      {{"glpat-maintainer", "King"}, kGitlabUrl, "RequestRefused", "gitlab.role"}};
  for (const Row& row : rows) {
    const auto token = provider(row.settings, row.url)->mint({"n", true, false}, kNow, {});
    ASSERT_FALSE(token) << row.message;
    EXPECT_EQ(token.error().reason, row.reason);
    EXPECT_THAT(token.error().message, HasSubstr(row.message));
    EXPECT_THAT(token.error().message, Not(HasSubstr("glpat-")));
  }
}

TEST_F(GitlabTest, KeepsNothingTooBroad) {
  const json good{{"id", 5},
                  {"token", "glpat-1"},
                  {"expires_at", "2026-03-03"},
                  {"access_level", 30},
                  {"scopes", {"read_repository"}}};
  struct Row {
    json change;
    const char* reason;
  };
  const Row rows[] = {{json::object(), ""},
                      {{{"scopes", {"api"}}}, "TokenTooBroad"},
                      {{{"scopes", nullptr}}, "TokenTooBroad"},
                      {{{"access_level", 40}}, "TokenTooBroad"},
                      {{{"access_level", -1}}, "TokenTooBroad"},
                      {{{"expires_at", "2026-03-01"}}, "HostAnswerInvalid"},
                      {{{"token", "a b"}}, "HostAnswerInvalid"},
                      {{{"id", "5"}}, "HostAnswerInvalid"},
                      {{{"id", 18446744073709551615ULL}}, "HostAnswerInvalid"}};
  for (const Row& row : rows) {
    json body = good;
    body.merge_patch(row.change);
    std::vector<std::string> revoked;
    host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
      if (asked.method == "DELETE") revoked.push_back(asked.path);
      return asked.method == "DELETE" ? replay::Reply{204, "", ""}
                                      : replay::Reply{201, body.dump(), ""};
    });
    const auto token = provider()->mint({"n", false, false}, kNow, {});
    EXPECT_EQ(token ? "" : token.error().reason, row.reason) << row.change;
    const bool known = body["id"].is_number() && body["id"] == 5;
    EXPECT_EQ(revoked.size(), !token && known ? 1U : 0U) << row.change;
  }
}

TEST_F(GitlabTest, InspectsWhatASecretHolds) {
  const auto wide = provider()->inspect("glpat-wide", kNow, {});
  ASSERT_TRUE(wide);
  EXPECT_TRUE(wide->broad);
  EXPECT_THAT(wide->message, HasSubstr("(api)"));
  for (const char* narrow : {"glpat-narrow", "glpat-git-only"}) {
    const auto told = provider()->inspect(narrow, kNow, {});
    ASSERT_TRUE(told) << narrow;
    EXPECT_TRUE(told->told) << narrow;
    EXPECT_FALSE(told->broad) << narrow;
  }
  EXPECT_FALSE(provider()->inspect("glpat-dead", kNow, {}));
}

TEST_F(GitlabTest, OpensOneMergeRequest) {
  const auto opened = provider()->open_merge_request(kWish, kNow, {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->url, "https://gitlab.com/team/app/-/merge_requests/1");
  EXPECT_EQ(model_.merge_requests.at(0).at("title"), "Draft: Fix the login");
  EXPECT_TRUE(provider()->open_merge_request(kWish, kNow, {})->existed);
  EXPECT_EQ(model_.merge_requests.size(), 1U);
}

// --- what any host may answer -----------------------------------------------------------------

TEST(Hostile, EveryAnswerIsRefusedByItsReason) {
  struct Row {
    const char* what;
    replay::Reply reply;
    const char* reason;
    std::optional<std::chrono::seconds> retry_after;
  };
  std::string deep;
  for (int i = 0; i < 100'000; ++i)
    deep += '[';
  const Row rows[] = {
      {"no JSON", {201, "<html>", ""}, "HostAnswerInvalid", {}},
      {"JSON cut off", {201, R"({"token": "x)", ""}, "HostAnswerInvalid", {}},
      {"JSON without end", {201, deep, ""}, "HostAnswerInvalid", {}},
      {"deep JSON", {201, deep + std::string(deep.size(), ']'), ""}, "HostAnswerInvalid", {}},
      {"deep JSON of a refusal",
       {422, R"({"message": )" + deep + std::string(deep.size(), ']') + "}", ""},
       "",
       {}},
      {"nothing", {201, "", ""}, "HostAnswerInvalid", {}},
      {"a list", {200, "[]", ""}, "HostAnswerInvalid", {}},
      {"null", {200, "null", ""}, "HostAnswerInvalid", {}},
      {"10 MB", {201, std::string(10'000'000, 'x'), ""}, "HostAnswerInvalid", {}},
      {"invalid UTF-8", {201, "{\"token\": \"\xff\xfe\"}", ""}, "HostAnswerInvalid", {}},
      {"a redirect", {302, "", "Location: https://evil.example/\r\n"}, "HostAnswerInvalid", {}},
      {"compressed", {201, "x", "Content-Encoding: gzip\r\n"}, "HostAnswerInvalid", {}},
      {"500", {500, "oops", ""}, "HostUnavailable", {}},
      {"503 with a time", {503, "", "Retry-After: 30\r\n"}, "HostUnavailable", 30s},
      {"429", {429, "", ""}, "HostRateLimited", 60s},
      {"429 with a time", {429, "", "Retry-After: 90\r\n"}, "HostRateLimited", 90s},
      {"429 with a date",
       {429, "", "Retry-After: Sun, 01 Mar 2026 12:02:00 GMT\r\n"},
       "HostRateLimited",
       120s},
      {"429 for ever", {429, "", "Retry-After: 999999999999\r\n"}, "HostRateLimited", 3600s},
      {"429 in the past", {429, "", "Retry-After: -5\r\n"}, "HostRateLimited", 1s},
      {"429 in words", {429, "", "Retry-After: soon\r\n"}, "HostRateLimited", 60s},
      {"the primary limit",
       {403, "{}", "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1772366460\r\n"},
       "HostRateLimited",
       60s},
      {"a limit for ever",
       {403, "{}", "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 9223372036854775807\r\n"},
       "HostRateLimited",
       3600s},
      {"no answer", {0, "", ""}, "HostUnavailable", {}},
      {"400", {400, "no", ""}, "", {}}};
  replay::Host host([](const replay::Asked&) { return replay::Reply{500, "", ""}; });
  const Repository app = repository("https://git.example.com/team/app");
  const auto transport = host.transport("https://git.example.com");
  const std::pair<const char*, std::unique_ptr<TokenProvider>> providers[] = {
      {"github", make_github(transport, "https://git.example.com/api/v3", app,
                             {"12345", 777, replay::app_key().pem, ""})},
      {"gitlab", make_gitlab(transport, "https://git.example.com/api/v4", app,
                             {"glpat-secret", "Developer"})},
      {"gitea",
       make_gitea(transport, "https://git.example.com/api/v1", app, {"bot", "pass-secret", ""})}};
  for (const auto& [name, provider] : providers) {
    for (const Row& row : rows) {
      host.interpose([&](const replay::Asked&) { return row.reply; });
      const auto token = provider->mint({"palisade-u-1", true, false}, kNow, {});
      // A list is how Gitea answers its first question; it then answers the second.
      ASSERT_FALSE(token) << name << ", " << row.what;
      if (*row.reason != '\0') {
        EXPECT_EQ(token.error().reason, row.reason) << name << ", " << row.what;
      }
      if (row.retry_after) {
        EXPECT_EQ(token.error().retry_after, row.retry_after) << name << ", " << row.what;
      }
      EXPECT_THAT(token.error().message, Not(HasSubstr("secret"))) << name << ", " << row.what;
      EXPECT_LT(token.error().message.size(), 700U) << name << ", " << row.what;
    }
  }
}

TEST(Hostile, WhatTheHostSaysIsRepeatedWithoutSecretsAndInBounds) {
  replay::Host host([](const replay::Asked&) {
    return replay::Reply{422,
                         json({{"message", "glpat-secret\r\n\x1b[31m" + std::string(5000, 'A')}})
                             .dump(-1, ' ', true),
                         ""};
  });
  const auto provider =
      make_gitlab(host.transport("https://git.example.com"), "https://git.example.com/api/v4",
                  repository("https://git.example.com/team/app"), {"glpat-secret", "Developer"});
  const auto token = provider->mint({"palisade-u-1", true, false}, kNow, {});
  ASSERT_FALSE(token);
  EXPECT_THAT(token.error().message, HasSubstr("***??"));
  EXPECT_THAT(token.error().message, Not(HasSubstr("glpat")));
  EXPECT_LT(token.error().message.size(), 500U);
  EXPECT_TRUE(std::ranges::all_of(token.error().message,
                                  [](unsigned char c) { return c >= 0x20 && c < 0x7f; }));
}

TEST(Hostile, AListWithoutEndEnds) {
  replay::Host host([](const replay::Asked&) {
    json list = json::array();
    for (int i = 1; i <= 100; ++i)
      list.push_back({{"id", i}, {"name", "palisade-u-" + std::to_string(i)}});
    return replay::Reply{200, list.dump(), ""};
  });
  const Repository app = repository("https://git.example.com/team/app");
  const auto transport = host.transport("https://git.example.com");
  for (const auto& provider :
       {make_gitlab(transport, "https://git.example.com/api/v4", app, {"t", "Developer"}),
        make_gitea(transport, "https://git.example.com/api/v1", app, {"bot", "p", ""})}) {
    const auto found = provider->find("palisade-u-", kNow, {});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().reason, "HostAnswerInvalid");
  }
}

TEST(Hostile, AForeignCertificateGetsNoCredential) {
  replay::Host host([](const replay::Asked&) { return replay::Reply{200, "{}", ""}; });
  // The certificate has no such name.
  const auto provider =
      make_gitlab(host.transport("https://other.example.com"), "https://other.example.com/api/v4",
                  repository("https://other.example.com/team/app"), {"glpat-secret", "Developer"});
  const auto token = provider->mint({"palisade-u-1", true, false}, kNow, {});
  ASSERT_FALSE(token);
  EXPECT_EQ(token.error().reason, "HostUnavailable");
  EXPECT_THAT(token.error().message, HasSubstr("gitCA"));
  EXPECT_TRUE(host.asked().empty());
}

}  // namespace
}  // namespace palisade::op::tokens
