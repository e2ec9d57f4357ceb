// Signatures without a registry: which keys are good, what cosign stores, and what is none of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kThisImage = digest('a');
const std::string kOther = digest('b');

std::vector<kube::KeyPtr> keys_of(const std::vector<const Signer*>& signers) {
  std::vector<kube::KeyPtr> out;
  for (const Signer* signer : signers) {
    auto key = read_public_key(signer->pem());
    if (!key) throw std::runtime_error(key.error());
    out.push_back(std::move(*key));
  }
  return out;
}

StoredSignature stored(const std::string& payload, const std::string& signature) {
  return {digest_of(payload), payload.size(), signature};
}

std::string problem(const std::string& payload, const Signer& by,
                    const std::vector<const Signer*>& trusted) {
  return signature_problem(stored(payload, by.sign(payload)), payload, kThisImage,
                           keys_of(trusted));
}

TEST(SigningKeys, OfEveryKindThatCosignSignsWith) {
  const std::string payload = payload_of(kThisImage);
  const Signer stranger = Signer::ecdsa();
  const Signer all[] = {Signer::ecdsa(), Signer::ecdsa("P-384"), Signer::ecdsa("P-521"),
                        Signer::rsa(),   Signer::rsa(3072),      Signer::ed25519()};
  for (const Signer& signer : all) {
    EXPECT_EQ(problem(payload, signer, {&signer}), "");
    EXPECT_EQ(problem(payload, signer, {&stranger, &signer}), "") << "any of the keys will do";
    EXPECT_EQ(problem(payload, stranger, {&signer}), "it is by another key");
    EXPECT_EQ(problem(payload, signer, {&stranger}), "it is by another key");
  }
}

