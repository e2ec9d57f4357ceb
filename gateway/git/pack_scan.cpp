#include "pack_scan.h"

#include <algorithm>
#include <new>

#include <openssl/evp.h>

#include "delta.h"

namespace palisade::gateway::git {

namespace {

constexpr std::size_t kWindow = 256 * 1024;
constexpr std::uint64_t kPackHeader = 12;
constexpr std::uint64_t kLeastEntry = 9;  // one byte of header, and what zlib makes of nothing

std::string_view type_name(ObjectType type) {
  switch (type) {
    case ObjectType::kCommit:
      return "commit";
    case ObjectType::kTree:
      return "tree";
    case ObjectType::kBlob:
      return "blob";
    default:
      return "tag";
  }
}

std::unexpected<PackError> broken(std::string message) {
  return pack_error(PackFault::kBroken, std::move(message));
}

std::unexpected<PackError> too_much(std::string message) {
  return pack_error(PackFault::kTooMuch, std::move(message));
}

}  // namespace

std::unexpected<PackError> pack_error(PackFault fault, std::string message) {
  return std::unexpected(PackError{fault, std::move(message)});
}

struct Digest::Context {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_MD* algorithm = nullptr;
};

Digest::Digest(ObjectFormat format) : context_(std::make_unique<Context>()) {
  context_->algorithm =
      EVP_MD_fetch(nullptr, format == ObjectFormat::kSha1 ? "SHA1" : "SHA256", nullptr);
  if (context_->context == nullptr || context_->algorithm == nullptr) throw std::bad_alloc();
}

Digest::~Digest() {
  EVP_MD_CTX_free(context_->context);
  EVP_MD_free(context_->algorithm);
}

void Digest::begin() {
  if (EVP_DigestInit_ex2(context_->context, context_->algorithm, nullptr) != 1)
    throw std::runtime_error("a digest cannot be begun");
}

void Digest::begin_object(ObjectType type, std::uint64_t size) {
  begin();
  std::string head(type_name(type));
  head += ' ' + std::to_string(size);
  head += '\0';
  add(head);
}

void Digest::add(std::string_view bytes) {
  if (EVP_DigestUpdate(context_->context, bytes.data(), bytes.size()) != 1)
    throw std::runtime_error("a digest cannot be made");
}

ObjectId Digest::end() {
  ObjectId out;
  unsigned length = 0;
  static_assert(sizeof out.bytes >= 32);
  unsigned char made[EVP_MAX_MD_SIZE];
  if (EVP_DigestFinal_ex(context_->context, made, &length) != 1 || length > out.bytes.size())
    throw std::runtime_error("a digest cannot be ended");
  std::copy_n(made, length, out.bytes.begin());
  return out;
}

std::expected<std::vector<ObjectId>, std::string> parents_of(std::string_view commit,
                                                             ObjectFormat format) {
  const auto line = [&]() {
    const std::size_t end = commit.find('\n');
    const std::string_view out = commit.substr(0, end);
    commit.remove_prefix(end == std::string_view::npos ? commit.size() : end + 1);
    return out;
  };
  const std::string_view tree = line();
  if (!tree.starts_with("tree ") || !parse_id(tree.substr(5), format))
    return std::unexpected("a commit that does not begin with its tree");
  std::vector<ObjectId> out;
  while (commit.starts_with("parent ")) {
    const auto id = parse_id(line().substr(7), format);
    if (!id) return std::unexpected("a commit with a parent that is no object name");
    out.push_back(*id);
  }
  return out;
}

PackScan::PackScan(const PackSource& source, ObjectFormat format, const PackLimits& limits,
                   const std::atomic<bool>& stop)
    : source_(source),
      format_(format),
      limits_(limits),
      stop_(stop),
      buffer_(kWindow),
      inflater_(Inflater::Wrapping::kZlib),
      sum_(format),
      name_(format) {}

PackResult PackScan::run(PackContents& contents) {
  if (auto read = header(); !read) return read;
  contents.objects = count_;
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (auto read = entry(contents); !read) return read;
  }
  return trailer();
}

