// Minted tokens in the life of sessions: the controller with the chart's rights against a real API
// server, GitLab and GitHub replayed.
#include <gmock/gmock.h>

#include "operator/cluster.h"
#include "operator_tokens/replay.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using namespace std::chrono_literals;
using ::testing::HasSubstr;
using tokens::Time;

class MintingTest : public ControllerTest {
 protected:
  static void SetUpTestSuite() {
    ControllerTest::SetUpTestSuite();
    start_anew();
  }
  // As after a restart of the operator: nothing is remembered.
  static void start_anew() {
    controller_.reset();
    registry_ = std::make_unique<prometheus::Registry>();
    ControllerOptions options = usual_options();
    options.transports = [](const std::string& base) {
      return base.find("api.") == std::string::npos ? gitlab_host().transport(base)
                                                    : github_host().transport(base);
    };
    options.now = [] { return now_.load(); };
    controller_ = make_controller(*registry_, std::move(options));
    controller_->start();
  }
  static void TearDownTestSuite() {
    now_ = std::chrono::system_clock::now();
    ControllerTest::TearDownTestSuite();
  }
  void SetUp() override {
    ControllerTest::SetUp();
    gitlab_host().interpose(nullptr);
    now_ = std::chrono::system_clock::now();  // deletions are stamped by the API server's clock
    make(kSecrets,
         {{"metadata", {{"name", "maintainer"}}}, {"stringData", {{"token", "glpat-maintainer"}}}});
  }

  static replay::GitlabModel& gitlab() {
    static replay::GitlabModel kModel;
    return kModel;
  }
  static replay::Host& gitlab_host() {
    static replay::Host kHost([](const replay::Asked& asked) { return gitlab().answer(asked); });
    return kHost;
  }
  static replay::Host& github_host() {
    static replay::Host kHost([](const replay::Asked&) { return replay::Reply{404, "{}", ""}; });
    return kHost;
  }
  Json minting(const std::string& name = "fix-login") const {
    Json out = workspace(name);
    out["spec"]["repository"]["credentials"] = {
        {"gitlab", {{"secretRef", {{"name", "maintainer"}}}}}};
    return out;
  }
  // Of the workspace with that UID.
  static std::vector<replay::GitlabModel::Token> minted(const std::string& uid) {
    const std::scoped_lock lock(gitlab().mutex);
    std::vector<replay::GitlabModel::Token> out;
    for (const auto& token : gitlab().tokens) {
      if (token.name.starts_with(tokens::name_prefix(uid))) out.push_back(token);
    }
    return out;
  }
  static std::size_t living(const std::string& uid) {
    const auto all = minted(uid);
    return static_cast<std::size_t>(
        std::ranges::count_if(all, [](const auto& token) { return !token.revoked; }));
  }
  std::string held(const std::string& secret = "fix-login-git") const {
    const Json found = find(kSecrets, secret);
    if (found.is_null()) return "";
    const tokens::State state = tokens::read_state(found);
    return state.current ? state.current->record.value : "";
  }
  static void pass(std::chrono::seconds time) { now_ = now_.load() + time; }

  static inline std::atomic<Time> now_ = std::chrono::system_clock::now();
};

TEST_F(MintingTest, ASessionsTokenFromItsStartToItsEnd) {
  const std::string uid = make(minting())["metadata"]["uid"];
  const std::string pod_uid = await_pod()["metadata"]["uid"];
  ASSERT_EQ(living(uid), 1U);
  EXPECT_EQ(held(), minted(uid).at(0).value);
  await_condition("CredentialsReady", "True", "Minted");
  EXPECT_EQ(minted(uid).at(0).level, 30);
  run();

  now_ = tokens::renew_at(*tokens::read_state(find(kSecrets, "fix-login-git")).current) + 1s;
  nudge();
  eventually("the next token",
             [&] { return living(uid) == 2 && held() == minted(uid).at(1).value; });
  EXPECT_EQ(pod()["metadata"]["uid"], pod_uid) << "without a restart";
  pass(tokens::kGrace);
  nudge();
  eventually("the former one is revoked", [&] { return minted(uid).at(0).revoked; });
  EXPECT_FALSE(minted(uid).at(1).revoked);

  start_anew();
  nudge();
  remove(workspaces(), "fix-login");
  remove(kPods, "fix-login-agent", true);
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_EQ(minted(uid).size(), 2U);
  EXPECT_EQ(living(uid), 0U);
  EXPECT_TRUE(find(kSecrets, "fix-login-git").is_null());
}

