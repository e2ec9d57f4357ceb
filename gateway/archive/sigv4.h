// AWS Signature Version 4 in the Authorization header, as S3 wants it: the path is signed as it is
// sent, encoded once.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace palisade::gateway::archive::sigv4 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
};

struct Signable {
  std::string method;
  std::string path;  // percent-encoded, as it is sent
  Pairs query;       // as they are, not encoded
  Pairs headers;     // names in lower case, Host and x-amz-date among them; no blanks around values
  std::string sha256;  // of the body, in hexadecimal
};

[[nodiscard]] std::string sha256(std::string_view bytes);  // 32 bytes
[[nodiscard]] std::string hex(std::string_view bytes);     // lower case
// x-amz-date: 20130524T000000Z
[[nodiscard]] std::string timestamp(std::chrono::system_clock::time_point now);
// Encoded and in order: what is signed, and what is to be sent behind the '?'.
[[nodiscard]] std::string canonical_query(Pairs query);
// The value of Authorization.
[[nodiscard]] std::string authorization(const Signable& request, const Credentials& credentials,
                                        std::string_view region, std::string_view service,
                                        std::chrono::system_clock::time_point now);

}  // namespace palisade::gateway::archive::sigv4
