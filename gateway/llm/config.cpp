#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <stdexcept>
#include <utility>

#include <gateway/llm/config.h>

#include <policy/agent_policy.h>

namespace palisade::gateway::llm {
namespace {

using nlohmann::json;

constexpr std::size_t kMostItems = 1024;
constexpr std::size_t kMostString = 4096;
constexpr std::size_t kMostAuthorities = 1 << 20;
constexpr std::size_t kMostBytes = 1 << 30;

struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void broken(const std::string& field, const std::string& what) {
  throw Broken(field + ": " + what);
}

std::string shown(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, 60)) {
    const bool plain = c >= ' ' && c <= '~' && c != '"' && c != '\\';
    out += plain ? c : '?';
  }
  return out + (text.size() > 60 ? "...\"" : "\"");
}

// One object; each field is taken by its name, finish() refuses what is left.
class Object {
 public:
  Object(const json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value_.is_object()) broken(path_, "must be an object");
  }
  [[nodiscard]] std::string at(std::string_view name) const {
    return path_ + "." + std::string(name);
  }
  const json* find(const std::string& name) {
    taken_.insert(name);
    const auto found = value_.find(name);
    return found == value_.end() ? nullptr : &*found;
  }
  const json& need(const std::string& name) {
    const json* found = find(name);
    if (found == nullptr) broken(at(name), "is missing");
    return *found;
  }
  template <typename Value, typename Read>
  void take(const std::string& name, Value& into, Read read) {
    if (const json* value = find(name)) into = read(*value, at(name));
  }
  void finish() const {
    for (const auto& item : value_.items()) {
      if (!taken_.contains(item.key()))
        broken(path_ + "." + shown(item.key()), "is not a field of this version; take it out");
    }
  }

 private:
  const json& value_;
  std::string path_;
  std::set<std::string, std::less<>> taken_;
};

// Printable ASCII: names go into headers, messages and the record.
std::string text(const json& value, const std::string& field) {
  if (!value.is_string()) broken(field, "must be a string");
  const auto& string = value.get_ref<const std::string&>();
  if (string.empty()) broken(field, "must not be empty");
  if (string.size() > kMostString) broken(field, "is longer than 4096 bytes");
  if (std::ranges::any_of(string, [](char c) { return c < ' ' || c > '~'; }))
    broken(field, "must be printable ASCII");
  return string;
}

std::string model_name(const json& value, const std::string& field) {
  auto name = text(value, field);
  if (name.size() > 256 || name.find_first_of(" \"\\,") != std::string::npos)
    broken(field, shown(name) +
                      " must be at most 256 characters, none of them a space, a comma, "
                      "a quote or a backslash");
  return name;
}

bool flag(const json& value, const std::string& field) {
  if (!value.is_boolean()) broken(field, "must be true or false");
  return value.get<bool>();
}

std::uint64_t number(const json& value, const std::string& field, std::uint64_t least,
                     std::uint64_t most) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least ||
      value.get<std::uint64_t>() > most)
    broken(field,
           "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  return value.get<std::uint64_t>();
}

std::chrono::milliseconds duration(const json& value, const std::string& field) {
  const auto string = text(value, field);
  const auto seconds = policy::parse_duration(string);
  if (!seconds || *seconds > 24 * 3600)
    broken(field, shown(string) + " must be a duration from 1s to 24h, such as 90s or 15m");
  return std::chrono::seconds(*seconds);
}

// Exact: no floating point. A price may be 0, as for a model of one's own.
MicroDollars price(const json& value, const std::string& field) {
  const auto string = text(value, field);
  if (string.find_first_not_of("0.") == std::string::npos && string.starts_with('0') &&
      !string.ends_with('.') && std::ranges::count(string, '.') <= 1 && string.size() <= 8)
    return 0;
  const auto micros = policy::parse_money(string);
  constexpr MicroDollars kMost = 1'000'000LL * 1'000'000;
  if (!micros || *micros > kMost)
    broken(field, shown(string) +
                      " must be US dollars as text, such as \"2.50\": at most six "
                      "decimals and at most a million");
  return *micros;
}

template <typename Read>
auto list(const json& value, const std::string& field, Read read) {
  if (!value.is_array()) broken(field, "must be a list");
  if (value.size() > kMostItems) broken(field, "has more than 1024 items");
  std::vector<decltype(read(value, field))> items;
  items.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i)
    items.push_back(read(value[i], field + "[" + std::to_string(i) + "]"));
  return items;
}