TEST_F(MintingTest, ThroughTheGatewayToo) {
  Json session = through_gateway();
  session["spec"]["repository"]["credentials"] = minting()["spec"]["repository"]["credentials"];
  const std::string uid = make(session)["metadata"]["uid"];
  await_pod();
  EXPECT_TRUE(find(kSecrets, "fix-login-git").is_null());
  const auto secret = admin_->get(kSecrets, "palisade-gateway", "git-" + uid);
  ASSERT_TRUE(secret) << secret.error().text();
  EXPECT_EQ(tokens::read_state(*secret).current->record.value, minted(uid).at(0).value);
  EXPECT_EQ((*secret)["data"]["username"], "b2F1dGgy");
  EXPECT_EQ((*secret)["metadata"]["labels"]["palisade.dev/git-token"], "true");
  patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", true}}}}}});
  eventually("revoked and gone", [&] {
    const auto left = admin_->get(kSecrets, "palisade-gateway", "git-" + uid);
    return living(uid) == 0 && !left && left.error().is_not_found();
  });
  remove(workspaces(), "fix-login");
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
}

TEST_F(MintingTest, NoCredentialGoesToTheApiServer) {
  Json session = through_gateway();
  session["spec"]["repository"]["credentials"] = minting()["spec"]["repository"]["credentials"];
  const std::size_t asked = gitlab_host().asked().size();
  for (const char* url : {"https://169.254.169.254/team/app", "https://api.example.com/team/app",
                          "https://kubernetes.default.svc/team/app"}) {
    session["spec"]["repository"]["url"] = url;
    session["spec"]["repository"]["via"] = "Gateway";
    make(session);
    await_condition("Accepted", "False", "EndpointRefused");
    EXPECT_TRUE(pod().is_null());
    remove(workspaces(), "fix-login");
    eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  }
  EXPECT_EQ(gitlab_host().asked().size(), asked);
}

TEST_F(MintingTest, AnOperatorThatDiesLeavesNothingBehind) {
  // A token that was minted as an operator died: its intent is in the Secret, itself nowhere.
  Json session = minting();
  session["metadata"]["finalizers"] = Json::array({kFinalizer});
  session["spec"]["lifecycle"]["suspend"] = true;
  const std::string uid = make(session)["metadata"]["uid"];
  eventually("suspended", [&] { return status().value("phase", "") == "Suspended"; });
  const std::string lost = tokens::name_prefix(uid) + "1-dead0000";
  {
    const std::scoped_lock lock(gitlab().mutex);
    gitlab().tokens.push_back(
        {9000, lost, "glpat-lost", Json::array({"read_repository"}), 30, "2099-01-01", false});
  }
  tokens::State orphan;
  orphan.intent = tokens::Intent{lost, now_.load() - 1h, "dead0000"};
  Json secret{{"metadata",
               {{"name", "fix-login-git"},
                {"ownerReferences", Json::array({{{"apiVersion", kApiVersion},
                                                  {"kind", kKind},
                                                  {"name", "fix-login"},
                                                  {"uid", uid},
                                                  {"controller", true}}})}}}};
  secret["metadata"]["annotations"] =
      tokens::state_patch({}, orphan, "")["metadata"]["annotations"];
  make(kSecrets, secret);
  patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", false}}}}}});
  await_pod();
  EXPECT_TRUE(minted(uid).at(0).revoked);
  EXPECT_EQ(minted(uid).at(0).value, "glpat-lost");
  EXPECT_EQ(living(uid), 1U);
  EXPECT_EQ(held(), minted(uid).at(1).value);
}

