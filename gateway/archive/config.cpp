#include <algorithm>
#include <array>
#include <string_view>

#include <gateway/archive/config.h>

namespace palisade::gateway::archive {

namespace {

using nlohmann::json;

constexpr std::uint64_t kLeastBytes = 1024ULL * 1024;
constexpr std::uint64_t kMostBytes = 1ULL << 40;
constexpr std::int64_t kMostDays = 36500;
constexpr std::size_t kLongestPrefix = 256;
constexpr std::size_t kLongestRegion = 64;

std::unexpected<std::string> wrong(const std::string& field, const char* what) {
  return std::unexpected(field + ": " + what);
}

bool is_path(const json& given) {
  return given.is_string() && given.get_ref<const std::string&>().starts_with('/') &&
         given.get_ref<const std::string&>().find('\0') == std::string::npos;
}

bool only_of(std::string_view text, std::string_view more) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
  });
}

// https://HOST[:PORT], in lower case: as it stands it is signed.
bool is_endpoint(std::string_view text) {
  const bool plain = text.starts_with("http://");
  if (!plain && !text.starts_with("https://")) return false;
  text.remove_prefix(plain ? 7 : 8);
  const std::string_view host =
      text.substr(0, text.starts_with('[') ? text.find(']') + 1 : text.find(':'));
  const std::string_view port = text.substr(host.size());
  const bool good_port = port.empty() || (port.size() >= 2 && port.size() <= 6 && port[0] == ':' &&
                                          port.find_first_not_of("0123456789", 1) == port.npos);
  const bool loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
  return !host.empty() && good_port && only_of(host, "[]:.-") && (!plain || loopback);
}

// Segments that are names: no key has another form than the one that is signed.
bool is_prefix(std::string_view text) {
  return text.size() <= kLongestPrefix && !text.starts_with('/') && !text.ends_with('/') &&
         text.find("//") == text.npos && !text.starts_with('.') && text.find("/.") == text.npos &&
         only_of(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_./");
}

std::expected<S3Config, std::string> parse_s3(const json& value) {
  if (!value.is_object()) return wrong("s3", "must be an object");
  S3Config out;
  for (const auto& [field, given] : value.items()) {
    const std::string path = "s3." + field;
    if (!given.is_string()) return wrong(path, "must be a text");
    const auto& text = given.get_ref<const std::string&>();
    if (field == "endpoint") {
      if (!is_endpoint(text))
        return wrong(path, "must be https://HOST[:PORT], in lower case and without a path");
      out.endpoint = text;
    } else if (field == "region") {
      if (text.empty() || text.size() > kLongestRegion || !only_of(text, "-"))
        return wrong(path, "must be a region's name, such as us-east-1");
      out.region = text;
    } else if (field == "bucket") {
      if (text.size() < 3 || text.size() > 63 || !only_of(text, ".-") || text.front() == '.' ||
          text.find("..") != std::string::npos)
        return wrong(path, "must be a bucket's name: 3 to 63 of a-z, 0-9, '.' and '-'");
      out.bucket = text;
    } else if (field == "prefix") {
      if (!is_prefix(text))
        return wrong(path,
                     "must be names of letters, digits, '-', '_' and '.', with '/' between them");
      out.prefix = text;
    } else if (field == "credentials") {
      if (!is_path(given)) return wrong(path, "must be an absolute path");
      out.credentials = text;
    } else if (field == "authorities") {
      out.authorities = text;
    } else {
      return wrong(path, "no such field");
    }
  }
  for (const auto& [field, empty] : {std::pair{"endpoint", out.endpoint.empty()},
                                     {"region", out.region.empty()},
                                     {"bucket", out.bucket.empty()},
                                     {"credentials", out.credentials.empty()}}) {
    if (empty) return wrong(std::string("s3.") + field, "is missing");
  }
  return out;
}

}  // namespace

std::expected<ArchiveConfig, std::string> parse_archive_config(const json& value) {
  if (!value.is_object()) return std::unexpected("must be an object");
  ArchiveConfig out;
  for (const auto& [field, given] : value.items()) {
    if (field == "directory") {
      if (!is_path(given)) return wrong(field, "must be an absolute path");
      out.directory = given.get<std::string>();
    } else if (field == "s3") {
      auto parsed = parse_s3(given);
      if (!parsed) return std::unexpected(std::move(parsed.error()));
      out.s3 = std::move(*parsed);
    } else if (field == "sessionBytes") {
      if (!given.is_number_integer() || given < kLeastBytes || given > kMostBytes)
        return wrong(field, "must be a number of bytes from 1048576 to 1099511627776");
      out.session_bytes = given.get<std::uint64_t>();
    } else if (field == "retentionDays") {
      if (!given.is_number_integer() || given < 0 || given > kMostDays)
        return wrong(field, "must be a number of days from 0 (kept) to 36500");
      out.retention_days = given.get<std::int64_t>();
    } else {
      return wrong(field, "no such field");
    }
  }
  if (out.s3 && !out.directory.empty()) return wrong("s3", "there is a directory, too: take one");
  if (out.s3 && out.retention_days != 0)
    return wrong("retentionDays", "is of a directory; give the bucket a lifecycle rule instead");
  if (!out.s3 && out.directory.empty())
    return wrong("directory", "is missing: name the volume's folder, or a bucket as s3");
  return out;
}

}  // namespace palisade::gateway::archive