template <typename Value, std::size_t N>
Value one_of(const json& value, const std::string& field,
             const std::array<std::pair<std::string_view, Value>, N>& choices) {
  std::string names;
  for (const auto& [name, meaning] : choices) {
    if (value.is_string() && value.get_ref<const std::string&>() == name) return meaning;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  broken(field, "must be one of " + names);
}

Action action(const json& value, const std::string& field) {
  static constexpr std::array<std::pair<std::string_view, Action>, 3> kActions{
      {{"off", Action::kOff}, {"flag", Action::kFlag}, {"refuse", Action::kRefuse}}};
  return one_of(value, field, kActions);
}

// http[s]://HOST[:PORT][/PATH].
void read_url(const std::string& url, const std::string& field, Upstream& upstream) {
  std::string_view rest = url;
  Origin& origin = upstream.origin;
  if (rest.starts_with("https://")) {
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    origin.tls = false;
    origin.port = 80;
    rest.remove_prefix(7);
  } else {
    broken(field, shown(url) + " must begin with https:// or http://");
  }
  if (rest.find_first_of("@?# \\\"<>") != std::string_view::npos)
    broken(field, shown(url) + " must be scheme://host[:port][/path] alone");
  const auto slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) upstream.path = rest.substr(slash);
  while (upstream.path.ends_with('/'))
    upstream.path.pop_back();
  if (upstream.path.find("//") != std::string::npos ||
      upstream.path.find("..") != std::string::npos)
    broken(field, shown(url) + " must have a path without empty and .. parts");
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) broken(field, shown(url) + " has a [ without its ]");
    origin.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else {
    const auto colon = std::min(authority.find(':'), authority.size());
    origin.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (origin.host.empty()) broken(field, shown(url) + " names no host");
  if (port.empty()) return;
  const char* end = port.data() + port.size();
  const auto [stop, error] = std::from_chars(port.data() + 1, end, origin.port);
  if (port[0] != ':' || error != std::errc{} || stop != end || origin.port == 0)
    broken(field, shown(url) + " must have a port from 1 to 65535 behind its colon");
}

// Where an unencrypted connection may carry a key: this machine, and the cluster's own network.
bool inside(std::string_view host) {
  return host == "localhost" || host == "127.0.0.1" || host == "::1" || host.ends_with(".svc") ||
         host.ends_with(".svc.cluster.local");
}

Upstream read_upstream(const json& value, const std::string& field) {
  static constexpr std::array<std::pair<std::string_view, Kind>, 2> kKinds{
      {{"openai", Kind::kOpenAi}, {"anthropic", Kind::kAnthropic}}};
  Object object(value, field);
  Upstream out;
  out.name = model_name(object.need("name"), object.at("name"));
  read_url(text(object.need("url"), object.at("url")), object.at("url"), out);
  object.take("kind", out.kind,
              [](const json& v, const std::string& f) { return one_of(v, f, kKinds); });
  if (const json* key = object.find("keySecret")) {
    Object reference(*key, object.at("keySecret"));
    out.key = KeyReference{text(reference.need("name"), reference.at("name")),
                           text(reference.need("key"), reference.at("key"))};
    reference.finish();
    if (!out.origin.tls && !inside(out.origin.host))
      broken(object.at("url"), "must be https://, since a key goes there");
  }
  if (const json* pem = object.find("authorities")) {
    if (!pem->is_string() || pem->get_ref<const std::string&>().size() > kMostAuthorities)
      broken(object.at("authorities"), "must be PEM text of at most 1 MiB, or empty");
    out.origin.authorities = pem->get<std::string>();
    if (!out.origin.authorities.empty() &&
        out.origin.authorities.find("-----BEGIN CERTIFICATE-----") == std::string::npos)
      broken(object.at("authorities"), "has no PEM certificate");
  }
  object.take("connectTimeout", out.connect_timeout, duration);
  object.take("firstByteTimeout", out.first_byte_timeout, duration);
  object.take("idleTimeout", out.idle_timeout, duration);
  object.finish();
  return out;
}

Model read_model(const json& value, const std::string& field, const LlmConfig& config) {
  Object object(value, field);
  Model out;
  out.name = model_name(object.need("name"), object.at("name"));
  object.take("aliases", out.aliases,
              [](const json& v, const std::string& f) { return list(v, f, model_name); });
  out.routes = list(object.need("routes"), object.at("routes"),
                    [&](const json& item, const std::string& path) {
                      Object route(item, path);
                      const auto name = text(route.need("upstream"), route.at("upstream"));
                      const auto found = std::ranges::find(config.upstreams, name, &Upstream::name);
                      if (found == config.upstreams.end())
                        broken(route.at("upstream"), shown(name) + " is none of llm.upstreams");
                      Route read;
                      read.upstream = static_cast<std::size_t>(found - config.upstreams.begin());
                      read.model = out.name;
                      route.take("model", read.model, model_name);
                      route.take("weight", read.weight, [](const json& v, const std::string& f) {
                        return static_cast<std::uint32_t>(number(v, f, 1, 1'000'000));
                      });
                      route.finish();
                      return read;
                    });
  if (out.routes.empty()) broken(object.at("routes"), "must name at least one upstream");
  if (const json* priced = object.find("price")) {
    Object prices(*priced, object.at("price"));
    out.price = Price{price(prices.need("inputPerMillion"), prices.at("inputPerMillion")),
                      price(prices.need("outputPerMillion"), prices.at("outputPerMillion"))};
    prices.finish();
  }
  object.finish();
  return out;
}

