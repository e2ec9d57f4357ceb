#include "pack.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_set>

#include "delta.h"
#include "pack_scan.h"

namespace palisade::gateway::git {

namespace {

constexpr std::size_t kCacheBytes = 32U << 20;
constexpr std::size_t kReadChunk = 16 * 1024;

using Content = std::shared_ptr<const std::string>;
using Built = std::expected<Content, PackError>;

// Finds every delta's base, and builds the objects whose names or contents are needed for that.
class Resolver {
 public:
  Resolver(const PackSource& source, ObjectFormat format, const PackLimits& limits,
           const std::atomic<bool>& stop, std::vector<Entry>& entries)
      : source_(source),
        format_(format),
        limits_(limits),
        stop_(stop),
        entries_(entries),
        inflater_(Inflater::Wrapping::kZlib),
        digest_(format) {}

  PackResult run(PackContents& contents) {
    std::vector<std::uint32_t> fresh;  // named since bases were last looked for
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].type == ObjectType::kIdDelta) waiting_.push_back({entries_[i].id, i});
      if (entries_[i].named) fresh.push_back(i);
    }
    std::ranges::sort(waiting_, {}, &Waiting::base);
    left_ = waiting_.size();
    if (auto grown = grow(); !grown) return grown;
    while (left_ != 0) {
      if (auto found = find_bases(fresh); !found) return found;
      if (auto grown = grow(); !grown) return grown;
      if (left_ == 0) break;
      if (auto more = name_more(contents, fresh); !more) return more;
      if (fresh.empty()) {
        return pack_error(PackFault::kThin,
                          "the pack is thin: it holds deltas of objects that are not in it");
      }
    }
    return read_commits(contents);
  }

 private:
  // Gives each entry whose base is known what follows from the base. Bases by offset come first, so
  // that one pass follows a whole chain of them.
  PackResult grow() {
    for (Entry& entry : entries_) {
      if (entry.root != ObjectType::kNone || entry.base == kNoEntry) continue;
      const Entry& base = entries_[entry.base];
      if (base.root == ObjectType::kNone) continue;
      if (base.depth >= limits_.delta_depth) {
        return pack_error(PackFault::kTooMuch, "a chain of more than " +
                                                   std::to_string(limits_.delta_depth) + " deltas");
      }
      entry.root = base.root;
      entry.depth = static_cast<std::uint16_t>(base.depth + 1);
      entry.large = base.large || is_large(entry);
      if (entry.root == ObjectType::kCommit && entry.size > limits_.commit_bytes) {
        return pack_error(PackFault::kTooMuch,
                          "a commit of " + std::to_string(entry.size) + " bytes");
      }
    }
    return {};
  }

  [[nodiscard]] bool is_large(const Entry& entry) const {
    return std::max({entry.size, entry.base_size, entry.stored_size}) > limits_.built_bytes;
  }

  // A base is looked for among entries whose own chain is known: no cycle can be made.
  PackResult find_bases(const std::vector<std::uint32_t>& named) {
    for (const std::uint32_t base : named) {
      const ObjectId& id = entries_[base].id;
      for (auto at = std::ranges::lower_bound(waiting_, id, {}, &Waiting::base);
           at != waiting_.end() && at->base == id; ++at) {
        Entry& entry = entries_[at->entry];
        if (entry.base != kNoEntry) continue;
        entry.base = base;
        --left_;
        if (entries_[base].size != entry.base_size)
          return pack_error(PackFault::kBroken, "a delta of a base of another size");
      }
    }
    return {};
  }

  // Names the deltas that can be built.
  PackResult name_more(PackContents& contents, std::vector<std::uint32_t>& fresh) {
    fresh.clear();
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      if (entry.named || entry.root == ObjectType::kNone || entry.large) continue;
      if (auto done = named(i, contents); !done) return done;
      fresh.push_back(i);
    }
    return {};
  }

  PackResult read_commits(PackContents& contents) {
    for (std::uint32_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].named || entries_[i].root != ObjectType::kCommit) continue;
      if (auto done = named(i, contents); !done) return done;
    }
    return {};
  }

  PackResult named(std::uint32_t i, PackContents& contents) {
    const auto content = build(i);
    if (!content) return std::unexpected(content.error());
    Entry& entry = entries_[i];
    digest_.begin_object(entry.root, (*content)->size());
    digest_.add(**content);
    entry.id = digest_.end();
    entry.named = true;
    if (entry.root != ObjectType::kCommit) return {};
    auto parents = parents_of(**content, format_);
    if (!parents) return pack_error(PackFault::kBroken, parents.error());
    contents.commits.insert_or_assign(entry.id, std::move(*parents));
    return {};
  }

  Built build(std::uint32_t index) {
    std::vector<std::uint32_t> chain;
    Content content;
    for (std::uint32_t at = index; !content; at = entries_[at].base) {
      if (const auto cached = cache_.find(at); cached != cache_.end()) {
        content = cached->second;
      } else if (is_delta(entries_[at].type)) {
        chain.push_back(at);
      } else {
        auto whole = inflate(at);
        if (!whole) return std::unexpected(whole.error());
        content = keep(at, std::move(*whole));
      }
    }
    for (; !chain.empty(); chain.pop_back()) {
      if (stop_.load(std::memory_order_relaxed)) return pack_error(PackFault::kStopped, "stopped");
      const auto delta = inflate(chain.back());
      if (!delta) return std::unexpected(delta.error());
      auto made = apply_delta(*content, *delta, limits_.built_bytes);
      if (!made) return pack_error(PackFault::kBroken, made.error());
      if (auto room = work(made->size()); !room) return std::unexpected(room.error());
      content = keep(chain.back(), std::move(*made));
    }
    return content;
  }

  // The entry's bytes again: the scan has found them sound.
  std::expected<std::string, PackError> inflate(std::uint32_t index) {
    const Entry& entry = entries_[index];
    if (entry.stored_size > limits_.built_bytes)
      return pack_error(PackFault::kTooMuch, "a delta of an object too large to build");
    if (auto room = work(entry.stored_size); !room) return std::unexpected(room.error());
    inflater_.reset(entry.stored_size);
    std::string out;
    std::vector<char> buffer(kReadChunk);
    for (std::uint64_t at = entry.data; !inflater_.ended();) {
      const auto count = source_.read(at, buffer);
      if (!count || *count == 0)
        return pack_error(PackFault::kSource, count ? "the spooled pack is cut" : count.error());
      at += *count;
      std::string_view window(buffer.data(), *count);
      while (!inflater_.ended()) {
        const auto piece = inflater_.next(window);
        if (!piece) return pack_error(PackFault::kBroken, "an object's data: " + piece.error());
        if (piece->empty()) break;
        out += *piece;
      }
    }
    return out;
  }

  PackResult work(std::uint64_t bytes) {
    worked_ += bytes;
    if (worked_ <= limits_.work_bytes) return {};
    return pack_error(PackFault::kTooMuch, "the pack's deltas take too much work to follow");
  }

  Content keep(std::uint32_t index, std::string text) {
    auto content = std::make_shared<const std::string>(std::move(text));
    if (content->size() > kCacheBytes / 4) return content;
    cached_ += content->size();
    cache_[index] = content;
    order_.push_back(index);
    while (cached_ > kCacheBytes) {
      const auto oldest = cache_.find(order_.front());
      cached_ -= oldest->second->size();
      cache_.erase(oldest);
      order_.pop_front();
    }
    return content;
  }

  const PackSource& source_;
  ObjectFormat format_;
  const PackLimits& limits_;
  const std::atomic<bool>& stop_;
  std::vector<Entry>& entries_;
  Inflater inflater_;
  Digest digest_;
  struct Waiting {
    ObjectId base;
    std::uint32_t entry = 0;
  };
  std::vector<Waiting> waiting_;  // deltas whose base is given by name, in its order
  std::size_t left_ = 0;          // those of them whose base is not found yet
  std::unordered_map<std::uint32_t, Content> cache_;
  std::deque<std::uint32_t> order_;
  std::size_t cached_ = 0;
  std::uint64_t worked_ = 0;
};

}  // namespace

std::expected<PackContents, PackError> read_pack(const PackSource& source, ObjectFormat format,
                                                 const PackLimits& limits,
                                                 const std::atomic<bool>& stop) {
  PackContents out;
  PackScan scan(source, format, limits, stop);
  if (auto read = scan.run(out); !read) return std::unexpected(std::move(read.error()));
  Resolver resolver(source, format, limits, stop, scan.entries());
  if (auto resolved = resolver.run(out); !resolved)
    return std::unexpected(std::move(resolved.error()));
  return out;
}

bool is_fast_forward(const Commits& commits, const ObjectId& old_tip, const ObjectId& new_tip) {
  std::vector<ObjectId> next{new_tip};
  std::unordered_set<ObjectId, ObjectIdHash> seen{new_tip};
  while (!next.empty()) {
    const ObjectId id = next.back();
    next.pop_back();
    if (id == old_tip) return true;
    const auto commit = commits.find(id);
    if (commit == commits.end()) continue;
    for (const ObjectId& parent : commit->second) {
      if (seen.insert(parent).second) next.push_back(parent);
    }
  }
  return false;
}

}  // namespace palisade::gateway::git
