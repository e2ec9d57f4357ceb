// Secrets of workspaces whose finalizer was taken away by force, at a real API server.

#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/envtest.h>
#include <operator/tokens/orphans.h>

#include "definitions.h"
#include "operator_tokens/replay.h"

namespace palisade::op::tokens {
namespace {

using namespace std::chrono_literals;
using namespace kube::resources;
using nlohmann::json;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};

template <class T>
T must(kube::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return std::move(*result);
}

class OrphansTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    const auto installed = install_definitions(*env_, {"agentworkspaces"});
    ASSERT_TRUE(installed) << installed.error().text();
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast, 5s);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    static int count = 0;
    ns_ = "team-" + std::to_string(++count);
    own_ = "gateway-" + std::to_string(count);
    for (const std::string& ns : {ns_, own_})
      must(client_->create(kNamespaces, "", {{"metadata", {{"name", ns}}}}));
    must(client_->create(
        kSecrets, ns_,
        {{"metadata", {{"name", "maintainer"}}}, {"stringData", {{"token", "glpat-maintainer"}}}}));
  }

  // The uid of one that is there.
  std::string workspace(const std::string& name) {
    const json made =
        must(client_->create(kWorkspaces, ns_,
                             {{"apiVersion", "palisade.dev/v1alpha1"},
                              {"kind", "AgentWorkspace"},
                              {"metadata", {{"name", name}}},
                              {"spec",
                               {{"repository", {{"url", "https://gitlab.com/team/app.git"}}},
                                {"task", {{"message", "x"}}}}}}));
    return made["metadata"]["uid"];
  }
  [[nodiscard]] json base(const std::string& name, const std::string& uid) const {
    return {{"apiVersion", "v1"},
            {"kind", "Secret"},
            {"type", "Opaque"},
            {"metadata",
             {{"name", "git-" + uid},
              {"namespace", own_},
              {"labels", {{"palisade.dev/git-token", "true"}}},
              {"annotations", {{"palisade.dev/workspace", ns_ + "/" + name}}}}}};
  }
  // As the keeper leaves it.
  void mint(const std::string& name, const std::string& uid) {
    Job job;
    job.ns = ns_;
    job.name = name;
    job.uid = uid;
    job.url = "https://gitlab.com/team/app.git";
    job.write = true;
    job.source.kind = HostKind::kGitlab;
    job.source.secret = "maintainer";
    job.source.key = "token";
    job.source.role = "Developer";
    job.secret = base(name, uid);
    const Memory memory = steward_->run(job, {}, {});
    ASSERT_FALSE(memory.trouble) << memory.trouble->problem.message;
  }
  [[nodiscard]] bool there(const std::string& uid) const {
    return client_->get(kSecrets, own_, "git-" + uid).has_value();
  }
  [[nodiscard]] OrphanSweep sweep(
      std::shared_ptr<const kube::Client> client = client_,
      std::function<bool(const std::string&, const std::string&)> lives = {}) const {
    OrphanOptions options;
    options.lives = std::move(lives);
    options.ns = own_;
    options.selector = "palisade.dev/git-token=true";
    options.prefix = "git-";
    options.annotation = "palisade.dev/workspace";
    options.workspaces = kWorkspaces;
    options.every = 50ms;
    return OrphanSweep(std::move(client), steward_, options);
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<const kube::Client> client_;
  std::string ns_;
  std::string own_;
  replay::GitlabModel gitlab_;
  replay::Host host_{[this](const replay::Asked& asked) { return gitlab_.answer(asked); }};
  std::shared_ptr<const Steward> steward_ = std::make_shared<Steward>(
      client_, host_.transports(), "aaaaaaaa", [] { return std::chrono::system_clock::now(); });
};

TEST_F(OrphansTest, OfWhatIsKnownToLiveNobodyIsAsked) {
  const std::string gone = "0aa00000-0000-0000-0000-000000000011";
  mint("gone", gone);
  std::vector<std::string> told;
  const auto lives = [&](const std::string& workspace, const std::string& uid) {
    told.push_back(workspace + " " + uid);
    return true;
  };
  EXPECT_EQ(sweep(client_, lives).sweep({}), 0);
  EXPECT_EQ(told, std::vector<std::string>{ns_ + "/gone " + gone});
  EXPECT_TRUE(there(gone));
  EXPECT_EQ(sweep(client_, [](const auto&, const auto&) { return false; }).sweep({}), 1);
  EXPECT_FALSE(there(gone));
}

TEST_F(OrphansTest, MoreThanAPageOfThemGoes) {
  constexpr int kLeft = 230;
  for (int i = 0; i < kLeft; ++i)
    must(client_->create(
        kSecrets, own_,
        base("gone", "0aa00000-0000-0000-0000-" + std::to_string(100000000000 + i))));
  EXPECT_EQ(sweep().sweep({}), kLeft);
  kube::ListOptions all;
  all.ns = own_;
  EXPECT_TRUE(must(client_->list(kSecrets, all)).items.empty());
}

