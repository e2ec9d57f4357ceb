#include "chain.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <thread>
#include <utility>

#include <gateway/archive/archive.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::archive {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::size_t kDigits = 16;
constexpr std::size_t kMostKnown = 4096;  // in each of two generations
// How old what is known of the other stream may be where a session's share is reckoned.
constexpr auto kFresh = 1min;
// Of what is compared, at a time.
constexpr std::size_t kReaders = 8;
constexpr std::array kStreams{Stream::kRecord, Stream::kOutput};
constexpr const char* kComplete = "complete.json";

const char* name_of(Stream stream) {
  return stream == Stream::kRecord ? "record" : "output";
}

std::string digits(std::uint64_t offset) {
  const std::string text = std::to_string(offset);
  return std::string(kDigits - std::min(kDigits, text.size()), '0') + text;
}

std::optional<std::uint64_t> offset_in(std::string_view name) {
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), out);
  if (name.size() != kDigits || error != std::errc{} || end != name.data() + name.size())
    return std::nullopt;
  return out;
}

std::unexpected<Refusal> damaged(const std::string& folder, std::uint64_t at) {
  return refused(503, "archive_unavailable",
                 "objects of " + folder + " are missing or not the archive's at byte " +
                     std::to_string(at) +
                     ": did a lifecycle rule, or somebody, remove a part of a session that lives?");
}

}  // namespace

std::optional<Seen> Memory::of(const std::string& session) {
  const std::scoped_lock lock(mutex_);
  for (const auto* generation : {&young_, &old_}) {
    if (const auto found = generation->find(session); found != generation->end())
      return found->second;
  }
  return std::nullopt;
}

void Memory::keep(const std::string& session, const Seen& seen) {
  const std::scoped_lock lock(mutex_);
  if (young_.size() >= kMostKnown && !young_.contains(session)) {
    old_ = std::move(young_);
    young_.clear();
  }
  Seen& known = young_[session];
  known.complete = known.complete || seen.complete;
  for (std::size_t i = 0; i < seen.streams.size(); ++i) {
    Chain& mine = known.streams[i];
    const Chain& other = seen.streams[i];
    mine.end = std::max(mine.end, other.end);
    mine.sealed = mine.sealed || other.sealed;
    mine.seen = std::max(mine.seen, other.seen);
  }
}

Session::Session(const Bucket& bucket, std::string key, Memory& memory, Patience patience)
    : bucket_(bucket), key_(std::move(key)), memory_(memory), patience_(std::move(patience)) {
  if (const auto known = memory_.of(key_)) {
    seen_ = *known;
    known_ = true;
  }
}

Chain& Session::chain(Stream stream) {
  return seen_.streams.at(static_cast<std::size_t>(stream));
}

std::string Session::folder(Stream stream) const {
  return key_ + "/" + name_of(stream) + "/";
}

std::string Session::piece(Stream stream, std::uint64_t offset) const {
  return folder(stream) + digits(offset);
}

Outcome<void> Session::take(const Listed& listed) {
  for (const auto& object : listed.objects) {
    if (object.key == key_ + "/" + kComplete) seen_.complete = true;
    for (const Stream stream : kStreams) {
      const std::string below = folder(stream);
      if (!object.key.starts_with(below)) continue;
      const auto offset = offset_in(std::string_view(object.key).substr(below.size()));
      Chain& of = chain(stream);
      if (!offset) continue;
      if (*offset != of.end || of.sealed || object.size > kMostPiece) return damaged(below, of.end);
      of.end += object.size;
      of.sealed = object.size == 0;
    }
  }
  return {};
}

Outcome<void> Session::look(Stream stream) {
  const auto began = steady_clock::now();
  const bool all = !known_;
  std::string after;
  if (all) {
    seen_ = {};
  } else if (chain(stream).sealed) {
    return {};
  } else if (chain(stream).end > 0) {
    // Before whatever begins at the end.
    after = piece(stream, chain(stream).end - 1);
  }
  const std::string prefix = all ? key_ + "/" : folder(stream);
  for (bool more = true; more;) {
    const auto listed = bucket_.list(prefix, after, patience_);
    if (!listed) return std::unexpected(listed.error());
    if (const auto taken = take(*listed); !taken) return taken;
    more = listed->more;
    if (more) after = listed->objects.back().key;
  }
  for (const Stream one : kStreams) {
    if (all || one == stream) chain(one).seen = began;
  }
  known_ = true;
  memory_.keep(key_, seen_);
  return {};
}

Outcome<std::string> Session::read(Stream stream, std::uint64_t offset) const {
  auto got = bucket_.get(piece(stream, offset), patience_);
  if (!got) return std::unexpected(std::move(got.error()));
  if (!*got || (*got)->size() > kMostPiece) return damaged(folder(stream), offset);
  return std::move(**got);
}

Outcome<std::string> Session::follow(Stream stream) {
  Chain& of = chain(stream);
  auto there = read(stream, of.end);
  if (!there) return there;
  of.end += there->size();
  of.sealed = there->empty();
  memory_.keep(key_, seen_);
  return there;
}

Outcome<std::vector<Piece>> Session::pieces_in(Stream stream, std::uint64_t from,
                                               std::uint64_t to) {
  const std::string below = folder(stream);
  std::string after = from > kMostPiece ? piece(stream, from - kMostPiece) : "";
  std::vector<Piece> out;
  for (bool more = true; more;) {
    const auto listed = bucket_.list(below, after, patience_);
    if (!listed) return std::unexpected(listed.error());
    more = listed->more;
    for (const auto& object : listed->objects) {
      const auto at = offset_in(std::string_view(object.key).substr(below.size()));
      if (!at || object.size == 0 || *at + object.size <= from) continue;
      if (*at >= to) {
        more = false;
        break;
      }
      const std::uint64_t due = out.empty() ? from : out.back().begin + out.back().size;
      if (out.empty() ? *at > due : *at != due) return damaged(below, due);
      out.push_back({*at, object.size});
    }
    if (more) after = listed->objects.back().key;
  }
  if (out.empty() || out.back().begin + out.back().size < to) return damaged(below, to);
  return out;
}