// Gives the window more than it has, while there is more before the sum.
PackResult PackScan::fill() {
  if (!window_.empty() || filled_ >= end_) return {};
  if (stop_.load(std::memory_order_relaxed)) return pack_error(PackFault::kStopped, "stopped");
  const auto want =
      static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end_ - filled_));
  const auto count = source_.read(filled_, std::span(buffer_.data(), want));
  if (!count || *count == 0)
    return pack_error(PackFault::kSource, count ? "the spooled pack is cut" : count.error());
  window_ = std::string_view(buffer_.data(), *count);
  filled_ += *count;
  sum_.add(window_);
  return {};
}

std::expected<unsigned char, PackError> PackScan::byte() {
  if (auto more = fill(); !more) return std::unexpected(std::move(more.error()));
  if (window_.empty()) return broken("the pack is cut");
  const auto out = static_cast<unsigned char>(window_.front());
  window_.remove_prefix(1);
  return out;
}

PackResult PackScan::header() {
  const std::uint64_t size = source_.size();
  if (size < kPackHeader + id_bytes(format_)) return broken("the pack is cut");
  end_ = size - id_bytes(format_);
  most_inflated_ = limits_.inflated_bytes + limits_.inflated_ratio * size;
  most_made_ = limits_.made_bytes + limits_.made_ratio * size;
  sum_.begin();
  std::string text;
  for (std::uint64_t i = 0; i < kPackHeader; ++i) {
    const auto next = byte();
    if (!next) return std::unexpected(next.error());
    text += static_cast<char>(*next);
  }
  const auto number = [&](std::size_t at) {
    std::uint32_t out = 0;
    for (std::size_t i = at; i < at + 4; ++i)
      out = out << 8U | static_cast<unsigned char>(text[i]);
    return out;
  };
  if (!text.starts_with("PACK")) return broken("the pack does not begin with PACK");
  if (number(4) != 2) return broken("a pack of another version than 2");
  count_ = number(8);
  if (count_ > limits_.objects) {
    return too_much("the pack says it holds " + std::to_string(count_) + " objects, more than " +
                    std::to_string(limits_.objects));
  }
  if (count_ > (end_ - kPackHeader) / kLeastEntry)
    return broken("the pack says it holds more objects than it has room for");
  entries_.reserve(count_);
  return {};
}

PackResult PackScan::entry(PackContents& contents) {
  Entry out;
  out.offset = position();
  auto next = byte();
  if (!next) return std::unexpected(next.error());
  out.type = static_cast<ObjectType>(*next >> 4U & 7U);
  out.stored_size = *next & 0xFU;
  for (unsigned shift = 4; (*next & 0x80U) != 0; shift += 7) {
    if (shift > 53) return broken("an object's size is no number");
    next = byte();
    if (!next) return std::unexpected(next.error());
    out.stored_size |= static_cast<std::uint64_t>(*next & 0x7FU) << shift;
  }
  if (out.stored_size > limits_.object_bytes) {
    return too_much("an object of " + std::to_string(out.stored_size) + " bytes, more than " +
                    std::to_string(limits_.object_bytes));
  }
  const auto type = static_cast<unsigned>(out.type);
  if (type == 0 || type == 5) return broken("an object of an unknown type");
  if (auto base = base_of(out); !base) return base;
  out.data = position();
  inflater_.reset(out.stored_size);
  if (auto read = is_delta(out.type) ? delta(out) : object(out, contents); !read) return read;
  entries_.push_back(out);
  return {};
}

