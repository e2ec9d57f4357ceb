// A token's life in a Secret of a real API server: what is minted is written, what was lost is
// taken back, and a push in flight outlives a rotation (real Gitea, real git).
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/envtest.h>
#include <operator/tokens/keeper.h>

#include "operator_tokens/gitea.h"
#include "operator_tokens/replay.h"

namespace palisade::op::tokens {
namespace {

using namespace std::chrono_literals;
using namespace kube::resources;
using nlohmann::json;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kUid = "6c1f2f0e-6f0c-4a0e-9a53-0b5f2f5a8c11";
constexpr const char* kPassword = "bot-Password-1";

template <class T>
T must(kube::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return std::move(*result);
}

std::string decoded(const std::string& base64) {
  return kube::decode_base64(base64).value_or("no base64");
}

class StewardTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast, 5s);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    static int count = 0;
    ns_ = "team-" + std::to_string(++count);
    must(client_->create(kNamespaces, "", {{"metadata", {{"name", ns_}}}}));
    github_.now = [this] { return now_.load(); };
  }

  void make_secret(const std::string& name, const json& data) {
    must(client_->create(kSecrets, ns_, {{"metadata", {{"name", name}}}, {"stringData", data}}));
  }
  // The Secret as the operator makes it, owned.
  json base() const {
    return {{"apiVersion", "v1"},
            {"kind", "Secret"},
            {"type", "Opaque"},
            {"metadata",
             {{"name", "fix-login-git"},
              {"namespace", ns_},
              {"ownerReferences", json::array({{{"apiVersion", "palisade.dev/v1alpha1"},
                                                {"kind", "AgentWorkspace"},
                                                {"name", "fix-login"},
                                                {"uid", kUid},
                                                {"controller", true}}})}}}};
  }
  Job github_job(Job::Kind kind = Job::Kind::kHold) {
    Job job;
    job.kind = kind;
    job.ns = ns_;
    job.name = "fix-login";
    job.uid = kUid;
    job.url = "https://github.com/team/app.git";
    job.write = true;
    job.source.kind = HostKind::kGithub;
    job.source.secret = "app-key";
    job.source.key = "private-key.pem";
    job.source.app_id = "12345";
    job.secret = base();
    return job;
  }
  Job gitlab_job(Job::Kind kind = Job::Kind::kHold) {
    Job job = github_job(kind);
    job.url = "https://gitlab.com/team/app.git";
    job.source = {};
    job.source.kind = HostKind::kGitlab;
    job.source.secret = "maintainer";
    job.source.key = "token";
    job.source.role = "Developer";
    return job;
  }
  Steward steward(const replay::Host& host, const std::string& process) {
    return {client_, host.transports(), process, [this] { return now_.load(); }};
  }
  json secret() const {
    auto found = client_->get(kSecrets, ns_, "fix-login-git");
    return found ? *found : json();
  }
  State state() const { return read_state(secret()); }
  std::string token() const {
    const json found = secret();
    return found.is_null() || !found.contains("data") || !found["data"].contains("token")
               ? ""
               : decoded(found["data"]["token"]);
  }
  static std::string reason(const Memory& memory) {
    return memory.trouble ? memory.trouble->problem.reason : "";
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<const kube::Client> client_;
  std::string ns_;
  std::atomic<Time> now_ = std::chrono::system_clock::now();
  replay::GithubModel github_;
  replay::GitlabModel gitlab_;
  replay::Host github_host_{[this](const replay::Asked& asked) { return github_.answer(asked); }};
  replay::Host gitlab_host_{[this](const replay::Asked& asked) { return gitlab_.answer(asked); }};
};

