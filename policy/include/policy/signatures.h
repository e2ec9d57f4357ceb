// Images that must be signed: what an AgentPolicy demands (spec.requireSignatures), and what it
// means for a pod. Pure: whoever can ask a registry looks for the signatures, under the control
// image-signature. Source of the form of signatures: cosign's SIGNATURE_SPEC.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::policy {

inline constexpr std::string_view kImageSignature = "image-signature";

// sha256: and 64 hexadecimal digits in lower case.
[[nodiscard]] bool is_sha256_digest(std::string_view digest);

// The name of an image, taken apart.
struct ImageName {
  std::string registry;    // HOST or HOST:PORT, in lower case
  std::string repository;  // the path there, such as palisade/aider
  std::string digest;      // sha256:HEX; "" where it is named by tag or by another digest
};
// nullopt where the name says no registry, or is none: a registry has a dot, a port, or is
// localhost. What is returned is fit to stand in a URL as it is.
[[nodiscard]] std::optional<ImageName> parse_image(std::string_view name);

// An image whose signatures are to be looked for.
struct ImageToVerify {
  std::string field;  // where the pod names it
  std::string text;   // as the pod has it
  ImageName name;
  // Each needs a signature by one of its keys. They live as long as the settings.
  std::vector<const SignatureRule*> rules;
};

struct SignatureNeeds {
  std::vector<Finding> findings;  // names by which no image can be verified
  std::vector<ImageToVerify> images;
};

// Of every image that the pod names, image volumes too. Nothing where the settings demand no
// signatures. `prefix` goes before each path.
[[nodiscard]] SignatureNeeds signature_needs(simdjson::dom::element pod, const Settings& settings,
                                             std::string_view prefix = "");

// "" or what is wrong with an entry of SignatureRule::repositories.
[[nodiscard]] std::string repository_problem(std::string_view beginning);

}  // namespace palisade::policy
