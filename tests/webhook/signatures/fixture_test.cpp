// What cosign's own packages wrote (tests/webhook/fixtures/cosign), served as its registry served
// it: what its key signed is accepted, and each thing that can be done to it is refused with the
// reason.
#include <cstdlib>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <webhook/signatures.h>

#include "signatures/bundle.h"
#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kRepository = "palisade/aider";

std::filesystem::path fixture(const std::string& name) {
  const char* root = std::getenv("PALISADE_SOURCE_DIR");
  if (root == nullptr) throw std::runtime_error("PALISADE_SOURCE_DIR is not set");
  return std::filesystem::path(root) / "tests/webhook/fixtures/cosign" / name;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string blob(const std::string& digest) {
  return read(fixture("blobs/sha256/" + digest.substr(std::string("sha256:").size())));
}

class CosignItself : public ::testing::Test {
 protected:
  CosignItself() {
    for (const auto& file : std::filesystem::directory_iterator(fixture("blobs/sha256"))) {
      const std::string bytes = read(file.path());
      registry_.put_blob(kRepository, bytes);
      registry_.put(manifest_target(digest_of(bytes)), {bytes});
    }
    const json index = json::parse(read(fixture("index.json")));
    for (const json& one : index["manifests"]) {
      const std::string tag = one["annotations"]["org.opencontainers.image.ref.name"];
      digests_[tag] = one["digest"];
      registry_.put(manifest_target(tag), {blob(one["digest"])});
    }
  }

  static std::string manifest_target(const std::string& reference) {
    return std::string("/v2/") + kRepository + "/manifests/" + reference;
  }
  // The manifest that a registry has under this tag.
  [[nodiscard]] json tagged(const std::string& tag) const {
    return json::parse(blob(digests_.at(tag)));
  }
  [[nodiscard]] std::string signature_of(const std::string& name) const {
    return signature_tag(digests_.at(name));
  }
  // The manifest of the bundle that refers to an image, by way of the list under its tag.
  [[nodiscard]] json bundle_manifest(const std::string& name) const {
    return json::parse(blob(listed(name)));
  }
  [[nodiscard]] std::string listed(const std::string& name) const {
    return tagged(referrers_tag(digests_.at(name)))["manifests"][0]["digest"];
  }
  void put_manifest(const std::string& reference, const json& manifest) {
    registry_.put(manifest_target(reference), {manifest.dump()});
  }
  // The first layer's bytes are these now, and the manifest says so.
  json with_layer(json manifest, const std::string& bytes) {
    registry_.put_blob(kRepository, bytes);
    manifest["layers"][0]["digest"] = digest_of(bytes);
    manifest["layers"][0]["size"] = bytes.size();
    return manifest;
  }
  static std::string layer(const json& manifest) { return blob(manifest["layers"][0]["digest"]); }

  // Nothing is remembered from one question to the next.
  Signatures::Answer ask(const std::string& name, const std::string& key = "cosign.pub") {
    SignaturesOptions options;
    options.ca_file = registry_.ca_file();
    options.patience = std::chrono::seconds(60);
    prometheus::Registry metrics;
    Signatures signatures(options, metrics);
    policy::ImageToVerify image;
    image.name = {registry_.host(), kRepository, digests_.at(name)};
    return signatures.ask(image, rule_of(registry_.host(), {read(fixture(key))}),
                          std::chrono::steady_clock::time_point::max());
  }
  std::string refusal(const std::string& name) {
    const auto answer = ask(name);
    return answer ? *answer : "not told: " + answer.error();
  }

  TestRegistry registry_;
  std::map<std::string, std::string> digests_;  // by tag
};

TEST_F(CosignItself, WhatTheKeySignedIsAccepted) {
  for (const char* name : {"signed", "annotated", "bundled"})
    EXPECT_EQ(ask(name), "") << name;
  for (const char* name : {"foreign", "bundled-foreign"})
    EXPECT_EQ(ask(name, "other.pub"), "") << name;
}

TEST_F(CosignItself, WhatItDidNotSignIsRefusedWithTheReason) {
  EXPECT_THAT(refusal("unsigned"), HasSubstr("has no signature: "));
  for (const char* name : {"foreign", "bundled-foreign"}) {
    EXPECT_THAT(refusal(name),
                AllOf(HasSubstr("has no signature by key-0: "), HasSubstr("it is by another key")));
  }
  EXPECT_THAT(refusal("moved"), HasSubstr("what was signed is another image"));
  EXPECT_THAT(refusal("attested"), HasSubstr("(an attestation?)"));
  for (const char* name : {"signed", "annotated", "bundled"})
    EXPECT_THAT(ask(name, "other.pub").value_or(""), HasSubstr("it is by another key")) << name;
}

TEST_F(CosignItself, AChangedSignatureUnderATagIsRefused) {
  const std::string tag = signature_of("annotated");
  const json good = tagged(tag);
  const std::string payload = layer(good);
  ASSERT_THAT(payload, HasSubstr(R"("build":"42")"));
  std::string changed = payload;
  changed[payload.find("42")] = '5';
  // In the blob alone, and in all that speaks of it but the signature.
  registry_.put(std::string("/v2/") + kRepository + "/blobs/" + digest_of(payload), {changed});
  EXPECT_THAT(refusal("annotated"), HasSubstr("its payload is not what the manifest says"));
  put_manifest(tag, with_layer(good, changed));
  EXPECT_THAT(refusal("annotated"), HasSubstr("it is by another key"));

  registry_.put_blob(kRepository, payload);
  const char* const signature = "dev.cosignproject.cosign/signature";
  const auto with = [&](const json& value) {
    json manifest = good;
    manifest["layers"][0]["annotations"][signature] = value;
    return manifest;
  };
  put_manifest(tag, with("!" + good["layers"][0]["annotations"][signature].get<std::string>()));
  EXPECT_THAT(refusal("annotated"), HasSubstr("a layer whose signature is not base64"));
  json bare = good;
  bare["layers"][0].erase("annotations");
  put_manifest(tag, bare);
  EXPECT_THAT(refusal("annotated"), HasSubstr("a layer whose signature is not base64"));
  put_manifest(tag, with_layer(good, std::string(kMaxPayloadBytes + 1, ' ')));
  EXPECT_THAT(refusal("annotated"), HasSubstr("a size, or with one that no payload has"));
  put_manifest(tag, good);
  EXPECT_EQ(ask("annotated"), "");
}

TEST_F(CosignItself, AChangedBundleIsRefused) {
  const std::string place = listed("bundled");
  const json good = bundle_manifest("bundled");
  const std::string text = layer(good);
  const json bundle = json::parse(text);
  std::string changed = text;
  changed.back() = ' ';
  registry_.put(std::string("/v2/") + kRepository + "/blobs/" + digest_of(text), {changed});
  EXPECT_THAT(refusal("bundled"), HasSubstr("it is not what its manifest says"));

  // The statement speaks of another image; its signature is the old one.
  auto statement = kube::decode_base64(bundle["dsseEnvelope"]["payload"].get<std::string>());
  ASSERT_TRUE(statement);
  const std::string hex = digests_.at("bundled").substr(std::string("sha256:").size());
  const auto at = statement->find(hex);
  ASSERT_NE(at, std::string::npos) << *statement;
  statement->replace(at, hex.size(),
                     digests_.at("unsigned").substr(digests_.at("unsigned").size() - hex.size()));
  const auto with = [&](const char* pointer, const json& value) {
    json out = bundle;
    out[json::json_pointer(pointer)] = value;
    return out.dump();
  };
  const struct {
    std::string bundle;
    const char* because;
  } cases[] = {
      {with("/dsseEnvelope/payload", kube::encode_base64(*statement)), "it is by another key"},
      {with("/dsseEnvelope/payload", "!"), "it holds no statement that is signed"},
      {with("/dsseEnvelope/payloadType", "text/plain"), "it holds no statement that is signed"},
      {with("/dsseEnvelope/signatures", json::array()), "it is by another key"},
      {with("/dsseEnvelope/signatures/0/sig", "!"), "it is by another key"},
      {with("/dsseEnvelope", nullptr), "it holds no statement that is signed"},
      {with("/dsseEnvelope/signatures/0/sig", "") + "x", "it holds no statement that is signed"},
      {std::string(kMaxBundleBytes + 1, ' '), "a size that no bundle has"},
  };
  for (const auto& c : cases) {
    put_manifest(place, with_layer(good, c.bundle));
    EXPECT_THAT(refusal("bundled"), HasSubstr(c.because));
  }
  json two = good;
  two["layers"].push_back(two["layers"][0]);
  put_manifest(place, two);
  EXPECT_THAT(refusal("bundled"), HasSubstr("its manifest does not name one bundle"));
  registry_.put_blob(kRepository, text);
  // That of another image, listed as if it were this one's.
  put_manifest(place, good);
  put_manifest(referrers_tag(digests_.at("unsigned")),
               tagged(referrers_tag(digests_.at("bundled"))));
  EXPECT_THAT(refusal("unsigned"), HasSubstr("what was signed is another image"));
  EXPECT_EQ(ask("bundled"), "");
}

// Newer cosign hashes by the curve, older with SHA-256 whatever the curve.
TEST(SigningKeys, HashAsLongAsTheCurveIs) {
  const std::string bytes = "bytes";
  const Signer p384 = Signer::ecdsa("P-384");
  const Signer p521 = Signer::ecdsa("P-521");
  const Signer p256 = Signer::ecdsa();
  const auto signed_over = [&](const Signer& signer, const EVP_MD* hash) {
    const auto key = read_public_key(signer.pem());
    return key && has_signed(key->get(), bytes, signer.sign(bytes, hash));
  };
  for (const Signer* signer : {&p256, &p384, &p521})
    EXPECT_TRUE(signed_over(*signer, EVP_sha256()));
  EXPECT_TRUE(signed_over(p384, EVP_sha384()));
  EXPECT_TRUE(signed_over(p521, EVP_sha512()));
  EXPECT_FALSE(signed_over(p256, EVP_sha384()));
  EXPECT_FALSE(signed_over(p384, EVP_sha512()));
  EXPECT_FALSE(signed_over(p384, EVP_sha1()));
}

TEST_F(CosignItself, AnEd25519KeysRefusalSaysWhatCannotBeVerified) {
  const Signer signer = Signer::ed25519();
  const auto path = registry_.write("ed25519.pub", signer.pem());
  EXPECT_THAT(ask("signed", path.string()).value_or(""), HasSubstr("Ed25519ph"));
  EXPECT_THAT(refusal("foreign"), ::testing::Not(HasSubstr("Ed25519ph")));
}

TEST_F(CosignItself, ARegistrysOwnListOfReferrersIsAskedFirst) {
  const std::string digest = digests_.at("bundled");
  const std::string list = std::string("/v2/") + kRepository + "/referrers/" + digest +
                           "?artifactType=application%2Fvnd.dev.sigstore.bundle.v0.3%2Bjson";
  const std::string tag = manifest_target(referrers_tag(digest));
  registry_.put(list, {tagged(referrers_tag(digest)).dump()});
  registry_.put(tag, {"", "404 Not Found"});
  EXPECT_EQ(ask("bundled"), "");
  // A list that has none of its kind is one; what cannot be told is no refusal.
  registry_.put(list, {R"({"manifests":[{"artifactType":"text/plain"}]})"});
  EXPECT_THAT(refusal("bundled"), HasSubstr("has no signature: "));
  registry_.put(list, {"[]"});
  EXPECT_THAT(refusal("bundled"), HasSubstr("the list of what refers to the image is none"));
  registry_.put(list, {"", "503 Service Unavailable"});
  EXPECT_THAT(refusal("bundled"), AllOf(HasSubstr("not told: "), HasSubstr("503")));
}

}  // namespace
}  // namespace palisade::webhook::testing
