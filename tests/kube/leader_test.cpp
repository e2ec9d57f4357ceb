// The election as a conversation with a scripted API server: what is asked, with which version, and
// who leads meanwhile.
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/leader.h>

#include "kube/fake_api.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Answer;
using fake_api::Api;
using fake_api::Ending;
using fake_api::status;
using kube::Json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Clock = std::chrono::steady_clock;
using Lines = std::vector<std::string>;

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 20s; Clock::now() < deadline;
       std::this_thread::sleep_for(2ms)) {
    if (what()) return true;
  }
  return what();
}

Json lease(const std::string& holder, int version, const Json& spec = Json::object()) {
  Json out{{"apiVersion", "coordination.k8s.io/v1"},
           {"kind", "Lease"},
           {"metadata",
            {{"name", "l"},
             {"namespace", "n"},
             {"uid", "u"},
             {"resourceVersion", std::to_string(version)},
             {"labels", {{"kept", "yes"}}}}},
           {"spec",
            {{"holderIdentity", holder},
             {"leaseDurationSeconds", 1},
             {"leaseTransitions", 4},
             {"acquireTime", "2020-01-01T00:00:00.000000Z"},
             {"renewTime", "2020-01-01T00:00:00.000000Z"}}}};
  out["spec"].update(spec);
  return out;
}

Json body_of(const std::string& request) {
  return Json::parse(request.substr(request.find("\r\n\r\n") + 4));
}

class LeaderTest : public testing::Test {
 protected:
  ~LeaderTest() override {
    if (elector_) elector_->stop();  // its callbacks use elector_
  }

  void start(std::chrono::milliseconds lease_duration = 60s,
             std::chrono::milliseconds renew_deadline = 30s,
             std::chrono::milliseconds retry_period = 20ms) {
    kube::LeaderOptions options{"n", "l", "me", lease_duration, renew_deadline, retry_period};
    kube::LeaderCallbacks callbacks;
    callbacks.on_started = [this](const std::stop_token& term) {
      note("started");
      EXPECT_TRUE(elector_->is_leader());
      EXPECT_FALSE(term.stop_requested());
      const std::scoped_lock lock(mutex_);
      term_ = term;
    };
    callbacks.on_stopped = [this] {
      EXPECT_FALSE(elector_->is_leader());
      EXPECT_FALSE(elector_->term());
      {
        const std::scoped_lock lock(mutex_);
        EXPECT_TRUE(term_.stop_requested());
      }
      note("stopped");
    };
    callbacks.on_new_leader = [this](const std::string& who) { note("leader " + who); };
    elector_ = std::make_unique<kube::LeaderElector>(api_.client(), options, callbacks);
    EXPECT_FALSE(elector_->is_leader());
    elector_->start();
  }
  void note(const std::string& line) {
    const std::scoped_lock lock(mutex_);
    told_.push_back(line);
  }
  Lines told() {
    const std::scoped_lock lock(mutex_);
    return told_;
  }
  void says(const std::string& kind, const Json& body) {
    api_.answer(kind, {"200 OK", body.dump()});
  }
  void fails(const std::string& kind, int code, const std::string& reason) {
    api_.answer(kind, {std::to_string(code) + " Error", status(code, reason).dump()});
  }
  // A short term may be over before anybody looks; that it began is told.
  bool has_led() {
    const Lines all = told();
    return std::ranges::find(all, "started") != all.end();
  }
  Lines kinds() {
    Lines out;
    for (const std::string& one : api_.asked())
      out.push_back(one.substr(0, one.find(' ')));
    return out;
  }

  Api api_;
  std::mutex mutex_;
  Lines told_;
  std::stop_token term_;
  std::unique_ptr<kube::LeaderElector> elector_;
};

TEST(LeaderOptionsTest, TimesThatCannotHoldAreRefused) {
  struct Case {
    const char* name;
    kube::LeaderOptions options;
  };
  const std::vector<Case> cases{
      {"no namespace", {"", "l", "me"}},
      {"no name", {"n", "", "me"}},
      {"no identity", {"n", "l", ""}},
      {"renews as long as others wait", {"n", "l", "me", 10s, 10s, 2s}},
      {"no time to try again", {"n", "l", "me", 15s, 2s, 2s}},
      {"no pause", {"n", "l", "me", 15s, 10s, 0s}},
  };
  for (const Case& c : cases)
    EXPECT_THROW(kube::LeaderElector(nullptr, c.options), std::invalid_argument) << c.name;
  EXPECT_NO_THROW(kube::LeaderElector(nullptr, {"n", "l", "me"}));
}

