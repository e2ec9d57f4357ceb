// Against a real Gitea, with the real git: what is minted serves, and what is revoked does not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <operator/tokens/provider.h>

#include "operator_tokens/gitea.h"

namespace palisade::op::tokens {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class GiteaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static int count = 0;
    const std::string number = std::to_string(++count);
    name_ = "app-" + number;
    bot_ = "bot-" + number;
    url_ = host_.make_repository(name_);
    host_.make_bot(bot_, kPassword, name_);
  }
  std::unique_ptr<TokenProvider> provider(GiteaSettings settings) {
    const auto repository = parse_repository(url_);
    if (!repository) throw std::invalid_argument(repository.error());
    const auto api = api_url(HostKind::kGitea, *repository, "");
    return make_gitea(host_.transports()(origin_of(*api)), *api, *repository, std::move(settings));
  }
  std::unique_ptr<TokenProvider> provider() { return provider({bot_, kPassword, ""}); }
  Time now() const { return std::chrono::system_clock::now(); }

  static constexpr const char* kPassword = "bot-Password-1";
  gitea::Server& host_ = gitea::server();
  std::string name_, bot_, url_;
};

TEST_F(GiteaTest, ATokenPushesUntilItIsRevoked) {
  const auto token = provider()->mint({"palisade-u-1", true, false}, now(), {});
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_EQ(token->username, bot_);
  EXPECT_EQ(token->broad, "");
  const std::string value = token->record.value;
  const auto folder = host_.clone(url_, bot_, value);
  ASSERT_FALSE(folder.empty());
  EXPECT_EQ(host_.push(folder, "palisade/x", url_, bot_, value).code, 0);
  // The courier and the gateway need not know the bot's name.
  EXPECT_EQ(host_.push(folder, "palisade/x", url_, "x-access-token", value).code, 0);

  ASSERT_TRUE(provider()->revoke(token->record, now(), {}));
  const gitea::Said refused = host_.push(folder, "palisade/x", url_, bot_, value);
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.text, HasSubstr("Authentication failed"));
  EXPECT_TRUE(host_.clone(url_, bot_, value).empty());
  EXPECT_TRUE(provider()->revoke(token->record, now(), {})) << "revoking twice is no error";
}

TEST_F(GiteaTest, AReadersTokenDoesNotPush) {
  const auto token = provider()->mint({"palisade-u-1", false, false}, now(), {});
  ASSERT_TRUE(token) << token.error().message;
  const auto folder = host_.clone(url_, bot_, token->record.value);
  ASSERT_FALSE(folder.empty());
  EXPECT_NE(host_.push(folder, "palisade/x", url_, bot_, token->record.value).code, 0);
}

TEST_F(GiteaTest, LostTokensAreFoundByName) {
  ASSERT_TRUE(provider()->mint({"palisade-u-1", true, false}, now(), {}));
  ASSERT_TRUE(provider()->mint({"palisade-u-2", true, false}, now(), {}));
  ASSERT_TRUE(provider()->mint({"palisade-v-1", true, false}, now(), {}));
  auto found = provider()->find("palisade-u-", now(), {});
  ASSERT_TRUE(found && *found) << found.error().message;
  EXPECT_EQ((*found)->size(), 2U);
  for (const Record& record : **found)
    EXPECT_TRUE(provider()->revoke(record, now(), {}));
  EXPECT_TRUE((*provider()->find("palisade-u-", now(), {}))->empty());
  EXPECT_EQ((*provider()->find("palisade-v-", now(), {}))->size(), 1U);
  // A name that is taken is refused, not shared.
  const auto twice = provider()->mint({"palisade-v-1", true, false}, now(), {});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().reason, "RequestRefused");
}

TEST_F(GiteaTest, ABotOfSeveralRepositoriesIsTold) {
  host_.make_repository(name_ + "-other");
  host_.make_bot(bot_, kPassword, name_ + "-other", "read");
  const auto token = provider()->mint({"palisade-u-1", true, false}, now(), {});
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_THAT(token->broad, HasSubstr("collaborates on 2 repositories"));
}

TEST_F(GiteaTest, TellsWhatToDo) {
  host_.make_bot("reader-" + name_, kPassword, name_, "read");
  host_.make_repository(name_ + "-secret");
  host_.make_bot("stranger-" + name_, kPassword, name_ + "-secret");
  struct Row {
    GiteaSettings settings;
    const char* reason;
    const char* message;
  };
  const Row rows[] = {
      {{bot_, "wrong-Password-1", ""}, "CredentialsRefused", "do not fit"},
      {{"nobody-" + name_, kPassword, ""}, "CredentialsRefused", "do not fit"},
      {{"reader-" + name_, kPassword, ""}, "PermissionMissing", "give it write access"},
      {{"stranger-" + name_, kPassword, ""}, "RepositoryNotFound", "collaborate on it"}};
  for (const Row& row : rows) {
    const auto token = provider(row.settings)->mint({"palisade-u-1", true, false}, now(), {});
    ASSERT_FALSE(token) << row.message;
    EXPECT_EQ(token.error().reason, row.reason) << token.error().message;
    EXPECT_THAT(token.error().message, HasSubstr(row.message));
    EXPECT_THAT(token.error().message, Not(HasSubstr("Password-1")));
  }
}

TEST_F(GiteaTest, OpensOnePullRequest) {
  const auto token = provider()->mint({"palisade-u-1", true, false}, now(), {});
  ASSERT_TRUE(token) << token.error().message;
  const auto folder = host_.clone(url_, bot_, token->record.value);
  ASSERT_EQ(host_.push(folder, "palisade/x", url_, bot_, token->record.value).code, 0);
  const std::string path = std::string("/repos/") + gitea::Server::kAdmin + "/" + name_;
  const auto head = host_.call("GET", path + "/branches/palisade%2Fx")["commit"]["id"];
  const MergeRequestWish wish{"Fix the login", "- 1 commit", "palisade/x", "main", head, true};
  const auto opened = provider()->open_merge_request(wish, now(), {});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_FALSE(opened->existed);
  const std::string base = url_.substr(0, url_.size() - 4);
  EXPECT_EQ(opened->url, base + "/pulls/" + std::to_string(opened->number));
  const auto shown = host_.call("GET", path + "/pulls/" + std::to_string(opened->number));
  EXPECT_EQ(shown["title"], "WIP: Fix the login");
  EXPECT_EQ(shown["body"], "- 1 commit");
  EXPECT_EQ(shown["html_url"], opened->url);
  EXPECT_EQ(shown["draft"], true);
  const auto again = provider()->open_merge_request(wish, now(), {});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->existed);
  EXPECT_EQ(again->number, opened->number);
  EXPECT_EQ(host_.call("GET", path + "/pulls?state=all").size(), 1U);
  // With the token of a Secret, too.
  const auto by_token =
      provider({"", "", token->record.value})->open_merge_request(wish, now(), {});
  ASSERT_TRUE(by_token) << by_token.error().message;
  EXPECT_EQ(by_token->number, opened->number);
  // Nothing to merge: told, and nothing opened.
  MergeRequestWish empty = wish;
  empty.head = "palisade/none";
  const auto none = provider()->open_merge_request(empty, now(), {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().reason, "RepositoryNotFound");
}

}  // namespace
}  // namespace palisade::op::tokens
