#include "ancestry.h"

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "answer.h"
#include "fetch.h"

namespace palisade::gateway::git {

namespace {

constexpr std::uint64_t kMaxCapabilities = 1ULL << 20;
constexpr std::size_t kKeptPiece = 256 * 1024;
constexpr const char* kUploadResult = "application/x-git-upload-pack-result";
using Work = std::function<void()>;  // always a variable, see push.cpp

struct Abilities {
  bool version_two = false;
  bool filter = false;
};

// The features of "fetch=shallow filter ...".
bool has_feature(std::string_view features, std::string_view wanted) {
  while (!features.empty()) {
    const std::size_t end = std::min(features.find(' '), features.size());
    if (features.substr(0, end) == wanted) return true;
    features.remove_prefix(std::min(end + 1, features.size()));
  }
  return false;
}

Task<std::optional<Abilities>> abilities(Upstream& upstream, Fields fields, std::string& why) {
  Question question = refs_question(kUploadPack, std::move(fields));
  auto head = co_await upstream.ask(std::move(question));
  if (!head) {
    why = head.error().code;
    co_return std::nullopt;
  }
  Abilities out;
  PktReader packets;
  std::uint64_t bytes = 0;
  for (bool ended = false; !ended;) {
    auto piece = co_await upstream.read();
    if (!piece) {
      why = piece.error().code;
      co_return std::nullopt;
    }
    ended = piece->empty();
    bytes += piece->size();
    for (std::string_view rest = *piece; !rest.empty();) {
      const auto pkt = packets.next(rest);
      // A host of an older protocol lists its refs, however many.
      if (!pkt || bytes > kMaxCapabilities) {
        why = "bad_advertisement";
        co_return std::nullopt;
      }
      if (!*pkt) break;
      const std::string_view line = (*pkt)->line();
      if (line == "version 2") out.version_two = true;
      if (line.starts_with("fetch=")) out.filter = has_feature(line.substr(6), "filter");
    }
  }
  co_return out;
}

// A pack that comes, on its way to the disk.
struct Arriving {
  std::shared_ptr<Spool> spool;
  std::string bytes;
  bool failed = false;
};

Task<bool> keep(std::shared_ptr<Arriving> arriving, PushTools& tools) {
  Work work = [arriving, folder = tools.config.spool, room = tools.room] {
    if (!arriving->spool) {
      auto opened = Spool::open(folder, room);
      if (!opened) {
        arriving->failed = true;
        return;
      }
      arriving->spool = std::move(*opened);
    }
    if (!arriving->spool->append(arriving->bytes)) arriving->failed = true;
    arriving->bytes.clear();
  };
  auto ran = co_await tools.disk.run(std::move(work));
  co_return ran.has_value() && !arriving->failed;
}

Task<bool> receive(Upstream& upstream, PushTools& tools, std::shared_ptr<Arriving> arriving,
                   std::string& why) {
  PktReader packets;
  PackAnswer answer;
  std::uint64_t bytes = 0;
  for (bool ended = false; !ended;) {
    auto piece = co_await upstream.read();
    if (!piece) {
      why = piece.error().code;
      co_return false;
    }
    ended = piece->empty();
    bytes += piece->size();
    if (bytes > kMostAncestry) {
      why = "too_large";
      co_return false;
    }
    for (std::string_view rest = *piece; !rest.empty();) {
      const auto pkt = packets.next(rest);
      if (pkt && !*pkt) break;
      const auto part = pkt ? answer.take(**pkt) : std::unexpected(pkt.error());
      if (!part) {
        why = "host_refused";
        co_return false;
      }
      arriving->bytes += *part;
    }
    if (arriving->bytes.size() >= kKeptPiece || (ended && !arriving->bytes.empty())) {
      const bool kept = co_await keep(arriving, tools);
      if (!kept) {
        why = "spool";
        co_return false;
      }
    }
  }
  if (!answer.complete() || packets.within() || !arriving->spool) why = "cut";
  co_return why.empty();
}

// What is read on another thread, kept alive by it.
struct Looking {
  std::shared_ptr<Spool> spool;
  std::shared_ptr<std::atomic<bool>> stop;
  ObjectFormat format = ObjectFormat::kSha1;
  std::expected<PackContents, PackError> contents;
};

}  // namespace

std::optional<std::vector<ObjectId>> outside(const Commits& commits, const ObjectId& tip) {
  std::vector<ObjectId> out;
  std::vector<ObjectId> next{tip};
  std::unordered_set<ObjectId, ObjectIdHash> seen{tip};
  while (!next.empty()) {
    const ObjectId id = next.back();
    next.pop_back();
    const auto commit = commits.find(id);
    if (commit == commits.end()) {
      if (out.size() == kMostOutside) return std::nullopt;
      out.push_back(id);
      continue;
    }
    for (const ObjectId& parent : commit->second) {
      if (seen.insert(parent).second) next.push_back(parent);
    }
  }
  return out;
}

std::string ancestry_request(ObjectFormat format, const std::vector<ObjectId>& wants,
                             const ObjectId& have, bool filter) {
  std::string out = pkt("command=fetch\n");
  if (format != ObjectFormat::kSha1)
    out += pkt("object-format=" + std::string(name_of(format)) + "\n");
  out += "0001";
  out += pkt("no-progress\n");
  if (filter) out += pkt("filter tree:0\n");
  for (const ObjectId& want : wants)
    out += pkt("want " + hex(want, format) + "\n");
  out += pkt("have " + hex(have, format) + "\n");
  out += pkt("done\n");
  out += kFlushPkt;
  return out;
}

std::expected<std::string_view, std::string> PackAnswer::take(const Pkt& pkt) {
  if (ended_) return std::unexpected("packets behind the end");
  if (pkt.kind == PktKind::kFlush) {
    ended_ = in_pack_;
    if (!in_pack_) return std::unexpected("no pack");
    return std::string_view();
  }
  if (pkt.kind != PktKind::kData) return std::string_view();
  if (!in_pack_) {
    if (pkt.payload.starts_with("ERR ")) return std::unexpected("the host says no");
    in_pack_ = pkt.line() == "packfile";
    return std::string_view();
  }
  if (pkt.payload.empty()) return std::string_view();
  switch (pkt.payload.front()) {
    case 1:
      return pkt.payload.substr(1);
    case 2:
      return std::string_view();
    default:
      return std::unexpected("the host gave up");
  }
}

Task<std::optional<Commits>> ask_ancestry(Upstream& upstream, PushTools& tools, Fields fields,
                                          ObjectFormat format, std::vector<ObjectId> wants,
                                          ObjectId have, std::string& why) {
  fields.set("Git-Protocol", "version=2");
  Fields first = fields;
  const auto able = co_await abilities(upstream, std::move(first), why);
  if (!able) co_return std::nullopt;
  if (!able->version_two) {
    why = "old_protocol";
    co_return std::nullopt;
  }
  const std::string body = ancestry_request(format, wants, have, able->filter);
  Question question;
  question.method = "POST";
  question.target = "/git-upload-pack";
  question.fields = std::move(fields);
  question.fields.add("Content-Type", "application/x-git-upload-pack-request");
  question.fields.add("Accept", kUploadResult);
  question.length = body.size();
  question.body = [&body](Call& call) -> Task<BodyResult> {
    auto wrote = co_await call.write(body);
    if (!wrote) co_return std::unexpected(std::optional<Refusal>());
    co_return BodyResult();
  };
  question.answers = kUploadResult;
  auto head = co_await upstream.ask(std::move(question));
  if (!head) {
    why = head.error().code;
    co_return std::nullopt;
  }
  auto arriving = std::make_shared<Arriving>();
  const bool whole = co_await receive(upstream, tools, arriving, why);
  auto looking = std::make_shared<Looking>();
  looking->spool = std::move(arriving->spool);
  looking->stop = upstream.gone();
  looking->format = format;
  Work work = [looking, whole] {
    if (whole) looking->contents = read_pack(*looking->spool, looking->format, {}, *looking->stop);
    looking->spool.reset();  // here, where the disk may be waited for
  };
  auto ran = co_await tools.checks.run(std::move(work));
  if (!whole) co_return std::nullopt;
  if (!ran || !looking->contents) {
    why = ran ? "bad_pack" : "busy";
    co_return std::nullopt;
  }
  co_return std::move(looking->contents->commits);
}

}  // namespace palisade::gateway::git
