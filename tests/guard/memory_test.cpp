#include "guard/memory.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guard/digest.h"

namespace palisade::guard {
namespace {

std::uint64_t at(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

std::expected<Arguments, int> arguments_of(const std::vector<std::string>& words,
                                           std::size_t most) {
  std::vector<const char*> pointers;
  for (const auto& word : words) {
    pointers.push_back(word.c_str());
  }
  pointers.push_back(nullptr);
  return read_arguments(getpid(), at(pointers.data()), most);
}

TEST(Memory, TextEndsAtItsNulOrIsTooLong) {
  const std::string text(5000, 'x');
  EXPECT_EQ(read_text(getpid(), at(text.c_str()), 5000), text);
  EXPECT_EQ(read_text(getpid(), at(text.c_str()), 4999).error(), ENAMETOOLONG);
  EXPECT_EQ(read_text(getpid(), at(""), 0), "");
  EXPECT_EQ(read_text(getpid(), 8, 10).error(), EFAULT);
}

TEST(Memory, TextBeforeAHoleIsRead) {
  auto* two = static_cast<char*>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(two, MAP_FAILED);
  ASSERT_EQ(munmap(two + 4096, 4096), 0);
  two[4094] = 'x';
  EXPECT_EQ(read_text(getpid(), at(two + 4094), 100), "x");
  two[4095] = 'y';  // and no NUL
  EXPECT_EQ(read_text(getpid(), at(two + 4094), 100).error(), EFAULT);
  EXPECT_EQ(read_object<std::uint64_t>(getpid(), at(two + 4090)).error(), EFAULT);
  munmap(two, 4096);
}

TEST(Memory, ArgumentsAreReadWhole) {
  const std::vector<std::string> words{"git", "", "commit", std::string(9000, 'm')};
  const auto read = arguments_of(words, 65536);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->words, words);
  EXPECT_EQ(read->bytes, 4U + 1 + 7 + 9001);
  EXPECT_EQ(read->sha256, "");
  EXPECT_TRUE(read_arguments(getpid(), 0, 100)->words.empty());
  EXPECT_EQ(read_arguments(getpid(), 8, 100).error(), EFAULT);
}

// Both in one look is the same as one after the other, wherever they lie.
TEST(Memory, AnExecIsReadAsItsPartsAre) {
  constexpr std::size_t kPage = 4096;
  auto* pages = static_cast<char*>(
      mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(munmap(pages + 3 * kPage, kPage), 0);
  char* const end = pages + 3 * kPage;
  const auto put = [](char* place, std::string_view text) {
    std::memcpy(place, text.data(), text.size());
    return place;
  };
  char* const near = put(pages + 100, std::string_view("/bin/a\0", 7));
  char* const across = put(pages + kPage - 3, std::string_view("/bin/b\0", 7));
  char* const last = end - 7;  // without its NUL
  char* const cut = put(pages + 2 * kPage, std::string(kPage - 64, 'x'));
  std::memset(end - 7, 'x', 7);
  const std::array<char*, 3> words{near, across, nullptr};
  auto* const list =
      put(pages + kPage + 512, {reinterpret_cast<const char*>(words.data()), sizeof words});
  auto* const split =
      put(pages + kPage - 1036, {reinterpret_cast<const char*>(words.data()), sizeof words});
  for (const char* path : {near, across, last, cut, end - 1, end}) {
    for (const std::uint64_t arguments : {std::uint64_t{0}, at(list), at(split), at(end - 8),
                                          at(end), std::uint64_t{8}, at(words.data())}) {
      SCOPED_TRACE(std::to_string(path - pages) + ", " + std::to_string(arguments));
      const auto text = read_exec(getpid(), at(path), 4095, arguments, 4096);
      const auto alone = read_text(getpid(), at(path), 4095);
      EXPECT_EQ(text.path, alone);
      const auto expected =
          alone ? read_arguments(getpid(), arguments, 4096) : std::unexpected(alone.error());
      ASSERT_EQ(text.arguments.has_value(), expected.has_value());
      if (expected) {
        EXPECT_EQ(text.arguments->words, expected->words);
        EXPECT_EQ(text.arguments->bytes, expected->bytes);
      } else {
        EXPECT_EQ(text.arguments.error(), expected.error());
      }
    }
  }
  munmap(pages, 3 * kPage);
}

TEST(Memory, LongArgumentsAreCutCountedAndHashed) {
  const std::string ten(10, 'a');
  for (const std::size_t most : {0UL, 1UL, 10UL, 11UL, 12UL, 21UL, 22UL, 32UL}) {
    const auto read = arguments_of({ten, ten, "", ten}, most);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->bytes, 34U);
    std::size_t kept = 0;
    for (const auto& word : read->words) {
      kept += word.size();
    }
    EXPECT_LE(kept, most);
    const std::string all = ten + '\0' + ten + '\0' + '\0' + ten + '\0';
    EXPECT_EQ(read->sha256, sha256_hex(all)) << most;
  }
}

TEST(Memory, ManyEmptyArgumentsTakeLittleRoom) {
  const std::vector<std::string> words(500'000);
  const auto read = arguments_of(words, 1024);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->bytes, 500'000U);
  EXPECT_LE(read->words.size(), 1025U);
}

}  // namespace
}  // namespace palisade::guard
