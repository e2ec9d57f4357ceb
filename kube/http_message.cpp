#include "http_message.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/field.hpp>
#include <boost/beast/http/status.hpp>
#include <fmt/format.h>

namespace kube {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

int status_of(const error_code& ec) {
  if (ec == http::error::header_limit) return 431;
  if (ec == http::error::body_limit) return 413;
  if (ec == http::error::bad_version) return 505;
  return 400;
}

}  // namespace

HttpRequest RequestParts::view() const {
  HttpRequest out{method, target, content_type, body};
  out.host = host;
  out.traceparent = traceparent;
  return out;
}

class RequestReader::Parser final : public http::basic_parser<true> {
 public:
  explicit Parser(RequestParts& parts) : parts_(&parts) {}
  [[nodiscard]] bool strange() const { return coded_ && !chunked(); }

 private:
  using string_view = boost::beast::string_view;

  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    parts_->method.assign(method.data(), method.size());
    parts_->target.assign(target.data(), target.size());
    parts_->old_version = version < 11;
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(http::field name, string_view field, string_view value, error_code&) override {
    // Of a field given twice the first counts.
    if (name == http::field::content_type && parts_->content_type.empty())
      parts_->content_type.assign(value.data(), value.size());
    else if (name == http::field::host && parts_->host.empty())
      parts_->host.assign(value.data(), value.size());
    else if (name == http::field::expect)
      parts_->wants_continue = beast::iequals(value, "100-continue");
    else if (name == http::field::transfer_encoding)
      coded_ = true;
    else if (name == http::field::unknown && parts_->traceparent.empty() &&
             beast::iequals(field, "traceparent"))
      parts_->traceparent.assign(value.data(), value.size());
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    if (parts_->joined.empty() && body.size() == content_length_remaining().value_or(0)) {
      parts_->body = {body.data(), body.size()};
    } else {
      append(body);
    }
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    append(body);
    return body.size();
  }
  void on_finish_impl(error_code&) override { parts_->keep_alive = keep_alive(); }

  void append(string_view piece) {
    // Doubling would take up to twice the bytes; a body is read to its declared end and no further.
    if (parts_->joined.empty() && content_length())
      parts_->joined.reserve(static_cast<std::size_t>(*content_length()));
    parts_->joined.append(piece.data(), piece.size());
    parts_->body = parts_->joined;
  }

  RequestParts* parts_;
  bool coded_ = false;
};

RequestReader::RequestReader(const MessageLimits& limits) : limits_(limits) {
  restart();
}

RequestReader::~RequestReader() = default;

void RequestReader::restart() {
  parts_.method.clear();
  parts_.target.clear();
  parts_.content_type.clear();
  parts_.host.clear();
  parts_.traceparent.clear();
  parts_.body = {};
  parts_.joined.clear();
  parts_.keep_alive = parts_.old_version = parts_.wants_continue = false;
  header_said_ = false;
  status_ = 0;
  parser_ = std::make_unique<Parser>(parts_);
  parser_->header_limit(static_cast<std::uint32_t>(
      std::min<std::size_t>(limits_.header_bytes, std::numeric_limits<std::uint32_t>::max())));
  parser_->body_limit(limits_.body_bytes);
}

RequestReader::State RequestReader::refuse(int status) {
  status_ = status;
  return State::kRefused;
}

RequestReader::State RequestReader::read(std::string_view& bytes) {
  // A chunked body ends with five bytes at least, and the parser counts on seeing them together.
  constexpr std::size_t kLastChunk = 5;
  while (!parser_->is_done()) {
    if (header_said_ && parser_->chunked() && bytes.size() < kLastChunk &&
        (bytes.empty() || bytes.front() == '0' || bytes.front() == '\r'))
      return State::kMore;
    error_code ec;
    const std::size_t taken = parser_->put(boost::asio::buffer(bytes.data(), bytes.size()), ec);
    bytes.remove_prefix(taken);
    if (ec == http::error::need_more) {
      // What is kept unread is a piece of a header, of a chunk's, or of a trailer.
      return bytes.size() > limits_.header_bytes ? refuse(431) : State::kMore;
    }
    if (ec) return refuse(status_of(ec));
    if (!header_said_ && parser_->is_header_done()) {
      header_said_ = true;
      // A coding that we do not know leaves no way to tell where the body ends.
      if (parser_->strange()) return refuse(501);
      if (!parser_->is_done()) return State::kHeader;
    } else if (bytes.empty() && !parser_->is_done()) {
      return State::kMore;
    }
  }
  return State::kDone;
}

