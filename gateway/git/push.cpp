#include "push.h"

#include <algorithm>
#include <functional>

#include "advertisement.h"
#include "ancestry.h"
#include "answer.h"
#include "fetch.h"
#include "refusal.h"
#include "report.h"

namespace palisade::gateway::git {

namespace {

constexpr int kMostPushes = 2;  // of one workspace at a time
constexpr int kIdlesToReceivePush = 60;
constexpr std::size_t kSendChunk = 256 * 1024;
// What the pack's bound leaves to the commands.
constexpr std::uint64_t kMaxCommandBytes = 1ULL << 20;
constexpr std::uint64_t kDrained = 64ULL << 20;
constexpr const char* kReceiveResult = "application/x-git-receive-pack-result";
constexpr const char* kRequest = "application/x-git-receive-pack-request";

using Result = std::expected<void, Refusal>;
// Always a variable: GCC 12 copies a closure that is a temporary of a co_await byte by byte.
using Work = std::function<void()>;

std::unexpected<Refusal> spool_refused(const SpoolError& error) {
  if (error.fault == SpoolFault::kNoRoom) {
    return refused(
        503, "spool_full",
        "the gateway has no room for this pack now (" + error.message + "); try again later");
  }
  return refused(503, "spool_failed",
                 "the gateway cannot keep this pack (" + error.message + "); tell its operator");
}

std::unexpected<Refusal> busy() {
  return refused(503, "busy", "the gateway has too many pushes to check; try again later");
}

std::unexpected<Refusal> pack_refused(const PackError& error) {
  switch (error.fault) {
    case PackFault::kTooMuch:
      return refused(413, "pack_too_large", error.message + "; push less at a time");
    case PackFault::kThin:
      return refused(
          403, "thin_pack",
          error.message + ": push with git's own client, which sends none when asked not to");
    case PackFault::kSource:
      return refused(503, "spool_failed",
                     "the gateway cannot read the pack again (" + error.message + ")");
    case PackFault::kStopped:
      return refused(499, "client_gone", "the client ended the connection");
    default:
      return refused(400, "bad_pack", error.message);
  }
}

// What is read on another thread, kept alive by it.
struct Reading {
  std::shared_ptr<Spool> spool;
  std::shared_ptr<std::atomic<bool>> stop;
  ObjectFormat format = ObjectFormat::kSha1;
  PackLimits limits;
  std::expected<PackContents, PackError> contents;
};

struct Writing {
  std::shared_ptr<Spool> spool;
  std::string bytes;
  std::optional<SpoolError> error;
};

}  // namespace

std::optional<PushCount::Turn> PushCount::begin(const std::string& workspace) {
  const std::lock_guard lock(mutex_);
  int& running = running_[workspace];
  if (running >= kMostPushes) return std::nullopt;
  ++running;
  return std::optional<Turn>(std::in_place, *this, workspace);
}

void PushCount::end(const std::string& workspace) {
  const std::lock_guard lock(mutex_);
  const auto at = running_.find(workspace);
  if (--at->second == 0) running_.erase(at);
}

Push::Push(Exchange& exchange, const RepositoryGrant& grant, Upstream& upstream, PushTools& tools,
           Line& line)
    : exchange_(exchange),
      grant_(grant),
      upstream_(upstream),
      tools_(tools),
      line_(line),
      body_(exchange, tools.config.max_pack_bytes + kMaxCommandBytes,
            kIdlesToReceivePush * tools.config.idle_timeout) {}

Task<void> Push::serve(const std::string& workspace) {
  std::optional<Refusal> why;
  {
    auto turn = tools_.count.begin(workspace);
    Result done;
    if (turn) {
      done = co_await check();
      if (done && !probe_) done = co_await forward();
    } else {
      // Read for the form of the answer alone.
      done = co_await read_commands();
      if (done)
        done = refused(429, "too_many_pushes",
                       "this workspace has other pushes under way; try again when they have ended");
    }
    if (!done) why = std::move(done.error());
  }
  line_.set("requestBytes", body_.received());
  if (spool_) {
    line_.set("packBytes", spool_->size());
    Work away = [spool = std::exchange(spool_, nullptr)]() mutable { spool.reset(); };
    (void)co_await tools_.disk.run(std::move(away));
  }
  if (why) {
    note(line_, *why);
    co_await refuse(std::move(*why));
  } else if (probe_) {
    line_.allowed(200);
    co_await answer_git(exchange_, kReceiveResult, "");
  } else {
    co_await pass_on();
  }
}

Task<Result> Push::check() {
  auto done = body_.check(kRequest);
  if (done) done = co_await read_commands();
  if (!done || probe_) co_return done;
  done = co_await spool_pack();
  if (done) done = co_await look_at_host();
  if (done) done = co_await check_pack();
  co_return done;
}

Task<Result> Push::read_commands() {
  PktReader packets;
  bool ended = false;
  std::optional<Refusal> why;
  while (!ended && !why) {
    auto piece = co_await body_.next();
    if (!piece) co_return std::unexpected(std::move(piece.error()));
    if (piece->empty()) co_return refused(400, "bad_commands", "the list of commands is cut");
    std::string_view rest = *piece;
    while (!ended && !why) {
      const auto pkt = packets.next(rest);
      if (!pkt) why = Refusal{400, "bad_commands", "the list of commands: " + pkt.error()};
      if (!pkt || !*pkt) break;
      auto taken = commands_.take(**pkt);
      if (taken)
        ended = *taken;
      else
        why = Refusal{403, std::move(taken.error().code), std::move(taken.error().reason)};
    }
    pending_ = rest;
  }
  const CommandList& list = commands_.list();
  if (!list.commands.empty()) {
    line_.set("ref", list.commands.front().ref);
    line_.set("old", list.commands.front().old_id);
    line_.set("new", list.commands.front().new_id);
  }
  if (!why && list.commands.empty() && !list.certificate && !list.shallow && pending_.empty()) {
    auto piece = co_await body_.next();
    if (!piece) co_return std::unexpected(std::move(piece.error()));
    probe_ = piece->empty();
    pending_ = *piece;
  }
  if (probe_) co_return Result();
  auto update = judge(list, grant_, choice_);
  if (why) co_return std::unexpected(std::move(*why));
  if (!update) co_return refused(403, update.error().code, std::move(update.error().reason));
  update_ = std::move(*update);
  co_return Result();
}

Task<Result> Push::spool_pack() {
  const auto most = tools_.config.max_pack_bytes;
  std::uint64_t bytes = 0;
  while (true) {
    bytes += pending_.size();
    // Named before the disk is asked for it.
    if (bytes > most || exchange_.content_length().value_or(0) > most + kMaxCommandBytes) {
      co_return refused(413, "pack_too_large",
                        "the pack is larger than " + std::to_string(most) +
                            " bytes (git.maxPackBytes of the gateway); push less at a time");
    }
    bool ended = false;
    while (!ended && pending_.size() < kSendChunk) {
      auto piece = co_await body_.next();
      if (!piece) co_return std::unexpected(std::move(piece.error()));
      ended = piece->empty();
      bytes += piece->size();
      pending_ += *piece;
    }
    auto written = co_await append();
    if (!written || ended) co_return written;
  }
}

Task<Result> Push::append() {
  auto writing = std::make_shared<Writing>();
  writing->spool = spool_;
  writing->bytes = std::exchange(pending_, {});
  Work work = [writing, folder = tools_.config.spool, room = tools_.room] {
    if (!writing->spool) {
      auto opened = Spool::open(folder, room);
      if (!opened) {
        writing->error = std::move(opened.error());
        return;
      }
      writing->spool = std::move(*opened);
    }
    if (auto done = writing->spool->append(writing->bytes); !done)
      writing->error = std::move(done.error());
  };
  auto ran = co_await tools_.disk.run(std::move(work));
  if (!ran) co_return busy();
  if (writing->error) co_return spool_refused(*writing->error);
  spool_ = std::move(writing->spool);
  co_return Result();
}

// What the host has now: nothing is checked against what the client was told, or says it was.
Task<Result> Push::look_at_host() {
  Question question = refs_question(kReceivePack, host_fields(exchange_.request()));
  question.fields.remove("Git-Protocol");
  auto head = co_await upstream_.ask(std::move(question));
  if (!head) co_return std::unexpected(std::move(head.error()));
  const Command& command = update_->command;
  Advertisement advertisement(command.ref, command.new_id);
  PktReader packets;
  std::string wrong;
  std::uint64_t bytes = 0;
  for (bool ended = false; !ended && wrong.empty();) {
    auto piece = co_await upstream_.read();
    if (!piece) co_return std::unexpected(std::move(piece.error()));
    ended = piece->empty();
    bytes += piece->size();
    if (bytes > kMaxRefs) wrong = "it is too large";
    if (ended && !advertisement.complete()) wrong = "it is cut";
    for (std::string_view rest = *piece; wrong.empty() && !rest.empty();) {
      const auto pkt = packets.next(rest);
      if (!pkt) wrong = pkt.error();
      if (!pkt || !*pkt) break;
      auto taken = advertisement.take(**pkt);
      if (!taken) wrong = std::move(taken.error());
    }
  }
  if (!wrong.empty())
    co_return refused(502, "bad_advertisement",
                      upstream_.host() + "'s list of refs cannot be read: " + wrong);
  if (advertisement.format() != choice_.format) {
    co_return refused(403, "object_format",
                      "the host's repository is of object format " +
                          std::string(name_of(advertisement.format())) + ", the push of " +
                          std::string(name_of(choice_.format)));
  }
  known_tip_ = advertisement.has_id();
  if (advertisement.tip().value_or(std::string(command.old_id.size(), '0')) != command.old_id) {
    co_return refused(409, "moved",
                      "the branch on the host is not where this push says it is: git fetch, "
                      "merge what is there, and push again");
  }
  co_return Result();
}

Task<Result> Push::check_pack() {
  auto reading = std::make_shared<Reading>();
  reading->spool = spool_;
  reading->stop = upstream_.gone();
  reading->format = choice_.format;
  reading->limits.object_bytes =
      std::max(reading->limits.object_bytes, tools_.config.max_pack_bytes);
  Work work = [reading] {
    reading->contents =
        read_pack(*reading->spool, reading->format, reading->limits, *reading->stop);
  };
  auto ran = co_await tools_.checks.run(std::move(work));
  if (!ran) co_return busy();
  if (!reading->contents) co_return pack_refused(reading->contents.error());
  line_.set("objects", reading->contents->objects);
  co_return co_await judge_tips(std::move(reading->contents->commits));
}

Task<Result> Push::judge_tips(Commits commits) {
  const ObjectId& old_tip = update_->old_tip;
  const ObjectId& new_tip = update_->new_tip;
  if (old_tip.zero()) {
    // A new branch overwrites nothing. What the host has but shows to nobody is not dug up by it.
    if (commits.contains(new_tip) || known_tip_) co_return Result();
    co_return refused(403, "unknown_tip",
                      "the branch would be set to a commit that the push does not hold and that no "
                      "branch of the host is at: make a commit of your own and push that");
  }
  if (is_fast_forward(commits, old_tip, new_tip)) co_return Result();
  const bool own = commits.contains(new_tip);
  // What is missing between the two may be the host's already, under another name. Nobody's word
  // counts for it: the host gives its commits, and their hashes prove the chain.
  if (own || known_tip_) {
    if (auto wants = outside(commits, new_tip)) {
      std::string why;
      auto more = co_await ask_ancestry(upstream_, tools_, host_fields(exchange_.request()),
                                        choice_.format, std::move(*wants), old_tip, why);
      line_.set("ancestry", more ? "asked" : why);
      if (more) {
        commits.merge(*more);
        if (is_fast_forward(commits, old_tip, new_tip)) co_return Result();
      }
    }
  }
  if (own) {
    co_return refused(403, "not_fast_forward",
                      "this is not a fast-forward of what " + grant_.branch +
                          " has on the host, or cannot be shown to be one: git fetch, then "
                          "git merge --no-ff the branch's tip there, and push again without "
                          "--force");
  }
  co_return refused(
      403, "not_fast_forward",
      std::string(known_tip_
                      ? "the branch would be set to a commit of another branch, "
                      : "the branch would be set to a commit that the push does not hold, ") +
          "which cannot be shown to be a fast-forward: make a merge commit on top of "
          "the branch's tip on the host (git merge --no-ff) and push that");
}

Task<Result> Push::forward() {
  const std::string commands = written(*update_);
  Question question;
  question.method = "POST";
  question.target = "/git-receive-pack";
  question.fields = host_fields(exchange_.request());
  question.fields.remove("Git-Protocol");
  question.fields.add("Content-Type", kRequest);
  question.fields.add("Accept", kReceiveResult);
  question.length = commands.size() + spool_->size();
  question.body = [this, &commands](Call& call) { return send(call, commands); };
  question.once_sent_final = true;
  question.answers = kReceiveResult;
  auto head = co_await upstream_.ask(std::move(question));
  if (!head) co_return std::unexpected(std::move(head.error()));
  co_return Result();
}

Task<BodyResult> Push::send(Call& call, const std::string& commands) {
  auto wrote = co_await call.write(commands);
  for (std::uint64_t at = 0; wrote && at < spool_->size();) {
    auto reading = std::make_shared<Writing>();
    reading->spool = spool_;
    reading->bytes.resize(std::min<std::uint64_t>(kSendChunk, spool_->size() - at));
    Work work = [reading, at] {
      const auto count = reading->spool->read(at, reading->bytes);
      if (!count || *count != reading->bytes.size())
        reading->error = SpoolError{SpoolFault::kDisk, count ? "it is cut" : count.error()};
    };
    auto ran = co_await tools_.disk.run(std::move(work));
    if (!ran || reading->error) {
      std::optional<Refusal> why(ran ? spool_refused(*reading->error).error() : busy().error());
      co_return std::unexpected(std::move(why));
    }
    wrote = co_await call.write(reading->bytes);
    at += reading->bytes.size();
  }
  if (!wrote) co_return std::unexpected(std::optional<Refusal>());
  co_return BodyResult();
}

// The host's answer, as it comes. It is read to its end even where the client has gone: the record
// tells what the host did.
Task<void> Push::pass_on() {
  ReportReader report(choice_.side_band);
  Fields fields = git_fields(kReceiveResult);
  auto wrote = co_await exchange_.begin(200, std::move(fields), std::nullopt);
  std::optional<Refusal> why;
  while (true) {
    auto piece = co_await upstream_.read();
    if (!piece) {
      why = std::move(piece.error());
      break;
    }
    if (piece->empty()) break;
    report.take(*piece);
    if (wrote) wrote = co_await exchange_.write(*piece);
  }
  if (why) {
    line_.failed(*why);  // begun and not ended: the client sees that it is cut
    co_return;
  }
  if (wrote) wrote = co_await exchange_.end();
  if (report.accepted() || (!choice_.report_status && report.reason().empty()))
    line_.allowed(200);
  else
    line_.refused(
        {200, "host_refused",
         report.reason().empty() ? "the host did not say that it took the push" : report.reason()});
}

Task<void> Push::refuse(Refusal refusal) {
  // A client writes all of its push before it reads.
  co_await body_.drain(tools_.config.max_pack_bytes + kDrained);
  if (body_.broken()) co_return;
  auto report = refusal_report(commands_.list(), choice_, {refusal.code, refusal.message});
  if (report)
    co_await answer_git(exchange_, kReceiveResult, std::move(*report));
  else
    co_await answer_text(exchange_, std::move(refusal));
}

}  // namespace palisade::gateway::git
