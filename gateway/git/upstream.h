// Questions to the git host of one workspace, with its token.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/core/services.h>
#include <gateway/git/config.h>
#include <gateway/http/client.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>

#include "repository.h"

namespace palisade::gateway::git {

// Why a body was not sent to its end: a refusal that is the answer, or nullopt where the host took
// no more of it, perhaps since it has answered.
using BodyResult = std::expected<void, std::optional<Refusal>>;

struct Question {
  std::string method = "GET";
  std::string target;  // below the repository's path
  Fields fields;
  std::optional<std::uint64_t> length = 0;
  std::function<Task<BodyResult>(Call&)> body;  // null: there is none
  bool repeatable = true;                       // `body` can be called again, from the beginning
  bool once_sent_final = false;  // a body that was sent whole is not sent again, nor given up
  std::string_view answers;      // the Content-Type of a good answer
};

// One after the other, each read to its end or given up. A coroutine's own; ended by the client's
// leaving.
class Upstream {
 public:
  Upstream(Exchange& exchange, const Caller& caller, const GitConfig& config, const Keys& keys,
           Repository repository);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // The head of an answer that is 200 and of the right type; anything else is a refusal that says
  // what the host said. A token that is refused is tried once more where there is a newer one.
  [[nodiscard]] Task<std::expected<ResponseHead, Refusal>> ask(Question question);
  // The next piece of its body; "" at its end.
  [[nodiscard]] Task<std::expected<std::string_view, Refusal>> read();

  [[nodiscard]] const std::string& host() const { return repository_.origin.host; }
  // Set once the client has gone.
  [[nodiscard]] const std::shared_ptr<std::atomic<bool>>& gone() const { return gone_; }

 private:
  struct Failure {
    Refusal refusal;
    bool again = false;  // no more than a kept connection that had ended
  };
  [[nodiscard]] Task<std::expected<ResponseHead, Failure>> attempt(Question& question);
  [[nodiscard]] std::expected<void, Refusal> judge(const ResponseHead& head,
                                                   std::string_view answers) const;
  [[nodiscard]] Refusal net_refusal(const NetError& error) const;
  [[nodiscard]] std::optional<std::string> token() const { return keys_.git_token(caller_); }

  Exchange& exchange_;
  const Caller& caller_;
  const GitConfig& config_;
  const Keys& keys_;
  Repository repository_;
  std::optional<std::string> token_;
  std::unique_ptr<Call> call_;
  bool final_ = false;  // the whole of a body that is sent once is out
  std::shared_ptr<std::atomic<bool>> gone_ = std::make_shared<std::atomic<bool>>(false);
};

// What a client's end of a request says of `error`.
[[nodiscard]] Refusal client_refusal(const NetError& error);

}  // namespace palisade::gateway::git
