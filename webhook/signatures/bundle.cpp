#include "signatures/bundle.h"

#include <algorithm>

#include <kube/base64.h>
#include <policy/signatures.h>

#include "signatures/json.h"
#include "signatures/keys.h"

namespace palisade::webhook {

namespace {

using Json = nlohmann::json;

constexpr const char* kStatementType = "application/vnd.in-toto+json";
constexpr const char* kStatement = "https://in-toto.io/Statement/v1";
// What go-containerregistry, and so cosign, writes in lists under a tag instead of a bundle's type:
// that of the manifest's configuration.
constexpr const char* kEmptyType = "application/vnd.oci.empty.v1+json";
// What cosign attests is in bundles too, by the same key: that is no signature.
constexpr const char* kSignPredicate = "https://sigstore.dev/cosign/sign/v1";

// A member that is an object or a list; null where there is none.
const Json& field_of(const Json& object, const char* key) {
  static const Json kNone;
  if (!object.is_object()) return kNone;
  const auto found = object.find(key);
  return found == object.end() ? kNone : *found;
}

// What DSSE signs of an envelope: its pre-authentication encoding.
std::string signed_bytes(std::string_view type, std::string_view payload) {
  std::string out = "DSSEv1 " + std::to_string(type.size()) + " ";
  out += type;
  out += " " + std::to_string(payload.size()) + " ";
  out += payload;
  return out;
}

bool is_signed(const Json& envelope, const std::string& payload,
               const std::vector<kube::KeyPtr>& keys) {
  const Json& signatures = field_of(envelope, "signatures");
  // Sigstore's bundles have exactly one.
  if (!signatures.is_array() || signatures.size() != 1) return false;
  const auto signature = kube::decode_base64(text_of(signatures[0], "sig"));
  if (!signature || signature->empty()) return false;
  const std::string bytes = signed_bytes(kStatementType, payload);
  return std::ranges::any_of(
      keys, [&](const kube::KeyPtr& key) { return has_signed(key.get(), bytes, *signature); });
}

bool speaks_of(const Json& statement, std::string_view image_digest) {
  const Json& subjects = field_of(statement, "subject");
  return subjects.is_array() && std::ranges::any_of(subjects, [&](const Json& subject) {
           const std::string digest = text_of(field_of(subject, "digest"), "sha256");
           return !digest.empty() && "sha256:" + digest == image_digest;
         });
}

}  // namespace

std::string referrers_tag(std::string_view digest) {
  std::string out(digest);
  std::ranges::replace(out, ':', '-');
  return out;
}

std::expected<std::vector<std::string>, std::string> read_referrers(std::string_view index) {
  const Json document = parse_json(index);
  if (!document.is_object()) return std::unexpected("it is no JSON object");
  const Json& manifests = field_of(document, "manifests");
  if (!manifests.is_array()) return std::unexpected("it has no list of manifests");
  std::vector<std::string> out;
  for (const Json& one : manifests) {
    std::string digest = text_of(one, "digest");
    const std::string type = text_of(one, "artifactType");
    const bool may_be_one = type == kBundleType || type == kEmptyType || type.empty();
    if (!may_be_one || !policy::is_sha256_digest(digest)) continue;
    out.push_back(std::move(digest));
    if (out.size() == kMaxSignatures) break;
  }
  return out;
}

std::expected<StoredSignature, std::string> read_bundle_place(std::string_view manifest) {
  const Json document = parse_json(manifest);
  const Json& layers = field_of(document, "layers");
  StoredSignature out;
  const auto is_bundle = [](const Json& layer) {
    return text_of(layer, "mediaType") == kBundleType;
  };
  if (layers.is_array() && std::ranges::none_of(layers, is_bundle)) return out;
  if (!layers.is_array() || layers.size() != 1)
    return std::unexpected("its manifest does not name one bundle");
  out.digest = text_of(layers[0], "digest");
  const Json& size = field_of(layers[0], "size");
  if (!policy::is_sha256_digest(out.digest) || !size.is_number_unsigned() ||
      size.get<std::uint64_t>() > kMaxBundleBytes)
    return std::unexpected("its manifest has no digest, or a size that no bundle has");
  out.size = size.get<std::size_t>();
  return out;
}

std::string bundle_problem(const StoredSignature& stored, std::string_view bundle,
                           std::string_view image_digest, const std::vector<kube::KeyPtr>& keys) {
  if (bundle.size() != stored.size || "sha256:" + sha256_of(bundle) != stored.digest)
    return "it is not what its manifest says";
  const Json document = parse_json(bundle);
  const Json& envelope = field_of(document, "dsseEnvelope");
  const auto payload = kube::decode_base64(text_of(envelope, "payload"));
  if (text_of(envelope, "payloadType") != kStatementType || !payload)
    return "it holds no statement that is signed";
  // Before anything is believed of it.
  if (!is_signed(envelope, *payload, keys)) {
    const Json& material = field_of(document, "verificationMaterial");
    const bool keyless = !field_of(material, "certificate").is_null() ||
                         !field_of(material, "x509CertificateChain").is_null();
    return keyless ? "it is keyless, by a certificate, and keys alone are trusted"
                   : "it is by another key";
  }
  const Json statement = parse_json(*payload);
  if (text_of(statement, "_type") != kStatement ||
      text_of(statement, "predicateType") != kSignPredicate)
    return "what was signed is another statement than cosign's signature (an attestation?)";
  return speaks_of(statement, image_digest) ? std::string() : "what was signed is another image";
}

}  // namespace palisade::webhook
