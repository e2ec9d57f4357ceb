// What the operator decides about tokens that are minted: which job the keeper gets when, and what
// of it is told.
#include "operator/minted.h"

#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using tokens::Job;

Json minting_workspace(const char* kind = "gitlab") {
  Json out = usual_workspace();
  const Json kinds{{"gitlab", {{"secretRef", {{"name", "maintainer"}}}}},
                   {"githubApp", {{"appId", 12345}, {"privateKeySecretRef", {{"name", "app"}}}}},
                   {"gitea", {{"secretRef", {{"name", "bot"}}}}}};
  out["spec"]["repository"]["credentials"] = {{kind, kinds.at(kind)}};
  return out;
}

class Minted : public ::testing::Test {
 protected:
  explicit Minted(Json workspace = minting_workspace(), bool gateway = false)
      : model_(std::move(workspace), gateway) {
    model_.seen.process = "aaaaaaaa";
    settle();
  }
  void settle() {
    model_.settle();
    plan_ = model_.decide();
  }
  // The keeper has done its job: a token of that life.
  void mint(std::chrono::seconds life = 1h, kube::ObjectPtr Observed::*where = &Observed::secret) {
    ASSERT_TRUE(plan_.token_job);
    tokens::State state = read(where);
    tokens::State after = state;
    if (after.current) {
      after.current->since = model_.now;
      after.retired.push_back(*after.current);
    }
    tokens::Kept kept;
    kept.record = {tokens::next_name(plan_.token_job->wanted(), model_.now, "aaaaaaaa"), "41",
                   "token-value"};
    kept.minted = model_.now;
    kept.expires = model_.now + life;
    kept.source = plan_.token_job->wanted().source;
    kept.write = plan_.token_job->write;
    after.current = kept;
    write(where, state, after, plan_.token_job->secret);
  }
  void write(kube::ObjectPtr Observed::*where, const tokens::State& before,
             const tokens::State& after, const Json& base) {
    Json object = model_.seen.*where ? *(model_.seen.*where) : base;
    object["metadata"]["uid"] = "made-by-keeper";
    object.merge_patch(tokens::state_patch(before, after, "oauth2"));
    model_.put(where, object);
    settle();
  }
  [[nodiscard]] tokens::State read(kube::ObjectPtr Observed::*where) const {
    return model_.seen.*where ? tokens::read_state(*(model_.seen.*where)) : tokens::State();
  }
  void trouble(const char* reason, const char* message, int failures = 1) {
    model_.seen.memory.trouble = tokens::Trouble{{reason, message, {}}, failures, model_.now + 5s};
    model_.seen.memory.ending = job() == Job::Kind::kEnd;
    settle();
  }
  [[nodiscard]] std::optional<Job::Kind> job() const {
    return plan_.token_job ? std::optional(plan_.token_job->kind) : std::nullopt;
  }
  [[nodiscard]] bool told(const std::string& reason, const std::string& words) const {
    return std::ranges::any_of(plan_.events, [&](const PlannedEvent& event) {
      return event.warning && event.reason == reason && event.note.find(words) != std::string::npos;
    });
  }

  Model model_;
  Plan plan_;
};

TEST_F(Minted, ATokenComesBeforeThePod) {
  ASSERT_EQ(job(), Job::Kind::kHold);
  EXPECT_FALSE(model_.seen.pod);
  EXPECT_EQ(model_.condition("Ready")["reason"], "Minting");
  EXPECT_EQ(model_.condition("CredentialsReady")["status"], "False");
  EXPECT_EQ(model_.condition("Accepted")["status"], "True");
  const Job& asked = *plan_.token_job;
  EXPECT_EQ(asked.source.kind, tokens::HostKind::kGitlab);
  EXPECT_EQ(asked.source.secret, "maintainer");
  EXPECT_EQ(asked.source.role, "Developer");
  EXPECT_TRUE(asked.write);
  EXPECT_EQ(asked.secret["metadata"]["name"], "fix-login-git");
  EXPECT_EQ(asked.secret["metadata"]["ownerReferences"][0]["uid"], kUid);
  EXPECT_FALSE(asked.secret.contains("data"));

  model_.seen.memory.busy = true;
  EXPECT_FALSE(model_.decide().token_job) << "one at a time";
  model_.seen.memory.busy = false;

  mint();
  EXPECT_TRUE(model_.seen.pod);
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "Minted");
  EXPECT_EQ((*model_.seen.secret)["data"]["username"], "b2F1dGgy") << "the keeper's data stays";
  EXPECT_TRUE(read(&Observed::secret).current);
}