TEST_F(OrphansTest, OnlyWhatHasNoWorkspaceGoesAndItsTokensAreRevoked) {
  const std::string kept = workspace("kept");
  const std::string renamed = workspace("again");  // the name is back, as another workspace
  mint("kept", kept);
  mint("gone", "0aa00000-0000-0000-0000-000000000001");
  mint("again", "0aa00000-0000-0000-0000-000000000002");
  mint("again", renamed);
  ASSERT_EQ(gitlab_.tokens.size(), 4U);
  // Of a copy nothing was minted; one that says nothing of its workspace is nobody's business.
  must(client_->create(kSecrets, own_, base("copied", "0aa00000-0000-0000-0000-000000000003")));
  json silent = base("x", "0aa00000-0000-0000-0000-000000000004");
  silent["metadata"].erase("annotations");
  must(client_->create(kSecrets, own_, silent));
  json other = base("x", "0aa00000-0000-0000-0000-000000000005");
  other["metadata"]["name"] = "upstream-key";
  must(client_->create(kSecrets, own_, other));
  json unlabelled = base("x", "0aa00000-0000-0000-0000-000000000006");
  unlabelled["metadata"].erase("labels");
  must(client_->create(kSecrets, own_, unlabelled));

  EXPECT_EQ(sweep().sweep({}), 3);
  EXPECT_TRUE(there(kept));
  EXPECT_TRUE(there(renamed));
  EXPECT_FALSE(there("0aa00000-0000-0000-0000-000000000001"));
  EXPECT_FALSE(there("0aa00000-0000-0000-0000-000000000002"));
  EXPECT_FALSE(there("0aa00000-0000-0000-0000-000000000003"));
  EXPECT_TRUE(there("0aa00000-0000-0000-0000-000000000004"));
  EXPECT_TRUE(there("0aa00000-0000-0000-0000-000000000006"));
  EXPECT_TRUE(client_->get(kSecrets, own_, "upstream-key"));
  std::set<std::string> left;
  for (const auto& token : gitlab_.tokens) {
    if (!token.revoked) left.insert(token.name.substr(0, token.name.find_last_of('-')));
  }
  EXPECT_EQ(left.size(), 2U);
  for (const std::string& name : left)
    EXPECT_TRUE(name.starts_with(name_prefix(kept)) || name.starts_with(name_prefix(renamed)))
        << name;
  EXPECT_EQ(sweep().sweep({}), 0);
}

TEST_F(OrphansTest, WhatCannotBeRevokedNowStaysUntilItCan) {
  const std::string uid = "0bb00000-0000-0000-0000-000000000001";
  mint("gone", uid);
  std::atomic<bool> down{true};
  host_.interpose([&](const replay::Asked&) -> std::optional<replay::Reply> {
    if (!down) return std::nullopt;
    return replay::Reply{503, "{}", ""};
  });
  EXPECT_EQ(sweep().sweep({}), 0);
  EXPECT_TRUE(there(uid));
  auto going = sweep();
  going.start();
  down = false;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (there(uid) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(there(uid));
  EXPECT_TRUE(gitlab_.tokens.at(0).revoked);
}

TEST_F(OrphansTest, WhereTheCredentialsWentTooTheSecretGoes) {
  const std::string uid = "0cc00000-0000-0000-0000-000000000001";
  mint("gone", uid);
  ASSERT_TRUE(client_->remove(kSecrets, ns_, "maintainer"));
  EXPECT_EQ(sweep().sweep({}), 1);
  EXPECT_FALSE(there(uid));
}

TEST_F(OrphansTest, WhatMintedIsReadStrictly) {
  const auto with = [](const json& annotation) {
    return json{{"metadata", {{"annotations", {{kSourceAnnotation, annotation}}}}}};
  };
  Job job;
  job.url = "https://github.com/team/app.git";
  job.write = true;
  job.source.kind = HostKind::kGithub;
  job.source.secret = "app";
  job.source.key = "private-key.pem";
  job.source.app_id = "123";
  job.source.installation_id = 7;
  job.source.api_url = "https://api.github.com";
  const auto again = minted_by(with(source_text(job)));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->source, job.source);
  EXPECT_EQ(again->url, job.url);
  EXPECT_TRUE(again->write);
  for (const json& bad : {json(""), json("{"), json("[]"), json(R"({"kind":""})"),
                          json(R"({"kind":"svn"})"), json(7), json(std::string(20'000, ' '))})
    EXPECT_FALSE(minted_by(with(bad))) << bad;
  EXPECT_FALSE(minted_by(json()));
}

}  // namespace
}  // namespace palisade::op::tokens
