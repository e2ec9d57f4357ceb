#include <condition_variable>

#include <openssl/evp.h>
#include <spdlog/spdlog.h>

#include <webhook/certificates.h>

namespace palisade::webhook {

namespace {

using kube::Json;

std::string encode_base64(const std::string& bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

std::string decode_base64(const std::string& text) {
  if (text.size() % 4 != 0) return {};
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  if (length < 0) return {};
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
    ++padding;
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

std::string data_of(const Json& secret, const char* key) {
  const Json data = secret.value("data", Json::object());
  const auto found = data.find(key);
  return found != data.end() && found->is_string() ? decode_base64(found->get<std::string>())
                                                   : std::string();
}

Json data_of_bundle(const Bundle& bundle) {
  return {{"ca.crt", encode_base64(bundle.authorities)},
          {"tls.crt", encode_base64(bundle.certificate)},
          {"tls.key", encode_base64(bundle.key)}};
}

Json secret_of(const KeeperOptions& options, const Bundle& bundle) {
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata",
           {{"name", options.secret},
            {"namespace", options.ns},
            {"labels", {{"app.kubernetes.io/managed-by", "palisade-webhook"}}}}},
          {"type", "kubernetes.io/tls"},
          {"data", data_of_bundle(bundle)}};
}

void pause(std::chrono::milliseconds length, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, length, [] { return false; });
}

}  // namespace

CertificateKeeper::CertificateKeeper(std::shared_ptr<const kube::Client> client,
                                     KeeperOptions options, Serve serve)
    : client_(std::move(client)), options_(std::move(options)), serve_(std::move(serve)) {}

CertificateKeeper::~CertificateKeeper() = default;

std::expected<Bundle, std::string> CertificateKeeper::load_or_make(std::stop_token stop) {
  auto secret = client_->get(kube::resources::kSecrets, options_.ns, options_.secret, stop);
  if (!secret && !secret.error().is_not_found())
    return std::unexpected("Secret " + options_.secret + ": " + secret.error().text());
  Bundle held;
  BundleState state;
  if (secret) {
    held = {data_of(*secret, "ca.crt"), data_of(*secret, "tls.crt"), data_of(*secret, "tls.key")};
    state = inspect(held, options_.names, WallClock::now());
    if (state.usable && !state.due) return held;
    spdlog::info("serving certificate: {}", state.usable
                                                ? "it is time for a new one"
                                                : "the Secret's is not used: " + state.problem);
  }
  auto made = make_bundle(options_.names, WallClock::now(), options_.validity,
                          state.usable ? held.authorities : std::string());
  if (!made) return made;
  kube::Result<Json> written;
  if (secret) {
    // With the resourceVersion that was read: of two replicas one wins. What others wrote stays.
    (*secret)["data"] = data_of_bundle(*made);
    written =
        client_->update(kube::resources::kSecrets, options_.ns, options_.secret, *secret, "", stop);
  } else {
    written =
        client_->create(kube::resources::kSecrets, options_.ns, secret_of(options_, *made), stop);
  }
  if (written) return made;
  // Another replica was faster: its certificate is everybody's. It is read on the next look.
  if (written.error().code == 409)
    return std::unexpected("another replica is writing the certificate");
  if (state.usable) return held;  // not yet expired: better than none
  return std::unexpected("Secret " + options_.secret + ": " + written.error().text());
}

std::expected<bool, std::string> CertificateKeeper::trust(const Bundle& bundle,
                                                          std::stop_token stop) {
  const auto& resource = kube::resources::kValidatingWebhookConfigurations;
  auto configuration = client_->get(resource, "", options_.configuration, stop);
  if (!configuration)
    return std::unexpected("ValidatingWebhookConfiguration " + options_.configuration + ": " +
                           configuration.error().text());
  const std::string wanted = encode_base64(bundle.authorities);
  Json patch = Json::array();
  patch.push_back({{"op", "test"},
                   {"path", "/metadata/resourceVersion"},
                   {"value", (*configuration)["metadata"]["resourceVersion"]}});
  const Json webhooks = configuration->value("webhooks", Json::array());
  for (std::size_t i = 0; i < webhooks.size(); ++i) {
    if (webhooks[i].value("clientConfig", Json::object()).value("caBundle", "") == wanted) continue;
    patch.push_back({{"op", "add"},
                     {"path", "/webhooks/" + std::to_string(i) + "/clientConfig/caBundle"},
                     {"value", wanted}});
  }
  if (patch.size() == 1) return true;
  auto written =
      client_->patch(resource, "", options_.configuration, kube::PatchType::kJson, patch, "", stop);
  if (!written)
    return std::unexpected("ValidatingWebhookConfiguration " + options_.configuration + ": " +
                           written.error().text());
  spdlog::info("caBundle of {} written", options_.configuration);
  return false;
}

std::expected<kube::ServingCertificate, std::string> CertificateKeeper::first(
    std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string last;
  while (std::chrono::steady_clock::now() < deadline) {
    auto bundle = load_or_make({});
    if (bundle) {
      const std::scoped_lock lock(mutex_);
      served_ = *bundle;
      expires_ = inspect(*bundle, options_.names, WallClock::now()).expires;
      return kube::ServingCertificate{bundle->certificate, bundle->key};
    }
    last = bundle.error();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  return std::unexpected(last);
}

void CertificateKeeper::tick(std::stop_token stop) {
  auto bundle = load_or_make(stop);
  if (!bundle) {
    if (!stop.stop_requested()) spdlog::warn("serving certificate: {}", bundle.error());
    return;
  }
  const auto trusted = trust(*bundle, stop);
  if (!trusted) {
    // What was in place still is, as far as anyone knows: an API server that is away must not take
    // the webhook out of its Service.
    if (!stop.stop_requested()) spdlog::warn("caBundle: {}", trusted.error());
    return;
  }
  const std::scoped_lock lock(mutex_);
  if (*bundle == served_) {
    in_place_ = true;
    return;
  }
  // Served on the look after this one, when the API servers have taken the new authority in,
  // whichever replica wrote it. Where the caBundle has dropped what is served now, waiting would
  // only lengthen the time in which nothing is trusted.
  const bool seen_before = *trusted && *bundle == pending_;
  const bool still_trusted =
      bundle->authorities.find(first_certificate(served_.authorities)) != std::string::npos;
  if (!seen_before && still_trusted) {
    pending_ = std::move(*bundle);
    return;
  }
  serve_({bundle->certificate, bundle->key});
  served_ = std::move(*bundle);
  expires_ = inspect(served_, options_.names, WallClock::now()).expires;
  in_place_ = true;
  spdlog::info("a new serving certificate is in use");
}

void CertificateKeeper::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      tick(stop);
      pause(in_place() ? options_.interval : std::chrono::milliseconds(1000), stop);
    }
  });
}

bool CertificateKeeper::in_place() const {
  const std::scoped_lock lock(mutex_);
  return in_place_;
}

WallClock::time_point CertificateKeeper::expires() const {
  const std::scoped_lock lock(mutex_);
  return expires_;
}

}  // namespace palisade::webhook