TEST_F(Minted, OnlyForAWorkspaceThatIsAccepted) {
  struct Row {
    const char* what;
    std::function<void(Model&)> change;
    const char* reason;
  };
  const Row rows[] = {
      {"its egress is refused",
       [](Model& model) {
         model.spec()["isolation"]["egress"] = Json::array(
             {{{"to", Json::array({{{"ipBlock", {{"cidr", "169.254.169.254/32"}}}}})}}});
       },
       "EgressRefused"},
      {"the policies cannot be read",
       [](Model& model) {
         model.seen.policies = std::unexpected(Problem{"AgentPolicyInvalid", "x"});
       },
       "AgentPolicyInvalid"},
      {"the host is not known",
       [](Model& model) {
         model.seen.access = std::unexpected(Problem{"EndpointRefused", "x"});
       },
       "EndpointRefused"},
      {"its repository is not allowed",
       [](Model& model) {
         model.config.policy.allowed_repositories = {"https://git.example.com/other/*"};
       },
       "RepositoryNotAllowed"}};
  for (const Row& row : rows) {
    Model model(minting_workspace());
    row.change(model);
    model.settle();
    EXPECT_EQ(model.condition("Accepted")["reason"], row.reason) << row.what;
    EXPECT_FALSE(model.decide().token_job) << row.what;
  }
}

TEST_F(Minted, WhatGoesWrongIsTold) {
  trouble("AppNotInstalled", "install it");
  EXPECT_FALSE(job()) << "not before it is time";
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "AppNotInstalled");
  EXPECT_EQ(model_.condition("CredentialsReady")["message"], "install it");
  EXPECT_EQ(model_.condition("Ready")["reason"], "CredentialsMissing");
  EXPECT_LE(plan_.requeue_after, 10s);
  model_.now += 5s;
  settle();
  EXPECT_EQ(job(), Job::Kind::kHold);
}

TEST_F(Minted, IsRenewedUnderALivePodAndServesUntilItsEnd) {
  mint();
  model_.run();
  settle();
  const Json pod = *model_.seen.pod;
  EXPECT_FALSE(job());
  model_.now += 40min;
  settle();
  ASSERT_EQ(job(), Job::Kind::kHold);
  trouble("HostUnavailable", "it is down");
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.condition("CredentialsReady")["status"], "True");
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "RenewalFailing");
  EXPECT_THAT(model_.condition("CredentialsReady")["message"], HasSubstr("it is down"));
  model_.now += 20min;
  settle();
  EXPECT_EQ(model_.condition("CredentialsReady")["status"], "False") << "it has ended";
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "HostUnavailable");
  EXPECT_EQ(job(), Job::Kind::kHold);
  model_.seen.memory.trouble.reset();
  mint();
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "Minted");
  EXPECT_EQ(*model_.seen.pod, pod) << "the pod knows nothing of it";
  EXPECT_EQ(read(&Observed::secret).retired.size(), 1U);
  model_.now += tokens::kGrace;
  settle();
  EXPECT_EQ(job(), Job::Kind::kHold) << "the former one is taken back";
}

TEST_F(Minted, IsRevokedBeforeTheWorkspaceGoes) {
  mint();
  model_.run();
  model_.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model_.now);
  model_.settle();
  EXPECT_FALSE(model_.decide().token_job) << "the pod may push still";
  model_.let_go();
  settle();
  ASSERT_EQ(job(), Job::Kind::kEnd);
  EXPECT_FALSE(model_.gone);
  ASSERT_TRUE(model_.seen.secret);
  model_.seen.memory.ended = true;
  model_.edit(&Observed::secret, tokens::state_patch(read(&Observed::secret), {}, ""));
  model_.settle();
  EXPECT_TRUE(model_.gone);
  EXPECT_FALSE(model_.seen.secret);
}

TEST_F(Minted, TheHostIsAskedOnceMoreWhereTheSecretIsGone) {
  mint();
  model_.run();
  settle();
  model_.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model_.now);
  model_.seen.pod.reset();
  model_.seen.secret.reset();
  settle();
  EXPECT_EQ(job(), Job::Kind::kEnd);
  model_.seen.memory.ended = true;
  model_.settle();
  EXPECT_TRUE(model_.gone);
}

