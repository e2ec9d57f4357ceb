// One call, from its request to its line on the record. Lives in its handler, on one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <gateway/core/services.h>
#include <gateway/http/client.h>
#include <gateway/http/server.h>
#include <gateway/http/workers.h>
#include <gateway/llm/config.h>
#include <gateway/llm/proxy.h>

#include "credentials.h"
#include "record.h"
#include "reply.h"
#include "request.h"
#include "rules.h"
#include "sse.h"
#include "upstreams.h"

namespace palisade::gateway::llm {

// A larger body is read on another thread; for a smaller one that costs more.
inline constexpr std::size_t kLarge = 64 * 1024;
// Of what a reply says, where bodies are recorded.
inline constexpr std::size_t kRecorded = 16 * 1024;

// What bodies take in memory: bounded for all calls together, and for each workspace, so that one
// which sends much at the same time is told to come again, and others go on. Thread-safe.
class Memory {
 public:
  static constexpr std::size_t kMost = 256 << 20;
  static constexpr std::size_t kMostOfOne = 64 << 20;
  // Gives back what it holds when destroyed. Of one thread.
  class Hold {
   public:
    Hold(Memory& memory, std::string owner) : memory_(memory), owner_(std::move(owner)) {}
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { release(); }
    [[nodiscard]] bool grow(std::size_t bytes);
    void release();

   private:
    Memory& memory_;
    const std::string owner_;
    std::size_t needed_ = 0;
    std::size_t held_ = 0;  // in steps
  };

 private:
  std::mutex mutex_;
  std::size_t all_ = 0;
  std::unordered_map<std::string, std::size_t> by_owner_;
};

struct LlmProxy::Shared {
  Shared(LlmConfig its_config, Services its_services)
      : config(std::make_shared<const LlmConfig>(std::move(its_config))),
        services(std::move(its_services)),
        breakers(config->upstreams.size()) {}

  const std::shared_ptr<const LlmConfig> config;
  const Services services;
  std::deque<Breaker> breakers;  // by upstream
  Memory memory;
  Workers workers{2, 256};  // for what takes long: large bodies
};

// What is made out of a request's body, possibly on another thread: it owns all that it reads, and
// none of the threads.
struct Prepared {
  std::shared_ptr<const LlmConfig> config;
  std::shared_ptr<const Grant> grant;
  Endpoint endpoint = Endpoint::kChat;
  std::string body;
  Secrets secrets;

  LlmRequest request;
  const Model* model = nullptr;
  std::vector<Edit> masks;
  std::size_t credentials = 0;
  std::optional<std::string> excerpt;
  std::optional<Refusal> refusal;

  void run();
};

class LlmCall {
 public:
  LlmCall(std::shared_ptr<LlmProxy::Shared> shared, Exchange& exchange, const Caller& caller);
  LlmCall(const LlmCall&) = delete;
  LlmCall& operator=(const LlmCall&) = delete;
  ~LlmCall();

  [[nodiscard]] Task<void> run();
  // Of what is thrown: answers if nothing was.
  void broke(std::string_view what);

 private:
  // An upstream's answer, of which nothing but the head was read.
  struct Answer {
    std::unique_ptr<Call> call;
    ResponseHead head;
  };
  struct Attempted {
    std::optional<Answer> answer;
    Failure failure = Failure::kConnect;
    Refusal refusal;
    std::optional<std::chrono::milliseconds> retry_after;
    bool ended = false;  // here: nobody waits any more
  };
  // How a stream ended, other than well.
  using Ending = std::optional<Refusal>;
  // Shared with the callback that outlives a suspended handler.
  struct Gone {
    bool gone = false;
    Call* call = nullptr;
  };

  // call.cpp
  [[nodiscard]] Task<std::optional<Refusal>> read_body();
  [[nodiscard]] Task<std::optional<Refusal>> prepare();
  [[nodiscard]] Task<std::optional<Refusal>> reserve();
  [[nodiscard]] Task<void> refuse(Verdict verdict, Refusal refusal);
  void note(Verdict verdict, const Refusal& refusal);
  void finish() noexcept;
  [[nodiscard]] std::chrono::milliseconds left() const;
  [[nodiscard]] Kind kind() const { return kind_of(endpoint_); }

  // ask.cpp
  [[nodiscard]] Task<std::expected<Answer, Refusal>> ask();
  [[nodiscard]] Task<Attempted> attempt(const Route& route, Breaker::Ticket ticket);
  [[nodiscard]] Task<NetResult<ResponseHead>> send(Call& call, const Upstream& upstream,
                                                   const std::vector<Edit>& edits);
  [[nodiscard]] std::optional<Refusal> take_key(const Upstream& upstream);
  [[nodiscard]] Task<std::string> error_text(Call& call);
  void watch(Call* call) { gone_->call = call; }

  // answer.cpp
  [[nodiscard]] Task<void> pass_on(Answer answer);
  [[nodiscard]] Task<void> pass_whole(Call& call);
  [[nodiscard]] Task<std::optional<Refusal>> read_whole(Call& call, std::string& body);
  [[nodiscard]] Fields answer_fields(std::string_view type) const;
  void count(const ReplyReader& reader);
  [[nodiscard]] Task<std::optional<Refusal>> judged(std::shared_ptr<const ReplyReader> reader);

  // stream.cpp
  [[nodiscard]] Task<void> pass_stream(Call& call);
  [[nodiscard]] Task<Ending> pump(Call& call, ReplyReader& reader, std::string& held);
  [[nodiscard]] Ending take(std::string_view piece, SseReader& sse, ReplyReader& reader,
                            std::string& out, bool& done);

  std::shared_ptr<LlmProxy::Shared> shared_;
  const LlmConfig& config_;
  Exchange& exchange_;
  const Caller& caller_;
  const Moment begun_ = std::chrono::steady_clock::now();
  const Moment deadline_;
  std::shared_ptr<Gone> gone_ = std::make_shared<Gone>();
  Endpoint endpoint_ = Endpoint::kChat;
  std::shared_ptr<Prepared> prepared_;
  Memory::Hold request_memory_;
  Memory::Hold reply_memory_;
  std::unique_ptr<Reservation> reservation_;
  Spent spent_;
  std::string key_;    // of the upstream that is asked
  bool sent_ = false;  // an upstream has the request
  std::optional<std::chrono::milliseconds> retry_after_;
  CallRecord record_;
  bool finished_ = false;
};

}  // namespace palisade::gateway::llm
