#include <webhook/namespaces.h>

namespace palisade::webhook {

namespace {
// Live reads hold a server thread each; more than this at once are refused instead.
constexpr int kMaxLiveReads = 2;

class Slot {
 public:
  explicit Slot(std::atomic<int>& taken) : taken_(taken), granted_(++taken_ <= kMaxLiveReads) {}
  ~Slot() { --taken_; }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  [[nodiscard]] bool granted() const { return granted_; }

 private:
  std::atomic<int>& taken_;
  const bool granted_;
};
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

Namespaces::Namespaces(std::shared_ptr<const kube::Client> client,
                       std::shared_ptr<const kube::Client> live)
    : live_(std::move(live)), reflector_(std::move(client), kube::resources::kNamespaces, {}, {}) {}

std::expected<Mode, std::string> Namespaces::mode(std::string_view ns) {
  if (ns.empty()) return std::unexpected("the review names no namespace");
  if (!reflector_.has_synced())
    return std::unexpected("its view of the namespaces is not complete yet; try again in a moment");
  if (const auto known = reflector_.cache().get(ns)) return mode_of_labels(*known);
  // A namespace that was made a moment ago.
  const Slot slot(live_reads_);
  if (!slot.granted())
    return std::unexpected("too many unknown namespaces at once; try again in a moment");
  const auto live = live_->get(kube::resources::kNamespaces, "", ns);
  if (!live) return std::unexpected("namespace " + std::string(ns) + ": " + live.error().text());
  return mode_of_labels(*live);
}

}  // namespace palisade::webhook