TEST_F(Minted, AWorkspaceThatNeverHadATokenGoesAtOnce) {
  model_.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model_.now);
  model_.settle();
  EXPECT_TRUE(model_.gone);
}

TEST_F(Minted, ADeletionDoesNotWaitForEver) {
  mint();
  model_.seen.pod.reset();
  struct Row {
    const char* reason;
    std::chrono::seconds patience;
  };
  for (const Row& row : {Row{"HostUnavailable", 300s}, Row{"SecretNotFound", 30s}}) {
    Model model = model_;
    model.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model.now);
    model.settle();
    model.now += row.patience - 1s;
    model.seen.memory.trouble = tokens::Trouble{{row.reason, "no answer", {}}, 3, model.now};
    model.seen.memory.ending = true;
    EXPECT_EQ(model.decide().token_job->kind, Job::Kind::kEnd) << row.reason;
    model.settle();
    EXPECT_FALSE(model.gone) << row.reason;
    model.now += 1s;
    plan_ = model.decide();
    EXPECT_TRUE(told("TokenNotRevoked", "token 41 (palisade-")) << row.reason;
    EXPECT_TRUE(told("TokenNotRevoked", "no answer")) << row.reason;
    EXPECT_FALSE(told("TokenNotRevoked", "token-value")) << row.reason;
    model.settle();
    EXPECT_TRUE(model.gone) << row.reason;
  }
}

TEST_F(Minted, AHostThatDidNotRenewIsAskedToRevokeAtOnce) {
  mint();
  model_.run();
  model_.now += 40min;
  settle();
  trouble("HostUnavailable", "it is down", 9);
  model_.seen.memory.trouble->not_before = model_.now + 1h;
  model_.seen.pod.reset();
  model_.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model_.now);
  model_.now += 10min;
  settle();
  EXPECT_FALSE(model_.gone) << "given up before it was tried";
  EXPECT_EQ(job(), Job::Kind::kEnd);
}

TEST_F(Minted, AMissingKeyIsToldBeforeTheToken) {
  Model model(minting_workspace());
  model.spec()["llm"]["keySecretRef"] = {{"name", "llm-key"}};
  model.seen.llm_key = std::unexpected(Problem{"SecretNotFound", "Secret llm-key is not there"});
  model.settle();
  EXPECT_EQ(model.condition("CredentialsReady")["reason"], "SecretNotFound");
  EXPECT_FALSE(model.decide().token_job);
}

TEST_F(Minted, IsRevokedWhenSuspended) {
  mint();
  model_.run();
  model_.spec()["lifecycle"]["suspend"] = true;
  model_.settle();
  EXPECT_FALSE(model_.decide().token_job);
  model_.let_go();
  settle();
  ASSERT_EQ(job(), Job::Kind::kEnd);
  EXPECT_TRUE(model_.seen.secret);
  // However long the host is away: the Secret stays, and with it what is to be revoked.
  model_.now += 24h;
  trouble("HostUnavailable", "x");
  EXPECT_TRUE(model_.seen.secret);
  model_.edit(&Observed::secret, tokens::state_patch(read(&Observed::secret), {}, ""));
  model_.seen.memory.trouble.reset();
  model_.seen.memory.ended = true;
  settle();
  EXPECT_FALSE(model_.seen.secret);
  EXPECT_FALSE(job());
  model_.spec()["lifecycle"]["suspend"] = false;
  settle();
  EXPECT_EQ(job(), Job::Kind::kHold);
}

TEST_F(Minted, OtherCredentialsMintAnewAndSecretRefTellsWhatStays) {
  mint();
  model_.run();
  model_.spec()["repository"]["credentials"]["gitlab"]["role"] = "Maintainer";
  settle();
  EXPECT_EQ(job(), Job::Kind::kHold);
  model_.spec()["repository"]["credentials"] = {{"secretRef", {{"name", "app-git-token"}}}};
  model_.seen.token = "mine";
  model_.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model_.now);
  model_.seen.pod.reset();
  plan_ = model_.decide();
  EXPECT_TRUE(told("TokenNotRevoked", "does not name any more what minted it"));
}

