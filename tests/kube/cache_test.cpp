#include <atomic>
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

}  // namespace
