// Whether somebody answers: the webhook's Deployment, Service, endpoints and certificates.
#include <array>
#include <ctime>
#include <memory>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <kube/base64.h>

#include "doctor.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

constexpr const char* kSecret = "palisade-webhook-tls";
constexpr std::int64_t kDay = 24 * 3600;

std::string decoded(const std::string& base64) {
  return kube::decode_base64(base64).value_or("");
}

struct Validity {
  std::int64_t from = 0;
  std::int64_t to = 0;
};

std::int64_t seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return static_cast<std::int64_t>(::timegm(&parts));
}

// Of each certificate of a PEM text; empty where there is none.
std::vector<Validity> validities(const std::string& pem) {
  const std::unique_ptr<BIO, int (*)(BIO*)> in(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::vector<Validity> out;
  for (;;) {
    const std::unique_ptr<X509, void (*)(X509*)> certificate(
        PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free);
    if (!certificate) return out;
    out.push_back({seconds_of(X509_get0_notBefore(certificate.get())),
                   seconds_of(X509_get0_notAfter(certificate.get()))});
  }
}

std::string date(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  std::array<char, 32> text{};
  if (::gmtime_r(&time, &parts) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts) == 0) {
    return "an unknown time";
  }
  return text.data();
}

// The last one to end counts: in a rotation an old one stands beside the new.
void check_certificate(const std::string& what, const std::string& pem, std::int64_t now,
                       const std::string& fix, Diagnoses& out) {
  const auto found = validities(pem);
  if (found.empty()) return out.problem(what + " is no certificate", fix);
  Validity best = found.front();
  for (const Validity& one : found) {
    if (one.from <= now && one.to > best.to) best = one;
  }
  if (best.to <= now) return out.problem(what + " has expired at " + date(best.to), fix);
  if (best.from > now) return out.problem(what + " is not valid before " + date(best.from), fix);
  if (best.to - now < 3 * kDay) return out.warning(what + " ends soon, at " + date(best.to), fix);
  out.ok(what + " is valid until " + date(best.to));
}

void check_certificates(const Live& live, const Installation& installed, std::int64_t now,
                        Diagnoses& out) {
  const std::string fix = "see the log of the replica that renews it: kubectl logs -n " +
                          installed.ns + " deployment/palisade-webhook (or cert-manager's)";
  if (const std::string bundle = text_at(installed.validating, "/webhooks/0/clientConfig/caBundle");
      !bundle.empty()) {
    check_certificate("the authority that the API server trusts", decoded(bundle), now, fix, out);
  }
  const auto secret = live.find(known::kSecrets, installed.ns, kSecret);
  if (!secret) return out.unread(secret.error());
  if (!secret->has_value())
    return out.problem("Secret " + installed.ns + "/" + kSecret + " is not there", fix);
  check_certificate("the serving certificate", decoded(text_at(**secret, "/data/tls.crt")), now,
                    fix, out);
}

std::int64_t number_by_pointer(const Json& object, const std::string& pointer) {
  const Json& found = at(object, pointer);
  return found.is_number_integer() ? found.get<std::int64_t>() : 0;
}

void check_deployment(const Installation& installed, Diagnoses& out) {
  const std::string what = "Deployment " + installed.ns + "/" + kWebhookName;
  const std::string look = "kubectl describe -n " + installed.ns + " deployment/palisade-webhook";
  if (installed.deployment.is_null())
    return out.problem(what + " is not there: no pod of an agent can be made",
                       "install the chart again: helm upgrade --install");
  const std::int64_t wanted = number_by_pointer(installed.deployment, "/spec/replicas");
  const std::int64_t ready = number_by_pointer(installed.deployment, "/status/readyReplicas");
  if (ready == 0) {
    out.problem(what + " has no ready replica: no pod of an agent can be made", look);
  } else if (ready < wanted) {
    out.warning(what + " has " + std::to_string(ready) + " of " + std::to_string(wanted) +
                    " replicas ready",
                look);
  } else if (wanted < 2) {
    out.warning(what + " has one replica: while it restarts nothing is admitted",
                "set webhook.replicas of the chart to 2");
  } else {
    out.ok(what + " has " + std::to_string(ready) + " ready replicas");
  }
}

void check_endpoints(const Live& live, const Installation& installed, Diagnoses& out) {
  const auto service = live.find(known::kServices, installed.ns, kWebhookName);
  if (!service) return out.unread(service.error());
  const std::string what = "Service " + installed.ns + "/" + kWebhookName;
  if (!service->has_value())
    return out.problem(what + " is not there: the API server reaches nobody",
                       "install the chart again: helm upgrade --install");
  kube::ListOptions options;
  options.ns = installed.ns;
  options.label_selector = "kubernetes.io/service-name=" + std::string(kWebhookName);
  const auto slices = live.client().list(known::kEndpointSlices, options);
  if (!slices)
    return out.unread(trouble("list", known::kEndpointSlices, installed.ns, "", slices.error()));
  std::size_t ready = 0;
  for (const Json& slice : slices->items) {
    for (const Json& endpoint : at(slice, "/endpoints")) {
      const Json& condition = at(endpoint, "/conditions/ready");
      // Absent means ready, says the API.
      ready += condition.is_null() || condition == true ? 1U : 0U;
    }
  }
  if (ready == 0) {
    out.problem(what + " has no ready endpoint: the API server reaches nobody",
                "compare its selector with the pods: kubectl get endpointslices,pods -n " +
                    installed.ns + " --show-labels");
  } else {
    out.ok(what + " has " + counted(ready, "ready endpoint"));
  }
}

}  // namespace

void check_service(const Live& live, const Installation& installed, std::int64_t now,
                   Diagnoses& out) {
  out.begin("service");
  if (installed.ns.empty())
    return out.problem("no webhook configuration names the webhook's Service",
                       "install the chart: helm install");
  check_deployment(installed, out);
  check_endpoints(live, installed, out);
  check_certificates(live, installed, now, out);
}

}  // namespace palisade::cli
