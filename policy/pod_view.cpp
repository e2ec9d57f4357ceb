#include "pod_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <policy/json_text.h>

namespace palisade::policy {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr std::size_t kMaxShown = 160;  // bytes of a value in a finding
constexpr std::string_view kGivenTwice = "given only once";

bool is_null(element value) {
  return value.type() == element_type::NULL_VALUE;
}

bool plain_key(std::string_view key) {
  return !key.empty() && key.size() <= 253 && std::ranges::all_of(key, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// Cuts at most at `limit` bytes without splitting a UTF-8 sequence.
void shorten(std::string& text, std::size_t limit) {
  if (text.size() <= limit) return;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U)
    --limit;
  text.resize(limit);
  text += "...";
}

// A key of the pod's author, quoted: control characters must not reach a terminal.
void append_quoted_key(std::string& out, std::string_view key) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += "[\"";
  std::string_view shown = key.substr(0, 253);
  if (shown.size() < key.size()) {  // never half a code point, as paths must be UTF-8
    while (!shown.empty() && (static_cast<unsigned char>(key[shown.size()]) & 0xC0U) == 0x80U)
      shown.remove_suffix(1);
  }
  for (const char c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xFU];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  out += "\"]";
}

// The value as JSON without spaces, up to a little more than is shown: a finding must not cost what
// its author makes it weigh. Recursion is bounded with it, as every level writes a character.
void append_beginning(std::string& out, element value) {
  if (out.size() > kMaxShown) return;
  if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const element item : simdjson::dom::array(value.get_array())) {
      if (out.size() > kMaxShown) return;
      if (!first) out += ',';
      first = false;
      append_beginning(out, item);
    }
    out += ']';
  } else if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto [key, member] : simdjson::dom::object(value.get_object())) {
      if (out.size() > kMaxShown) return;
      if (!first) out += ',';
      first = false;
      append_json(out, key.substr(0, kMaxShown + 1));
      out += ':';
      append_beginning(out, member);
    }
    out += '}';
  } else if (value.is_string()) {
    append_json(out, std::string_view(value).substr(0, kMaxShown + 1));
  } else {
    out += simdjson::minify(value);
  }
}

}  // namespace

Node::Node(element root, std::string_view prefix) : key_(prefix), value_(root) {
  state_ = is_null(root) ? State::absent : State::present;
}

Node Node::child(std::string_view key) const {
  Node node;
  node.parent_ = this;
  node.key_ = key;
  if (state_ == State::broken) {
    node.state_ = State::broken;
    node.blame_ = &culprit();
    node.expected_ = expected_;
  } else if (state_ == State::present && value_.type() != element_type::OBJECT) {
    node.state_ = State::broken;
    node.blame_ = this;
    node.expected_ = "an object";
  }
  return node;
}

Node Node::operator[](std::string_view key) const& {
  Node node = child(key);
  if (state_ != State::present || node.state_ == State::broken) return node;
  bool seen = false;
  for (const auto [name, value] : simdjson::dom::object(value_.get_object())) {
    if (name != key) continue;
    node.value_ = value;
    node.state_ = is_null(value) ? State::absent : State::present;
    if (seen) {
      node.state_ = State::broken;
      node.expected_ = kGivenTwice;
      break;
    }
    seen = true;
  }
  return node;
}

void Node::collect(std::initializer_list<std::pair<std::string_view, Node*>> wanted) const {
  for (const auto& [key, target] : wanted)
    *target = child(key);
  if (state_ != State::present || value_.type() != element_type::OBJECT) return;
  std::uint64_t seen = 0;
  for (const auto [name, value] : simdjson::dom::object(value_.get_object())) {
    std::uint64_t bit = 1;
    for (const auto& [key, target] : wanted) {
      if (name == key) {
        target->value_ = value;
        target->state_ = is_null(value) ? State::absent : State::present;
        if ((seen & bit) != 0) {
          target->state_ = State::broken;
          target->expected_ = kGivenTwice;
        }
        seen |= bit;
        break;
      }
      bit <<= 1U;
    }
  }
}

Node Node::item(std::size_t index, element value) const {
  Node node;
  node.parent_ = this;
  node.index_ = index;
  node.value_ = value;
  // A null in a list is a missing entry to nobody: it is an entry of the wrong type.
  node.state_ = State::present;
  return node;
}

Node Node::member(std::string_view key, element value) const {
  Node node;
  node.parent_ = this;
  node.key_ = key;
  node.value_ = value;
  node.state_ = is_null(value) ? State::absent : State::present;
  return node;
}

Node Node::misshapen(std::string_view expected) const {
  Node node;
  node.parent_ = this;
  node.state_ = State::broken;
  node.blame_ = &culprit();
  node.expected_ = broken() ? expected_ : expected;
  return node;
}

Read<bool> Node::boolean() const {
  bool value = false;
  if (state_ != State::present) return {state_};
  if (value_.get(value) != simdjson::SUCCESS) return {State::broken};
  return {State::present, value};
}

Read<std::string_view> Node::text() const {
  std::string_view value;
  if (state_ != State::present) return {state_, value};
  if (value_.get(value) != simdjson::SUCCESS) return {State::broken, {}};
  return {State::present, value};
}

