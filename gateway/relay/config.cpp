#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

#include <arpa/inet.h>
#include <gateway/relay/config.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::relay {

namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;

struct Wrong {
  std::string message;
};

[[noreturn]] void wrong(const std::string& field, const char* what) {
  throw Wrong{field + ": " + what};
}

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F && c != '\\'; });
}

std::string text(const nlohmann::json& json, const std::string& where, const char* name,
                 bool may_be_absent = false) {
  const auto found = json.find(name);
  if (found == json.end() && may_be_absent) return {};
  if (found == json.end() || !found->is_string()) wrong(where + name, "is missing or no text");
  const auto& value = found->get_ref<const std::string&>();
  if (value.empty() && !may_be_absent) wrong(where + name, "is empty");
  if (!is_plain(value)) wrong(where + name, "has a blank, a control character or a backslash");
  return value;
}

std::optional<std::uint16_t> port_of(std::string_view digits) {
  std::uint16_t out = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error != std::errc() || end != digits.data() + digits.size() || out == 0) return std::nullopt;
  return out;
}

// HOST:PORT or [HOST]:PORT; without a port `otherwise`.
bool split_host(std::string_view all, std::uint16_t otherwise, std::string& host,
                std::uint16_t& port) {
  std::string_view rest;
  if (all.starts_with('[')) {
    const std::size_t end = all.find(']');
    if (end == std::string_view::npos) return false;
    host = all.substr(1, end - 1);
    rest = all.substr(end + 1);
  } else {
    const std::size_t end = std::min(all.find(':'), all.size());
    host = all.substr(0, end);
    rest = all.substr(end);
  }
  port = otherwise;
  if (!rest.empty()) {
    const auto number = rest.front() == ':' ? port_of(rest.substr(1)) : std::nullopt;
    if (!number) return false;
    port = *number;
  }
  return !host.empty() && port != 0;
}

std::string path_of(std::string_view value, const std::string& field) {
  while (value.ends_with('/'))
    value.remove_suffix(1);
  if (!value.empty() && !value.starts_with('/')) wrong(field, "does not begin with a slash");
  if (value.find_first_of("?#%") != std::string_view::npos || value.find("//") != value.npos ||
      value.find("/.") != value.npos)
    wrong(field, "is no plain path");
  return std::string(value);
}

Url url_of(std::string_view value, const std::string& field) {
  Url url;
  if (value.starts_with("http://")) {
    url.tls = false;
    value.remove_prefix(7);
  } else if (value.starts_with("https://")) {
    value.remove_prefix(8);
  } else {
    wrong(field, "is neither https:// nor http://");
  }
  const std::size_t end = std::min(value.find('/'), value.size());
  const std::string_view host = value.substr(0, end);
  if (host.find('@') != std::string_view::npos ||
      !split_host(host, url.tls ? 443 : 80, url.host, url.port))
    wrong(field, "has no host that can be connected to");
  url.path = path_of(value.substr(end), field);
  return url;
}

std::filesystem::path file_of(const nlohmann::json& json, const std::string& where,
                              const char* name) {
  std::filesystem::path out = text(json, where, name, true);
  if (!out.empty() && !out.is_absolute()) wrong(where + name, "is no absolute path");
  return out;
}

bool is_loopback(const std::string& address) {
  in_addr four{};
  return address == "::1" ||
         (::inet_pton(AF_INET, address.c_str(), &four) == 1 && (ntohl(four.s_addr) >> 24U) == 127);
}

Route route_of(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object()) wrong(where.substr(0, where.size() - 1), "is no object");
  Route route;
  route.name = text(json, where, "name");
  const std::string listen = text(json, where, "listen");
  if (!split_host(listen, 0, route.address, route.port))
    wrong(where + "listen", "is no ADDRESS:PORT");
  if (!is_loopback(route.address)) wrong(where + "listen", "is no loopback address");
  route.url = url_of(text(json, where, "url"), where + "url");
  route.path = path_of(text(json, where, "path"), where + "path");
  if (route.path.starts_with("/-")) wrong(where + "path", "is the relay's own");
  route.connect_to = text(json, where, "address", true);
  route.token_file = file_of(json, where, "tokenFile");
  route.ca_file = file_of(json, where, "caFile");
  return route;
}

ArchiveRoute archive_of(const nlohmann::json& json) {
  const std::string where = "archive.";
  if (!json.is_object()) wrong("archive", "is no object");
  ArchiveRoute out;
  out.url = url_of(text(json, where, "url"), where + "url");
  out.connect_to = text(json, where, "address", true);
  out.token_file = file_of(json, where, "tokenFile");
  out.ca_file = file_of(json, where, "caFile");
  out.record = file_of(json, where, "record");
  out.output = file_of(json, where, "output");
  if (out.record.empty()) wrong(where + "record", "is missing");
  if (out.output.empty()) wrong(where + "output", "is missing");
  return out;
}

}  // namespace

std::expected<Config, std::string> parse_config(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::unexpected("is not a JSON object");
  Config config;
  try {
    const auto routes = json.find("routes");
    if (routes == json.end() || !routes->is_array() || routes->empty())
      wrong("routes", "is missing or no list of at least one route");
    std::set<std::pair<std::string, std::uint16_t>> places;
    for (std::size_t i = 0; i < routes->size(); ++i) {
      const std::string where = "routes[" + std::to_string(i) + "].";
      config.routes.push_back(route_of((*routes)[i], where));
      const Route& made = config.routes.back();
      if (!places.emplace(made.address, made.port).second)
        wrong(where + "listen", "is another route's too");
    }
    if (const auto archive = json.find("archive"); archive != json.end())
      config.archive = archive_of(*archive);
    config.termination_log = file_of(json, "", "terminationLog");
  } catch (const Wrong& fault) {
    return std::unexpected(fault.message);
  }
  return config;
}

std::expected<Config, std::string> load_config(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  if (!in) return std::unexpected(file.string() + ": cannot be read");
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || in.gcount() == 0) return std::unexpected(file.string() + ": cannot be read");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMaxFile) return std::unexpected(file.string() + ": is larger than 1 MiB");
  auto config = parse_config(text);
  if (!config) return std::unexpected(file.string() + ": " + config.error());
  return config;
}

}  // namespace palisade::gateway::relay