TEST(LeaderOptionsTest, IdentitiesDifferAndSayWhose) {
  const std::string one = kube::unique_identity("pod-1");
  EXPECT_THAT(one, testing::MatchesRegex("pod-1_[0-9a-f]{16}"));
  EXPECT_NE(one, kube::unique_identity("pod-1"));
}

TEST_F(LeaderTest, NoLeaseIsMadeThenRenewedWithTheVersionThatCameBack) {
  fails("list", 404, "NotFound");
  says("POST", lease("me", 5));
  says("PUT", lease("me", 6));
  says("PUT", lease("me", 7));
  start();
  ASSERT_TRUE(api_.wait_for_requests(5));
  const auto asked = api_.asked();
  EXPECT_EQ(kinds()[0], "list");
  EXPECT_EQ(Lines(asked.begin() + 1, asked.begin() + 4),
            (Lines{"POST /apis/coordination.k8s.io/v1/namespaces/n/leases",
                   "PUT /apis/coordination.k8s.io/v1/namespaces/n/leases/l",
                   "PUT /apis/coordination.k8s.io/v1/namespaces/n/leases/l"}));
  const Json made = body_of(api_.texts()[1]);
  EXPECT_EQ(made["spec"]["holderIdentity"], "me");
  EXPECT_EQ(made["spec"]["leaseDurationSeconds"], 60);
  EXPECT_EQ(made["spec"]["leaseTransitions"], 0);
  EXPECT_THAT(made["spec"]["renewTime"].get<std::string>(),
              testing::MatchesRegex("20..-..-..T..:..:..\\.......Z"));
  EXPECT_EQ(made["spec"]["renewTime"], made["spec"]["acquireTime"]);
  EXPECT_EQ(body_of(api_.texts()[2])["metadata"]["resourceVersion"], "5");
  const Json renewed = body_of(api_.texts()[3]);
  EXPECT_EQ(renewed["metadata"]["resourceVersion"], "6");
  EXPECT_EQ(renewed["metadata"]["labels"]["kept"], "yes");
  EXPECT_EQ(renewed["spec"]["acquireTime"], "2020-01-01T00:00:00.000000Z");
  EXPECT_EQ(renewed["spec"]["leaseTransitions"], 4);
  EXPECT_TRUE(elector_->is_leader());
  EXPECT_EQ(elector_->leader(), "me");
  EXPECT_THAT(told(), ElementsAre("started", "leader me"));
}

TEST_F(LeaderTest, AnothersLeaseIsTakenOnlyAfterItStoodStillByTheOwnClock) {
  // Its times are long past and far ahead: neither counts.
  Json held = lease("other", 5, {{"renewTime", "2999-01-01T00:00:00.000000Z"}});
  for (int i = 0; i < 3; ++i)
    says("list", held);
  Json renewed = lease("other", 6, {{"renewTime", "1999-01-01T00:00:00.000000Z"}});
  for (int i = 0; i < 1000; ++i)
    says("list", renewed);
  says("PUT", lease("me", 7));
  const auto begun = Clock::now();
  start(1200ms, 1100ms, 100ms);
  EXPECT_TRUE(eventually([&] { return has_led(); }));
  EXPECT_GE(Clock::now() - begun, 1200ms);
  EXPECT_TRUE(eventually([&] { return told().size() >= 3; }));
  auto first = told();
  first.resize(3);
  EXPECT_THAT(first, ElementsAre("leader other", "started", "leader me"));
  const auto texts = api_.texts();
  for (const std::string& one : texts) {
    if (!one.starts_with("PUT")) continue;
    const Json taken = body_of(one);
    EXPECT_EQ(taken["metadata"]["resourceVersion"], "6");
    EXPECT_EQ(taken["spec"]["leaseTransitions"], 5);
    EXPECT_EQ(taken["spec"]["acquireTime"], taken["spec"]["renewTime"]);
    return;
  }
}

