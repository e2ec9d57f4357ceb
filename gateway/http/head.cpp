#include "head.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "text.h"

namespace palisade::gateway {

namespace {

constexpr std::size_t kMaxFields = 100;
constexpr std::size_t kMaxMethod = 32;

std::unexpected<HeadFault> fault(int status, const char* what) {
  return std::unexpected(HeadFault{status, what});
}

// The first line of `text`, taken off it; HeadScanner has made sure that there is one.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find("\r\n");
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), line.size() + 2));
  return line;
}

HeadResult<void> read_fields(std::string_view text, Fields& fields) {
  std::size_t count = 0;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.empty()) break;
    if (++count > kMaxFields) return fault(431, "more than 100 header fields");
    if (line.front() == ' ' || line.front() == '\t')
      return fault(400, "a header field is folded over two lines");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return fault(400, "a header line has no colon");
    if (!is_token(line.substr(0, colon))) return fault(400, "a header field's name is none");
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_field_text(value)) return fault(400, "a control character in a header field");
    fields.add(std::string(line.substr(0, colon)), std::string(value));
  }
  return {};
}

// What the fields say of the body and of the connection, each at most once.
struct Said {
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool other_coding = false;
  bool close = false;
  bool keep = false;
};

HeadResult<Said> what_is_said(const Fields& fields) {
  Said said;
  bool coded = false;
  for (const Field& field : fields.all()) {
    if (same_word(field.name, "content-length")) {
      if (said.length) return fault(400, "two Content-Length fields");
      std::uint64_t length = 0;
      const char* const end = field.value.data() + field.value.size();
      const auto [at, error] = std::from_chars(field.value.data(), end, length);
      if (field.value.empty() || !is_digit(field.value.front()) || error != std::errc() ||
          at != end || length > INT64_MAX)
        return fault(400, "a Content-Length that is no number");
      said.length = length;
    } else if (same_word(field.name, "transfer-encoding")) {
      if (coded) return fault(400, "two Transfer-Encoding fields");
      coded = true;
      said.chunked = same_word(field.value, "chunked");
      said.other_coding = !said.chunked;
    } else if (same_word(field.name, "connection")) {
      for_each_word(field.value, [&said](std::string_view word) {
        said.close = said.close || same_word(word, "close");
        said.keep = said.keep || same_word(word, "keep-alive");
        return true;
      });
    }
  }
  if (coded && said.length) return fault(400, "both Content-Length and Transfer-Encoding");
  return said;
}

bool is_host(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
           std::string_view("-._~:[]%").find(c) != std::string_view::npos;
  });
}

HeadResult<void> read_request_line(std::string_view line, RequestHead& head, RequestMeta& meta) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return fault(400, "no request line of method, target and version");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version == "HTTP/1.0") {
    meta.old_version = true;
  } else if (version != "HTTP/1.1") {
    const bool other = version.size() == 8 && version.starts_with("HTTP/") &&
                       is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
    return other ? fault(505, "neither HTTP/1.1 nor HTTP/1.0")
                 : fault(400, "no request line of method, target and version");
  }
  if (!is_token(method) || method.size() > kMaxMethod) return fault(400, "a method that is none");
  if (!is_target(target)) return fault(400, "a target that is no absolute path");
  head.method.assign(method);
  head.target.assign(target);
  return {};
}