TEST_F(StewardTest, AGithubTokensWholeLife) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  const Steward steward = this->steward(github_host_, "aaaaaaaa");
  Memory memory = steward.run(github_job(), {}, {});
  ASSERT_EQ(reason(memory), "") << memory.trouble->problem.message;
  const std::string first = github_.tokens.at(0).value;
  EXPECT_EQ(token(), first);
  EXPECT_EQ(decoded(secret()["data"]["username"]), "x-access-token");
  EXPECT_EQ(secret()["metadata"]["ownerReferences"][0]["uid"], kUid);

  // Nothing to do: nothing is asked.
  const std::size_t asked = github_host_.asked().size();
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(github_host_.asked().size(), asked);

  now_ = now_.load() + 41min;
  memory = steward.run(github_job(), memory, {});
  ASSERT_EQ(reason(memory), "");
  const std::string second = github_.tokens.at(1).value;
  EXPECT_EQ(token(), second);
  EXPECT_EQ(github_.living(), 2U) << "the former one serves what is in flight";
  ASSERT_EQ(state().retired.size(), 1U);
  EXPECT_EQ(state().retired[0].record.value, first);

  now_ = now_.load() + kGrace;
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(github_.living(), 1U);
  EXPECT_TRUE(github_.tokens.at(0).revoked);
  EXPECT_EQ(token(), second);
  EXPECT_FALSE(secret()["data"].contains("retired-" + state().current->record.name));
  EXPECT_EQ(secret()["data"].size(), 2U);

  // The App's key may be gone by then: revoking needs none.
  ASSERT_TRUE(client_->remove(kSecrets, ns_, "app-key"));
  memory = steward.run(github_job(Job::Kind::kEnd), memory, {});
  EXPECT_TRUE(memory.ended) << reason(memory);
  EXPECT_EQ(github_.living(), 0U);
  EXPECT_EQ(token(), "");
  EXPECT_TRUE(state().empty());
  EXPECT_TRUE(steward.run(github_job(Job::Kind::kEnd), {}, {}).ended) << "twice is no error";
}

TEST_F(StewardTest, AFailedRenewalIsToldAndTheFormerTokenStays) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  const Steward steward = this->steward(github_host_, "aaaaaaaa");
  Memory memory = steward.run(github_job(), {}, {});
  const std::string first = token();
  now_ = now_.load() + 41min;
  github_host_.interpose([](const replay::Asked&) { return replay::Reply{503, "", ""}; });
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(reason(memory), "HostUnavailable");
  EXPECT_EQ(memory.trouble->failures, 1);
  EXPECT_EQ(memory.trouble->not_before, now_.load() + 5s);
  EXPECT_EQ(token(), first);
  EXPECT_TRUE(usable(state(), github_job().wanted(), now_));
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(memory.trouble->failures, 2);
  github_host_.interpose(nullptr);
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(reason(memory), "");
  EXPECT_NE(token(), first);
  EXPECT_FALSE(state().intent);
  EXPECT_THAT(memory.lost, IsEmpty());
}

TEST_F(StewardTest, WhatIsMissingIsNamed) {
  const Steward steward = this->steward(github_host_, "aaaaaaaa");
  const auto run = [&] { return steward.run(github_job(), {}, {}); };
  EXPECT_EQ(reason(run()), "SecretNotFound");
  make_secret("app-key", {{"other", "x"}});
  EXPECT_EQ(reason(run()), "KeyNotFound");
  EXPECT_THAT(run().trouble->problem.message, HasSubstr("no key private-key.pem"));
  Job elsewhere = github_job();
  elsewhere.source.api_url = "https://evil.example/api";
  EXPECT_THAT(steward.run(elsewhere, {}, {}).trouble->problem.message, HasSubstr("evil.example"));
  EXPECT_TRUE(github_host_.asked().empty());
  EXPECT_TRUE(secret().is_null());
}

// So that its end has nothing to wait for.
TEST_F(StewardTest, AMintThatWasRefusedLeavesNoIntent) {
  make_secret("maintainer", {{"token", "glpat-old"}});
  const Steward steward = this->steward(gitlab_host_, "aaaaaaaa");
  Memory memory = steward.run(gitlab_job(), {}, {});
  EXPECT_EQ(reason(memory), "CredentialsRefused");
  EXPECT_TRUE(gitlab_.tokens.empty());
  EXPECT_FALSE(secret().is_null()) << "the intent was never written";
  EXPECT_TRUE(state().empty());
  // Where the host did not say no, there may be a token.
  for (const char* reason : {"HostUnavailable", "HostAnswerInvalid", "HostRateLimited",
                             "TokenTooBroad", "RequestRefused"})
    EXPECT_FALSE(surely_not_minted({reason, "", {}})) << reason;
}

