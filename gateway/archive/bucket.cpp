#include "bucket.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <gateway/core/base64.h>

#include <kube/files.h>

namespace palisade::gateway::archive {

namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

// One request's; a whole operation has its Patience.
constexpr std::chrono::milliseconds kAnswerWithin = 10s;
constexpr std::chrono::milliseconds kConnectWithin = 5s;
// A thousand keys of at most 1,024 bytes, and what stands around them.
constexpr std::size_t kMostAnswer = 4UL << 20;

std::string host_of(const S3Config& config) {
  const bool tls = config.endpoint.starts_with("https://");
  std::string out = config.endpoint.substr(tls ? 8 : 7);
  const std::string_view usual = tls ? ":443" : ":80";
  // As the transport writes Host.
  if (out.ends_with(usual)) out.resize(out.size() - usual.size());
  return out;
}

kube::TransportOptions transport_options(const S3Config& config) {
  kube::TransportOptions out;
  out.base_url = config.endpoint;
  out.tls_material = [authorities = config.authorities] {
    return kube::TlsMaterial{authorities, {}, {}};
  };
  out.max_response_bytes = kMostAnswer;
  out.connect_timeout = kConnectWithin;
  return out;
}

// The text of the first <NAME> in what S3 answers, which nests nothing below an element that is
// asked for here; "" where there is none. Our own keys need no escapes, and others' are skipped.
std::string_view element(std::string_view xml, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">";
  const std::string close = "</" + std::string(name) + ">";
  const std::size_t begin = xml.find(open);
  if (begin == xml.npos) return {};
  const std::size_t end = xml.find(close, begin + open.size());
  if (end == xml.npos) return {};
  return xml.substr(begin + open.size(), end - begin - open.size());
}

// S3's word for what is wrong, if it is one.
std::string code_in(const std::string& body) {
  constexpr std::size_t kLongestCode = 64;
  const std::string_view code = element(body, "Code");
  const bool good = code.size() <= kLongestCode &&
                    std::ranges::all_of(code, [](unsigned char c) { return std::isalnum(c) != 0; });
  return good ? std::string(code) : std::string();
}

std::unexpected<Refusal> unavailable(const std::string& why) {
  return refused(503, "archive_unavailable", "the archive's bucket cannot be used: " + why);
}

bool means(std::string_view code, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, code) != words.end();
}

}  // namespace

Bucket::Bucket(S3Config config)
    : config_(std::move(config)),
      host_(host_of(config_)),
      transport_(kube::make_beast_transport(transport_options(config_))) {}

Outcome<sigv4::Credentials> Bucket::credentials() const {
  sigv4::Credentials out;
  for (const auto& [name, text] : {std::pair{"accessKeyID", &out.access_key_id},
                                   {"secretAccessKey", &out.secret_access_key}}) {
    auto read = kube::read_file(config_.credentials / name);
    if (!read) return unavailable("its credentials: " + read.error());
    const std::size_t end = read->find_last_not_of(" \t\r\n");
    *text = read->substr(0, end == std::string::npos ? 0 : end + 1);
    if (text->empty() || !std::ranges::all_of(*text, [](char c) { return c > ' ' && c <= '~'; }))
      return unavailable(std::string("its credentials: ") + name + " is not one line of text");
  }
  return out;
}

Outcome<kube::Response> Bucket::call(std::string method, const std::string& key,
                                     const sigv4::Pairs& query, std::string_view body,
                                     const Patience& patience) const {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(patience.end - steady_clock::now());
  if (left <= 0ms) return refused(503, "archive_busy", "the archive's bucket is slow: try again");
  const auto signed_by = credentials();
  if (!signed_by) return std::unexpected(signed_by.error());
  const auto now = std::chrono::system_clock::now();
  const std::string digest = sigv4::sha256(body);
  sigv4::Signable signable{std::move(method), "/" + config_.bucket, query, {}, sigv4::hex(digest)};
  // No character of a key needs an escape (config.h, Place).
  if (!key.empty()) signable.path += "/" + key;
  kube::Request request;
  request.method = signable.method;
  request.headers = {{"x-amz-date", sigv4::timestamp(now)},
                     {"x-amz-content-sha256", signable.sha256}};
  if (request.method == "PUT") {
    request.headers.emplace_back("if-none-match", "*");
    // A bucket with Object Lock wants it.
    request.headers.emplace_back("x-amz-checksum-sha256", encode_base64(digest));
    request.headers.emplace_back("content-type", "application/octet-stream");
  }
  signable.headers = request.headers;
  signable.headers.emplace_back("host", host_);
  request.headers.emplace_back(
      "authorization", sigv4::authorization(signable, *signed_by, config_.region, "s3", now));
  request.target = signable.path;
  if (!query.empty()) request.target += "?" + sigv4::canonical_query(query);
  request.body = body;
  request.deadline = std::min(kAnswerWithin, left);
  auto answer = transport_->send(request, patience.stop);
  if (!answer) return unavailable(config_.endpoint + " does not answer: " + answer.error().message);
  return std::move(*answer);
}

