#include "signatures/cosign.h"

#include <algorithm>

#include <kube/base64.h>
#include <policy/signatures.h>

#include "signatures/json.h"
#include "signatures/keys.h"

namespace palisade::webhook {

namespace {

using Json = nlohmann::json;

constexpr const char* kPayloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr const char* kSignature = "dev.cosignproject.cosign/signature";
constexpr const char* kSigned = "cosign container image signature";

std::expected<StoredSignature, std::string> read_layer(const Json& layer) {
  StoredSignature out;
  out.digest = text_of(layer, "digest");
  if (!policy::is_sha256_digest(out.digest))
    return std::unexpected("a layer without a sha256 digest");
  const auto size = layer.find("size");
  if (size == layer.end() || !size->is_number_unsigned() ||
      size->get<std::uint64_t>() > kMaxPayloadBytes)
    return std::unexpected("a layer without a size, or with one that no payload has");
  out.size = size->get<std::size_t>();
  const auto annotations = layer.find("annotations");
  auto signature = kube::decode_base64(
      annotations == layer.end() ? std::string() : text_of(*annotations, kSignature));
  if (!signature || signature->empty())
    return std::unexpected("a layer whose signature is not base64");
  out.signature = std::move(*signature);
  return out;
}

}  // namespace

std::string signature_tag(std::string_view digest) {
  std::string out(digest);
  std::ranges::replace(out, ':', '-');
  return out + ".sig";
}

std::expected<std::vector<StoredSignature>, std::string> read_signatures(
    std::string_view manifest) {
  const Json document = parse_json(manifest);
  if (!document.is_object()) return std::unexpected("it is no JSON object");
  const auto layers = document.find("layers");
  if (layers == document.end() || !layers->is_array())
    return std::unexpected("it has no list of layers");
  std::vector<StoredSignature> out;
  std::string wrong;
  for (const Json& layer : *layers) {
    if (text_of(layer, "mediaType") != kPayloadType) continue;
    // One that is broken does not take the good one beside it along.
    if (auto stored = read_layer(layer)) {
      out.push_back(std::move(*stored));
    } else {
      wrong = std::move(stored.error());
    }
    if (out.size() == kMaxSignatures) break;
  }
  if (out.empty() && !wrong.empty()) return std::unexpected("it has " + wrong);
  return out;
}

std::string signature_problem(const StoredSignature& stored, std::string_view payload,
                              std::string_view image_digest,
                              const std::vector<kube::KeyPtr>& keys) {
  if (payload.size() != stored.size || "sha256:" + sha256_of(payload) != stored.digest)
    return "its payload is not what the manifest says";
  // Before anything is believed of it.
  if (std::ranges::none_of(keys, [&](const kube::KeyPtr& key) {
        return has_signed(key.get(), payload, stored.signature);
      }))
    return "it is by another key";
  const Json document = parse_json(payload);
  const Json critical = document.is_object() ? document.value("critical", Json()) : Json();
  const Json image = critical.is_object() ? critical.value("image", Json()) : Json();
  if (text_of(critical, "type") != kSigned) return "what was signed is no image";
  if (text_of(image, "docker-manifest-digest") != image_digest)
    return "what was signed is another image";
  return {};
}

}  // namespace palisade::webhook
