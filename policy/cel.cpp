#include "cel.h"

#include <string>

namespace palisade::policy::cel {

std::string text(std::string_view value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "'";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\'' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (std::string_view("\\.+*?()|[]{}^$").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string replaced(std::string_view pattern, std::string_view name, std::string_view by) {
  std::string out;
  while (true) {
    const auto at = pattern.find(name);
    out += pattern.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += by;
    pattern.remove_prefix(at + name.size());
  }
}

std::string where(std::string_view condition, std::string_view path) {
  return "(" + std::string(condition) + " ? [" + text(path) + "] : [])";
}

std::string containers(std::string_view condition, std::string_view path) {
  return "variables.containers.filter(k, " + std::string(condition) + ").map(k, k.at + " +
         text(path) + ")";
}

std::string volumes(std::string_view condition, std::string_view path) {
  return "variables.volumes.filter(v, " + std::string(condition) + ").map(v, v.at + " + text(path) +
         ")";
}

std::string annotations(std::string_view condition) {
  return "variables.annotations.filter(a, " + std::string(condition) +
         ").map(a, 'metadata.annotations[' + a + ']')";
}

std::string inherited(std::string_view field, std::string_view bad) {
  const std::string at_pod = "variables.sec." + std::string(field);
  const std::string own = "k.s." + std::string(field);
  const std::string path = "securityContext." + std::string(field);
  return where("has(" + at_pod + ") && " + replaced(bad, "VALUE", at_pod), "spec." + path) + " + " +
         containers("has(" + own + ") ? " + replaced(bad, "VALUE", own) + " : !has(" + at_pod + ")",
                    "." + path);
}

std::string securities(std::string_view bad, std::string_view path) {
  return where(replaced(bad, "SEC", "variables.sec"), "spec.securityContext" + std::string(path)) +
         " + " + containers(replaced(bad, "SEC", "k.s"), ".securityContext" + std::string(path));
}

std::string bad_quantity(std::string_view optional, std::string_view most) {
  const std::string value = "quantity(string(" + std::string(optional) + ".orValue('0')))";
  return "!(" + value + ".isGreaterThan(quantity('0')) && !" + value + ".isGreaterThan(quantity(" +
         text(most) + ")))";
}

}  // namespace palisade::policy::cel
