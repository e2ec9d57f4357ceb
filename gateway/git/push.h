// One push: taken whole, checked, and only then sent on.
#pragma once

#include <atomic>
#include <expected>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/git/config.h>
#include <gateway/http/server.h>
#include <gateway/http/task.h>
#include <gateway/http/workers.h>

#include "body.h"
#include "commands.h"
#include "line.h"
#include "pack.h"
#include "spool.h"
#include "upstream.h"

namespace palisade::gateway::git {

// How many pushes each workspace has under way.
class PushCount {
 public:
  class Turn {
   public:
    Turn(PushCount& count, std::string workspace)
        : count_(&count), workspace_(std::move(workspace)) {}
    Turn(Turn&& other) noexcept
        : count_(std::exchange(other.count_, nullptr)), workspace_(std::move(other.workspace_)) {}
    Turn& operator=(Turn&&) = delete;
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() {
      if (count_ != nullptr) count_->end(workspace_);
    }

   private:
    PushCount* count_;
    std::string workspace_;
  };
  [[nodiscard]] std::optional<Turn> begin(const std::string& workspace);

 private:
  void end(const std::string& workspace);
  std::mutex mutex_;
  std::map<std::string, int> running_;
};

// What all pushes share.
struct PushTools {
  GitConfig config;
  std::shared_ptr<SpoolRoom> room;
  PushCount count;
  Workers disk{2, 1024};
  Workers checks{2, 64};
};

class Push {
 public:
  Push(Exchange& exchange, const RepositoryGrant& grant, Upstream& upstream, PushTools& tools,
       Line& line);
  [[nodiscard]] Task<void> serve(const std::string& workspace);

 private:
  using Result = std::expected<void, Refusal>;
  [[nodiscard]] Task<Result> check();  // all of what follows but the last
  [[nodiscard]] Task<Result> read_commands();
  [[nodiscard]] Task<Result> spool_pack();
  [[nodiscard]] Task<Result> append();
  [[nodiscard]] Task<Result> look_at_host();
  [[nodiscard]] Task<Result> check_pack();
  [[nodiscard]] Task<Result> judge_tips(Commits commits);
  [[nodiscard]] Task<Result> forward();
  [[nodiscard]] Task<BodyResult> send(Call& call, const std::string& commands);
  [[nodiscard]] Task<void> pass_on();
  [[nodiscard]] Task<void> refuse(Refusal refusal);

  Exchange& exchange_;
  const RepositoryGrant& grant_;
  Upstream& upstream_;
  PushTools& tools_;
  Line& line_;
  Body body_;
  CommandReader commands_;
  Choice choice_;
  std::optional<Update> update_;
  bool probe_ = false;   // no command and no pack: git asks whether it may push
  std::string pending_;  // of the pack, on its way to the spool
  std::shared_ptr<Spool> spool_;
  bool known_tip_ = false;  // the host advertised the new tip
};

}  // namespace palisade::gateway::git
