#include "packer.h"

#include <stdexcept>

#include <zstd.h>

#include "decode.h"

namespace kube {

namespace {

constexpr int kLevel = 1;  // the fastest: the dictionary does most of it
// Text enough for a dozen pods; the offsets into it stay short.
constexpr std::size_t kDictionaryBytes = 16 * 1024;

// What packed text begins with.
constexpr char kPlain = 'p';    // compressed by itself
constexpr char kLearned = 'd';  // with the dictionary

// Contexts are hundreds of kB and used for microseconds: one of each serves every packer.
struct Contexts {
  std::mutex mutex;
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> in{ZSTD_createCCtx(), ZSTD_freeCCtx};
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> out{ZSTD_createDCtx(), ZSTD_freeDCtx};
  Contexts() {
    if (!in || !out) throw std::bad_alloc();
  }
};

Contexts& contexts() {
  static Contexts* const made = new Contexts;  // outlives the threads that still pack at the end
  return *made;
}

std::size_t checked(std::size_t result) {
  if (ZSTD_isError(result) != 0)
    throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(result));
  return result;
}

}  // namespace

struct Packer::Dictionary {
  std::unique_ptr<ZSTD_CDict, decltype(&ZSTD_freeCDict)> in;
  std::unique_ptr<ZSTD_DDict, decltype(&ZSTD_freeDDict)> out;
  explicit Dictionary(std::string_view samples)
      : in(ZSTD_createCDict(samples.data(), samples.size(), kLevel), ZSTD_freeCDict),
        out(ZSTD_createDDict(samples.data(), samples.size()), ZSTD_freeDDict) {
    if (!in || !out) throw std::bad_alloc();
  }
};

Packer::Packer() = default;
Packer::~Packer() = default;

void Packer::learn(std::string_view text) {
  samples_ += text;
  if (samples_.size() < kDictionaryBytes) return;
  // Those that came last stand nearest: what is cut are the first.
  dictionary_ = std::make_shared<const Dictionary>(
      std::string_view(samples_).substr(samples_.size() - kDictionaryBytes));
  samples_ = {};
}

std::string Packer::pack(const nlohmann::json& object) {
  std::string text;
  try {
    text = object.dump();
  } catch (const nlohmann::json::exception&) {
    return {};
  }
  std::shared_ptr<const Dictionary> dictionary;
  {
    const std::scoped_lock lock(mutex_);
    dictionary = dictionary_;
    if (!dictionary) learn(text);
  }
  std::string out(1 + ZSTD_compressBound(text.size()), '\0');
  out[0] = dictionary ? kLearned : kPlain;
  std::size_t size = 0;
  {
    Contexts& shared = contexts();
    const std::scoped_lock lock(shared.mutex);
    size = checked(dictionary
                       ? ZSTD_compress_usingCDict(shared.in.get(), out.data() + 1, out.size() - 1,
                                                  text.data(), text.size(), dictionary->in.get())
                       : ZSTD_compressCCtx(shared.in.get(), out.data() + 1, out.size() - 1,
                                           text.data(), text.size(), kLevel));
  }
  out.resize(1 + size);
  out.shrink_to_fit();
  return out;
}

nlohmann::json Packer::unpack(std::string_view packed) const {
  if (packed.empty()) throw std::runtime_error("nothing is packed here");
  std::shared_ptr<const Dictionary> dictionary;
  if (packed[0] == kLearned) {
    const std::scoped_lock lock(mutex_);
    dictionary = dictionary_;
    if (!dictionary) throw std::runtime_error("packed by another");
  }
  const std::string_view body = packed.substr(1);
  const unsigned long long size = ZSTD_getFrameContentSize(body.data(), body.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR)
    throw std::runtime_error("not packed text");
  std::string text(size, '\0');
  {
    Contexts& shared = contexts();
    const std::scoped_lock lock(shared.mutex);
    text.resize(checked(dictionary ? ZSTD_decompress_usingDDict(shared.out.get(), text.data(),
                                                                text.size(), body.data(),
                                                                body.size(), dictionary->out.get())
                                   : ZSTD_decompressDCtx(shared.out.get(), text.data(), text.size(),
                                                         body.data(), body.size())));
  }
  auto object = decode(text, Shape::kObject);
  if (!object) throw std::runtime_error("what was packed is no JSON");
  return std::move(*object);
}

}  // namespace kube
