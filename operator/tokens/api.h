// One call of a host's API: what went wrong on the way becomes a Problem here, alike for all hosts;
// what a 4xx means is the provider's to say.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/transport.h>
#include <operator/tokens/provider.h>

namespace palisade::op::tokens {

using Json = nlohmann::json;

struct Answer {
  int status = 0;
  Json body;         // null where there is none, or it is no JSON and the status is a 4xx
  std::string hint;  // what the host says of a 4xx, fit for a message: "" or ": ..." with a clock's
                     // fault where its Date header shows one
  kube::Headers headers;

  [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
};

// Pure: an answer as it came, read. `secrets` are taken out of what the host says.
[[nodiscard]] Outcome<Answer> read_answer(const kube::Response& response, const std::string& what,
                                          const std::string& host,
                                          const std::vector<std::string>& secrets, Time now);
[[nodiscard]] Problem transport_problem(const kube::Error& error, const std::string& what,
                                        const std::string& host);

class Api {
 public:
  // `base` as api_url() gives it; `common` go with every request.
  Api(std::shared_ptr<kube::Transport> transport, const std::string& base, kube::Headers common,
      std::vector<std::string> secrets);

  // `what` names the call in messages ("minting a token"). `path` begins with a slash and is
  // encoded already. A null `body` is none.
  [[nodiscard]] Outcome<Answer> call(const std::string& what, const std::string& method,
                                     const std::string& path, const kube::Headers& authorization,
                                     const Json& body, Time now, const std::stop_token& stop);

  [[nodiscard]] const std::string& host() const { return host_; }

 private:
  const std::shared_ptr<kube::Transport> transport_;
  std::string host_;
  std::string prefix_;
  const kube::Headers common_;
  const std::vector<std::string> secrets_;
};

// "HOST refuses WHAT (STATUS...): FIX".
[[nodiscard]] std::unexpected<Problem> refused(const char* reason, const Api& api,
                                               const std::string& what, const Answer& answer,
                                               const std::string& fix);
[[nodiscard]] std::unexpected<Problem> invalid(const Api& api, const std::string& what,
                                               const std::string& why);

// Null for what is no JSON, and for what is nested so deeply that to copy or print it would take
// the stack.
[[nodiscard]] Json parse_json(const std::string& text);

// Members of what a host answers; "" and nullopt where they are not there or of another type.
[[nodiscard]] std::string text_of(const Json& object, const char* key);
[[nodiscard]] std::optional<std::int64_t> number_of(const Json& object, const char* key);
[[nodiscard]] const Json& member_of(const Json& object, const char* key);  // null if not there

// One of a list of merge requests, whatever the host calls its members.
struct Listed {
  std::int64_t number = 0;
  bool open = false;
  std::string commit;
};
// The one that stands for `wish`: an open one, else one of its commit.
[[nodiscard]] std::optional<std::int64_t> matching(const std::vector<Listed>& listed,
                                                   const MergeRequestWish& wish);

[[nodiscard]] kube::Headers basic_authorization(const std::string& user,
                                                const std::string& password);
[[nodiscard]] kube::Headers bearer(const std::string& token);

}  // namespace palisade::op::tokens
