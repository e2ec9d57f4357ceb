#include <atomic>
#include <map>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include <kube/cache.h>

namespace {

using kube::Cache;
using kube::object_key;
using kube::ObjectPtr;
using kube::split_key;
using nlohmann::json;

ObjectPtr object(const std::string& ns, const std::string& name, int version = 1) {
  json metadata{{"name", name}, {"resourceVersion", std::to_string(version)}};
  if (!ns.empty()) metadata["namespace"] = ns;
  return std::make_shared<const json>(json{{"metadata", metadata}});
}

TEST(ObjectKey, IsNamespaceSlashNameOrTheNameAlone) {
  EXPECT_EQ(object_key(*object("a", "b")), "a/b");
  EXPECT_EQ(object_key(*object("", "b")), "b");
  EXPECT_EQ(object_key("a", "b"), "a/b");
  EXPECT_EQ(object_key("", "b"), "b");
}

TEST(ObjectKey, IsEmptyWhereNothingNamesTheObject) {
  EXPECT_EQ(object_key(json::object()), "");
  EXPECT_EQ(object_key(json{{"metadata", nullptr}}), "");
  EXPECT_EQ(object_key(json{{"metadata", {{"name", 5}}}}), "");
}

TEST(ObjectKey, SplitsBack) {
  EXPECT_EQ(split_key("a/b"), (std::pair<std::string, std::string>("a", "b")));
  EXPECT_EQ(split_key("b"), (std::pair<std::string, std::string>("", "b")));
}

TEST(CacheTest, PutReturnsWhatItReplacedAndRemoveWhatWasThere) {
  Cache cache;
  const auto first = object("a", "b", 1);
  const auto second = object("a", "b", 2);
  EXPECT_EQ(cache.put(first), nullptr);
  EXPECT_EQ(cache.put(second), first);
  EXPECT_EQ(cache.get("a", "b"), second);
  EXPECT_EQ(cache.get("a/b"), second);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(cache.remove("a/b"), second);
  EXPECT_EQ(cache.remove("a/b"), nullptr);
  EXPECT_EQ(cache.get("a/b"), nullptr);
  EXPECT_EQ(cache.size(), 0U);
}

TEST(CacheTest, SameNameInTwoNamespacesIsTwoObjects) {
  Cache cache;
  cache.put(object("a", "x"));
  cache.put(object("b", "x"));
  cache.put(object("", "x"));
  EXPECT_EQ(cache.size(), 3U);
  EXPECT_EQ(cache.all().size(), 3U);
}

TEST(CacheTest, ReaderKeepsAnObjectThatIsReplacedMeanwhile) {
  Cache cache;
  cache.put(object("a", "b", 1));
  const auto held = cache.get("a/b");
  cache.put(object("a", "b", 2));
  EXPECT_EQ(held->at("metadata").at("resourceVersion"), "1");
}

TEST(CacheTest, ReadersAndAWriterDoNotMeet) {
  Cache cache;
  std::atomic<bool> over{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (!over) {
        if (const auto seen = cache.get("a/b")) {
          const int version =
              std::stoi(seen->at("metadata").at("resourceVersion").get<std::string>());
          EXPECT_GE(version, last);
          last = version;
        }
        EXPECT_LE(cache.all().size(), 2U);
      }
    });
  }
  for (int i = 1; i <= 2000; ++i) {
    cache.put(object("a", "b", i));
    cache.put(object("a", "other", i));
    cache.remove("a/other");
  }
  over = true;
  for (auto& reader : readers)
    reader.join();
}

TEST(CacheIndex, FindsByOwnerAndLabelWhateverComesAndGoes) {
  const auto made = [](const std::string& name, const std::string& owner, const std::string& app) {
    return std::make_shared<const nlohmann::json>(
        nlohmann::json{{"metadata",
                        {{"namespace", "a"},
                         {"name", name},
                         {"labels", {{"app", app}}},
                         {"ownerReferences", nlohmann::json::array({{{"uid", owner}}})}}}});
  };
  kube::Cache cache;
  cache.put(made("before", "u1", "x"));
  cache.add_index("owner", kube::owner_uids);
  cache.add_index("label", kube::label_pairs);
  cache.put(made("after", "u1", "y"));
  EXPECT_EQ(cache.by_index("owner", "u1").size(), 2U);
  EXPECT_EQ(cache.by_index("label", "app=y").size(), 1U);
  cache.put(made("after", "u2", "x"));
  EXPECT_EQ(cache.by_index("owner", "u1").size(), 1U);
  EXPECT_EQ(cache.by_index("owner", "u2").size(), 1U);
  EXPECT_TRUE(cache.by_index("label", "app=y").empty());
  EXPECT_EQ(cache.by_index("label", "app=x").size(), 2U);
  cache.remove("a/before");
  EXPECT_TRUE(cache.by_index("owner", "u1").empty());
  EXPECT_THROW(static_cast<void>(cache.by_index("none", "")), std::out_of_range);
  // Broken objects are in no index.
  cache.put(std::make_shared<const nlohmann::json>(
      nlohmann::json{{"metadata", {{"name", "odd"}, {"labels", 7}, {"ownerReferences", "x"}}}}));
  EXPECT_EQ(cache.size(), 2U);
}

