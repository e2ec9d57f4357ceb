#include <algorithm>
#include <ctime>
#include <utility>

#include <spdlog/spdlog.h>

#include <kube/base64.h>
#include <kube/certificates.h>
#include <kube/either_stop.h>
#include <kube/micro_time.h>

#include "pause.h"

namespace kube {

namespace {

constexpr const char* kMadeAnnotation = "palisade.dev/certificate-made";

std::string data_of(const Json& secret, const char* key) {
  const Json data = secret.value("data", Json::object());
  const auto found = data.find(key);
  return found != data.end() && found->is_string()
             ? decode_base64(found->get<std::string>()).value_or("")
             : std::string();
}

// `former`: what was served before, for those who start before the new one's authority has reached
// all who call; null for none.
Json data_of_bundle(const CertificateBundle& bundle, const CertificateBundle* former) {
  Json out{{"ca.crt", encode_base64(bundle.authorities)},
           {"tls.crt", encode_base64(bundle.certificate)},
           {"tls.key", encode_base64(bundle.key)}};
  if (former != nullptr) {
    out["former.crt"] = encode_base64(former->certificate);
    out["former.key"] = encode_base64(former->key);
  }
  return out;
}

Json secret_of(const CertificateKeeperOptions& options) {
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"metadata",
           {{"name", options.secret},
            {"namespace", options.ns},
            {"labels", {{"app.kubernetes.io/managed-by", options.managed_by}}}}},
          {"type", "kubernetes.io/tls"}};
}

// How long ago the Secret's certificate was made; as long as can be where that is not told.
std::chrono::milliseconds age_of(const Json& secret) {
  constexpr auto kUnknown = std::chrono::milliseconds::max();
  const Json annotations =
      secret.value("metadata", Json::object()).value("annotations", Json::object());
  const auto found = annotations.find(kMadeAnnotation);
  if (found == annotations.end() || !found->is_string()) return kUnknown;
  std::tm parts{};
  const auto& text = found->get_ref<const std::string&>();
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr || (*end != '.' && *end != 'Z')) return kUnknown;
  const auto age = WallClock::now() - WallClock::from_time_t(timegm(&parts));
  // Of a clock that was put back: made just now.
  return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(age),
                  std::chrono::milliseconds(0));
}

}  // namespace

CertificateKeeper::CertificateKeeper(std::shared_ptr<const Client> client,
                                     CertificateKeeperOptions options, MakeTrusted make_trusted,
                                     Serve serve)
    : client_(std::move(client)),
      options_(std::move(options)),
      make_trusted_(std::move(make_trusted)),
      serve_(std::move(serve)) {}

CertificateKeeper::~CertificateKeeper() = default;

std::expected<CertificateBundle, std::string> CertificateKeeper::load_or_make(
    std::stop_token stop) {
  auto secret = client_->get(resources::kSecrets, options_.ns, options_.secret, stop);
  if (!secret && !secret.error().is_not_found())
    return std::unexpected("Secret " + options_.secret + ": " + secret.error().text());
  CertificateBundle held;
  CertificateState state;
  if (secret) {
    held = {data_of(*secret, "ca.crt"), data_of(*secret, "tls.crt"), data_of(*secret, "tls.key")};
    state = inspect(held, options_.names, WallClock::now());
    former_.reset();
    age_ = age_of(*secret);
    if (state.usable && age_ < options_.overlap) {
      // Of the authorities, the first is that of the new one.
      CertificateBundle before{held.authorities.substr(first_certificate(held.authorities).size()),
                               data_of(*secret, "former.crt"), data_of(*secret, "former.key")};
      if (inspect(before, options_.names, WallClock::now()).usable) former_ = std::move(before);
    }
    if (state.usable && !state.due) return held;
  }
  const auto leading = options_.term ? options_.term() : std::stop_token();
  if (!leading) {
    if (state.usable) return held;
    return std::unexpected("Secret " + options_.secret + " holds no usable certificate" +
                           (state.problem.empty() ? "" : " (" + state.problem + ")") +
                           "; the replica that leads has to make one");
  }
  if (secret) {
    spdlog::info("serving certificate: {}", state.usable
                                                ? "it is time for a new one"
                                                : "the Secret's is not used: " + state.problem);
  }
  auto made = make(secret ? std::optional<Json>(std::move(*secret)) : std::nullopt,
                   state.usable ? &held : nullptr, EitherStop(stop, *leading).token());
  if (!made && state.usable) {  // not yet expired: better than none
    spdlog::warn("serving certificate: {}", made.error());
    return held;
  }
  if (made && state.usable && options_.overlap.count() > 0) {
    former_ = std::move(held);
    age_ = {};
  }
  return made;
}