TEST_F(LeaderTest, ARecordThatSaysItLastsLongerIsBelieved) {
  for (int i = 0; i < 1000; ++i)
    says("list", lease("other", 5, {{"leaseDurationSeconds", 3600}}));
  start(30ms, 20ms, 5ms);
  ASSERT_TRUE(api_.wait_for_requests(60));
  EXPECT_FALSE(elector_->is_leader());
  EXPECT_EQ(elector_->leader(), "other");
}

TEST_F(LeaderTest, AReleasedLeaseIsTakenAtOnce) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  start();
  EXPECT_TRUE(eventually([&] { return elector_->is_leader(); }));
  EXPECT_EQ(kinds()[0], "list");
  EXPECT_EQ(kinds()[1], "PUT");
}

TEST_F(LeaderTest, OfTwoTakersOneWins) {
  says("list", lease("", 5));
  fails("PUT", 409, "Conflict");
  for (int i = 0; i < 1000; ++i)
    says("list", lease("other", 6));
  start();
  ASSERT_TRUE(api_.wait_for_requests(4));
  EXPECT_FALSE(elector_->is_leader());
  EXPECT_EQ(elector_->last_error(), "");
  EXPECT_TRUE(eventually([&] { return elector_->leader() == "other"; }));
  EXPECT_THAT(told(), ElementsAre("leader other"));
}

TEST_F(LeaderTest, OfTwoCreatorsOneWins) {
  fails("list", 404, "NotFound");
  fails("POST", 409, "AlreadyExists");
  for (int i = 0; i < 1000; ++i)
    says("list", lease("other", 6));
  start();
  EXPECT_TRUE(eventually([&] { return elector_->leader() == "other"; }));
  EXPECT_FALSE(elector_->is_leader());
}

// A leader whose Lease somebody has edited reads it again and goes on.
TEST_F(LeaderTest, AConflictInTheTermIsReadAgain) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  fails("PUT", 409, "Conflict");
  says("list", lease("me", 9));
  says("PUT", lease("me", 10));
  start();
  ASSERT_TRUE(api_.wait_for_requests(6));
  EXPECT_EQ(body_of(api_.texts()[4])["metadata"]["resourceVersion"], "9");
  EXPECT_TRUE(elector_->is_leader());
  EXPECT_THAT(told(), ElementsAre("started", "leader me"));
}

TEST_F(LeaderTest, ALeaseHandedToAnotherEndsTheTerm) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  fails("PUT", 409, "Conflict");
  for (int i = 0; i < 1000; ++i)
    says("list", lease("other", 9));
  start();
  EXPECT_TRUE(eventually([&] { return told().size() == 4; }));
  EXPECT_THAT(told(), ElementsAre("started", "leader me", "stopped", "leader other"));
  EXPECT_FALSE(elector_->is_leader());
}

TEST_F(LeaderTest, ADeletedLeaseIsMadeAgainByItsHolderAlone) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  fails("PUT", 404, "NotFound");
  fails("list", 404, "NotFound");
  says("POST", lease("me", 20));
  says("PUT", lease("me", 21));
  start();
  ASSERT_TRUE(api_.wait_for_requests(6));
  EXPECT_TRUE(elector_->is_leader());
  EXPECT_EQ(told().front(), "started");
}

TEST_F(LeaderTest, ADeletedLeaseIsNotMadeByACandidateWhileTheTermMayLast) {
  says("list", lease("other", 5, {{"leaseDurationSeconds", 3600}}));
  for (int i = 0; i < 1000; ++i)
    fails("list", 404, "NotFound");
  start();
  ASSERT_TRUE(api_.wait_for_requests(10));
  EXPECT_THAT(kinds(), testing::Not(testing::Contains("POST")));
}

