// A read-only view of a pod's JSON: every control looks at the pod through it.
//
// Reading a field has three outcomes, never two: absent (missing or null, which Kubernetes treats
// alike), a value of the wanted type, or broken (another type, a member given twice, or a parent
// that is no object). A control reports what is broken; nothing broken ever passes.
//
// Nodes remember where they are as a chain of parents, so a path costs nothing until a finding
// needs it. Hence the one rule of this header: a Node must outlive the nodes made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <simdjson.h>

#include <policy/policy.h>

namespace palisade::policy {

enum class State : std::uint8_t { absent, present, broken };

// The outcome of reading a field as a T. `value` means something only where present.
template <class T>
struct Read {
  State state = State::absent;
  T value{};
  [[nodiscard]] bool absent() const { return state == State::absent; }
  [[nodiscard]] bool broken() const { return state == State::broken; }
  [[nodiscard]] bool present() const { return state == State::present; }
  [[nodiscard]] bool is(const T& wanted) const { return present() && value == wanted; }
};

class Node {
 public:
  Node() = default;
  // The pod itself; `prefix` goes before each path and must outlive the node.
  Node(simdjson::dom::element root, std::string_view prefix);

  [[nodiscard]] Node operator[](std::string_view key) const&;
  Node operator[](std::string_view key) const&& = delete;

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool absent() const { return state_ == State::absent; }
  [[nodiscard]] bool present() const { return state_ == State::present; }
  [[nodiscard]] bool broken() const { return state_ == State::broken; }

  [[nodiscard]] Read<bool> boolean() const;
  [[nodiscard]] Read<std::string_view> text() const;
  // Integers, also where written as 1.0 or as an unsigned one. One that does not fit is broken.
  [[nodiscard]] Read<std::int64_t> integer() const;
  [[nodiscard]] Read<simdjson::dom::array> list() const;
  [[nodiscard]] Read<simdjson::dom::object> object() const;

  // Children of a present list or object, for iteration; see each_item and each_member.
  [[nodiscard]] Node item(std::size_t index, simdjson::dom::element value) const;
  [[nodiscard]] Node member(std::string_view key, simdjson::dom::element value) const;
  // Fills several members in one pass over this object.
  void collect(std::initializer_list<std::pair<std::string_view, Node*>> wanted) const;
  // A child that stands for "what is here has the wrong shape", for a list that cannot be walked.
  [[nodiscard]] Node misshapen(std::string_view expected) const;

  // The exact path, such as spec.containers[0].securityContext.runAsNonRoot. Of a broken node, the
  // path of whatever has the wrong shape.
  [[nodiscard]] std::string path() const;
  // The value as JSON, shortened, or "(absent)". Type only ("(a string)") for what may hold
  // secrets.
  [[nodiscard]] std::string found() const;
  [[nodiscard]] std::string found_type() const;
  // What a broken node's culprit should have been, "" where the node itself has the wrong type.
  [[nodiscard]] std::string_view expected() const { return expected_; }
  [[nodiscard]] std::string_view key() const { return key_; }
  [[nodiscard]] simdjson::dom::element value() const { return value_; }

 private:
  [[nodiscard]] Node child(std::string_view key) const;  // absent, or broken with this node's fault
  [[nodiscard]] const Node& culprit() const { return blame_ != nullptr ? *blame_ : *this; }
  void append_path(std::string& out) const;

  static constexpr std::size_t kNoIndex = static_cast<std::size_t>(-1);

  const Node* parent_ = nullptr;
  const Node* blame_ = nullptr;  // the ancestor with the wrong shape; null: this node itself
  std::string_view key_;
  std::string_view expected_;
  std::size_t index_ = kNoIndex;
  simdjson::dom::element value_;  // meaningful unless absent, or broken by an ancestor
  State state_ = State::absent;
};

enum class ContainerKind : std::uint8_t { regular, init, ephemeral };

// A container of any kind (sidecars are init containers) with the fields that controls read.
struct Container {
  ContainerKind kind = ContainerKind::regular;
  Node self;
  Node image, command, args, env, env_from, security, resources, ports, volume_mounts,
      volume_devices;
  Node liveness_probe, readiness_probe, startup_probe, lifecycle;
};

// More containers than this in one list is a broken list: no real pod comes near, and an attacker
// must not choose how much memory a review takes.
inline constexpr std::size_t kMaxContainers = 500;

class PodView {
 public:
  // `prefix` and the parser behind `pod` must outlive the view.
  PodView(simdjson::dom::element pod, std::string_view prefix);
  PodView(const PodView&) = delete;
  PodView& operator=(const PodView&) = delete;

  [[nodiscard]] const Node& metadata() const { return metadata_; }
  [[nodiscard]] const Node& annotations() const { return annotations_; }
  [[nodiscard]] const Node& spec() const { return spec_; }
  [[nodiscard]] const Node& status() const { return status_; }
  [[nodiscard]] const Node& security() const { return security_; }  // spec.securityContext
  [[nodiscard]] const Node& volumes() const { return volumes_; }
  // initContainers, containers, ephemeralContainers. A list that cannot be walked is one container
  // all of whose fields are broken, so that whoever reads it reports it.
  [[nodiscard]] const std::vector<Container>& containers() const { return containers_; }
  // Whether one of the lists is longer than kMaxContainers: containers() does not hold what is in
  // it.
  [[nodiscard]] bool crowded() const { return crowded_; }

 private:
  void add(ContainerKind kind, const Node& list);

  Node root_, metadata_, annotations_, spec_, status_, security_, volumes_;
  Node init_list_, regular_list_, ephemeral_list_;
  std::vector<Container> containers_;
  bool crowded_ = false;
};

}  // namespace palisade::policy