TEST_F(Minted, WhatIsLostIsToldOnce) {
  mint();
  model_.seen.memory.lost = {"token 7 cannot be taken back"};
  settle();
  EXPECT_TRUE(told("TokenNotRevoked", "token 7"));
  EXPECT_TRUE(plan_.tokens_told);
  model_.seen.memory.lost.clear();
  EXPECT_FALSE(model_.decide().tokens_told);
}

class MintedThroughGateway : public Minted {
 protected:
  MintedThroughGateway() : Minted(minting_workspace("githubApp"), true) {}
};

TEST_F(MintedThroughGateway, TheTokenLiesWhereTheGatewayIs) {
  ASSERT_EQ(job(), Job::Kind::kHold);
  EXPECT_EQ(plan_.token_job->secret["metadata"]["namespace"], gateway().ns);
  EXPECT_EQ(plan_.token_job->secret["metadata"]["name"], std::string("git-") + kUid);
  EXPECT_EQ(plan_.token_job->secret["metadata"]["labels"][kGitTokenLabel], "true");
  EXPECT_EQ(plan_.token_job->source.app_id, "12345");
  mint(1h, &Observed::gateway_secret);
  EXPECT_TRUE(model_.seen.pod);
  EXPECT_FALSE(model_.seen.secret);
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "Minted");

  // Now directly: what the gateway was given is taken back before the courier gets its own.
  model_.spec()["repository"]["via"] = "Direct";
  model_.seen.access = access();
  model_.seen.pod.reset();
  settle();
  ASSERT_EQ(job(), Job::Kind::kEnd);
  EXPECT_EQ(plan_.token_job->secret["metadata"]["namespace"], gateway().ns);
  EXPECT_TRUE(model_.seen.gateway_secret);
  model_.edit(&Observed::gateway_secret,
              tokens::state_patch(read(&Observed::gateway_secret), {}, ""));
  settle();
  ASSERT_EQ(job(), Job::Kind::kHold);
  EXPECT_EQ(plan_.token_job->secret["metadata"]["name"], "fix-login-git");
}

class Opened : public Minted {
 protected:
  explicit Opened(Json workspace = wishing(minting_workspace())) : Minted(std::move(workspace)) {}
  static Json wishing(Json workspace) {
    workspace["spec"]["repository"]["mergeRequest"] = {{"draft", true}};
    return workspace;
  }
  void end(const std::string& report) {
    model_.run();
    model_.end("Succeeded", report);
    model_.settle();
    // First the tokens end.
    if (read(&Observed::secret).current) {
      plan_ = model_.decide();
      EXPECT_EQ(job(), Job::Kind::kEnd);
      model_.edit(&Observed::secret, tokens::state_patch(read(&Observed::secret), {}, ""));
      model_.seen.memory.ended = true;
    }
    settle();
  }
};

constexpr const char* kReport =
    R"({"commits":2,"head":"0123456789abcdef0123456789abcdef01234567","pushed":true,"error":""})";

TEST_F(Opened, AfterSuccessOnce) {
  mint();
  end(kReport);
  ASSERT_EQ(job(), Job::Kind::kMergeRequest);
  EXPECT_FALSE(model_.seen.secret);
  const auto& wish = plan_.token_job->wish;
  EXPECT_EQ(wish.head, "palisade/fix-login");
  EXPECT_EQ(wish.base, "main");
  EXPECT_EQ(wish.commit, "0123456789abcdef0123456789abcdef01234567");
  EXPECT_EQ(wish.title, "Make the login form accept spaces");
  EXPECT_TRUE(wish.draft);
  EXPECT_EQ(model_.condition("MergeRequest")["reason"], "Opening");
  model_.seen.memory.merge_request =
      tokens::MergeRequest{"https://git.example.com/team/app/-/merge_requests/7", 7, false};
  settle();
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.seen.workspace["status"]["mergeRequest"],
            Json({{"url", "https://git.example.com/team/app/-/merge_requests/7"}, {"number", 7}}));
  EXPECT_EQ(model_.condition("MergeRequest")["status"], "True");
  model_.seen.memory = {};  // another operator
  settle();
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.condition("MergeRequest")["status"], "True");
  EXPECT_EQ(model_.seen.workspace["status"]["mergeRequest"]["number"], 7);
}

