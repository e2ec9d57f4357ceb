// image-signature in reviews: which images are asked about, and what becomes of the answers. What
// registries say is told by a map.
#include <policy/agent_policy.h>

#include "webhook/reviews.h"
#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kDigest = "@sha256:" + std::string(64, 'a');
const std::string kAider = "registry.example.com/palisade/aider" + kDigest;
const std::string kControlPlane = "registry.example.com/palisade/control-plane:0.1.0" + kDigest;

json signed_pod() {
  json pod = good_pod();
  for (const char* list : {"initContainers", "containers"}) {
    for (json& container : pod["spec"][list]) {
      const bool aider = container["image"].get<std::string>().find("aider") != std::string::npos;
      container["image"] = aider ? kAider : kControlPlane;
    }
  }
  return pod;
}

class ImageSignature : public ::testing::Test {
 protected:
  ImageSignature() {
    cluster_.guarded.settings.signatures = {
        {"platform", {rule_of("registry.example.com/palisade", {"PEM"})}}};
    cluster_.signatures = {{kAider, ""}, {kControlPlane, ""}};
  }
  void expect_refused(const json& body, const std::string& because) {
    const Outcome outcome = ask(body, cluster_);
    EXPECT_FALSE(outcome.allowed) << body;
    EXPECT_THAT(outcome.denied_controls, ElementsAre("image-signature"));
    EXPECT_THAT(message_of(outcome), HasSubstr(because));
  }

  FakeView cluster_;
};

TEST_F(ImageSignature, PodsWithSignedImagesPass) {
  expect_allowed(ask(envelope(signed_pod()), cluster_), "compliant");
  EXPECT_TRUE(ask(envelope(nginx_pod()), cluster_).allowed) << "nobody's agent";
  cluster_.guarded.settings.signatures.clear();
  cluster_.signatures.clear();
  EXPECT_TRUE(ask(envelope(good_pod()), cluster_).allowed) << "nothing is asked for";
}

TEST_F(ImageSignature, EveryImageOfThePodIsAskedAbout) {
  const std::string unsigned_one = "registry.example.com/palisade/other" + kDigest;
  cluster_.signatures[unsigned_one] = "has no signature";
  for (const char* path : {"/spec/initContainers/0/image", "/spec/containers/0/image"}) {
    json pod = signed_pod();
    pod[json::json_pointer(path)] = unsigned_one;
    expect_refused(envelope(pod), "has no signature");
  }
  json pod = signed_pod();
  pod["spec"]["volumes"].push_back(
      {{"name", "more"}, {"image", {{"reference", unsigned_one}, {"pullPolicy", "Always"}}}});
  cluster_.guarded.settings.allowed_volume_types.emplace_back("image");
  expect_refused(envelope(pod), ".image.reference: \"" + unsigned_one);
}

TEST_F(ImageSignature, WhatIsNotKnownIsRefused) {
  cluster_.signatures.erase(kAider);
  expect_refused(envelope(signed_pod()),
                 "cannot be verified now, so it is refused: the registry "
                 "does not answer");
}

TEST_F(ImageSignature, NamesThatCannotBeVerifiedAreRefusedUnasked) {
  const struct {
    std::string image;
    const char* says;
  } cases[] = {
      {"registry.example.com/palisade/aider:0.86.2", "must be named by digest"},
      {"registry.example.com/palisade/aider@sha512:" + std::string(128, 'a'), "by digest"},
      {"other.example.com/palisade/aider" + kDigest, "is in no repository for which "},
      {"registry.example.com/palisadex/aider" + kDigest, "is in no repository for which "},
      {"aider" + kDigest, "must be the whole name of an image"},
      {"palisade/aider" + kDigest, "must be the whole name of an image"},
      {"REGISTRY.example.com/palisade/aider" + kDigest, "must be the whole name of an image"},
      {"registry.example.com/palisade/../aider" + kDigest, "must be the whole name of an image"},
      {"registry.example.com/palisade/aider?x" + kDigest, "must be the whole name of an image"},
  };
  for (const auto& c : cases) {
    json pod = signed_pod();
    pod["spec"]["containers"][0]["image"] = c.image;
    expect_refused(envelope(pod), c.says);
  }
}

TEST_F(ImageSignature, UpdatesAreAskedAboutForWhatTheyChange) {
  json old_pod = signed_pod();
  cluster_.signatures.clear();  // the registry is away
  json pod = old_pod;
  pod["metadata"]["labels"]["app"] = "x";
  EXPECT_TRUE(ask(envelope(pod, "UPDATE", old_pod), cluster_).allowed);
  cluster_.signatures[kAider] = "";
  pod["spec"]["containers"][0]["image"] =
      "registry.example.com/palisade/aider@sha256:" + std::string(64, 'b');
  EXPECT_FALSE(ask(envelope(pod, "UPDATE", old_pod), cluster_).allowed);
  // A pod from before the demand can be finished, with its tags and all.
  old_pod = good_pod();
  pod = old_pod;
  pod["metadata"]["labels"]["app"] = "x";
  EXPECT_TRUE(ask(envelope(pod, "UPDATE", old_pod), cluster_).allowed);
}