TEST_F(LeaderTest, FailuresEndTheTermInTimeAndItIsWonAgain) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  for (int i = 0; i < 10; ++i)
    fails("PUT", 500, "InternalError");
  start(1500ms, 600ms, 200ms);
  EXPECT_TRUE(eventually([&] { return has_led(); }));
  EXPECT_TRUE(eventually([&] { return !elector_->is_leader(); }));
  EXPECT_THAT(elector_->last_error(), HasSubstr("500"));
  EXPECT_TRUE(eventually([&] { return told().size() >= 3; }));
  EXPECT_THAT(told(), ElementsAre("started", "leader me", "stopped"));
  for (int i = 0; i < 1000; ++i)
    says("list", lease("me", 6));
  for (int i = 0; i < 1000; ++i)
    says("PUT", lease("me", 7));
  EXPECT_TRUE(eventually([&] { return elector_->is_leader(); }));
  EXPECT_TRUE(eventually([&] { return elector_->last_error().empty(); }));
}

// The call that should renew hangs, for longer than the term: the term ends without it.
TEST_F(LeaderTest, AHangingServerEndsTheTermByItself) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  api_.answer("PUT", {"200 OK", "", Ending::kHang});
  start(1s, 500ms, 100ms);
  EXPECT_TRUE(eventually([&] { return has_led(); }));
  const auto term = elector_->term();
  if (term) {  // else it has ended already, on a slow machine
    EXPECT_TRUE(eventually([&] { return term->stop_requested(); }));
  }
  EXPECT_TRUE(eventually([&] { return told().size() >= 3; }));
  auto first = told();
  first.resize(3);
  EXPECT_THAT(first, ElementsAre("started", "leader me", "stopped"));
}

TEST_F(LeaderTest, TheEndGivesTheLeaseBackAfterTheTerm) {
  says("list", lease("", 5));
  for (int i = 6; i < 1000; ++i)
    says("PUT", lease("me", i));
  says("list", lease("me", 2000));
  start(60s, 30s, 500ms);
  EXPECT_TRUE(eventually([&] { return elector_->is_leader(); }));
  elector_->stop();
  EXPECT_EQ(told().back(), "stopped");
  const Json last = body_of(api_.texts().back());
  EXPECT_EQ(last["metadata"]["resourceVersion"], "2000");
  EXPECT_EQ(last["spec"]["holderIdentity"], "");
  EXPECT_EQ(last["spec"]["leaseDurationSeconds"], 1);
  EXPECT_EQ(last["spec"]["leaseTransitions"], 4);
  const std::size_t asked = api_.asked().size();
  elector_->stop();
  EXPECT_EQ(api_.asked().size(), asked);
}

TEST_F(LeaderTest, TheEndLeavesAnothersLeaseAlone) {
  for (int i = 0; i < 1000; ++i)
    says("list", lease("other", 5));
  start();
  ASSERT_TRUE(api_.wait_for_requests(2));
  elector_->stop();
  EXPECT_THAT(kinds(), testing::Each("list"));
  EXPECT_THAT(told(), testing::Not(testing::Contains("stopped")));
}

// The Lease was taken by then, though it was ours when it was last seen.
TEST_F(LeaderTest, TheEndLooksBeforeItGivesBack) {
  says("list", lease("", 5));
  for (int i = 6; i < 1000; ++i)
    says("PUT", lease("me", i));
  says("list", lease("other", 2000));
  start(60s, 30s, 2s);
  EXPECT_TRUE(eventually([&] { return elector_->is_leader(); }));
  elector_->stop();
  EXPECT_EQ(kinds().back(), "list");
}

TEST_F(LeaderTest, TheEndDoesNotWaitForAServerThatHangs) {
  says("list", lease("", 5));
  says("PUT", lease("me", 6));
  api_.answer("PUT", {"200 OK", "", Ending::kHang});
  api_.answer("list", {"200 OK", "", Ending::kHang});
  start(600s, 500s, 300ms);
  ASSERT_TRUE(api_.wait_for_requests(3));
  const auto begun = Clock::now();
  elector_->stop();
  EXPECT_LT(Clock::now() - begun, 15s);  // the client's own deadline is 20 s
  EXPECT_EQ(told().back(), "stopped");
}

TEST_F(LeaderTest, NonsenseIsAnErrorAndNoLeadership) {
  for (const char* body : {"", "[]", "{", "7"})
    api_.answer("list", {"200 OK", body});
  says("list", Json::object());  // a Lease without a spec is nobody's
  says("PUT", lease("me", 6));
  start();
  EXPECT_TRUE(eventually([&] { return elector_->is_leader(); }));
  EXPECT_GE(api_.asked().size(), 6U);
}

}  // namespace