TEST_F(Opened, FailuresAreToldAndEnd) {
  mint();
  end(kReport);
  for (int failures = 1; failures <= 6; ++failures) {
    ASSERT_EQ(job(), Job::Kind::kMergeRequest) << failures;
    model_.seen.memory.merge_trouble =
        tokens::Trouble{{"PermissionMissing", "it may not", {}}, failures, model_.now + 5s};
    settle();
    EXPECT_FALSE(job());
    EXPECT_EQ(model_.condition("MergeRequest")["reason"], "PermissionMissing");
    model_.now += 5s;
    settle();
  }
  EXPECT_FALSE(job());
  EXPECT_THAT(model_.condition("MergeRequest")["message"], HasSubstr("not tried again"));
}

TEST_F(Opened, NotWithoutCommits) {
  mint();
  end(R"({"commits":0,"head":"","pushed":false,"error":""})");
  EXPECT_EQ(model_.phase(), "Succeeded");
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.condition("MergeRequest")["reason"], "");
}

class OpenedWithASecret : public Opened {
 protected:
  OpenedWithASecret() : Opened(wishing(usual_workspace())) {}
};

TEST_F(OpenedWithASecret, WithTheTokenThatItNames) {
  model_.seen.token = "glpat-1";
  settle();
  EXPECT_EQ(job(), Job::Kind::kInspect);
  EXPECT_EQ(plan_.token_job->source.kind, tokens::HostKind::kGitlab);
  EXPECT_FALSE(plan_.token_job->source.mints);
  model_.seen.memory.inspected =
      tokens::Inspected{tokens::token_hash("glpat-1"),
                        {true, {"api"}, true, "its scopes (api) are wide"},
                        "",
                        model_.now};
  settle();
  EXPECT_FALSE(job());
  EXPECT_EQ(model_.condition("CredentialsReady")["status"], "True");
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "BroadToken");
  EXPECT_THAT(model_.condition("CredentialsReady")["message"], HasSubstr("(api)"));
  EXPECT_THAT(model_.seen.workspace["status"].dump(), Not(HasSubstr("glpat-1")));
  // A new token is asked about anew, and the old one's verdict is not its own.
  model_.seen.token = "glpat-2";
  settle();
  EXPECT_EQ(model_.condition("CredentialsReady")["reason"], "Copied");
  EXPECT_EQ(job(), Job::Kind::kInspect);
  model_.seen.memory.inspected->token_hash = tokens::token_hash("glpat-2");
  end(kReport);
  ASSERT_EQ(job(), Job::Kind::kMergeRequest);
  EXPECT_EQ(plan_.token_job->source.kind, tokens::HostKind::kGitlab);
}

TEST(MergeRequestWish, SaysWhatHappenedAndQuotesTheTask) {
  Json object = usual_workspace();
  object["spec"]["task"]["message"] = "Fix it\n```\n@everyone <img src=x>\r\n| a | b |";
  object["spec"]["repository"]["mergeRequest"] = Json::object();
  const Json status{
      {"commits", 2},
      {"audit", {{"refusals", 3}, {"deniedExecs", 2}, {"deniedConnects", 1}, {"findings", 4}}},
      {"llm", {{"requests", 9}, {"failures", 1}}}};
  const auto wish = merge_request_wish(parsed(object), status);
  EXPECT_EQ(wish.title, "Fix it");
  EXPECT_THAT(wish.body, HasSubstr("| Commits | 2 |"));
  EXPECT_THAT(wish.body, HasSubstr("3 attempts: 2 programs, 1 connections"));
  EXPECT_THAT(wish.body, HasSubstr("| LLM requests | 9, 1 of them failed |"));
  EXPECT_THAT(wish.body, HasSubstr("\n    @everyone <img src=x>\n    | a | b |\n"));
  EXPECT_THAT(wish.body, HasSubstr("\n    ```\n"));

  object["spec"]["task"]["message"] = std::string(199, 'x') + "\xc3\xa4 and more";
  EXPECT_EQ(merge_request_wish(parsed(object), {}).title, std::string(199, 'x'))
      << "not within a character";
  object["spec"]["repository"]["mergeRequest"]["title"] = "Mine";
  EXPECT_EQ(merge_request_wish(parsed(object), {}).title, "Mine");
}

}  // namespace
}  // namespace palisade::op::testing