TEST_F(StewardTest, ASecretOfSomeoneElseIsNotTouched) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  make_secret("fix-login-git", {{"token", "mine"}});
  const json before = secret();
  const Steward steward = this->steward(github_host_, "aaaaaaaa");
  EXPECT_EQ(reason(steward.run(github_job(), {}, {})), "NameConflict");
  EXPECT_TRUE(steward.run(github_job(Job::Kind::kEnd), {}, {}).ended);
  EXPECT_EQ(secret(), before);
  EXPECT_TRUE(github_host_.asked().empty());
}

// The API server goes away while the host mints, and the operator dies.
TEST_F(StewardTest, ATokenLostBetweenMintAndWriteIsTakenBackByItsName) {
  make_secret("maintainer", {{"token", "glpat-maintainer"}});
  std::atomic<bool> cut = true;
  gitlab_host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method == "POST" && cut.exchange(false))
      static_cast<void>(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
    return std::nullopt;
  });
  {
    std::stop_source killed;
    auto running = std::async(std::launch::async, [&] {
      return steward(gitlab_host_, "aaaaaaaa").run(gitlab_job(), {}, killed.get_token());
    });
    const auto deadline = std::chrono::steady_clock::now() + 40s;
    while (gitlab_.living() == 0 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(10ms);
    killed.request_stop();
    // It dies with the host's answer read or still on its way: what follows holds for both.
    EXPECT_THAT(reason(running.get()), AnyOf("SecretNotWritten", "HostUnavailable"));
  }
  ASSERT_TRUE(env_->start_apiserver());
  ASSERT_EQ(gitlab_.living(), 1U);
  ASSERT_TRUE(state().intent);
  EXPECT_EQ(state().intent->name, gitlab_.tokens.at(0).name);
  EXPECT_EQ(token(), "");

  // Another operator: first it waits, since the first may be at work still.
  const Steward heir = steward(gitlab_host_, "bbbbbbbb");
  Memory memory = heir.run(gitlab_job(), {}, {});
  EXPECT_EQ(gitlab_.tokens.size(), 1U);
  now_ = now_.load() + kIntentLease;
  memory = heir.run(gitlab_job(), memory, {});
  ASSERT_EQ(reason(memory), "");
  EXPECT_TRUE(gitlab_.tokens.at(0).revoked) << "the lost one";
  EXPECT_EQ(token(), gitlab_.tokens.at(1).value);
  EXPECT_EQ(gitlab_.living(), 1U);
  EXPECT_THAT(memory.lost, IsEmpty());
}

TEST_F(StewardTest, WhereNoListIsToBeHadALostTokenIsTold) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  State orphan;
  orphan.intent = Intent{name_prefix(kUid) + "1-aaaaaaaa", now_.load() - 10min, "aaaaaaaa"};
  json object = base();
  object.merge_patch({{"metadata", state_patch({}, orphan, "")["metadata"]}});
  must(client_->create(kSecrets, ns_, object));
  const Memory memory = steward(github_host_, "bbbbbbbb").run(github_job(), {}, {});
  EXPECT_EQ(reason(memory), "");
  EXPECT_THAT(memory.lost, ElementsAre(HasSubstr("ends by itself within the hour")));
  EXPECT_NE(token(), "");
}

// A write whose answer was lost: the process goes on, and nothing is minted twice.
TEST_F(StewardTest, ATokenThatCouldNotBeWrittenIsTakenBackBeforeTheNext) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  const Steward steward = this->steward(github_host_, "aaaaaaaa");
  std::atomic<bool> cut = true;
  github_host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method == "POST" && cut.exchange(false))
      static_cast<void>(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
    return std::nullopt;
  });
  Memory memory = steward.run(github_job(), {}, {});
  EXPECT_EQ(reason(memory), "SecretNotWritten");
  ASSERT_TRUE(memory.loose);
  ASSERT_TRUE(env_->start_apiserver());
  EXPECT_EQ(github_.living(), 1U);
  memory = steward.run(github_job(), memory, {});
  EXPECT_EQ(reason(memory), "");
  EXPECT_FALSE(memory.loose);
  EXPECT_TRUE(github_.tokens.at(0).revoked);
  EXPECT_EQ(token(), github_.tokens.at(1).value);
  EXPECT_EQ(github_.living(), 1U);
}

