#include <webhook/namespaces.h>

namespace palisade::webhook {

namespace {
// Live reads hold a server thread; more than this at once are refused instead.
constexpr int kMaxLiveReads = 4;
}  // namespace

Mode mode_of_labels(const kube::Json& ns) {
  const kube::Json labels =
      ns.value("metadata", kube::Json::object()).value("labels", kube::Json::object());
  const auto label = labels.find(kEnforceLabel);
  if (label == labels.end()) return Mode::kAgents;
  // A typing error must not open a namespace.
  return label->is_string() ? parse_mode(label->get<std::string>()).value_or(Mode::kAll)
                            : Mode::kAll;
}

Namespaces::Namespaces(std::shared_ptr<const kube::Client> client)
    : client_(client), reflector_(client, kube::resources::kNamespaces, {}, {}) {}

std::expected<Mode, std::string> Namespaces::mode(std::string_view ns) {
  if (!reflector_.has_synced())
    return std::unexpected("its view of the namespaces is not complete yet; try again in a moment");
  if (const auto known = reflector_.cache().get(ns)) return mode_of_labels(*known);
  // A namespace that was made a moment ago.
  if (live_reads_.fetch_add(1) >= kMaxLiveReads) {
    live_reads_.fetch_sub(1);
    return std::unexpected("too many unknown namespaces at once; try again in a moment");
  }
  auto live = client_->get(kube::resources::kNamespaces, "", ns);
  live_reads_.fetch_sub(1);
  if (!live) return std::unexpected("namespace " + std::string(ns) + ": " + live.error().text());
  return mode_of_labels(*live);
}

}  // namespace palisade::webhook