std::size_t RequestReader::body_bound() const {
  // Of a chunked body only the limit is known.
  return parser_->chunked() ? limits_.body_bytes
                            : static_cast<std::size_t>(parser_->content_length().value_or(0));
}

void append_reply(std::string& out, const HttpResponse& response, const RequestParts& request,
                  bool keep) {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  const fmt::format_int status(response.status);
  out += "HTTP/1.1 ";
  out.append(status.data(), status.size());
  out += ' ';
  out.append(reason.data(), reason.size());
  out += "\r\n";
  if (!keep)
    out += "Connection: close\r\n";
  else if (request.old_version)
    out += "Connection: keep-alive\r\n";
  // These have no body, and no length of one: RFC 9110, 8.6.
  if (response.status < 200 || response.status == 204 || response.status == 304) {
    out += "\r\n";
    return;
  }
  const fmt::format_int length(response.body.size());
  out += "Content-Type: ";
  out += response.content_type;
  out += "\r\nContent-Length: ";
  out.append(length.data(), length.size());
  if (response.headers != nullptr) {
    for (const auto& [name, value] : *response.headers) {
      out += "\r\n";
      out += name;
      out += ": ";
      out += value;
    }
  }
  out += "\r\n\r\n";
  if (request.method != "HEAD") out += response.body;
}

void append_refusal(std::string& out, int status) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::string(http::obsolete_reason(static_cast<http::status>(status))) + "\n";
  append_reply(out, response, {}, false);
}

namespace {

// The unit at the front of `text`, taken off it; zero where there is none.
std::chrono::nanoseconds take_unit(std::string_view& text) {
  using namespace std::chrono_literals;
  static constexpr std::pair<std::string_view, std::chrono::nanoseconds> kUnits[] = {
      {"ns", 1ns}, {"us", 1us}, {"\xc2\xb5s", 1us}, {"\xce\xbcs", 1us},
      {"ms", 1ms}, {"s", 1s},   {"m", 1min},        {"h", 1h}};
  for (const auto& [name, unit] : kUnits) {
    if (!text.starts_with(name)) continue;
    text.remove_prefix(name.size());
    return unit;
  }
  return {};
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  static constexpr double kMax = 24.0 * 3600 * 1e9;  // far above what any API server waits
  const auto digits = [&text](double& value, double& scale) {
    const std::size_t before = text.size();
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
      value = value * 10 + (text.front() - '0');
      scale *= 10;
      text.remove_prefix(1);
    }
    return text.size() < before;
  };
  double total = 0;
  if (text.empty() || text.size() > 64) return std::nullopt;
  while (!text.empty()) {
    double value = 0;
    double ignored = 1;
    double scale = 1;
    bool any = digits(value, ignored);
    if (text.starts_with('.')) {
      text.remove_prefix(1);
      any = digits(value, scale) || any;
    }
    const auto unit = take_unit(text);
    if (!any || unit == unit.zero()) return std::nullopt;
    total += value / scale * static_cast<double>(unit.count());
  }
  if (total < 1 || total > kMax) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(total));
}

}  // namespace

std::optional<std::chrono::nanoseconds> requested_timeout(std::string_view target) {
  static constexpr std::string_view kName = "timeout=";
  const std::size_t begin = target.find('?');
  if (begin == std::string_view::npos) return std::nullopt;
  std::optional<std::string_view> found;
  for (std::string_view rest = target.substr(begin + 1); !rest.empty();) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!pair.starts_with(kName)) continue;
    if (found) return std::nullopt;
    found = pair.substr(kName.size());
  }
  return found ? parse_duration(*found) : std::nullopt;
}

}  // namespace kube