TEST_F(StewardTest, OfTwoAtOnceOneMintsAndNothingIsLost) {
  make_secret("maintainer", {{"token", "glpat-maintainer"}});
  std::vector<std::future<Memory>> running;
  for (const char* process : {"aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"}) {
    running.push_back(std::async(std::launch::async, [this, process] {
      return steward(gitlab_host_, process).run(gitlab_job(), {}, {});
    }));
  }
  for (auto& one : running)
    static_cast<void>(one.get());
  EXPECT_EQ(gitlab_.living(), 1U);
  ASSERT_TRUE(state().current);
  const std::string held = token();
  EXPECT_TRUE(std::ranges::any_of(gitlab_.tokens, [&](const replay::GitlabModel::Token& one) {
    return !one.revoked && one.value == held;
  }));
}

// The Secret goes while a token is minted: the session has ended.
TEST_F(StewardTest, ATokenForASessionThatHasEndedIsTakenBack) {
  make_secret("maintainer", {{"token", "glpat-maintainer"}});
  gitlab_host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method == "POST") static_cast<void>(client_->remove(kSecrets, ns_, "fix-login-git"));
    return std::nullopt;
  });
  const Memory memory = steward(gitlab_host_, "aaaaaaaa").run(gitlab_job(), {}, {});
  EXPECT_EQ(reason(memory), "SecretNotWritten");
  EXPECT_EQ(gitlab_.tokens.size(), 1U);
  EXPECT_EQ(gitlab_.living(), 0U);
  EXPECT_TRUE(secret().is_null());
}

TEST_F(StewardTest, TheEndFindsWhatASecretDoesNotName) {
  make_secret("maintainer", {{"token", "glpat-maintainer"}});
  const Steward steward = this->steward(gitlab_host_, "aaaaaaaa");
  Memory memory = steward.run(gitlab_job(), {}, {});
  ASSERT_EQ(gitlab_.living(), 1U);
  // Somebody has taken the state away.
  must(client_->patch(kSecrets, ns_, "fix-login-git", kube::PatchType::kMerge,
                      {{"metadata", {{"annotations", {{kStateAnnotation, nullptr}}}}}}));
  gitlab_host_.interpose([](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method == "DELETE") return replay::Reply{500, "", ""};
    return std::nullopt;
  });
  memory = steward.run(gitlab_job(Job::Kind::kEnd), memory, {});
  EXPECT_EQ(reason(memory), "HostUnavailable");
  EXPECT_FALSE(memory.ended);
  EXPECT_EQ(gitlab_.living(), 1U);
  gitlab_host_.interpose(nullptr);
  memory = steward.run(gitlab_job(Job::Kind::kEnd), memory, {});
  EXPECT_TRUE(memory.ended);
  EXPECT_EQ(gitlab_.living(), 0U);
}

TEST_F(StewardTest, OtherCredentialsMintAnewAndTellWhatCannotBeTakenBack) {
  make_secret("maintainer", {{"token", "glpat-maintainer"}});
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  Memory memory = steward(gitlab_host_, "aaaaaaaa").run(gitlab_job(), {}, {});
  ASSERT_EQ(reason(memory), "");
  Job other = gitlab_job();
  other.source.role = "Maintainer";
  memory = steward(gitlab_host_, "aaaaaaaa").run(other, memory, {});
  ASSERT_EQ(reason(memory), "");
  EXPECT_EQ(token(), gitlab_.tokens.at(1).value);
  now_ = now_.load() + kGrace;
  memory = steward(gitlab_host_, "aaaaaaaa").run(other, memory, {});
  EXPECT_THAT(memory.lost, ElementsAre(HasSubstr("token 40")));
  EXPECT_TRUE(state().retired.empty());
}