std::unexpected<Refusal> Bucket::refusal(const char* what, const kube::Response& answer) const {
  const std::string code = code_in(answer.body);
  const std::string said = std::string(what) + ": " + config_.endpoint + " answers " +
                           std::to_string(answer.status) + (code.empty() ? "" : " ") + code;
  if (answer.status == 507 ||
      means(code, {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}))
    return refused(503, "archive_full",
                   "the archive's bucket is full (" + said +
                       "): raise its quota, or shorten its lifecycle rule");
  if (answer.status == 429 || answer.status == 409 ||
      (answer.status == 503 && means(code, {"", "SlowDown", "ServiceUnavailable", "Busy"})))
    return refused(503, "archive_busy", "the archive's bucket has too much to do (" + said + ")");
  if (means(code, {"SignatureDoesNotMatch", "InvalidAccessKeyId"}))
    return unavailable(said + ": the credentials are wrong (gateway.archive.s3.credentialsSecret)");
  if (code == "RequestTimeTooSkewed")
    return unavailable(said + ": one of the clocks, its own or the gateway's node's, is wrong");
  if (code == "NoSuchBucket")
    return unavailable(said + ": there is no bucket " + config_.bucket +
                       " (gateway.archive.s3.bucket)");
  if (answer.status == 403)
    return unavailable(said +
                       ": the credentials' owner needs s3:GetObject and s3:PutObject on the "
                       "keys and s3:ListBucket on the bucket");
  if ((answer.status >= 300 && answer.status < 400) || code == "AuthorizationHeaderMalformed") {
    const std::string_view region = kube::header(answer.headers, "x-amz-bucket-region");
    return unavailable(said + ": the bucket is not of region " + config_.region +
                       " (gateway.archive.s3.region)" +
                       (region.empty() ? "" : ", but of " + std::string(region.substr(0, 40))));
  }
  return unavailable(said);
}

Outcome<bool> Bucket::put_new(const std::string& key, std::string_view bytes,
                              const Patience& patience) const {
  const auto answer = call("PUT", key, {}, bytes, patience);
  if (!answer) return std::unexpected(answer.error());
  if (answer->status == 200) return true;
  if (answer->status == 412) return false;
  if (answer->status == 501)
    return unavailable(config_.endpoint +
                       " does not know If-None-Match on PUT (501): an archive needs a server that "
                       "refuses to overwrite");
  return refusal("writing", *answer);
}

Outcome<std::optional<std::string>> Bucket::get(const std::string& key,
                                                const Patience& patience) const {
  auto answer = call("GET", key, {}, "", patience);
  if (!answer) return std::unexpected(answer.error());
  if (answer->status == 200) return std::optional(std::move(answer->body));
  if (answer->status == 404 && code_in(answer->body) == "NoSuchKey")
    return std::optional<std::string>();
  return refusal("reading", *answer);
}

Outcome<Listed> Bucket::list(const std::string& prefix, const std::string& after,
                             const Patience& patience) const {
  sigv4::Pairs query{{"list-type", "2"}, {"max-keys", "1000"}, {"prefix", prefix}};
  if (!after.empty()) query.emplace_back("start-after", after);
  const auto answer = call("GET", "", query, "", patience);
  if (!answer) return std::unexpected(answer.error());
  if (answer->status != 200) return refusal("listing", *answer);
  Listed out;
  std::string_view rest = answer->body;
  const std::string_view cut = element(rest, "IsTruncated");
  if (cut != "true" && cut != "false") return unavailable("its list of objects is none");
  out.more = cut == "true";
  for (;;) {
    const std::string_view object = element(rest, "Contents");
    if (object.empty()) break;
    rest.remove_prefix(static_cast<std::size_t>(object.data() + object.size() - rest.data()));
    Listed::Object one{std::string(element(object, "Key")), 0};
    const std::string_view size = element(object, "Size");
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), one.size);
    if (!one.key.starts_with(prefix) || one.key <= after || error != std::errc{} ||
        end != size.data() + size.size())
      return unavailable("its list of objects is none");
    out.objects.push_back(std::move(one));
  }
  if (out.more && out.objects.empty()) return unavailable("its list of objects is none");
  return out;
}

}  // namespace palisade::gateway::archive
