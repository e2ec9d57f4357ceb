#include "object_out.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "json_at.h"
#include "json_out.h"
#include "yaml_out.h"

namespace palisade::cli {

std::string yaml_text(const nlohmann::json& value) {
  YAML::Emitter out;
  out.SetOutputCharset(YAML::EscapeNonAscii);
  emit_yaml(out, value);
  return std::string(out.c_str()) + "\n";
}

nlohmann::json without_managed_fields(nlohmann::json object) {
  if (object.contains("metadata") && object["metadata"].is_object())
    object["metadata"].erase("managedFields");
  return object;
}

std::string object_text(const nlohmann::json& object, const std::string& format) {
  if (format == "json") return json_text(object);
  if (format == "yaml") return yaml_text(object);
  std::string kind = text_at(object, {"kind"});
  std::ranges::transform(kind, kind.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return kind + "/" + text_at(object, {"metadata", "name"}) + "\n";
}

}  // namespace palisade::cli