json numbered(int number, int version = 1) {
  return {{"metadata",
           {{"namespace", "a"},
            {"name", "n" + std::to_string(number)},
            {"uid", "5c9966d5-3c56-403d-83c1-" + std::to_string(100'000'000'000 + number)},
            {"resourceVersion", std::to_string(version)},
            {"labels", {{"team", "t" + std::to_string(number % 10)}}}}},
          {"spec",
           {{"depth", -number},
            {"share", number / 7.0},
            {"on", number % 2 == 0},
            {"nothing", nullptr},
            {"text", std::string(400, 'x') + "\u00e9\n\"" + std::to_string(number)}}}};
}

// However few are kept whole, it is the same to whoever asks.
TEST(PackedCache, HoldsWhatAnUnpackedOneHolds) {
  for (const std::size_t whole : {std::size_t{0}, std::size_t{1}, std::size_t{7}, Cache::kAll}) {
    Cache cache(whole);
    cache.add_index("team", kube::label_pairs);
    const auto put = [&](const json& one) { return cache.put(std::make_shared<const json>(one)); };
    constexpr int kCount = 300;
    for (int i = 0; i < kCount; ++i)
      EXPECT_EQ(put(numbered(i)), nullptr);
    for (int i = 0; i < kCount; i += 3) {
      const auto before = put(numbered(i, 2));
      ASSERT_NE(before, nullptr);
      EXPECT_EQ(*before, numbered(i));
    }
    EXPECT_EQ(cache.size(), kCount);
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < kCount; ++i) {
        const auto held = cache.get("a", "n" + std::to_string(i));
        ASSERT_NE(held, nullptr) << i;
        EXPECT_EQ(*held, numbered(i, i % 3 == 0 ? 2 : 1));
      }
    }
    EXPECT_EQ(cache.by_index("team", "team=t4").size(), kCount / 10);
    std::set<std::string> seen;
    cache.visit([&](const ObjectPtr& one) { seen.insert(object_key(*one)); });
    const auto keys = cache.keys();
    EXPECT_EQ(seen, std::set<std::string>(keys.begin(), keys.end()));
    EXPECT_EQ(seen.size(), kCount);
    EXPECT_EQ(cache.all().size(), kCount);
    for (int i = 4; i < kCount; i += 10) {
      const auto last = cache.remove("a/n" + std::to_string(i));
      ASSERT_NE(last, nullptr);
      EXPECT_EQ((*last)["spec"], numbered(i)["spec"]);
    }
    EXPECT_TRUE(cache.by_index("team", "team=t4").empty());
    EXPECT_TRUE(cache.keys_by_index("team", "team=t4").empty());
    EXPECT_EQ(cache.keys_by_index("team", "team=t5").size(), kCount / 10);
    EXPECT_EQ(cache.size(), kCount - kCount / 10);
  }
}

// What was asked for last is the very same object at the next time; older ones are made anew.
TEST(PackedCache, KeepsWholeWhatIsAskedFor) {
  Cache cache(2);
  for (int i = 0; i < 50; ++i)
    cache.put(std::make_shared<const json>(numbered(i)));
  const auto first = cache.get("a/n0");
  EXPECT_EQ(cache.get("a/n0"), first);
  for (int i = 1; i < 9; ++i)
    static_cast<void>(cache.get("a/n" + std::to_string(i)));
  const auto again = cache.get("a/n0");
  EXPECT_NE(again, first);
  EXPECT_EQ(*again, *first);
}

// Text that is not UTF-8 has no JSON: such an object stays as it is.
TEST(PackedCache, LosesNothingThatItCannotPack) {
  Cache cache(1);
  json odd = numbered(0);
  odd["spec"]["text"] = "\xff\xfe";
  cache.put(std::make_shared<const json>(odd));
  for (int i = 1; i < 20; ++i)
    cache.put(std::make_shared<const json>(numbered(i)));
  ASSERT_NE(cache.get("a/n0"), nullptr);
  EXPECT_EQ(*cache.get("a/n0"), odd);
  cache.put(std::make_shared<const json>(numbered(0, 2)));
  EXPECT_EQ(*cache.get("a/n0"), numbered(0, 2));
  EXPECT_EQ(*cache.remove("a/n0"), numbered(0, 2));
}

TEST(PackedCache, ReadersAndAWriterDoNotMeet) {
  Cache cache(3);
  std::atomic<bool> over{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      std::map<int, int> last;
      for (int at = i; !over; at = (at + 1) % 20) {
        if (const auto seen = cache.get("a/n" + std::to_string(at))) {
          const int version = std::stoi((*seen)["metadata"]["resourceVersion"].get<std::string>());
          EXPECT_GE(version, last[at]);
          last[at] = version;
          EXPECT_EQ((*seen)["spec"]["depth"], -at);
        }
        if (at == i) cache.visit([](const ObjectPtr& one) { EXPECT_TRUE(one->is_object()); });
      }
    });
  }
  for (int i = 1; i <= 2000; ++i)
    cache.put(std::make_shared<const json>(numbered(i % 20, i)));
  over = true;
  for (auto& reader : readers)
    reader.join();
}

}  // namespace
