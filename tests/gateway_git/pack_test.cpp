#include "pack.h"

#include <functional>

#include <gtest/gtest.h>

#include "delta.h"
#include "packs.h"

namespace palisade::gateway::git {
namespace {

using namespace testing;

std::expected<PackContents, PackError> read(std::string_view bytes,
                                            ObjectFormat format = ObjectFormat::kSha1,
                                            const PackLimits& limits = {}) {
  const std::atomic<bool> stop{false};
  return read_pack(MemorySource(bytes), format, limits, stop);
}

std::string fault(std::string_view bytes, PackFault expected, const PackLimits& limits = {}) {
  const auto contents = read(bytes, ObjectFormat::kSha1, limits);
  if (contents) return "it was read";
  EXPECT_EQ(contents.error().fault, expected) << contents.error().message;
  return contents.error().message;
}

TEST(Pack, FindsCommitsHoweverTheyAreStored) {
  for (const ObjectFormat format : {ObjectFormat::kSha1, ObjectFormat::kSha256}) {
    const ObjectId outside = id_of("commit", "not in the pack", format);
    const std::string one =
        commit("one, and a message that is longer than the others", {outside}, format);
    const ObjectId one_id = id_of("commit", one, format);
    const std::string two = commit("two", {one_id}, format);
    const ObjectId two_id = id_of("commit", two, format);
    const std::string three = commit("three", {two_id, one_id}, format);
    const ObjectId three_id = id_of("commit", three, format);
    const std::string four = commit("four", {}, format);
    const std::string tree;

    PackWriter pack(format);
    pack.id_delta(two_id, delta(two, three));  // before its base, which is a delta itself
    const auto at = pack.object(1, one);
    pack.offset_delta(at, delta(one, two));
    pack.object(2, tree);
    pack.object(3, "a blob");
    pack.object(3, "");
    pack.id_delta(id_of("blob", "a blob", format), delta("a blob", "a blob, again"));
    pack.object(4, "a tag");
    pack.object(1, four);
    const auto contents = read(pack.bytes(), format);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->objects, 9U);
    const Commits expected = {{one_id, {outside}},
                              {two_id, {one_id}},
                              {three_id, {two_id, one_id}},
                              {id_of("commit", four, format), {}}};
    EXPECT_EQ(contents->commits, expected);
  }
}

TEST(Pack, NothingAtAllIsAPack) {
  const auto contents = read(PackWriter().bytes());
  ASSERT_TRUE(contents) << contents.error().message;
  EXPECT_EQ(contents->objects, 0U);
  EXPECT_TRUE(contents->commits.empty());
}

TEST(Pack, AChainThatNeedsItsNamesOneAfterTheOther) {
  // Each is a delta by name of the one before, stored in the opposite order.
  PackWriter pack;
  std::vector<std::string> texts = {"0"};
  for (int i = 1; i <= 60; ++i)
    texts.push_back(texts.back() + "," + std::to_string(i));
  for (std::size_t i = texts.size() - 1; i > 0; --i)
    pack.id_delta(id_of("blob", texts[i - 1]), delta(texts[i - 1], texts[i]));
  pack.object(3, texts[0]);
  const auto contents = read(pack.bytes());
  ASSERT_TRUE(contents) << contents.error().message;
  PackLimits limits;
  limits.delta_depth = 59;
  EXPECT_EQ(fault(pack.bytes(), PackFault::kTooMuch, limits), "a chain of more than 59 deltas");
}

struct Broken {
  const char* name;
  std::string bytes;
  PackFault fault;
  const char* message;
};

std::string with(const std::function<void(PackWriter&)>& fill) {
  PackWriter pack;
  fill(pack);
  return pack.bytes();
}

std::string good() {
  return with([](PackWriter& pack) { pack.object(3, "some text"); });
}

TEST(Pack, RefusesWhatIsNotSound) {
  constexpr PackFault kBroken = PackFault::kBroken;
  const std::string whole = good();
  const std::string body = whole.substr(0, whole.size() - 20);
  PackWriter one;
  one.object(3, "some text");
  std::string flipped = whole;
  flipped[whole.size() - 3] = static_cast<char>(flipped[whole.size() - 3] ^ 1);
  const std::string base = "a base of some length";
  const auto offset_delta = [&](std::string_view text) {
    return with([&](PackWriter& pack) { pack.offset_delta(pack.object(3, base), text); });
  };
  const std::string sizes = delta_size(base.size()) + delta_size(5);
  const std::vector<Broken> cases = {
      {"nothing", "", kBroken, "the pack is cut"},
      {"no sum", body.substr(0, 31), kBroken, "the pack is cut"},
      {"another word", summed("PUCK" + body.substr(4)), kBroken,
       "the pack does not begin with PACK"},
      {"version 3", one.bytes({}, 3), kBroken, "a pack of another version than 2"},
      {"a sum of something else", flipped, kBroken, "the pack's sum is not that of its content"},
      {"bytes behind the sum", whole + "x", kBroken, "something follows the pack's last object"},
      {"bytes before the sum", summed(body + "x"), kBroken,
       "something follows the pack's last object"},
      {"another pack behind", whole + whole, kBroken, "something follows the pack's last object"},
      {"more objects than it says", one.bytes(0), kBroken,
       "something follows the pack's last object"},
      {"fewer objects than it says", one.bytes(2), kBroken, "the pack is cut"},
      {"far fewer objects than it says", one.bytes(200), kBroken,
       "the pack says it holds more objects than it has room for"},
      {"four billion objects", one.bytes(0xFFFFFFFFU), PackFault::kTooMuch,
       "the pack says it holds 4294967295 objects, more than 500000"},
      {"cut within an object", summed(body.substr(0, body.size() - 4)), kBroken, "the pack is cut"},
      {"type 0", with([](PackWriter& p) { p.entry(0, 1, deflate("x")); }), kBroken,
       "an object of an unknown type"},
      {"type 5", with([](PackWriter& p) { p.entry(5, 1, deflate("x")); }), kBroken,
       "an object of an unknown type"},
      {"more than it says", with([](PackWriter& p) { p.entry(3, 3, deflate("1234")); }), kBroken,
       "an object's data: it inflates to more than 3 bytes"},
      {"less than it says", with([](PackWriter& p) { p.entry(3, 5, deflate("1234")); }), kBroken,
       "an object that is not as long as it says"},
      {"not compressed", with([](PackWriter& p) { p.entry(3, 9, "some text"); }), kBroken,
       "an object's data: compressed data that zlib does not read"},
      {"gzip", with([](PackWriter& p) { p.entry(3, 1, gzip("x")); }), kBroken,
       "an object's data: compressed data that zlib does not read"},
      {"a size without end", with([](PackWriter& p) { p.entry(3, 0x10, std::string(20, '\xff')); }),
       kBroken, "an object's data: compressed data that zlib does not read"},
      {"an object of a terabyte",
       with([](PackWriter& p) { p.entry(3, 1ULL << 40U, deflate("x")); }), PackFault::kTooMuch,
       "an object of 1099511627776 bytes, more than 536870912"},
      {"a commit without a tree", with([](PackWriter& p) { p.object(1, "author A\n\n"); }), kBroken,
       "a commit that does not begin with its tree"},
      {"a commit with a parent that is none",
       with([](PackWriter& p) { p.object(1, commit("x").substr(0, 46) + "parent abc\n\n"); }),
       kBroken, "a commit with a parent that is no object name"},
      {"an offset of nothing", with([](PackWriter& p) {
         p.object(3, "x");
         p.entry(6, 3, std::string(1, '\0') + deflate("abc"));
       }),
       kBroken, "a delta whose base is not before it"},
      {"an offset before the pack", with([](PackWriter& p) {
         p.object(3, "x");
         p.entry(6, 3, "\x7f" + deflate("abc"));
       }),
       kBroken, "a delta whose base is not before it"},
      {"an offset into an object", with([](PackWriter& p) {
         const auto at = p.object(3, "text");
         p.offset_delta(at + 1, delta("text", "texts"));
       }),
       kBroken, "a delta whose base is no object"},
      {"an offset that is no number", with([](PackWriter& p) {
         p.object(3, "x");
         p.entry(6, 3, std::string(12, '\xff') + deflate("abc"));
       }),
       kBroken, "a delta's offset is no number"},
      {"a delta of a base of another size",
       offset_delta(delta_size(3) + delta_size(1) + copy(0, 1)), kBroken,
       "a delta of a base of another size"},
      {"the same by name", with([&](PackWriter& p) {
         p.object(3, base);
         p.id_delta(id_of("blob", base), delta_size(3) + delta_size(1) + copy(0, 1));
       }),
       kBroken, "a delta of a base of another size"},
      {"an operation that is none", offset_delta(sizes + std::string(1, '\0')), kBroken,
       "a delta with an unknown operation"},
      {"a copy past the base's end", offset_delta(sizes + copy(20, 5)), kBroken,
       "a delta that copies from outside its base or makes more than it says"},
      {"a copy from past the base", offset_delta(sizes + copy(1000, 5)), kBroken,
       "a delta that copies from outside its base or makes more than it says"},
      {"a copy of more than it says", offset_delta(sizes + copy(0, 6)), kBroken,
       "a delta that copies from outside its base or makes more than it says"},
      {"a copy of everything", offset_delta(sizes + "\x80"), kBroken,
       "a delta that copies from outside its base"},
      {"literals of more than it says", offset_delta(sizes + insert("123456")), kBroken,
       "a delta that makes more than it says"},
      {"less than it says", offset_delta(sizes + insert("1234")), kBroken,
       "a delta that makes less than it says"},
      {"cut in a literal", offset_delta(sizes + insert("12345").substr(0, 3)), kBroken,
       "a delta that is cut"},
      {"cut in a copy", offset_delta(sizes + "\x91"), kBroken, "a delta that is cut"},
      {"cut in its sizes", offset_delta("\x80"), kBroken, "a delta that is cut"},
      {"a size without end", offset_delta(std::string(100, '\x80')), kBroken,
       "a delta of an object that is too large"},
      {"a result of a terabyte", offset_delta(delta_size(base.size()) + delta_size(1ULL << 40U)),
       kBroken, "a delta of an object that is too large"},
      {"thin", with([&](PackWriter& p) {
         p.id_delta(id_of("blob", "elsewhere"), delta("elsewhere", "else"));
       }),
       PackFault::kThin, "the pack is thin: it holds deltas of objects that are not in it"},
      {"thin behind a delta", with([&](PackWriter& p) {
         p.object(3, base);
         p.offset_delta(p.id_delta(id_of("blob", "elsewhere"), delta("elsewhere", "else")),
                        delta("else", "elsa"));
       }),
       PackFault::kThin, "the pack is thin: it holds deltas of objects that are not in it"},
  };
  for (const Broken& broken : cases)
    EXPECT_EQ(fault(broken.bytes, broken.fault), broken.message) << broken.name;
}

TEST(Pack, EveryCutIsRefused) {
  const std::string parent = commit("parent");
  PackWriter pack;
  pack.offset_delta(pack.object(1, parent),
                    delta(parent, commit("child", {id_of("commit", parent)})));
  pack.object(3, noise(200, 1));
  const std::string whole = pack.bytes();
  ASSERT_TRUE(read(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(read(whole.substr(0, length))) << length;
    if (length + 20 < whole.size()) {
      EXPECT_FALSE(read(summed(whole.substr(0, length)))) << length << " with a sum of its own";
    }
  }
}

TEST(Pack, BombsEndAtTheirBounds) {
  // Deflate's best: a thousand to one.
  const std::string zeros(10U << 20U, '\0');
  PackWriter many;
  for (int i = 0; i < 8; ++i)
    many.object(3, zeros);
  const std::string bomb = many.bytes();
  EXPECT_LT(bomb.size(), 100U << 10U);
  PackLimits tight;
  tight.inflated_bytes = 64U << 20U;
  EXPECT_EQ(fault(bomb, PackFault::kTooMuch, tight), "the pack inflates to too much for its size");

  // A delta of a few bytes that copies its base a hundred times, and a delta of that.
  PackWriter deltas;
  std::uint64_t at = deltas.object(3, std::string(1U << 20U, 'x'));
  std::uint64_t size = 1U << 20U;
  for (int i = 0; i < 4; ++i) {
    std::string text = delta_size(size);
    std::string operations;
    std::uint64_t made = 0;
    for (int n = 0; n < 20; ++n, made += 0x100000)
      operations += copy(0, 0x100000);
    at = deltas.offset_delta(at, text + delta_size(made) + operations);
    size = made;
  }
  PackLimits limits;
  limits.made_bytes = 64U << 20U;
  EXPECT_EQ(fault(deltas.bytes(), PackFault::kTooMuch, limits),
            "the pack's deltas make too much for its size");

  PackWriter large;
  large.object(1, commit(std::string(2U << 20U, 'm')));
  EXPECT_EQ(fault(large.bytes(), PackFault::kTooMuch).substr(0, 11), "a commit of");
  PackWriter grown;
  const std::string small = commit("small");
  std::string grow = delta_size(small.size());
  std::string copies;
  std::uint64_t total = small.size();
  copies += copy(0, static_cast<std::uint32_t>(small.size()));
  for (; total < (2U << 20U); total += 100)
    copies += copy(0, 100);
  grown.offset_delta(grown.object(1, small), grow + delta_size(total) + copies);
  EXPECT_EQ(fault(grown.bytes(), PackFault::kTooMuch).substr(0, 11), "a commit of");
}

TEST(Pack, WorkThatGrowsWithTheSquareIsBounded) {
  // Objects that are too large to be kept, each to be built from the first again.
  PackWriter pack;
  std::string text = noise(10U << 20U, 3);
  std::uint64_t at = pack.object(3, text);
  for (int i = 0; i < 40; ++i)
    at = pack.offset_delta(at, delta_size(text.size()) + delta_size(text.size()) +
                                   copy(0, 0xA00000 - 1) + insert(std::string(1, 'a')));
  pack.id_delta(id_of("blob", "elsewhere"), delta("elsewhere", "else"));
  PackLimits limits;
  limits.work_bytes = 200U << 20U;
  EXPECT_EQ(fault(pack.bytes(), PackFault::kTooMuch, limits),
            "the pack's deltas take too much work to follow");
}

TEST(Pack, StopsWhenTold) {
  const std::atomic<bool> stop{true};
  const std::string bytes = good();
  const auto contents = read_pack(MemorySource(bytes), ObjectFormat::kSha1, {}, stop);
  ASSERT_FALSE(contents);
  EXPECT_EQ(contents.error().fault, PackFault::kStopped);
}

TEST(Delta, Applies) {
  const std::string base = noise(70'000, 5);
  struct Case {
    std::string operations, result;
  };
  for (const Case& c : {
           Case{copy(0, 100), base.substr(0, 100)},
           Case{copy(300, 0x10000), base.substr(300, 0x10000)},
           Case{copy(66'000, 4000) + insert("end"), base.substr(66'000, 4000) + "end"},
           Case{insert(std::string(127, 'i')), std::string(127, 'i')},
           Case{copy(0, 1) + copy(0, 1) + copy(69'999, 1), std::string(2, base[0]) + base[69'999]},
           Case{"", ""},
       }) {
    const std::string text = delta_size(base.size()) + delta_size(c.result.size()) + c.operations;
    const auto made = apply_delta(base, text, 1U << 20U);
    ASSERT_TRUE(made) << made.error();
    EXPECT_EQ(*made, c.result);
    DeltaCheck check(1U << 20U);
    for (const char byte : text)
      ASSERT_TRUE(check.take(std::string_view(&byte, 1)));
    EXPECT_TRUE(check.finish());
    EXPECT_EQ(check.result_size(), c.result.size());
    EXPECT_FALSE(apply_delta(base.substr(1), text, 1U << 20U)) << "another base";
  }
}

TEST(FastForward, IsAChainOfParents) {
  const auto id = [](int n) { return id_of("commit", std::to_string(n)); };
  // 1 <- 2 <- 3 <- 5, 2 <- 4 <- 5 (a merge), 6 alone, 7 of what is elsewhere.
  const Commits commits = {{id(2), {id(1)}},        {id(3), {id(2)}}, {id(4), {id(2)}},
                           {id(5), {id(4), id(3)}}, {id(6), {}},      {id(7), {id(8), id(9)}}};
  struct Case {
    int old_tip, new_tip;
    bool is;
  };
  for (const Case& c : {Case{1, 5, true}, Case{2, 5, true}, Case{3, 5, true}, Case{4, 5, true},
                        Case{5, 5, true}, Case{5, 4, false}, Case{3, 4, false}, Case{1, 6, false},
                        Case{6, 5, false}, Case{9, 7, true}, Case{8, 7, true}, Case{1, 7, false},
                        Case{1, 99, false}, Case{99, 99, true}}) {
    EXPECT_EQ(is_fast_forward(commits, id(c.old_tip), id(c.new_tip)), c.is)
        << c.old_tip << " to " << c.new_tip;
  }
}

}  // namespace
}  // namespace palisade::gateway::git
