// Mounted files that change while the program runs, and a server whose certificate comes from them.
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <kube/envtest_pki.h>
#include <kube/mounted.h>
#include <kube/openssl_ptr.h>
#include <webhook/serving.h>

#include "kube/raw_client.h"
#include "webhook/eventually.h"

namespace palisade::webhook::testing {
namespace {

using namespace std::chrono_literals;
using kube::MountedFiles;
using kube::envtest::Authority;
using kube::envtest::KeyPair;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A folder as the kubelet mounts a Secret: names point through ..data, which is replaced at once.
class Mount {
 public:
  Mount() {
    std::string name = fs::temp_directory_path() / "palisade-mount-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~Mount() { fs::remove_all(path_); }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  void set(const std::map<std::string, std::string>& files) {
    const std::string version = "..version" + std::to_string(++version_);
    fs::create_directory(path_ / version);
    for (const auto& [name, text] : files) {
      std::ofstream(path_ / version / name) << text;
      if (!fs::is_symlink(path_ / name))
        fs::create_symlink(fs::path("..data") / name, path_ / name);
    }
    fs::create_symlink(version, path_ / "..next");
    fs::rename(path_ / "..next", path_ / "..data");
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int version_ = 0;
};

KeyPair pair_of(const Authority& authority, const std::string& name) {
  auto pair = authority.issue({name, "", {name}, {"127.0.0.1"}});
  if (!pair) throw std::runtime_error(pair.error().text());
  return *pair;
}

TEST(MountedFiles, ChangesAreHandedOverTogetherAndOfferedAgainUntilTaken) {
  spdlog::set_level(spdlog::level::off);
  Mount mount;
  mount.set({{"a", "1"}, {"b", "1"}});
  MountedFiles files({mount.path() / "a", mount.path() / "b"}, 20ms);
  const auto first = files.read();
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(*first, (MountedFiles::Texts{"1", "1"}));

  std::mutex mutex;
  std::vector<MountedFiles::Texts> offered;
  std::atomic<bool> accept{false};
  files.start(*first, [&](const MountedFiles::Texts& texts) -> std::expected<void, std::string> {
    const std::scoped_lock lock(mutex);
    offered.push_back(texts);
    if (!accept) return std::unexpected("not yet");
    return {};
  });
  const auto offers = [&] {
    const std::scoped_lock lock(mutex);
    return offered.size();
  };
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(offers(), 0U) << "nothing has changed";
  mount.set({{"a", "2"}, {"b", "2"}});
  ASSERT_TRUE(eventually([&] { return offers() >= 3; })) << "what is refused is offered again";
  accept = true;
  const std::size_t then = offers();
  ASSERT_TRUE(eventually([&] { return offers() > then; }));
  std::this_thread::sleep_for(100ms);
  EXPECT_LE(offers(), then + 2) << "what was taken is not";
  const std::scoped_lock lock(mutex);
  for (const auto& texts : offered)
    EXPECT_EQ(texts, (MountedFiles::Texts{"2", "2"}));
}

TEST(MountedFiles, WhatCannotBeReadIsNamed) {
  Mount mount;
  mount.set({{"empty", ""}, {"large", std::string(1024 * 1024 + 1, 'x')}, {"good", "x"}});
  for (const char* name : {"missing", "empty", "large"}) {
    const auto texts = MountedFiles({mount.path() / "good", mount.path() / name}).read();
    ASSERT_FALSE(texts) << name;
    EXPECT_THAT(texts.error(), HasSubstr((mount.path() / name).string()));
  }
  EXPECT_FALSE(MountedFiles({mount.path()}).read()) << "a folder";
}

class MountedServing : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    options_.http.address = "127.0.0.1";
    options_.certificate_dir = mount_.path();
  }
  void mount(const KeyPair& pair) {
    mount_.set({{"tls.crt", pair.certificate}, {"tls.key", pair.key}});
  }
  void start() {
    serving_ = std::make_unique<Serving>(
        nullptr, options_, [](const kube::HttpRequest&) { return kube::HttpResponse{}; },
        registry_);
    serving_->start();
  }
  // "" where no connection is made.
  [[nodiscard]] std::string served() const {
    raw::Client client(serving_->port(), true);
    return client.secured() ? client.peer_name() : "";
  }
  [[nodiscard]] std::string why_not() {
    try {
      start();
      return {};
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  [[nodiscard]] std::string metrics() {
    serving_->measure();
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

  Mount mount_;
  prometheus::Registry registry_;
  ServingOptions options_;
  const Authority authority_ = *Authority::make("issuer");
  std::unique_ptr<Serving> serving_;
};

TEST_F(MountedServing, ServesWhatIsMountedAndWhatReplacesIt) {
  mount(pair_of(authority_, "first"));
  start();
  EXPECT_EQ(served(), "first");
  EXPECT_EQ(serving_->not_ready(), "");
  mount(pair_of(authority_, "second"));
  EXPECT_TRUE(eventually([&] { return served() == "second"; }));
  // Half of a rotation, and rubbish: the old one stays.
  const KeyPair third = pair_of(authority_, "third");
  mount_.set({{"tls.crt", third.certificate}, {"tls.key", pair_of(authority_, "other").key}});
  std::this_thread::sleep_for(3s);
  EXPECT_EQ(served(), "second");
  mount(third);
  EXPECT_TRUE(eventually([&] { return served() == "third"; }));
  const std::string text = metrics();
  EXPECT_THAT(text, HasSubstr("palisade_webhook_certificate_expiry_timestamp_seconds 1"));
  EXPECT_THAT(text, HasSubstr("palisade_webhook_connections_total "));
  EXPECT_THAT(text, HasSubstr("palisade_webhook_connections_evicted_total 0"));
}

TEST_F(MountedServing, SaysWhatIsMissing) {
  EXPECT_THAT(why_not(), HasSubstr("tls.crt"));
  const KeyPair good = pair_of(authority_, "first");
  mount_.set({{"tls.crt", good.certificate}, {"tls.key", "no key"}});
  EXPECT_THAT(why_not(), HasSubstr("serving key"));
  mount(good);
  options_.client_names = {"kube-apiserver"};
  EXPECT_THAT(why_not(), HasSubstr("client names without"));
  options_.client_ca_file = mount_.path() / "ca.crt";
  EXPECT_THAT(why_not(), HasSubstr("ca.crt"));
  mount_.set({{"tls.crt", good.certificate}, {"tls.key", good.key}, {"ca.crt", "no PEM"}});
  EXPECT_THAT(why_not(), HasSubstr("client authorities"));
}

TEST_F(MountedServing, TheClientsAuthorityIsTakenUpAnew) {
  const KeyPair good = pair_of(authority_, "first");
  const Authority ours = *Authority::make("ours");
  const Authority theirs = *Authority::make("theirs");
  const auto mount_ca = [&](const std::string& ca) {
    mount_.set({{"tls.crt", good.certificate}, {"tls.key", good.key}, {"ca.crt", ca}});
  };
  mount_ca(ours.certificate());
  options_.client_ca_file = mount_.path() / "ca.crt";
  options_.client_names = {"kube-apiserver"};
  start();
  const auto let_in = [&](const Authority& authority, const std::string& name) {
    const KeyPair pair = pair_of(authority, name);
    raw::Client client(serving_->port(), true, TLS1_2_VERSION, [&](SSL_CTX* context) {
      const kube::BioPtr text(BIO_new_mem_buf(pair.certificate.data(), -1));
      const kube::BioPtr key(BIO_new_mem_buf(pair.key.data(), -1));
      const kube::CertificatePtr leaf(PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
      const kube::KeyPtr own(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
      SSL_CTX_use_certificate(context, leaf.get());
      SSL_CTX_use_PrivateKey(context, own.get());
    });
    return client.secured();
  };
  EXPECT_TRUE(let_in(ours, "kube-apiserver"));
  EXPECT_FALSE(let_in(ours, "someone"));
  EXPECT_FALSE(let_in(theirs, "kube-apiserver"));
  mount_ca(theirs.certificate());
  EXPECT_TRUE(eventually([&] { return let_in(theirs, "kube-apiserver"); }));
  EXPECT_FALSE(let_in(ours, "kube-apiserver"));
  EXPECT_FALSE(let_in(theirs, "someone")) << "the names stay";
}

}  // namespace
}  // namespace palisade::webhook::testing