TEST(SigningKeys, OthersAreRefusedWithTheReason) {
  const struct {
    std::string pem;
    const char* says;
  } cases[] = {{Signer::rsa(1024).pem(), "has 1024 bits"},
               {Signer::ecdsa("secp256k1").pem(), "is on the curve secp256k1"},
               {Signer::ecdsa("P-224").pem(), "is on the curve secp224r1"},
               {Signer(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519")).pem(), "is of another kind"},
               {Signer::ecdsa().private_pem(), "is no public key"},
               {test_pki::make_ca().certificate, "is no public key"},
               {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is no public key"},
               {"", "is no public key"}};
  for (const auto& c : cases) {
    const auto key = read_public_key(c.pem);
    ASSERT_FALSE(key) << c.pem;
    EXPECT_THAT(key.error(), HasSubstr(c.says));
  }
}

TEST(SignaturePayload, OnlyWhatTheKeySignedOfThisImageCounts) {
  const Signer signer = Signer::ecdsa();
  const auto keys = keys_of({&signer});
  const std::string payload = payload_of(kThisImage);
  const std::string signature = signer.sign(payload);
  EXPECT_EQ(signature_problem(stored(payload, signature), payload, kThisImage, keys), "");
  // Signed, but of another image, or no image.
  EXPECT_EQ(problem(payload_of(kOther), signer, {&signer}), "what was signed is another image");
  EXPECT_EQ(problem(R"({"critical":{"image":{"docker-manifest-digest":")" + kThisImage +
                        R"("},"type":"atomic container signature"}})",
                    signer, {&signer}),
            "what was signed is no image");
  for (const char* odd : {"", "null", "[]", "{}", R"({"critical":7})", R"({"critical":{"type":7}})",
                          "\xff\xfe", R"({"critical":)"}) {
    EXPECT_EQ(problem(odd, signer, {&signer}), "what was signed is no image") << odd;
  }
  const std::string half = R"({"critical":{"type":"cosign container image signature")";
  for (const std::string& odd : {half + "}}", half + R"(,"image":"x"}})",
                                 half + R"(,"image":{"docker-manifest-digest":["x"]}}})"}) {
    EXPECT_EQ(problem(odd, signer, {&signer}), "what was signed is another image") << odd;
  }
  EXPECT_EQ(problem(std::string(10'000, '['), signer, {&signer}), "what was signed is no image");
  // Not what the manifest says, though well signed.
  const std::string other = payload_of(kOther);
  EXPECT_THAT(signature_problem(stored(other, signature), payload, kThisImage, keys),
              HasSubstr("not what the manifest says"));
  StoredSignature longer = stored(payload, signature);
  ++longer.size;
  EXPECT_THAT(signature_problem(longer, payload, kThisImage, keys),
              HasSubstr("not what the manifest says"));
  // Broken signatures.
  for (std::string broken : {signature.substr(1), signature.substr(0, signature.size() - 1),
                             signature + "x", std::string(), std::string(5000, '\x30')}) {
    EXPECT_EQ(signature_problem(stored(payload, broken), payload, kThisImage, keys),
              "it is by another key");
  }
  for (std::size_t bit = 0; bit < 8; ++bit) {
    std::string changed = payload;
    changed[20] = static_cast<char>(changed[20] ^ static_cast<char>(1U << bit));
    EXPECT_EQ(signature_problem(stored(changed, signature), changed, kThisImage, keys),
              "it is by another key");
  }
  EXPECT_EQ(signature_problem(stored(payload, signature), payload, kThisImage, {}),
            "it is by another key");
}

TEST(SignatureManifest, TellsItsSignatures) {
  const std::string payload = payload_of(kThisImage);
  const auto good = layer_of(payload, "signature");
  json foreign = good;
  foreign["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip";
  const auto read = read_signatures(manifest_of(json::array({foreign, good, good})).dump());
  ASSERT_TRUE(read) << read.error();
  ASSERT_THAT(*read, SizeIs(2));
  EXPECT_EQ(read->at(0).digest, digest_of(payload));
  EXPECT_EQ(read->at(0).size, payload.size());
  EXPECT_EQ(read->at(0).signature, "signature");
  const auto none = read_signatures(manifest_of(json::array({foreign})).dump());
  ASSERT_TRUE(none) << none.error();
  EXPECT_THAT(*none, IsEmpty());
  EXPECT_EQ(signature_tag(kThisImage), "sha256-" + std::string(64, 'a') + ".sig");
}

TEST(SignatureManifest, WhatIsNoneIsRefusedAndDoesNotTakeTheGoodOneAlong) {
  const auto good = layer_of(payload_of(kThisImage), "signature");
  const auto with = [&](const char* path, const json& value) {
    json layer = good;
    layer[json::json_pointer(path)] = value;
    return layer;
  };
  const char* const signature = "/annotations/dev.cosignproject.cosign~1signature";
  std::vector<json> broken{
      with("/digest", "sha512:" + std::string(128, 'a')),
      with("/digest", "sha256:" + std::string(64, 'A')),
      with("/digest", "sha256:../../../../etc/passwd"),
      with("/digest", 7),
      with("/size", -1),
      with("/size", 1e9),
      with("/size", std::uint64_t{1} << 40U),
      with("/size", "210"),
      with(signature, ""),
      with(signature, "no base64!"),
      with(signature, "c2lnbmF0dXJ"),
      with(signature, json::array()),
      with("/annotations", "x"),
  };
  for (const char* member : {"digest", "size", "annotations"}) {
    broken.push_back(good);
    broken.back().erase(member);
  }
  for (const json& layer : broken) {
    const auto alone = read_signatures(manifest_of(json::array({layer})).dump());
    ASSERT_FALSE(alone) << layer;
    EXPECT_THAT(alone.error(), HasSubstr("it has a layer"));
    const auto beside = read_signatures(manifest_of(json::array({layer, good})).dump());
    ASSERT_TRUE(beside) << layer;
    EXPECT_THAT(*beside, SizeIs(1));
  }
  for (const std::string& odd :
       {std::string(), std::string("null"), std::string("[]"), std::string("{}"),
        std::string(R"({"layers":{}})"), std::string(R"({"layers":[)"), std::string("\xff"),
        std::string(200'000, '[')}) {
    EXPECT_FALSE(read_signatures(odd)) << odd.substr(0, 20);
  }
  // Layers that are no objects are nothing.
  const auto odd = read_signatures(R"({"layers":[7,null,"x",[]]})");
  ASSERT_TRUE(odd) << odd.error();
  EXPECT_THAT(*odd, IsEmpty());
}

TEST(SignatureManifest, NoMoreSignaturesAreReadThanARegistryMayCostRequests) {
  const auto good = layer_of(payload_of(kThisImage), "signature");
  const auto read = read_signatures(manifest_of(json(1000, good)).dump());
  ASSERT_TRUE(read) << read.error();
  EXPECT_THAT(*read, SizeIs(kMaxSignatures));
}

}  // namespace
}  // namespace palisade::webhook::testing
