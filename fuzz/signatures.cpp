// What registries and their signers send: manifests, payloads, bundles, challenges; and what
// administrators give: keys, Docker's configuration. Each is read or refused, and what was not
// signed by the key is never taken for signed.
#include "fuzz/check.h"
#include "signatures/authentication.h"
#include "signatures/bundle.h"
#include "signatures/cosign.h"
#include "signatures/keys.h"

namespace {

using namespace palisade;
using namespace palisade::webhook;

constexpr std::size_t kMaxError = 1024;

constexpr std::string_view kKey = R"(-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe5LZ6GvACOETb/HyN+ZAs0pnE2MS
hg3B7dvbFFyjImP837hGWP71tMaiZaY8RJOtuzaMEAmLMvfHT+mGJ2lKJQ==
-----END PUBLIC KEY-----
)";

void manifest(std::string_view text) {
  const auto stored = read_signatures(text);
  if (!stored) return fuzz::check_shown(stored.error(), kMaxError);
  fuzz::check(stored->size() <= kMaxSignatures, "a manifest has few signatures");
  for (const StoredSignature& signature : *stored) {
    fuzz::check(policy::is_sha256_digest(signature.digest), "a digest is one");
    fuzz::check(signature.size <= kMaxPayloadBytes, "a payload is small");
    fuzz::check(!signature.signature.empty(), "a signature is there");
  }
}

// Nobody here has the private key.
void payload(std::string_view text) {
  std::vector<kube::KeyPtr> keys;
  keys.push_back(std::move(*read_public_key(kKey)));
  const auto half = text.size() / 2;
  const std::string_view bytes = text.substr(0, half);
  const StoredSignature stored{"sha256:" + sha256_of(bytes), bytes.size(),
                               std::string(text.substr(half))};
  const std::string image = "sha256:" + std::string(64, 'a');
  fuzz::check(signature_problem(stored, bytes, image, keys) == "it is by another key",
              "what the key did not sign is not signed");
}

void bundle(std::string_view text) {
  std::vector<kube::KeyPtr> keys;
  keys.push_back(std::move(*read_public_key(kKey)));
  const StoredSignature stored{"sha256:" + sha256_of(text), text.size(), {}};
  const std::string why = bundle_problem(stored, text, "sha256:" + std::string(64, 'a'), keys);
  fuzz::check(why.starts_with("it "), "what the key did not sign is not signed", why);
}

void referrers(std::string_view text) {
  const auto read = read_referrers(text);
  if (!read) return fuzz::check_shown(read.error(), kMaxError);
  fuzz::check(read->size() <= kMaxSignatures, "few bundles are looked at");
  for (const std::string& digest : *read)
    fuzz::check(policy::is_sha256_digest(digest), "a digest is one");
}

void bundle_place(std::string_view text) {
  const auto read = read_bundle_place(text);
  if (!read) return fuzz::check_shown(read.error(), kMaxError);
  fuzz::check(read->digest.empty() || policy::is_sha256_digest(read->digest), "a digest is one");
  fuzz::check(read->size <= kMaxBundleBytes, "a bundle is small");
}

void challenge(std::string_view text) {
  const auto read = read_challenge(text);
  fuzz::check(!read || !read->is_bearer || !read->realm.empty(), "tokens are somewhere");
}

void credentials(std::string_view text) {
  const policy::ImageName image{"registry.example.com", "team/aider", ""};
  const auto read = credential_for(text, image);
  if (!read) return fuzz::check_shown(read.error(), kMaxError);
  fuzz::check(read->empty() || read->find(':') != std::string::npos, "USER:PASSWORD");
}

void image(std::string_view text) {
  const auto name = policy::parse_image(text);
  if (!name) return;
  const std::string whole = name->registry + "/" + name->repository;
  fuzz::check(text.starts_with(whole), "a name is as it was written");
  fuzz::check(whole.find_first_of("?#%@\\ \r\n") == std::string::npos &&
                  whole.find("/.") == std::string::npos && whole.find("//") == std::string::npos,
              "a name is fit for a URL", whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::view(data + 1, size - 1);
  switch (data[0]) {
    case 'm':
      manifest(text);
      break;
    case 'p':
      payload(text);
      break;
    case 'b':
      bundle(text);
      break;
    case 'r':
      referrers(text);
      break;
    case 'l':
      bundle_place(text);
      break;
    case 'c':
      challenge(text);
      break;
    case 'd':
      credentials(text);
      break;
    case 'i':
      image(text);
      break;
    case 'k':
      if (const auto key = read_public_key(text); !key) fuzz::check_shown(key.error(), kMaxError);
      break;
    default:
      break;
  }
  return 0;
}