PackResult PackScan::base_of(Entry& entry) {
  if (entry.type == ObjectType::kIdDelta) {
    for (std::size_t i = 0; i < id_bytes(format_); ++i) {
      const auto next = byte();
      if (!next) return std::unexpected(next.error());
      entry.id.bytes.at(i) = *next;
    }
    return {};
  }
  if (entry.type != ObjectType::kOffsetDelta) return {};
  std::uint64_t back = 0;
  for (bool first = true, more = true; more; first = false) {
    const auto next = byte();
    if (!next) return std::unexpected(next.error());
    if (back >> 55U != 0) return broken("a delta's offset is no number");
    back = (first ? 0 : (back + 1) << 7U) | (*next & 0x7FU);
    more = (*next & 0x80U) != 0;
  }
  if (back == 0 || back > entry.offset) return broken("a delta whose base is not before it");
  const std::uint64_t offset = entry.offset - back;
  const auto found = std::ranges::lower_bound(entries_, offset, {}, &Entry::offset);
  if (found == entries_.end() || found->offset != offset)
    return broken("a delta whose base is no object");
  entry.base = static_cast<std::uint32_t>(found - entries_.begin());
  return {};
}

// The next piece of the entry's content; "" at its end, which is where its header said.
std::expected<std::string_view, PackError> PackScan::inflated() {
  while (!inflater_.ended()) {
    if (auto more = fill(); !more) return std::unexpected(std::move(more.error()));
    const bool last = window_.empty();
    const auto piece = inflater_.next(window_);
    if (!piece) return broken("an object's data: " + piece.error());
    inflated_ += piece->size();
    if (inflated_ > most_inflated_) return too_much("the pack inflates to too much for its size");
    if (!piece->empty()) return *piece;
    if (last && !inflater_.ended()) return broken("the pack is cut");
  }
  return std::string_view();
}

PackResult PackScan::object(Entry& entry, PackContents& contents) {
  entry.size = entry.stored_size;
  entry.root = entry.type;
  const bool commit = entry.type == ObjectType::kCommit;
  if (commit && entry.size > limits_.commit_bytes)
    return too_much("a commit of " + std::to_string(entry.size) + " bytes");
  std::string content;
  name_.begin_object(entry.type, entry.size);
  while (true) {
    const auto piece = inflated();
    if (!piece) return std::unexpected(piece.error());
    if (piece->empty()) break;
    name_.add(*piece);
    if (commit) content += *piece;
  }
  if (inflater_.produced() != entry.size) return broken("an object that is not as long as it says");
  entry.id = name_.end();
  entry.named = true;
  if (!commit) return {};
  auto parents = parents_of(content, format_);
  if (!parents) return broken(parents.error());
  contents.commits.insert_or_assign(entry.id, std::move(*parents));
  return {};
}

PackResult PackScan::delta(Entry& entry) {
  DeltaCheck check(limits_.object_bytes);
  while (true) {
    const auto piece = inflated();
    if (!piece) return std::unexpected(piece.error());
    if (piece->empty()) break;
    if (auto good = check.take(*piece); !good) return broken(good.error());
  }
  if (inflater_.produced() != entry.stored_size)
    return broken("a delta that is not as long as it says");
  if (auto whole = check.finish(); !whole) return broken(whole.error());
  entry.size = check.result_size();
  entry.base_size = check.base_size();
  made_ += entry.size;
  if (made_ > most_made_) return too_much("the pack's deltas make too much for its size");
  if (entry.base != kNoEntry && entries_[entry.base].size != entry.base_size)
    return broken("a delta of a base of another size");
  return {};
}

PackResult PackScan::trailer() {
  if (position() != end_) return broken("something follows the pack's last object");
  std::string stored(id_bytes(format_), '\0');
  const auto count = source_.read(end_, std::span(stored.data(), stored.size()));
  if (!count) return pack_error(PackFault::kSource, count.error());
  const ObjectId sum = sum_.end();
  if (*count != stored.size() ||
      !std::equal(stored.begin(), stored.end(), sum.bytes.begin(),
                  [](char a, unsigned char b) { return static_cast<unsigned char>(a) == b; })) {
    return broken("the pack's sum is not that of its content");
  }
  return {};
}

}  // namespace palisade::gateway::git