TEST_F(ImageSignature, ModesAndExceptionsAreOfThisControlToo) {
  cluster_.signatures[kAider] = "has no signature";
  cluster_.guarded.actions["image-signature"] = Action::kWarn;
  const Outcome warned = ask(envelope(signed_pod()), cluster_);
  EXPECT_TRUE(warned.allowed);
  EXPECT_THAT(warned.warned_controls, ElementsAre("image-signature"));
  cluster_.guarded.actions.clear();
  policy::HardeningException exception;
  exception.name = "until-the-build-signs";
  exception.namespaces = {"team-a"};
  exception.controls = {"image-signature"};
  exception.expires = kNow + 60;
  cluster_.guarded.exceptions = {
      std::make_shared<const policy::HardeningException>(std::move(exception))};
  const Outcome excepted = ask(envelope(signed_pod()), cluster_);
  EXPECT_TRUE(excepted.allowed) << excepted.body;
  EXPECT_THAT(excepted.denied_controls, IsEmpty());
}

TEST_F(ImageSignature, WhatMakesPodsIsRefusedWithThePathInItsTemplate) {
  cluster_.signatures[kAider] = "has no signature";
  json body = envelope(signed_pod());
  const json pod = body["request"]["object"];
  body["request"]["object"] = {
      {"apiVersion", "apps/v1"},
      {"kind", "Deployment"},
      {"metadata", {{"name", "agents"}, {"namespace", "team-a"}}},
      {"spec",
       {{"template",
         {{"metadata", {{"labels", {{"palisade.dev/agent", "aider"}}}}}, {"spec", pod["spec"]}}}}}};
  body["request"]["resource"] = {{"group", "apps"}, {"version", "v1"}, {"resource", "deployments"}};
  body["request"]["userInfo"]["username"] = "jane";
  const Outcome outcome = ask(body, cluster_);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("image-signature"));
  EXPECT_THAT(message_of(outcome), HasSubstr("spec.template.spec.containers["));
}

// --- The AgentPolicy itself ---

class PolicyOfKeys : public ::testing::Test {
 protected:
  static json policy_with(const json& rules) {
    return {{"apiVersion", "palisade.dev/v1alpha1"},
            {"kind", "AgentPolicy"},
            {"metadata", {{"name", "platform"}}},
            {"spec", {{"requireSignatures", rules}}}};
  }
  static json rules_with(const std::string& pem) {
    return json::array({{{"repositories", json::array({"registry.example.com"})},
                         {"keys",
                          {{{"name", "good"}, {"publicKey", Signer::ecdsa().pem()}},
                           {{"name", "tried"}, {"publicKey", pem}}}}}});
  }
  Outcome written(const json& policy) const {
    json body = envelope(policy);
    body["request"]["resource"] = {
        {"group", "palisade.dev"}, {"version", "v1alpha1"}, {"resource", "agentpolicies"}};
    body["request"]["namespace"] = "";
    body["request"]["name"] = "platform";
    body["request"]["userInfo"]["username"] = "admin";
    return ask(body, cluster_);
  }

  FakeView cluster_;
};

TEST_F(PolicyOfKeys, GoodOnesAreTaken) {
  for (const Signer& signer : {Signer::ecdsa(), Signer::rsa(), Signer::ed25519()}) {
    const Outcome outcome = written(policy_with(rules_with(signer.pem())));
    EXPECT_TRUE(outcome.allowed) << outcome.body;
  }
}

TEST_F(PolicyOfKeys, OthersAreRefusedWithTheirPath) {
  const std::string pem = Signer::ecdsa().pem();
  std::string broken = pem;
  broken.replace(40, 4, "!!!!");
  const struct {
    std::string pem;
    const char* says;
  } cases[] = {{broken, "is no public key"},
               {Signer::rsa(1024).pem(), "has 1024 bits"},
               {Signer::ecdsa().private_pem(), "a private one"},
               {pem + pem, "must be one public key in PEM"},
               {"cosign.pub", "must be one public key in PEM"}};
  for (const auto& c : cases) {
    const Outcome outcome = written(policy_with(rules_with(c.pem)));
    EXPECT_FALSE(outcome.allowed);
    EXPECT_THAT(message_of(outcome), HasSubstr("spec.requireSignatures[0].keys[1].publicKey"));
    EXPECT_THAT(message_of(outcome), HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