void check_upstreams(const LlmConfig& config) {
  std::set<std::string, std::less<>> names;
  for (const Upstream& upstream : config.upstreams) {
    if (!names.insert(upstream.name).second)
      broken("llm.upstreams", "two are named " + shown(upstream.name));
  }
}

void check_models(const LlmConfig& config) {
  std::set<std::string, std::less<>> names;
  for (const Model& model : config.models) {
    if (!names.insert(model.name).second)
      broken("llm.models", "two are named " + shown(model.name));
    for (const std::string& alias : model.aliases) {
      if (!names.insert(alias).second)
        broken("llm.models", "two are named " + shown(alias) + ", one of them as an alias");
    }
  }
}

LlmConfig read_config(const json& document) {
  static constexpr std::array<std::pair<std::string_view, Outbound>, 3> kOutbound{
      {{"off", Outbound::kOff}, {"mask", Outbound::kMask}, {"refuse", Outbound::kRefuse}}};
  static constexpr std::array<std::pair<std::string_view, bool>, 2> kAllowed{
      {{"refuse", false}, {"allow", true}}};
  LlmConfig out;
  Object object(document, "llm");
  out.upstreams = list(object.need("upstreams"), object.at("upstreams"), read_upstream);
  check_upstreams(out);
  out.models = list(object.need("models"), object.at("models"),
                    [&](const json& v, const std::string& f) { return read_model(v, f, out); });
  if (const json* value = object.find("limits")) {
    Object limits(*value, object.at("limits"));
    const auto bytes = [](const json& v, const std::string& f) {
      return static_cast<std::size_t>(number(v, f, 1024, kMostBytes));
    };
    limits.take("requestBytes", out.limits.request_bytes, bytes);
    limits.take("replyBytes", out.limits.reply_bytes, bytes);
    limits.take("deadline", out.limits.deadline, duration);
    limits.finish();
  }
  if (const json* value = object.find("record")) {
    Object record(*value, object.at("record"));
    record.take("bodies", out.record_bodies, flag);
    record.finish();
  }
  if (const json* value = object.find("outbound")) {
    Object outbound(*value, object.at("outbound"));
    outbound.take("credentials", out.credentials,
                  [](const json& v, const std::string& f) { return one_of(v, f, kOutbound); });
    outbound.take("providerSide", out.provider_side,
                  [](const json& v, const std::string& f) { return one_of(v, f, kAllowed); });
    outbound.finish();
  }
  if (const json* value = object.find("replies")) {
    Object replies(*value, object.at("replies"));
    replies.take("shellBlocks", out.replies.shell_blocks, action);
    replies.take("outsidePaths", out.replies.outside_paths, action);
    replies.take("gitOptions", out.replies.git_options, action);
    replies.take("lookAlikes", out.replies.look_alikes, action);
    replies.take("maxBytes", out.replies.max_bytes, [](const json& v, const std::string& f) {
      return static_cast<std::size_t>(number(v, f, 0, kMostBytes));
    });
    replies.finish();
  }
  object.finish();
  check_models(out);
  return out;
}

}  // namespace

bool ReplyRules::any() const {
  return shell_blocks != Action::kOff || outside_paths != Action::kOff ||
         git_options != Action::kOff || look_alikes != Action::kOff;
}

bool ReplyRules::holds_back() const {
  return shell_blocks == Action::kRefuse || outside_paths == Action::kRefuse ||
         git_options == Action::kRefuse || look_alikes == Action::kRefuse;
}

const Model* LlmConfig::find(std::string_view name) const {
  for (const Model& model : models) {
    if (model.name == name || std::ranges::find(model.aliases, name) != model.aliases.end())
      return &model;
  }
  return nullptr;
}

std::expected<LlmConfig, std::string> parse_llm_config(const nlohmann::json& document) {
  try {
    return read_config(document);
  } catch (const Broken& fault) {
    return std::unexpected(std::string(fault.what()));
  }
}

}  // namespace palisade::gateway::llm
