// Whole questions: what a registry holds, what is made of it, and what is remembered.
#include <future>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <webhook/signatures.h>

#include "webhook/eventually.h"
#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr auto kLater = std::chrono::steady_clock::time_point::max();

class SignaturesAsked : public ::testing::Test {
 protected:
  SignaturesAsked() {
    options_.ca_file = registry_.ca_file();
    // The machine may be busy, and no test waits for this.
    options_.patience = std::chrono::seconds(60);
  }

  void start() { signatures_ = std::make_unique<Signatures>(options_, metrics_); }
  [[nodiscard]] policy::ImageToVerify image(const std::string& image_digest = digest('a'),
                                            const std::string& repository = "palisade/aider") {
    policy::ImageToVerify out;
    out.field = "spec.containers[0].image";
    out.text = registry_.host() + "/" + repository + "@" + image_digest;
    out.name = {registry_.host(), repository, image_digest};
    return out;
  }
  [[nodiscard]] policy::SignatureRule rule(const std::vector<const Signer*>& signers) {
    std::vector<std::string> pems;
    for (const Signer* signer : signers)
      pems.push_back(signer->pem());
    return rule_of(registry_.host(), pems);
  }
  Signatures::Answer ask(const policy::ImageToVerify& what, const policy::SignatureRule& by,
                         std::chrono::steady_clock::time_point deadline = kLater) {
    if (!signatures_) start();
    return signatures_->ask(what, by, deadline);
  }
  [[nodiscard]] double counted(const std::string& result) const {
    for (const auto& family : metrics_.Collect()) {
      for (const auto& metric : family.metric) {
        if (family.name == "palisade_webhook_signature_lookups_total" &&
            metric.label.at(0).value == result)
          return metric.counter.value;
      }
    }
    return -1;
  }

  prometheus::Registry metrics_;
  TestRegistry registry_;
  const Signer signer_ = Signer::ecdsa();
  const Signer stranger_ = Signer::ecdsa();
  SignaturesOptions options_;
  std::unique_ptr<Signatures> signatures_;
};

TEST_F(SignaturesAsked, ASignedImageIsAskedForOnce) {
  registry_.sign("palisade/aider", digest('a'), {&signer_});
  start();
  const auto by = rule({&signer_});
  EXPECT_FALSE(signatures_->known(image(), by));
  EXPECT_EQ(ask(image(), by), "");
  const auto asked = registry_.calls().size();
  EXPECT_EQ(asked, 2U) << "the manifest and one payload";
  EXPECT_EQ(signatures_->known(image(), by), Signatures::Answer(""));
  EXPECT_EQ(ask(image(), by), "");
  EXPECT_THAT(registry_.calls(), SizeIs(asked));
  EXPECT_EQ(counted("signed"), 1);
  // Of this digest in this repository, and by these keys.
  EXPECT_FALSE(signatures_->known(image(digest('b')), by));
  EXPECT_FALSE(signatures_->known(image(digest('a'), "other"), by));
  EXPECT_FALSE(signatures_->known(image(), rule({&stranger_})));
  EXPECT_FALSE(signatures_->known(image(), rule({&signer_, &stranger_})));
}

TEST_F(SignaturesAsked, OneGoodSignatureOfSeveralIsEnough) {
  registry_.sign("palisade/aider", digest('a'), {&stranger_, &signer_});
  EXPECT_EQ(ask(image(), rule({&signer_})), "");
  registry_.sign("palisade/aider", digest('b'), {&stranger_});
  EXPECT_EQ(ask(image(digest('b')), rule({&signer_, &stranger_})), "");
}

TEST_F(SignaturesAsked, ARefusalNamesImageKeysAndFix) {
  const std::string name = registry_.host() + "/palisade/aider@" + digest('a');
  const auto none = ask(image(), rule({&signer_}));
  ASSERT_TRUE(none) << none.error();
  EXPECT_THAT(*none, AllOf(HasSubstr("has no signature"), HasSubstr(signature_tag(digest('a'))),
                           HasSubstr("cosign sign --key KEY " + name)));
  EXPECT_EQ(counted("unsigned"), 1);

  registry_.sign("palisade/aider", digest('b'), {&stranger_});
  const auto foreign = ask(image(digest('b')), rule({&signer_}));
  ASSERT_TRUE(foreign) << foreign.error();
  EXPECT_THAT(*foreign, AllOf(HasSubstr("has no signature by key-0"), HasSubstr("another key")));

  // The good signature of another image, under this one's tag.
  const std::string payload = payload_of(digest('d'));
  registry_.put_blob("palisade/aider", payload);
  registry_.put_manifest(
      "palisade/aider", digest('c'),
      manifest_of(json::array({layer_of(payload, signer_.sign(payload))})).dump());
  const auto moved = ask(image(digest('c')), rule({&signer_}));
  ASSERT_TRUE(moved) << moved.error();
  EXPECT_THAT(*moved, HasSubstr("another image"));

  registry_.put_manifest("palisade/aider", digest('e'), manifest_of(json::array()).dump());
  EXPECT_THAT(ask(image(digest('e')), rule({&signer_})).value_or(""), HasSubstr("there is none"));
  registry_.put_manifest("palisade/aider", digest('f'), "{}");
  EXPECT_THAT(ask(image(digest('f')), rule({&signer_})).value_or(""),
              HasSubstr("none of cosign's"));
}

