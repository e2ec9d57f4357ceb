// Packs: bytes that somebody sends, and packs made of sound entries that refer to each other as the
// input likes. They end within their bounds; a commit that is found has the name of its content.
#include <string>
#include <vector>

#include "fuzz/check.h"
#include "gateway_git/packs.h"
#include "pack.h"

namespace {

using namespace palisade;
using namespace palisade::gateway::git;
using namespace palisade::gateway::git::testing;

constexpr PackLimits kLimits = [] {
  PackLimits out;
  out.objects = 500;
  out.object_bytes = 1U << 20U;
  out.commit_bytes = 64U << 10U;
  out.built_bytes = 256U << 10U;
  out.delta_depth = 20;
  out.inflated_bytes = 4U << 20U;
  out.made_bytes = 8U << 20U;
  out.work_bytes = 16U << 20U;
  return out;
}();

std::expected<PackContents, PackError> read(std::string_view bytes, ObjectFormat format) {
  const std::atomic<bool> stop{false};
  auto out = read_pack(MemorySource(bytes), format, kLimits, stop);
  if (!out) fuzz::check_shown(out.error().message, 1024);
  return out;
}

// Each byte pair is an entry: what it is, and of which one before it.
void built(std::string_view text, ObjectFormat format) {
  PackWriter pack(format);
  std::vector<std::uint64_t> offsets;
  std::vector<std::string> contents;
  Commits commits;
  bool sound = true;
  while (text.size() >= 3 && contents.size() < 400) {
    const auto kind = static_cast<unsigned char>(text[0]);
    const std::size_t which = static_cast<unsigned char>(text[1]);
    const std::size_t length =
        std::min<std::size_t>(static_cast<unsigned char>(text[2]), text.size() - 3);
    const std::string_view bytes = text.substr(3, length);
    text.remove_prefix(3 + length);
    if (contents.empty() || kind % 4 == 0) {
      contents.emplace_back(bytes);
      offsets.push_back(pack.object(3, bytes));
      continue;
    }
    const std::string& base = contents[which % contents.size()];
    const std::uint64_t offset = offsets[which % offsets.size()];
    if (kind % 4 == 1) {
      const std::string result = base.substr(0, base.size() / 2) + std::string(bytes);
      offsets.push_back(pack.offset_delta(offset, delta(base, result)));
      contents.push_back(result);
    } else if (kind % 4 == 2) {
      const std::string result = base.substr(0, base.size() / 2) + std::string(bytes);
      offsets.push_back(pack.id_delta(id_of("blob", base, format), delta(base, result)));
      contents.push_back(result);
    } else {
      sound = false;  // a delta as the input has it
      offsets.push_back(pack.offset_delta(offset, bytes));
      contents.emplace_back();
    }
  }
  const ObjectId outside = id_of("commit", "outside", format);
  const std::string first = commit("first", {outside}, format);
  const std::string second = commit("second", {id_of("commit", first, format)}, format);
  pack.offset_delta(pack.object(1, first), delta(first, second));
  const auto out = read(pack.bytes(), format);
  if (!out) {
    fuzz::check(!sound || out.error().fault == PackFault::kTooMuch, "a sound pack is read",
                out.error().message);
    return;
  }
  const ObjectId tip = id_of("commit", second, format);
  fuzz::check(out->commits.size() == 2 && out->commits.contains(tip), "its commits are found");
  fuzz::check(is_fast_forward(out->commits, outside, tip), "and what they follow");
  fuzz::check(!is_fast_forward(out->commits, tip, outside), "and not the other way");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::view(data + 1, size - 1);
  const ObjectFormat format = (data[0] & 1U) != 0 ? ObjectFormat::kSha256 : ObjectFormat::kSha1;
  if ((data[0] & 2U) != 0) {
    built(text, format);
    return 0;
  }
  (void)read(text, format);
  (void)read(summed(std::string(text), format), format);
  return 0;
}
