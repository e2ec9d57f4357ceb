// Secrets in what is recorded. Texts that look like tokens are replaced by their telling prefix and
// length, "ghp_[masked 40 bytes]", so that a reader knows what was there without having it.
//
// Known by their shape: tokens of GitHub, GitLab, AWS, OpenAI and Anthropic, Slack, Google, npm,
// PyPI and Hugging Face, JSON Web Tokens, user information in URLs, Authorization and Cookie
// headers, values of options and variables whose name says what they are (--token X, --password=X,
// API_KEY=X), PEM private keys. What has no such shape is kept: hashes, UUIDs, paths.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace palisade::guard {

// Any bytes; linear in them.
[[nodiscard]] std::string mask(std::string_view text);
// The same for each argument, where an option such as --token also masks the argument after it.
[[nodiscard]] std::vector<std::string> mask_arguments(const std::vector<std::string>& argv);

}  // namespace palisade::guard