const char* reason_of(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 402:
      return "Payment Required";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

void append_number(std::string& out, std::uint64_t number) {
  std::array<char, 24> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  out.append(text.data(), end);
}

// Fields whose meaning is this hop's; they are written from what is known, not from what is given.
bool is_framing(std::string_view name) {
  switch (name.size()) {
    case 10:
      return same_word(name, "connection") || same_word(name, "keep-alive");
    case 14:
      return same_word(name, "content-length");
    case 17:
      return same_word(name, "transfer-encoding");
    case 7:
      return same_word(name, "upgrade") || same_word(name, "trailer");
    case 2:
      return same_word(name, "te");
    default:
      return false;
  }
}

bool append_fields(std::string& out, const Fields& fields, bool leave_host) {
  for (const Field& field : fields.all()) {
    if (is_framing(field.name) || (leave_host && same_word(field.name, "host"))) continue;
    if (!is_token(field.name) || !is_field_text(field.value)) return false;
    out += field.name;
    out += ": ";
    out += field.value;
    out += "\r\n";
  }
  return true;
}

void append_framing(std::string& out, const Framing& framing) {
  if (framing.kind == Framing::Kind::kChunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (framing.kind == Framing::Kind::kLength) {
    out += "Content-Length: ";
    append_number(out, framing.length);
    out += "\r\n";
  }
}

}  // namespace

HeadResult<std::optional<std::size_t>> HeadScanner::scan(std::string_view bytes) {
  while (seen_ < bytes.size()) {
    const void* found = std::memchr(bytes.data() + seen_, '\n', bytes.size() - seen_);
    if (found == nullptr) {
      seen_ = bytes.size();
      break;
    }
    const auto at = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    if (at == line_ || bytes[at - 1] != '\r')
      return fault(400, "a line that ends in LF without CR");
    const bool empty = at == line_ + 1;
    if (std::memchr(bytes.data() + line_, '\r', at - 1 - line_) != nullptr)
      return fault(400, "a CR within a line");
    seen_ = at + 1;
    if (empty && line_ == 0) return fault(400, "an empty line before the first");
    line_ = seen_;
    if (empty) return seen_;
  }
  return std::nullopt;
}

HeadResult<RequestMeta> parse_request(std::string_view text, RequestHead& head) {
  RequestMeta meta;
  if (auto read = read_request_line(take_line(text), head, meta); !read)
    return std::unexpected(read.error());
  if (auto read = read_fields(text, head.fields); !read) return std::unexpected(read.error());
  const auto said = what_is_said(head.fields);
  if (!said) return std::unexpected(said.error());
  const std::size_t hosts = head.fields.count("host");
  if (hosts > 1 || (hosts == 0 && !meta.old_version)) return fault(400, "not one Host field");
  if (!is_host(head.fields.get("host"))) return fault(400, "a Host that is none");
  if (head.fields.has("upgrade")) return fault(400, "no other protocol is spoken here");
  if (said->other_coding) return fault(501, "a Transfer-Encoding other than chunked");
  if (said->chunked && meta.old_version) return fault(400, "HTTP/1.0 has no Transfer-Encoding");
  if (said->chunked) meta.framing = {Framing::Kind::kChunked, 0};
  if (said->length && *said->length > 0) meta.framing = {Framing::Kind::kLength, *said->length};
  meta.keep_alive = !said->close && (!meta.old_version || said->keep);
  if (const std::size_t expected = head.fields.count("expect"); expected > 0) {
    if (expected > 1 || !same_word(head.fields.get("expect"), "100-continue"))
      return fault(417, "an expectation other than 100-continue");
    meta.expects_continue = !meta.old_version && meta.framing.kind != Framing::Kind::kNone;
  }
  return meta;
}

HeadResult<ResponseMeta> parse_response(std::string_view text, std::string_view method,
                                        ResponseHead& head) {
  const std::string_view line = take_line(text);
  const bool old_version = line.starts_with("HTTP/1.0 ");
  if (!old_version && !line.starts_with("HTTP/1.1 ")) return fault(502, "no HTTP/1.1 status line");
  const std::string_view rest = line.substr(9);
  if (rest.size() < 3 || !std::ranges::all_of(rest.substr(0, 3), is_digit) ||
      (rest.size() > 3 && rest[3] != ' ') || !is_field_text(rest))
    return fault(502, "a status line without a status");
  head.status = (rest[0] - '0') * 100 + (rest[1] - '0') * 10 + (rest[2] - '0');
  if (head.status < 100 || head.status > 599) return fault(502, "a status that is none");
  if (auto read = read_fields(text, head.fields); !read) return std::unexpected(read.error());
  const auto said = what_is_said(head.fields);
  if (!said) return std::unexpected(said.error());
  if (said->other_coding || (said->chunked && old_version))
    return fault(502, "a Transfer-Encoding other than chunked");
  ResponseMeta meta;
  meta.keep_alive = !said->close && (!old_version || said->keep);
  if (bodiless(head.status) || method == "HEAD") return meta;
  if (said->chunked) {
    meta.framing = {Framing::Kind::kChunked, 0};
  } else if (said->length) {
    if (*said->length > 0) meta.framing = {Framing::Kind::kLength, *said->length};
  } else {
    meta.framing = {Framing::Kind::kUntilClose, 0};
    meta.keep_alive = false;
  }
  return meta;
}

bool append_request(std::string& out, const RequestHead& head, std::string_view host,
                    std::optional<std::uint64_t> length) {
  if (!is_token(head.method) || !is_target(head.target) || host.empty() || !is_host(host))
    return false;
  const std::size_t before = out.size();
  out += head.method;
  out += ' ';
  out += head.target;
  out += " HTTP/1.1\r\nHost: ";
  out += host;
  out += "\r\n";
  if (!append_fields(out, head.fields, true)) {
    out.resize(before);
    return false;
  }
  const bool has_body = length.value_or(1) > 0;
  if (!length) {
    append_framing(out, {Framing::Kind::kChunked, 0});
  } else if (has_body || head.method == "POST" || head.method == "PUT" || head.method == "PATCH") {
    append_framing(out, {Framing::Kind::kLength, *length});
  }
  out += "\r\n";
  return true;
}

bool append_response(std::string& out, int status, const Fields& fields, const AnswerShape& shape) {
  if (status < 100 || status > 599) return false;
  const std::size_t before = out.size();
  out += "HTTP/1.1 ";
  append_number(out, static_cast<std::uint64_t>(status));
  out += ' ';
  out += reason_of(status);
  out += "\r\n";
  if (!append_fields(out, fields, false)) {
    out.resize(before);
    return false;
  }
  append_framing(out, shape.framing);
  if (!shape.keep_alive)
    out += "Connection: close\r\n";
  else if (shape.old_version)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
  return true;
}

}  // namespace palisade::gateway
