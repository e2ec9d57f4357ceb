#include <fmt/format.h>

#include <kube/error.h>

namespace kube {

bool Error::is_cancelled() const {
  return code == 0 && reason == kTransportReasonCancelled;
}

bool Error::is_retriable() const {
  if (code == 0) return !is_cancelled();
  return code == 429 || code == 500 || code == 502 || code == 503 || code == 504;
}

std::string Error::text() const {
  std::string out = code == 0 ? reason : fmt::format("{} {}", code, reason);
  if (!message.empty()) out += ": " + message;
  if (!causes.empty()) {
    out += " (";
    for (std::size_t i = 0; i < causes.size(); ++i) {
      if (i > 0) out += "; ";
      out +=
          causes[i].field.empty() ? causes[i].message : causes[i].field + ": " + causes[i].message;
    }
    out += ")";
  }
  return out;
}

}  // namespace kube
