// Signatures of images as cosign stores them: beside the image, under a tag made of its digest, a
// manifest each of whose layers is a signed payload. Pure. Source:
// https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include <kube/openssl_ptr.h>

namespace palisade::webhook {

// One layer of the manifest: a payload in the registry, and what was made of it.
struct StoredSignature {
  std::string digest;     // of the payload, sha256:HEX
  std::size_t size = 0;   // of the payload, bytes
  std::string signature;  // decoded
};

// Above: a manifest or a payload is not what cosign makes.
inline constexpr std::size_t kMaxManifestBytes = 256 * 1024;
inline constexpr std::size_t kMaxPayloadBytes = 16 * 1024;
// Each costs a request to the registry; of more, the first ones are looked at.
inline constexpr std::size_t kMaxSignatures = 32;

// sha256-HEX.sig of sha256:HEX.
[[nodiscard]] std::string signature_tag(std::string_view digest);

// What layers there are with signatures: others are no matter. The error says what is wrong with a
// document that is no manifest.
[[nodiscard]] std::expected<std::vector<StoredSignature>, std::string> read_signatures(
    std::string_view manifest);

// "" where the payload is what the layer says, one of the keys signed it, and it speaks of the
// image of this digest; else what is wrong.
[[nodiscard]] std::string signature_problem(const StoredSignature& stored, std::string_view payload,
                                            std::string_view image_digest,
                                            const std::vector<kube::KeyPtr>& keys);

}  // namespace palisade::webhook