std::expected<CertificateBundle, std::string> CertificateKeeper::make(std::optional<Json> secret,
                                                                      const CertificateBundle* held,
                                                                      std::stop_token term) {
  auto made = make_bundle(options_.authority_name, options_.names, WallClock::now(),
                          options_.validity, held == nullptr ? std::string() : held->authorities);
  if (!made) return made;
  Result<Json> written;
  // With the resourceVersion that was read: of two that think they lead one wins. What others wrote
  // stays.
  Json object = secret ? std::move(*secret) : secret_of(options_);
  object["data"] = data_of_bundle(*made, options_.overlap.count() > 0 ? held : nullptr);
  object["metadata"]["annotations"][kMadeAnnotation] = micro_time(WallClock::now());
  if (secret)
    written = client_->update(resources::kSecrets, options_.ns, options_.secret, object, "", term);
  else
    written = client_->create(resources::kSecrets, options_.ns, object, term);
  if (written) return made;
  // Another was faster: its certificate is everybody's. It is read on the next look.
  if (written.error().code == 409)
    return std::unexpected("another replica is writing the certificate");
  return std::unexpected("Secret " + options_.secret + ": " + written.error().text());
}

std::expected<ServingCertificate, std::string> CertificateKeeper::first(
    std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::string last;
  while (std::chrono::steady_clock::now() < deadline) {
    auto bundle = load_or_make({});
    if (bundle) {
      const std::scoped_lock lock(mutex_);
      served_ = *bundle;
      if (former_) {
        // Another start, or another replica, made this one, and it is not everywhere yet.
        pending_ = std::exchange(served_, std::move(*former_));
        pending_since_ = std::chrono::steady_clock::now() - age_;
        spdlog::info(
            "the serving certificate is new: the former one is served until its authority has been "
            "there for long enough");
      }
      expires_ = inspect(served_, options_.names, WallClock::now()).expires;
      return ServingCertificate{served_.certificate, served_.key};
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
  const auto trusted = make_trusted_(*bundle, stop);
  if (!trusted) {
    // What was in place still is, as far as anyone knows: an API server that is away must not take
    // the program out of its Service.
    if (!stop.stop_requested())
      spdlog::warn("serving certificate: its authority is not known to be trusted: {}",
                   trusted.error());
    return;
  }
  if (*trusted == Trust::kMissing) return;  // what is served now is what is trusted now
  const std::scoped_lock lock(mutex_);
  if (*bundle == served_) {
    in_place_ = true;
    return;
  }
  // Served on a look after this one, when those who call have taken the new authority in,
  // whichever replica wrote it. Where the Secret has dropped what is served now, waiting would only
  // lengthen the time in which nothing is trusted.
  const auto now = std::chrono::steady_clock::now();
  const bool seen_before = *trusted == Trust::kWasThere && *bundle == pending_ &&
                           now - pending_since_ >= options_.overlap;
  const bool still_trusted =
      bundle->authorities.find(first_certificate(served_.authorities)) != std::string::npos;
  if (!seen_before && still_trusted) {
    if (*bundle != pending_ || *trusted == Trust::kWritten) pending_since_ = now;
    pending_ = std::move(*bundle);
    in_place_ = true;  // what is served is one of what is trusted
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
      static_cast<void>(
          pause(stop, in_place() ? options_.interval
                                 : std::min(options_.interval, std::chrono::milliseconds(1000))));
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

}  // namespace kube
