// What guard reads of a caller: argument lists in its memory, socket addresses, and all that is
// made of them for the record. The input is a part of the caller's memory; behind it nothing is
// mapped.
#include <algorithm>
#include <cstring>

#include <guard/address.h>
#include <guard/digest.h>
#include <guard/mask.h>
#include <guard/memory.h>
#include <guard/record.h>
#include <guard/scripts.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/check.h"

using namespace palisade;

namespace {

constexpr std::size_t kArena = 16UL * 1024;
constexpr std::size_t kWords = 32;  // pointers at the beginning
constexpr std::size_t kMost = 1024;

// Memory whose end is the end of what is mapped.
std::uint8_t* arena() {
  static std::uint8_t* const kStart = [] {
    void* all = ::mmap(nullptr, 2 * kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fuzz::check(all != MAP_FAILED, "there is memory");
    fuzz::check(::mprotect(all, kArena, PROT_READ | PROT_WRITE) == 0, "it can be used");
    return static_cast<std::uint8_t*>(all);
  }();
  return kStart;
}

// The words as the kernel would read them; nullopt where it could not.
std::optional<std::vector<std::string>> expected_words(const std::uint8_t* base,
                                                       const std::uint64_t* pointers,
                                                       std::size_t count) {
  std::vector<std::string> out;
  const std::uint8_t* end = base + kArena;
  for (std::size_t i = 0; i < count; ++i) {
    if (pointers[i] == 0) return out;
    const auto* at = reinterpret_cast<const std::uint8_t*>(pointers[i]);
    if (at < base || at >= end) return std::nullopt;
    const auto* nul = std::find(at, end, std::uint8_t{0});
    if (nul == end) return std::nullopt;
    out.emplace_back(reinterpret_cast<const char*>(at), static_cast<std::size_t>(nul - at));
  }
  return std::nullopt;  // the list has no end
}

void recorded(const std::vector<std::string>& argv, const guard::Arguments& read) {
  const std::string program = argv.empty() ? "/usr/bin/git" : argv[0];
  static_cast<void>(guard::script_operands(program, argv));
  for (const char* name : {"python3", "bash", "node", "awk", "make"})
    static_cast<void>(guard::script_operands(name, argv));
  for (const auto& finding : guard::git_findings(argv))
    fuzz::check(!finding.id.empty() && finding.message.size() < 2048, "a finding is bounded");
  const guard::Process by{.pid = 1, .parent = 2, .program = program};
  for (const guard::Event& event : std::vector<guard::Event>{
           guard::ExecStarted{by, program, program, "", argv, read.bytes, read.sha256, program},
           guard::Refused{by, "network.connect", "connect", program, argv, 13, true},
           guard::Finding{by, "x", program}, guard::SessionStarted{argv, argv, true}}) {
    const std::string line = guard::line_of(
        event, {.sequence = 1, .dropped = 0, .now = {}, .workspace = program, .host = program});
    fuzz::check(line.size() < guard::kLongestLine, "a line is bounded", line);
    fuzz::check(nlohmann::json::accept(line), "a line is JSON", line);
    fuzz::check_shown(line, guard::kLongestLine);
  }
}

void address(std::string_view bytes) {
  const auto read = guard::decode(std::as_bytes(std::span(bytes.data(), bytes.size())));
  static_cast<void>(read.text());
  using Kind = guard::SocketAddress::Kind;
  if (read.kind == Kind::kInternet) {
    const auto again = guard::parse_address(read.endpoint.address.text());
    fuzz::check(again == read.endpoint.address, "an address is read again from its text",
                read.endpoint.text());
  }
  if (read.kind == Kind::kPath)
    fuzz::check(read.name.find('\0') == std::string::npos && !read.name.empty(), "a path is one");
}

}  // namespace

// Bytes 0 and 1: where the list of arguments begins. Then 32 pairs of bytes: 0 is a null pointer,
// all others are offsets from the memory's end. The rest is put at the memory's end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  address(fuzz::view(data, size));
  if (size < 2 * (kWords + 1)) return 0;
  std::uint8_t* base = arena();
  std::memset(base, 0, kArena);
  const std::uint8_t* text = data + 2 * (kWords + 1);
  const std::size_t length =
      std::min(size - 2 * (kWords + 1), kArena - kWords * sizeof(std::uint64_t));
  std::memcpy(base + kArena - length, text, length);
  std::array<std::uint64_t, kWords> pointers{};
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::size_t offset = data[2 + 2 * i] + 256U * data[3 + 2 * i];
    if (offset != 0)
      pointers.at(i) = reinterpret_cast<std::uint64_t>(base + kArena - offset % (kArena + 64));
  }
  std::memcpy(base, pointers.data(), sizeof pointers);
  const std::size_t first = data[0] % kWords;
  const auto at = reinterpret_cast<std::uint64_t>(base) + first * sizeof(std::uint64_t);
  const auto read = guard::read_arguments(::getpid(), at, kMost);
  const auto expected = expected_words(base, pointers.data() + first, kWords - first);
  if (expected) {
    fuzz::check(read.has_value(), "a list that the kernel can read is read");
    std::string all;
    for (const std::string& word : *expected)
      all += word + '\0';
    fuzz::check(read->bytes == all.size(), "its length is the whole's");
    if (read->sha256.empty()) {
      fuzz::check(read->words == *expected, "what was not cut is the whole");
      fuzz::check(guard::mask_arguments(read->words).size() == expected->size(),
                  "masking leaves the number of arguments");
    } else {
      fuzz::check(read->sha256 == guard::sha256_hex(all), "the digest is the whole's");
      std::size_t kept = 0;
      for (std::size_t i = 0; i < read->words.size(); ++i) {
        kept += read->words[i].size();
        fuzz::check(i < expected->size() && (*expected)[i].starts_with(read->words[i]),
                    "what was kept is a beginning");
      }
      fuzz::check(kept <= kMost, "what is kept is bounded");
    }
    recorded(read->words, *read);
  }
  const auto path = guard::read_text(::getpid(), pointers.at(first), kMost);
  if (path)
    fuzz::check(path->size() <= kMost && path->find('\0') == std::string::npos,
                "a text is bounded");
  const auto both = guard::read_exec(::getpid(), pointers.at(first), kMost, at, kMost);
  fuzz::check(both.path == path, "read at once, the path is the same");
  if (path) {
    fuzz::check(both.arguments.has_value() == read.has_value(), "and so is the list");
    fuzz::check(
        !read || (both.arguments->words == read->words && both.arguments->bytes == read->bytes &&
                  both.arguments->sha256 == read->sha256),
        "word by word");
  }
  return 0;
}