TEST_F(MintingTest, WhatTheHostRefusesIsTold) {
  gitlab_host().interpose([](const replay::Asked&) {
    return replay::Reply{403, R"({"message": "403 Forbidden"})", ""};
  });
  make(minting());
  await_condition("CredentialsReady", "False", "PermissionMissing");
  EXPECT_THAT(condition("CredentialsReady")["message"].get<std::string>(),
              HasSubstr("Maintainer of team/app"));
  EXPECT_TRUE(pod().is_null());
  EXPECT_TRUE(told("PermissionMissing"));
  gitlab_host().interpose(nullptr);
  pass(10min);
  nudge();
  await_pod();
  await_condition("CredentialsReady", "True", "Minted");
}

TEST_F(MintingTest, AHostThatDoesNotRevokeHoldsUpNoDeletionForEver) {
  const std::string uid = make(minting())["metadata"]["uid"];
  await_pod();
  gitlab_host().interpose([](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method == "DELETE") return replay::Reply{500, "", ""};
    return std::nullopt;
  });
  remove(workspaces(), "fix-login");
  eventually("an attempt", [&] {
    return gitlab_host().count("DELETE", "/access_tokens/" + std::to_string(minted(uid).at(0).id)) >
           0;
  });
  EXPECT_FALSE(find(workspaces(), "fix-login").is_null());
  EXPECT_FALSE(find(kSecrets, "fix-login-git").is_null());
  // The deadline counts from the deletion, by the API server's clock.
  now_ = std::chrono::system_clock::now() + 301s;
  nudge();
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_EQ(living(uid), 1U);
  eventually("the event", [&] { return told("TokenNotRevoked"); });
  kube::ListOptions list;
  list.ns = ns_;
  const auto events = admin_->list(kEvents, list);
  ASSERT_TRUE(events);
  bool named = false;
  for (const Json& event : events->items) {
    const std::string note = event.value("note", "");
    EXPECT_EQ(note.find("glpat-"), std::string::npos);
    named =
        named || note.find("token " + std::to_string(minted(uid).at(0).id)) != std::string::npos;
  }
  EXPECT_TRUE(named);
}

TEST_F(MintingTest, AMergeRequestIsOpenedOnce) {
  Json session = minting();
  session["spec"]["repository"]["mergeRequest"] = {{"title", "Fix the login"}};
  const std::string uid = make(session)["metadata"]["uid"];
  await_pod();
  bind();
  run();
  std::size_t before = 0;
  {
    const std::scoped_lock lock(gitlab().mutex);
    before = gitlab().merge_requests.size();
  }
  end("Succeeded",
      R"({"commits":2,"head":"0123456789abcdef0123456789abcdef01234567","pushed":true,"error":""})");
  await_condition("MergeRequest", "True", "Opened");
  EXPECT_EQ(status()["mergeRequest"]["number"], before + 1);
  EXPECT_EQ(status()["mergeRequest"]["url"],
            "https://git.example.com/team/app/-/merge_requests/" + std::to_string(before + 1));
  EXPECT_EQ(living(uid), 0U) << "the session's own token has ended";
  start_anew();
  nudge();
  std::this_thread::sleep_for(500ms);  // nothing happens
  const std::scoped_lock lock(gitlab().mutex);
  EXPECT_EQ(gitlab().merge_requests.size(), before + 1);
  EXPECT_EQ(gitlab().merge_requests.back().at("title"), "Fix the login");
  EXPECT_THAT(gitlab().merge_requests.back().at("description").get<std::string>(),
              HasSubstr("| Commits | 2 |"));
}

TEST_F(MintingTest, ABroadTokenOfASecretIsTold) {
  gitlab_host();
  make_secret("glpat-wide");
  make(workspace());
  await_condition("CredentialsReady", "True", "BroadToken");
  EXPECT_THAT(condition("CredentialsReady")["message"].get<std::string>(), HasSubstr("(api)"));
  EXPECT_EQ(condition("CredentialsReady")["message"].get<std::string>().find("glpat-"),
            std::string::npos);
  await_pod();
}

}  // namespace
}  // namespace palisade::op::testing
