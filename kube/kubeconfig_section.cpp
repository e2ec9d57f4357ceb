#include "kubeconfig_section.h"

#include <fmt/format.h>

#include <kube/base64.h>

namespace kube {

namespace {

std::optional<std::string> decoded_lines(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  return decode_base64(text);
}

}  // namespace

Result<Section> read_root(const std::filesystem::path& file) {
  auto text = read_small_file(file);
  if (!text) return std::unexpected(std::move(text.error()));
  Section root{file, "", {}};
  try {
    root.node = YAML::Load(*text);
  } catch (const YAML::Exception& error) {
    return root.fault("", "line " + std::to_string(error.mark.line + 1) + ": " + error.msg);
  }
  return root;
}

Result<std::optional<Section>> Section::entry(const std::string& list, const std::string& inner,
                                              const std::string& name) const {
  const YAML::Node items = std::as_const(node)[list];
  if (!items || !items.IsSequence()) return std::nullopt;
  for (const auto& item : items) {
    if (!item.IsMap() || text_of(item["name"]) != name) continue;
    const std::string where = fmt::format("{}[{}].{}", list, name, inner);
    if (!item[inner] || !item[inner].IsMap()) return fault(where, "is missing");
    return Section{file, where, item[inner]};
  }
  return std::nullopt;
}

std::string text_of(const YAML::Node& node) {
  return node && node.IsScalar() ? node.Scalar() : std::string();
}

std::string Section::text(const std::string& field) const {
  return text_of(node[field]);
}

std::string Section::where(const std::string& field) const {
  return file.string() + ": " + (path.empty() || field.empty() ? path + field : path + "." + field);
}

std::unexpected<Error> Section::fault(const std::string& field, const std::string& why) const {
  std::string message = where(field);
  if (!message.ends_with(' ')) message += ' ';
  return std::unexpected(Error{0, "InvalidConfiguration", message + why, {}, {}});
}

std::filesystem::path Section::resolve(const std::string& text) const {
  const std::filesystem::path given(text);
  return given.is_absolute() ? given : std::filesystem::absolute(file).parent_path() / given;
}

Result<bool> Section::flag(const std::string& field) const {
  const std::string value = text(field);
  if (!value.empty() && value != "true" && value != "false")
    return fault(field, "is neither true nor false");
  return value == "true";
}

Result<Section> Section::inner(const std::string& field) const {
  if (!node[field] || !node[field].IsMap()) return fault(field, "is missing, or no map");
  return Section{file, path + "." + field, node[field]};
}

Result<TextSource> pem_of(const Section& section, const std::string& field) {
  if (const std::string data = section.text(field + "-data"); !data.empty()) {
    auto pem = decoded_lines(data);
    if (!pem) return section.fault(field + "-data", "is not base64");
    return TextSource{std::move(*pem), {}};
  }
  if (const std::string path = section.text(field); !path.empty()) {
    const auto file = section.resolve(path);
    auto pem = read_small_file(file);
    if (!pem) return section.fault(field, "names " + pem.error().message);
    return TextSource{std::move(*pem), file};
  }
  return TextSource{};
}

std::string used_field(const TextSource& source, const std::string& field) {
  return source.file.empty() ? field + "-data" : field;
}

nlohmann::json json_of(const YAML::Node& node, int depth) {
  using Json = nlohmann::json;
  constexpr int kMostDepth = 16;
  if (depth > kMostDepth) return {};
  if (node.IsMap()) {
    Json out = Json::object();
    for (const auto& member : node)
      out[text_of(member.first)] = json_of(member.second, depth + 1);
    return out;
  }
  if (node.IsSequence()) {
    Json out = Json::array();
    for (const auto& one : node)
      out.push_back(json_of(one, depth + 1));
    return out;
  }
  if (!node.IsScalar()) return {};
  if (node.Tag() == "!") return node.Scalar();  // in quotes
  const Json plain = Json::parse(node.Scalar(), nullptr, false);
  return plain.is_number() || plain.is_boolean() ? plain : Json(node.Scalar());
}

}  // namespace kube
