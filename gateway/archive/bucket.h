// The objects of one bucket: made once, read, listed. What is there is never overwritten.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (If-None-Match)
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/archive/config.h>
#include <gateway/core/caller.h>

#include <kube/transport.h>

#include "refusal.h"
#include "sigv4.h"

namespace palisade::gateway::archive {

// How long somebody waits.
struct Patience {
  std::chrono::steady_clock::time_point end;
  std::stop_token stop;
};

struct Listed {
  struct Object {
    std::string key;
    std::uint64_t size = 0;
  };
  std::vector<Object> objects;  // in the order of their keys
  bool more = false;            // after the last of them
};

// Thread-safe; calls block. All refusals are 503: `archive_full`, `archive_busy`,
// `archive_unavailable` with what is to be done. The credentials are read for each request.
class Bucket {
 public:
  explicit Bucket(S3Config config);

  // True once it is there; false where there is an object of that key, whatever is in it. Asked a
  // second time after an answer was lost it says false of one's own.
  [[nodiscard]] Outcome<bool> put_new(const std::string& key, std::string_view bytes,
                                      const Patience& patience) const;
  // nullopt: there is none.
  [[nodiscard]] Outcome<std::optional<std::string>> get(const std::string& key,
                                                        const Patience& patience) const;
  // Up to 1,000 whose keys begin with `prefix` and come behind `after` ("": from the first).
  [[nodiscard]] Outcome<Listed> list(const std::string& prefix, const std::string& after,
                                     const Patience& patience) const;

  [[nodiscard]] const S3Config& config() const { return config_; }

 private:
  [[nodiscard]] Outcome<kube::Response> call(std::string method, const std::string& key,
                                             const sigv4::Pairs& query, std::string_view body,
                                             const Patience& patience) const;
  [[nodiscard]] Outcome<sigv4::Credentials> credentials() const;
  [[nodiscard]] std::unexpected<Refusal> refusal(const char* what,
                                                 const kube::Response& answer) const;

  const S3Config config_;
  const std::string host_;
  const std::unique_ptr<kube::Transport> transport_;
};

}  // namespace palisade::gateway::archive