Outcome<bool> Session::same_at(Stream stream, std::uint64_t offset, std::string_view bytes) {
  if (bytes.empty()) return true;
  // Most often an answer was lost, and the piece that comes again is one that is there.
  const auto first = bucket_.get(piece(stream, offset), patience_);
  if (!first) return std::unexpected(first.error());
  if (*first && (*first)->size() >= bytes.size())
    return std::string_view(**first).substr(0, bytes.size()) == bytes;
  const auto pieces = pieces_in(stream, offset, offset + bytes.size());
  if (!pieces) return std::unexpected(pieces.error());
  // They may be many small ones, and each read is a way to the bucket and back.
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  Outcome<bool> out = true;  // the first that was not so
  const auto compare = [&] {
    for (std::size_t i = next++; i < pieces->size(); i = next++) {
      const auto [begin, size] = (*pieces)[i];
      const auto there = read(stream, begin);
      const std::uint64_t from = std::max(begin, offset);
      const auto here = bytes.substr(from - offset, begin + size - from);
      if (there && there->size() == size &&
          std::string_view(*there).substr(from - begin, here.size()) == here)
        continue;
      next = pieces->size();
      const std::scoped_lock lock(mutex);
      if (out == true) out = there ? Outcome<bool>(false) : std::unexpected(there.error());
    }
  };
  {
    std::vector<std::jthread> others;
    while (others.size() + 1 < std::min(kReaders, pieces->size()))
      others.emplace_back(compare);
    compare();
  }
  return out;
}

Outcome<Held> Session::held(Stream stream) {
  if (const auto looked = look(stream); !looked) return std::unexpected(looked.error());
  return Held{chain(stream).end, seen_.complete || chain(stream).sealed};
}

Outcome<Held> Session::append(Stream stream, std::uint64_t offset, std::string_view bytes,
                              std::uint64_t most) {
  Chain& own = chain(stream);
  if (!known_ || offset > own.end) {
    if (const auto looked = look(stream); !looked) return std::unexpected(looked.error());
  }
  if (offset > own.end) return gap_at(own.end);
  const auto there =
      static_cast<std::size_t>(std::min<std::uint64_t>(own.end - offset, bytes.size()));
  const auto same = same_at(stream, offset, bytes.substr(0, there));
  if (!same) return std::unexpected(same.error());
  if (!*same) return rewritten();
  bytes.remove_prefix(there);
  const Stream other = stream == Stream::kRecord ? Stream::kOutput : Stream::kRecord;
  while (!bytes.empty()) {
    if (own.sealed || seen_.complete) return already_closed();
    if (steady_clock::now() - chain(other).seen > kFresh) {
      if (const auto looked = look(other); !looked) return std::unexpected(looked.error());
    }
    if (own.end + chain(other).end + bytes.size() > most) return over_quota(most);
    const auto made = bucket_.put_new(piece(stream, own.end), bytes, patience_);
    if (!made) return std::unexpected(made.error());
    if (*made) {
      own.end += bytes.size();
      own.seen = steady_clock::now();
      memory_.keep(key_, seen_);
      return Held{own.end, false, bytes.size()};
    }
    // Another was faster, or it is one's own of which no answer came.
    const auto theirs = follow(stream);
    if (!theirs) return std::unexpected(theirs.error());
    const std::size_t both = std::min(theirs->size(), bytes.size());
    if (std::string_view(*theirs).substr(0, both) != bytes.substr(0, both)) return rewritten();
    bytes.remove_prefix(both);
  }
  return Held{own.end, seen_.complete || own.sealed};
}

Outcome<void> Session::seal(Stream stream) {
  if (chain(stream).sealed) return {};
  const std::uint64_t end = chain(stream).end;
  const auto made = bucket_.put_new(piece(stream, end), "", patience_);
  if (!made) return std::unexpected(made.error());
  if (*made) {
    chain(stream).sealed = true;
    memory_.keep(key_, seen_);
    return {};
  }
  const auto theirs = follow(stream);
  if (!theirs) return std::unexpected(theirs.error());
  if (!theirs->empty()) return ends_elsewhere(file_of(stream), chain(stream).end, end);
  return {};
}

Outcome<void> Session::close(const Ends& ends) {
  for (const auto& [stream, end] :
       {std::pair{Stream::kRecord, ends.record}, {Stream::kOutput, ends.output}}) {
    if (const auto looked = look(stream); !looked) return looked;
    if (chain(stream).end != end) return ends_elsewhere(file_of(stream), chain(stream).end, end);
  }
  if (seen_.complete) return {};
  // A seal that is there while the end of the session is not said yet does no harm: the streams
  // are whole, and the relay asks again.
  for (const Stream stream : kStreams) {
    if (const auto sealed = seal(stream); !sealed) return sealed;
  }
  const std::string text =
      nlohmann::json{{"record", ends.record}, {"output", ends.output}}.dump() + "\n";
  const auto made = bucket_.put_new(key_ + "/" + kComplete, text, patience_);
  if (!made) return std::unexpected(made.error());
  if (!*made) {
    const auto there = bucket_.get(key_ + "/" + kComplete, patience_);
    if (!there) return std::unexpected(there.error());
    if (*there != text) return rewritten();
  }
  seen_.complete = true;
  memory_.keep(key_, seen_);
  return {};
}

}  // namespace palisade::gateway::archive
