#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <guard/digest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kNone = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

class Digests : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "guard-digest-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  static void settle() { std::this_thread::sleep_for(150ms); }
  std::filesystem::path folder_;
};

TEST(Sha256, KnowsTheStandardsExamples) {
  EXPECT_EQ(sha256_hex("abc"), kAbc);
  EXPECT_EQ(sha256_hex(""), kNone);
  Sha256 pieces;
  pieces.add("a");
  pieces.add("");
  pieces.add("bc");
  EXPECT_EQ(pieces.hex(), kAbc);
}

TEST_F(Digests, OfAFile) {
  FileDigests digests;
  EXPECT_EQ(digests.of(write("a", "abc")), kAbc);
  EXPECT_EQ(digests.of(write("empty", "")), kNone);
  std::filesystem::create_symlink(folder_ / "a", folder_ / "link");
  EXPECT_EQ(digests.of(folder_ / "link"), kAbc);
}

TEST_F(Digests, NothingButARegularFileIsRead) {
  FileDigests digests;
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(digests.of(folder_ / "fifo"), "");  // and it does not wait for a writer
  EXPECT_EQ(digests.of(folder_), "");
  EXPECT_EQ(digests.of("/dev/null"), "");
  EXPECT_EQ(digests.of(folder_ / "nothing"), "");
  EXPECT_EQ(digests.of(-1), "");
  const int path_only = ::open(write("a", "abc").c_str(), O_PATH | O_CLOEXEC);
  EXPECT_EQ(digests.of(path_only), "");
  ::close(path_only);
}

TEST_F(Digests, NoFileAboveTheBound) {
  FileDigests digests;
  const std::string path = write("a", "abc");
  EXPECT_EQ(digests.of(path, 2), "");
  EXPECT_EQ(digests.of(path, 3), kAbc);
  const std::string sparse = write("sparse", "");
  std::filesystem::resize_file(sparse, FileDigests::kLargest + 1);
  EXPECT_EQ(digests.of(sparse), "");
}

TEST_F(Digests, RemembersWhatHasSettledAndSeesEveryChange) {
  FileDigests digests;
  const std::string path = write("a", "abc");
  EXPECT_EQ(digests.of(path), kAbc);
  EXPECT_EQ(digests.remembered(), 0U);  // it may change again within the same tick
  settle();
  EXPECT_EQ(digests.of(path), kAbc);
  EXPECT_EQ(digests.remembered(), 1U);
  EXPECT_EQ(digests.of(path), kAbc);
  EXPECT_EQ(digests.remembered(), 1U);
  // The same size and the same mtime: the kernel's ctime tells.
  struct stat before {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  write("a", "abd");
  const std::array<timespec, 2> times{before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
  EXPECT_EQ(digests.of(path), sha256_hex("abd"));
}

TEST_F(Digests, ForgetsTheLongestUnused) {
  FileDigests digests(2);
  const std::string a = write("a", "a");
  const std::string b = write("b", "b");
  const std::string c = write("c", "c");
  settle();
  for (const std::string& path : {a, b, a, c})
    EXPECT_EQ(digests.of(path), sha256_hex(std::filesystem::path(path).filename().string()));
  EXPECT_EQ(digests.remembered(), 2U);
}

TEST_F(Digests, TheDescriptorStaysWhereItWas) {
  FileDigests digests;
  const int fd = ::open(write("a", "abc").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::lseek(fd, 1, SEEK_SET), 1);
  EXPECT_EQ(digests.of(fd), kAbc);
  EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 1);
  ::close(fd);
}

}  // namespace
}  // namespace palisade::guard