TEST_F(StewardTest, APushInFlightOutlivesTheRotation) {
  gitea::Server& host = gitea::server();
  const std::string name = "flight";
  const std::string url = host.make_repository(name);
  host.make_bot("bot-flight", kPassword, name);
  make_secret("bot", {{"username", "bot-flight"}, {"password", kPassword}});
  Job job = github_job();
  job.url = url;
  job.source = {};
  job.source.kind = HostKind::kGitea;
  job.source.secret = "bot";
  job.source.key = "password";
  job.source.username_key = "username";
  const Steward steward(client_, host.transports(), "aaaaaaaa", [this] { return now_.load(); });
  Memory memory = steward.run(job, {}, {});
  ASSERT_EQ(reason(memory), "") << memory.trouble->problem.message;
  const std::string first = token();
  const auto folder = host.clone(url, "bot-flight", first);
  const auto later = host.clone(url, "bot-flight", first);
  ASSERT_FALSE(folder.empty() || later.empty());

  host.hold_pushes(name);
  now_ = now_.load() + 41min;
  auto push = std::async(std::launch::async,
                         [&] { return host.push(folder, "palisade/x", url, "bot-flight", first); });
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!host.push_is_held() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(host.push_is_held());
  memory = steward.run(job, memory, {});
  host.let_go();
  ASSERT_EQ(reason(memory), "");
  const std::string second = token();
  ASSERT_NE(second, first);
  const gitea::Said pushed = push.get();
  EXPECT_EQ(pushed.code, 0) << pushed.text;
  // One that begins with the former token, which the pod's kubelet has not replaced yet.
  EXPECT_EQ(host.push(later, "palisade/y", url, "bot-flight", first).code, 0);

  now_ = now_.load() + kGrace;
  memory = steward.run(job, memory, {});
  EXPECT_EQ(reason(memory), "");
  EXPECT_NE(host.push(later, "palisade/y", url, "bot-flight", first).code, 0);
  EXPECT_EQ(host.push(later, "palisade/y", url, "bot-flight", second).code, 0);
  job.kind = Job::Kind::kEnd;
  memory = steward.run(job, memory, {});
  EXPECT_TRUE(memory.ended) << reason(memory);
  EXPECT_NE(host.push(later, "palisade/y", url, "bot-flight", second).code, 0);
}

TEST_F(StewardTest, TheKeeperDoesJobsBesideAndTellsWhenTheyAreDone) {
  make_secret("app-key", {{"private-key.pem", replay::app_key().pem}});
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> done;
  std::atomic<int> at_once = 0;
  std::atomic<int> most = 0;
  github_host_.interpose([&](const replay::Asked& asked) -> std::optional<replay::Reply> {
    if (asked.method != "POST") return std::nullopt;
    most = std::max(most.load(), ++at_once);
    std::this_thread::sleep_for(200ms);
    --at_once;
    return std::nullopt;
  });
  KeeperOptions options;
  options.threads = 8;
  options.per_namespace = 2;
  options.done = [&](const std::string& key) {
    const std::scoped_lock lock(mutex);
    done.push_back(key);
    changed.notify_all();
  };
  Keeper keeper(std::make_unique<Steward>(client_, github_host_.transports(), "aaaaaaaa",
                                          [this] { return now_.load(); }),
                options);
  keeper.start();
  for (int i = 0; i < 6; ++i) {
    Job job = github_job();
    job.name = "w-" + std::to_string(i);
    job.secret["metadata"]["name"] = job.name + "-git";
    keeper.submit(job);
    keeper.submit(job);  // there is one already
    EXPECT_TRUE(keeper.recall(job.workspace(), kUid).busy);
  }
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, 40s, [&] { return done.size() == 6; }));
  }
  EXPECT_LE(most, 2) << "of one namespace";
  EXPECT_EQ(github_.tokens.size(), 6U);
  const std::string key = ns_ + "/w-0";
  EXPECT_FALSE(keeper.recall(key, kUid).busy);
  EXPECT_FALSE(keeper.recall(key, kUid).trouble);
  keeper.forget(key);
  Job broken = github_job();
  broken.name = "w-0";
  broken.secret["metadata"]["name"] = "w-0-git";
  broken.source.secret = "none";
  now_ = now_.load() + 41min;
  keeper.submit(broken);
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, 40s, [&] { return done.size() == 7; }));
  }
  EXPECT_EQ(reason(keeper.recall(key, kUid)), "SecretNotFound");
  EXPECT_EQ(reason(keeper.recall(key, "another-uid")), "") << "a later workspace of that name";
  keeper.stop();
}

}  // namespace
}  // namespace palisade::op::tokens
