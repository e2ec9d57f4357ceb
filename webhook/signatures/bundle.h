// Signatures of images as cosign 3 stores them: bundles of Sigstore's, each in a manifest that
// refers to the image. Pure. Sources:
// https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md (where they are),
// sigstore_bundle.proto of sigstore/protobuf-specs, DSSE's protocol.md, in-toto's Statement v1.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/cosign.h"

namespace palisade::webhook {

// Above: no bundle of a signature; what else is in one (a log's proof) takes some 10 KiB.
inline constexpr std::size_t kMaxBundleBytes = 64 * 1024;

inline constexpr std::string_view kBundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";

// sha256-HEX of sha256:HEX: where what refers to an image is listed at registries that keep no such
// list themselves.
[[nodiscard]] std::string referrers_tag(std::string_view digest);

// The digests of the manifests of a list that may hold a bundle, kMaxSignatures of them at most.
// The error says what is wrong with a document that is no such list.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> read_referrers(
    std::string_view index);

// The bundle of such a manifest; its signature is within it. No digest: the manifest is of other
// things.
[[nodiscard]] std::expected<StoredSignature, std::string> read_bundle_place(
    std::string_view manifest);

// "" where the bundle is what the manifest says, one of the keys signed it, and it is cosign's
// signature of the image of this digest; else what is wrong.
[[nodiscard]] std::string bundle_problem(const StoredSignature& stored, std::string_view bundle,
                                         std::string_view image_digest,
                                         const std::vector<kube::KeyPtr>& keys);

}  // namespace palisade::webhook