Read<std::int64_t> Node::integer() const {
  if (state_ != State::present) return {state_};
  switch (value_.type()) {
    case element_type::INT64:
      return {State::present, std::int64_t(value_.get_int64())};
    case element_type::DOUBLE: {
      constexpr double kExact = 9007199254740992.0;  // 2^53
      const double value = value_.get_double();
      if (std::trunc(value) != value || std::fabs(value) > kExact) return {State::broken};
      return {State::present, static_cast<std::int64_t>(value)};
    }
    default:  // UINT64 is what does not fit an int64
      return {State::broken};
  }
}

Read<simdjson::dom::array> Node::list() const {
  simdjson::dom::array value;
  if (state_ != State::present) return {state_, value};
  if (value_.get(value) != simdjson::SUCCESS) return {State::broken, value};
  return {State::present, value};
}

Read<simdjson::dom::object> Node::object() const {
  simdjson::dom::object value;
  if (state_ != State::present) return {state_, value};
  if (value_.get(value) != simdjson::SUCCESS) return {State::broken, value};
  return {State::present, value};
}

void Node::append_path(std::string& out) const {
  if (parent_ == nullptr) {
    out += key_;
    return;
  }
  parent_->append_path(out);
  if (index_ != kNoIndex) {
    out += '[';
    out += std::to_string(index_);
    out += ']';
  } else if (plain_key(key_)) {
    if (!out.empty() && out.back() != '.') out += '.';
    out += key_;
  } else if (!key_.empty()) {
    append_quoted_key(out, key_);
  }
}

std::string Node::path() const {
  std::string out;
  culprit().append_path(out);
  if (!out.empty() && out.back() == '.') out.pop_back();
  return out.empty() ? "(the pod)" : out;
}

std::string Node::found() const {
  const Node& node = culprit();
  if (node.state_ == State::absent) return "(absent)";
  if (node.state_ == State::broken && node.expected_ == kGivenTwice) return "(given twice)";
  std::string out;
  append_beginning(out, node.value_);
  shorten(out, kMaxShown);
  return out;
}

std::string Node::found_type() const {
  const Node& node = culprit();
  if (node.state_ == State::absent) return "(absent)";
  if (node.state_ == State::broken && node.expected_ == kGivenTwice) return "(given twice)";
  switch (node.value_.type()) {
    case element_type::ARRAY:
      return "(a list)";
    case element_type::OBJECT:
      return "(an object)";
    case element_type::STRING:
      return "(a string)";
    case element_type::BOOL:
      return "(a boolean)";
    case element_type::NULL_VALUE:
      return "(null)";
    default:
      return "(a number)";
  }
}

PodView::PodView(element pod, std::string_view prefix) : root_(pod, prefix) {
  root_.collect({{"metadata", &metadata_}, {"spec", &spec_}, {"status", &status_}});
  annotations_ = metadata_["annotations"];
  spec_.collect({{"securityContext", &security_},
                 {"volumes", &volumes_},
                 {"initContainers", &init_list_},
                 {"containers", &regular_list_},
                 {"ephemeralContainers", &ephemeral_list_}});
  // Nodes point at their parents: the vector must never move its elements.
  std::size_t count = 3;
  for (const Node* list : {&init_list_, &regular_list_, &ephemeral_list_}) {
    if (const auto items = list->list(); items.present()) {
      count += std::min(items.value.size(), kMaxContainers);
    }
  }
  containers_.reserve(count);
  add(ContainerKind::init, init_list_);
  add(ContainerKind::regular, regular_list_);
  add(ContainerKind::ephemeral, ephemeral_list_);
}

void PodView::add(ContainerKind kind, const Node& list) {
  const auto collect = [](Container& c) {
    c.self.collect({{"image", &c.image},
                    {"command", &c.command},
                    {"args", &c.args},
                    {"env", &c.env},
                    {"envFrom", &c.env_from},
                    {"securityContext", &c.security},
                    {"resources", &c.resources},
                    {"ports", &c.ports},
                    {"volumeMounts", &c.volume_mounts},
                    {"volumeDevices", &c.volume_devices},
                    {"livenessProbe", &c.liveness_probe},
                    {"readinessProbe", &c.readiness_probe},
                    {"startupProbe", &c.startup_probe},
                    {"lifecycle", &c.lifecycle}});
  };
  const auto items = list.list();
  if (items.absent()) return;
  // A list longer than the tape can count (simdjson stops at 2^24 - 1) is far past the limit too.
  if (items.broken() || items.value.size() > kMaxContainers) {
    crowded_ = crowded_ || items.present();
    Container& c = containers_.emplace_back();
    c.kind = kind;
    c.self = list.misshapen(items.broken() ? "a list" : "a list of at most 500 containers");
    collect(c);
    return;
  }
  std::size_t index = 0;
  for (const element item : items.value) {
    Container& c = containers_.emplace_back();
    c.kind = kind;
    c.self = list.item(index++, item);
    collect(c);
  }
}

}  // namespace palisade::policy
