// Tokens and keys: what is missing, what is told of them, and where they are kept.
#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"
#include "minted.h"

namespace palisade::op {

const Problem* Decision::missing_credential() const {
  // First what a token waits for too.
  if (!seen_.llm_key) return &seen_.llm_key.error();
  return seen_.token ? nullptr : &seen_.token.error();
}

void Decision::without_credentials(const Problem& missing) {
  const bool minting = missing.reason == kMintingReason;
  plan_.gives_turn_back = !minting;
  status_.phase("Pending");
  status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
  status_.condition("CredentialsReady", "False", missing.reason, missing.message, minting);
  status_.condition("Ready", "False", minting ? kMintingReason : "CredentialsMissing",
                    "the session cannot start: see the condition CredentialsReady", true);
  look_again(plan_, kLookAgain);
}

void Decision::tell_credentials(bool through_gateway) {
  if (const Problem* missing = missing_credential(); missing != nullptr) {
    status_.condition("CredentialsReady", "False", missing->reason, missing->message);
    return;
  }
  const char* const holder = through_gateway ? "the gateway" : "the courier";
  if (const std::string trouble = token_trouble(seen_); w_.mints() && !trouble.empty()) {
    status_.condition("CredentialsReady", "True", "RenewalFailing",
                      "the token serves until its end, but: " + trouble);
    return;
  }
  if (const std::string broad = broad_token(seen_, w_, through_gateway); !broad.empty()) {
    status_.condition("CredentialsReady", "True", "BroadToken", broad);
    return;
  }
  if (!w_.has_credentials()) {
    status_.condition(
        "CredentialsReady", "True", "NoneNeeded",
        "no credentials are named: the repository must be public, and nothing is pushed");
  } else if (w_.secret) {
    status_.condition(
        "CredentialsReady", "True", "Copied",
        fmt::format("the token of Secret {} is at hand for {}", w_.secret->name, holder));
  } else {
    status_.condition("CredentialsReady", "True", "Minted",
                      fmt::format("a token for this repository alone is at hand for {}; it is "
                                  "renewed and revoked by itself",
                                  holder));
  }
}

void Decision::keep_secrets(const Access& access, const std::string& token) {
  using kube::resources::kSecrets;
  const bool gateway = git_through_gateway(access, config_.defaults);
  const bool direct = !gateway && w_.has_credentials();
  const bool key = w_.llm_key && !llm_through_gateway(access, config_.defaults);
  // What is minted the keeper writes.
  if (direct && seen_.token && !w_.mints())
    repair(plan_, kSecrets, seen_.secret, desired_secret(w_, token), "data");
  if (gateway && w_.secret && seen_.token)
    repair(plan_, kSecrets, seen_.gateway_secret,
           desired_gateway_secret(w_, *config_.defaults.gateway, token), "data");
  if (key && seen_.llm_key)
    repair(plan_, kSecrets, seen_.llm_secret, desired_llm_secret(w_, *seen_.llm_key), "data");
  if (gateway && !w_.has_credentials())
    remove(kSecrets, w_.gateway_secret(), seen_.gateway_secret, gateway_ns());
  if (seen_.pod || seen_.setup_pod) return;
  // Not one whose tokens have yet to be taken back.
  if (!direct && !holds_tokens(seen_.secret)) remove(kSecrets, w_.git_secret(), seen_.secret);
  if (!gateway && !holds_tokens(seen_.gateway_secret))
    remove(kSecrets, w_.gateway_secret(), seen_.gateway_secret, gateway_ns());
  if (!key) remove(kSecrets, w_.llm_secret(), seen_.llm_secret);
}

bool Decision::holds_tokens(const kube::ObjectPtr& secret) const {
  return w_.mints() && secret && !tokens::read_state(*secret).empty();
}

}  // namespace palisade::op