TEST_F(SignaturesAsked, WhatCannotBeToldIsAnErrorAndNotRemembered) {
  const std::string payload = payload_of(digest('a'));
  const json layer = layer_of(payload, signer_.sign(payload));
  registry_.put_manifest("palisade/aider", digest('a'), manifest_of(json::array({layer})).dump());
  const auto missing = ask(image(), rule({&signer_}));
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error(), HasSubstr("404"));
  EXPECT_EQ(counted("unknown"), 1);
  registry_.put_blob("palisade/aider", payload);
  EXPECT_EQ(ask(image(), rule({&signer_})), "");

  const auto broken = ask(image(digest('b')), rule_of(registry_.host(), {"no key"}));
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error(), HasSubstr("key key-0 of requireSignatures is no public key"));
  options_.other_hosts.clear();
  policy::ImageToVerify nowhere = image(digest('c'));
  nowhere.name.registry = "127.0.0.1:1";
  EXPECT_FALSE(ask(nowhere, rule({&signer_})));
}

TEST_F(SignaturesAsked, ARefusalIsForgottenSoThatSigningHelps) {
  options_.refusal_kept = std::chrono::milliseconds(200);
  EXPECT_NE(ask(image(), rule({&signer_})), "");
  registry_.sign("palisade/aider", digest('a'), {&signer_});
  EXPECT_TRUE(eventually([&] { return ask(image(), rule({&signer_})) == ""; }));
}

TEST_F(SignaturesAsked, ARefusalIsRememberedForAWhile) {
  options_.refusal_kept = std::chrono::hours(1);
  EXPECT_NE(ask(image(), rule({&signer_})), "");
  EXPECT_NE(ask(image(), rule({&signer_})), "");
  EXPECT_THAT(registry_.calls(), SizeIs(3))
      << "the signatures' tag, the list of referrers, and the tag of such a list";
}

TEST_F(SignaturesAsked, MemoryIsBounded) {
  options_.max_signed = 2;
  options_.max_refused = 1;
  for (const char digit : {'a', 'b', 'c'}) {
    registry_.sign("palisade/aider", digest(digit), {&signer_});
    EXPECT_EQ(ask(image(digest(digit)), rule({&signer_})), "");
  }
  EXPECT_FALSE(signatures_->known(image(digest('a')), rule({&signer_})));
  EXPECT_TRUE(signatures_->known(image(digest('b')), rule({&signer_})));
  EXPECT_TRUE(signatures_->known(image(digest('c')), rule({&signer_})));
  // Nobody forgets a good one by asking for bad ones.
  for (const char digit : {'d', 'e', 'f'})
    EXPECT_NE(ask(image(digest(digit)), rule({&signer_})), "");
  EXPECT_TRUE(signatures_->known(image(digest('b')), rule({&signer_})));
}

TEST_F(SignaturesAsked, TheReviewsDeadlineIsKept) {
  registry_.sign("palisade/aider", digest('a'), {&signer_});
  registry_.delay(std::chrono::seconds(60));
  const auto now = std::chrono::steady_clock::now();
  const auto late = ask(image(), rule({&signer_}), now + std::chrono::milliseconds(500));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error(), HasSubstr("DeadlineExceeded"));
  const auto over = ask(image(), rule({&signer_}), now);
  ASSERT_FALSE(over);
  EXPECT_THAT(over.error(), HasSubstr("no time is left"));
}

// A registry whose first answer waits until a test opens its gate.
class SignaturesHeldUp : public SignaturesAsked {
 protected:
  SignaturesHeldUp() {
    registry_.sign("palisade/aider", digest('a'), {&signer_});
    registry_.guard([this](const TestRegistry::Call&) -> std::optional<TestRegistry::Reply> {
      if (arrived_++ == 0) opened_.wait();
      return std::nullopt;
    });
  }
  ~SignaturesHeldUp() override { open(); }
  void open() {
    if (!std::exchange(is_open_, true)) gate_.set_value();
  }
  auto asking() {
    return std::async(std::launch::async,
                      [this] { return signatures_->ask(image(), rule({&signer_}), kLater); });
  }

  std::promise<void> gate_;
  std::shared_future<void> opened_ = gate_.get_future().share();
  bool is_open_ = false;
  std::atomic<int> arrived_ = 0;
};

TEST_F(SignaturesHeldUp, WhoAsksTheSameSharesTheAnswer) {
  start();
  auto first = asking();
  ASSERT_TRUE(eventually([&] { return arrived_ == 1; }));
  auto second = asking();
  auto third = asking();
  open();
  EXPECT_EQ(first.get(), "");
  EXPECT_EQ(second.get(), "");
  EXPECT_EQ(third.get(), "");
  EXPECT_THAT(registry_.calls(), SizeIs(2));
  EXPECT_EQ(counted("signed"), 1);
}

TEST_F(SignaturesHeldUp, NoMoreWaitThanMay) {
  options_.max_waiting = 1;
  start();
  auto first = asking();
  ASSERT_TRUE(eventually([&] { return arrived_ == 1; }));
  for (const char digit : {'a', 'b'}) {
    const auto refused = ask(image(digest(digit)), rule({&signer_}));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error(), HasSubstr("as many other images"));
  }
  open();
  EXPECT_EQ(first.get(), "");
  // There is room again.
  EXPECT_NE(ask(image(digest('b')), rule({&signer_})), "");
}

TEST_F(SignaturesHeldUp, WhoSharesWaitsNoLongerThanItsOwnDeadline) {
  start();
  auto first = asking();
  ASSERT_TRUE(eventually([&] { return arrived_ == 1; }));
  const auto late = ask(image(), rule({&signer_}),
                        std::chrono::steady_clock::now() + std::chrono::milliseconds(300));
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error(), HasSubstr("takes its time"));
  open();
  EXPECT_EQ(first.get(), "");
}

TEST(PublicKeyProblem, OfWhatIsNoKey) {
  EXPECT_EQ(public_key_problem(Signer::ecdsa().pem()), "");
  EXPECT_THAT(public_key_problem("x"), HasSubstr("is no public key"));
}

}  // namespace
}  // namespace palisade::webhook::testing
