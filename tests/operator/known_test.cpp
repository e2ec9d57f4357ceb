// What the API server's own answers are worth beside what the watches tell, in whatever order the
// two come.
#include <gtest/gtest.h>

#include <operator/known.h>

namespace palisade::op {
namespace {

using kube::Json;
using std::chrono::seconds;

class KnownTest : public ::testing::Test {
 protected:
  static kube::ObjectPtr at(int version, const char* uid = "u1") {
    return std::make_shared<const Json>(Json{{"metadata",
                                              {{"namespace", "team-a"},
                                               {"name", "fix-agent"},
                                               {"uid", uid},
                                               {"resourceVersion", std::to_string(version)}}}});
  }
  // The version that counts where the cache holds `cached`: 0 is none.
  int newest(const kube::ObjectPtr& cached) {
    const auto found = known_.newest(kPolicies, "team-a", "fix-agent", cached);
    return found ? std::stoi((*found)["metadata"]["resourceVersion"].get<std::string>()) : 0;
  }

  static constexpr const kube::Resource& kPolicies = kube::resources::kNetworkPolicies;
  Known::Clock::time_point now_{};
  Known known_{[this] { return now_; }};
};

TEST_F(KnownTest, AnAnswerCountsUntilTheCacheHasItOrSomethingNewer) {
  EXPECT_EQ(newest(nullptr), 0);
  known_.learn(kPolicies, at(5));
  EXPECT_EQ(newest(nullptr), 5);
  EXPECT_EQ(newest(at(4)), 5);
  EXPECT_EQ(newest(at(6)), 6);
  EXPECT_FALSE(known_.is_news(kPolicies, *at(4)));
  EXPECT_FALSE(known_.is_news(kPolicies, *at(5)));
  EXPECT_TRUE(known_.is_news(kPolicies, *at(6)));
  known_.learn(kPolicies, at(3));
  EXPECT_EQ(newest(nullptr), 5) << "an earlier answer came late";
  known_.forget(kPolicies, "team-a", "fix-agent");
  EXPECT_EQ(newest(nullptr), 0);
}

TEST_F(KnownTest, NoAnswerIsBelievedForLong) {
  known_.learn(kPolicies, at(5));
  now_ += Known::kEchoWithin;
  EXPECT_EQ(newest(nullptr), 5);
  now_ += seconds(1);
  EXPECT_EQ(newest(nullptr), 0);
}

TEST_F(KnownTest, WhenSecretsWereForgottenIsKnownForAMoment) {
  const std::string key = "team-a/fix";
  now_ += seconds(100);
  EXPECT_EQ(known_.secrets_forgotten(key), Known::Clock::time_point::min());
  known_.forget_secrets(key);
  EXPECT_EQ(known_.secrets_forgotten(key), now_);
  EXPECT_EQ(known_.secrets_forgotten("team-a/other"), Known::Clock::time_point::min());
  const auto then = now_;
  now_ += seconds(2);
  EXPECT_EQ(known_.secrets_forgotten(key), then);
  now_ += 2 * Known::kSecretFresh;
  known_.learn_secret(key, "git", nullptr);  // sweeps
  EXPECT_EQ(known_.secrets_forgotten(key), Known::Clock::time_point::min());
}

TEST_F(KnownTest, OnlyTheAnswerToTheLastWriteIsSettled) {
  EXPECT_FALSE(known_.is_answer(kPolicies, *at(5)));
  known_.learn(kPolicies, at(5));
  EXPECT_TRUE(known_.is_answer(kPolicies, *at(5)));
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(5))) << "it was read";
  known_.wrote(kPolicies, at(6));
  EXPECT_TRUE(known_.is_settled(kPolicies, *at(6)));
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(5)));
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(7))) << "others have written since";
  known_.writing(kPolicies, "team-a", "fix-agent");
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(6))) << "another is on its way";
  known_.wrote(kPolicies, at(6));
  EXPECT_TRUE(known_.is_settled(kPolicies, *at(6))) << "it changed nothing";
  known_.gone(kPolicies, *at(8));
  known_.wrote(kPolicies, at(7));
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(7))) << "it is gone";
  known_.wrote(kPolicies, at(9, "u2"));
  now_ += Known::kEchoWithin + seconds(1);
  EXPECT_FALSE(known_.is_settled(kPolicies, *at(9, "u2"))) << "long ago";
  EXPECT_FALSE(known_.is_answer(kPolicies, *at(9, "u2")));
}

TEST_F(KnownTest, WhatIsGoneIsNotBelievedThoughTheAnswerComesLate) {
  known_.gone(kPolicies, *at(6));
  known_.learn(kPolicies, at(5));
  EXPECT_EQ(newest(nullptr), 0) << "written before the deletion, answered after its event";
  EXPECT_TRUE(known_.is_news(kPolicies, *at(7, "u2")));
  known_.forget(kPolicies, "team-a", "fix-agent");
  known_.learn(kPolicies, at(5));
  EXPECT_EQ(newest(nullptr), 0) << "a failed write does not bring it back";
}

TEST_F(KnownTest, WhatTheOperatorDeletedIsOnItsWayOutWhateverTheCacheHolds) {
  const auto ends = [&](const kube::ObjectPtr& cached) {
    const auto found = known_.newest(kPolicies, "team-a", "fix-agent", cached);
    return found && (*found)["metadata"].contains("deletionTimestamp");
  };
  EXPECT_FALSE(ends(at(5)));
  known_.ending(kPolicies, "team-a", "fix-agent", "u1");
  EXPECT_TRUE(ends(at(5)));
  EXPECT_TRUE(ends(at(6))) << "a later state of before the deletion";
  EXPECT_FALSE(ends(at(7, "u2"))) << "another of its name";
  EXPECT_EQ(newest(nullptr), 0);
  known_.learn(kPolicies, at(8));
  EXPECT_TRUE(ends(nullptr)) << "an answer that came late";
  now_ += Known::kEchoWithin + seconds(1);
  EXPECT_TRUE(ends(at(9))) << "however late the watch is";
  known_.gone(kPolicies, *at(10));
  EXPECT_TRUE(ends(at(9))) << "taken out of the cache a moment before";
  now_ += Known::kEchoWithin + seconds(1);
  EXPECT_FALSE(ends(at(9))) << "forgotten, as nobody asks any more";
}

TEST_F(KnownTest, ADeletionTakesOlderAnswersWithIt) {
  known_.learn(kPolicies, at(5));
  known_.gone(kPolicies, *at(6));
  EXPECT_EQ(newest(nullptr), 0);
}

TEST_F(KnownTest, WhatWasMadeAnewSinceStays) {
  known_.learn(kPolicies, at(8, "u2"));
  known_.gone(kPolicies, *at(6));
  EXPECT_EQ(newest(nullptr), 8);
  known_.gone(kPolicies, *at(9, "u2"));
  EXPECT_EQ(newest(nullptr), 0);
  known_.learn(kPolicies, at(10, "u3"));
  EXPECT_EQ(newest(nullptr), 10);
}

TEST_F(KnownTest, ADeletionIsRememberedNoLongerThanAnAnswer) {
  known_.gone(kPolicies, *at(6));
  now_ += Known::kEchoWithin + seconds(10);
  known_.learn(kPolicies, at(5));
  EXPECT_EQ(newest(nullptr), 5);
}

}  // namespace
}  // namespace palisade::op
