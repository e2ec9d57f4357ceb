// image-signature: images are signed by the keys that AgentPolicies name.
//
// | field                             | allowed                                                 |
// | --------------------------------- | ------------------------------------------------------- |
// | CONTAINER.image,                  | where spec.requireSignatures of an AgentPolicy holds:   |
// | spec.volumes[*].image.reference   | REGISTRY/REPOSITORY@sha256:HEX of a repository that one |
// |                                   | of its rules names, with a signature of cosign's by a   |
// |                                   | key of each rule that names it                          |
//
// It takes a registry to tell: whoever can ask one makes the findings (see policy/signatures.h).
#include <array>
#include <string_view>
#include <vector>

#include <policy/signatures.h>

#include "controls.h"

namespace palisade::policy::table::image_signature {
namespace {

constexpr std::array kReferences{
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.5.1"),
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: building secure container images"),
    std::string_view("SLSA 1.0: verifying artifacts"),
    std::string_view("SOC 2: CC6.8"),
};

void check(const PodView& /*pod*/, const Settings& /*settings*/, std::vector<Finding>& /*out*/) {}

}  // namespace

const Control control{
    .id = kImageSignature,
    .title = "Images are signed by the keys that the platform names",
    .why =
        "Whoever can push to an allowed registry, or has broken into it, puts programs of their "
        "own beside the repository and its token; a signature says that your build made the image.",
    .remedy =
        "sign the image by its digest (cosign sign --key) with a key of requireSignatures of the "
        "namespace's AgentPolicies, and name it by that digest",
    .references = kReferences,
    .check = check,
    .needs_cluster = true,
    .needs_registry = true,
};

}  // namespace palisade::policy::table::image_signature
