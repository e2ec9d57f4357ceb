#include "packs.h"

#include <algorithm>
#include <random>
#include <stdexcept>

#include <openssl/evp.h>
#include <zlib.h>

namespace palisade::gateway::git::testing {

namespace {

std::string deflated(std::string_view text, int window) {
  z_stream z{};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("deflate");
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

ObjectId digest(std::string_view bytes, ObjectFormat format) {
  ObjectId out;
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), out.bytes.data(), &length,
             format == ObjectFormat::kSha1 ? EVP_sha1() : EVP_sha256(), nullptr);
  return out;
}

std::string number(std::uint32_t value) {
  std::string out;
  for (const unsigned shift : {24U, 16U, 8U, 0U})
    out += static_cast<char>(value >> shift & 0xFFU);
  return out;
}

}  // namespace

std::string deflate(std::string_view text) {
  return deflated(text, MAX_WBITS);
}

std::string gzip(std::string_view text) {
  return deflated(text, MAX_WBITS + 16);
}

std::string noise(std::size_t bytes, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::string out(bytes, '\0');
  std::ranges::generate(out, [&] { return static_cast<char>(random() & 0xFFU); });
  return out;
}

ObjectId id_of(std::string_view type, std::string_view content, ObjectFormat format) {
  std::string whole = std::string(type) + ' ' + std::to_string(content.size());
  whole += '\0';
  whole += content;
  return digest(whole, format);
}

std::string raw(const ObjectId& id, ObjectFormat format) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id_bytes(format)};
}

std::string commit(std::string_view message, const std::vector<ObjectId>& parents,
                   ObjectFormat format) {
  std::string out = "tree " + hex(id_of("tree", "", format), format) + "\n";
  for (const ObjectId& parent : parents)
    out += "parent " + hex(parent, format) + "\n";
  return out + "author A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n\n" +
         std::string(message) + "\n";
}

std::string delta_size(std::uint64_t size) {
  std::string out;
  for (; size >= 0x80; size >>= 7U)
    out += static_cast<char>(0x80U | (size & 0x7FU));
  return out + static_cast<char>(size);
}

std::string copy(std::uint32_t offset, std::uint32_t size) {
  unsigned operation = 0x80;
  std::string rest;
  for (unsigned i = 0; i < 4; ++i) {
    if ((offset >> 8 * i & 0xFFU) == 0) continue;
    operation |= 1U << i;
    rest += static_cast<char>(offset >> 8 * i & 0xFFU);
  }
  for (unsigned i = 0; i < 3 && size != 0x10000; ++i) {
    if ((size >> 8 * i & 0xFFU) == 0) continue;
    operation |= 0x10U << i;
    rest += static_cast<char>(size >> 8 * i & 0xFFU);
  }
  return static_cast<char>(operation) + rest;
}

std::string insert(std::string_view bytes) {
  return static_cast<char>(bytes.size()) + std::string(bytes);
}

std::string delta(std::string_view base, std::string_view result) {
  std::string out = delta_size(base.size()) + delta_size(result.size());
  const auto same =
      static_cast<std::uint32_t>(std::ranges::mismatch(base, result).in1 - base.begin());
  if (same != 0) out += copy(0, same);
  for (result.remove_prefix(same); !result.empty();
       result.remove_prefix(std::min<std::size_t>(result.size(), 127)))
    out += insert(result.substr(0, 127));
  return out;
}

std::uint64_t PackWriter::entry(unsigned type, std::uint64_t size, std::string_view rest) {
  const std::uint64_t at = 12 + entries_.size();
  auto byte = static_cast<unsigned>(type << 4U | (size & 0xFU));
  for (size >>= 4U; size != 0; size >>= 7U) {
    entries_ += static_cast<char>(byte | 0x80U);
    byte = static_cast<unsigned>(size & 0x7FU);
  }
  entries_ += static_cast<char>(byte);
  entries_ += rest;
  ++count_;
  return at;
}

std::uint64_t PackWriter::object(unsigned type, std::string_view content) {
  return entry(type, content.size(), deflate(content));
}

std::uint64_t PackWriter::offset_delta(std::uint64_t base, std::string_view delta) {
  std::uint64_t back = 12 + entries_.size() - base;
  std::string text(1, static_cast<char>(back & 0x7FU));
  while ((back >>= 7U) != 0)
    text.insert(text.begin(), static_cast<char>(0x80U | (--back & 0x7FU)));
  return entry(6, delta.size(), text + deflate(delta));
}

std::uint64_t PackWriter::id_delta(const ObjectId& base, std::string_view delta) {
  return entry(7, delta.size(), raw(base, format_) + deflate(delta));
}

std::string PackWriter::bytes(std::optional<std::uint32_t> count, std::uint32_t version) const {
  return summed("PACK" + number(version) + number(count.value_or(count_)) + entries_, format_);
}

std::string summed(std::string bytes, ObjectFormat format) {
  return bytes + raw(digest(bytes, format), format);
}

}  // namespace palisade::gateway::git::testing
