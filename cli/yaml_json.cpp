#include "yaml_json.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>

#include <simdjson.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <policy/json_text.h>

#include "yaml_scalar.h"

namespace palisade::cli {
namespace {

using NodeId = std::uint32_t;

enum class NodeType : std::uint8_t { scalar, list, map, alias };

struct YamlNode {
  NodeType type = NodeType::scalar;
  bool merge = false;  // a plain <<
  bool open = false;   // its end has not been read yet
  Scalar scalar;
  std::string text;  // of a scalar, as written: what a key is
  YAML::Mark mark;
  std::vector<NodeId> children;  // of a map: key, value, key, value
  NodeId target = 0;             // of an alias
};

[[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) {
  throw YAML::ParserException(mark, message);
}

// Builds one document's tree. yaml-cpp says where each node is and whether it is plain.
class Builder : public YAML::EventHandler {
 public:
  [[nodiscard]] bool empty() const { return nodes_.empty(); }
  [[nodiscard]] const std::vector<YamlNode>& nodes() const { return nodes_; }
  [[nodiscard]] const YAML::Mark& start() const { return start_; }

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode& node = add(mark, anchor, NodeType::scalar);
    node.scalar = {ScalarType::null, "null"};
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto target = anchors_.find(anchor);
    if (target == anchors_.end()) fail(mark, "this alias has no anchor");
    if (nodes_.at(target->second).open) fail(mark, "this alias is inside of its own anchor");
    add(mark, YAML::NullAnchor, NodeType::alias).target = target->second;
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // yaml-cpp makes single bytes of some escapes, such as \N.
    if (!simdjson::validate_utf8(value)) fail(mark, "this text has an escape that is no UTF-8");
    YamlNode& node = add(mark, anchor, NodeType::scalar);
    node.text = value;
    if (tag == "?" || tag.empty()) {
      node.merge = value == "<<";
      node.scalar = resolve_plain(value);
    } else if (tag == "!") {
      node.scalar = text_scalar(value);
    } else if (auto scalar = resolve_tagged(tag, value)) {
      node.scalar = std::move(*scalar);
    } else {
      fail(mark, "the tag " + tag + " does not fit this value, or is not supported");
    }
    if (node.scalar.type == ScalarType::number && node.scalar.json.empty()) {
      fail(mark, "JSON has no such number: " + value);
    }
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag, "tag:yaml.org,2002:seq");
    open(mark, anchor, NodeType::list);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag, "tag:yaml.org,2002:map");
    open(mark, anchor, NodeType::map);
  }
  void OnMapEnd() override { close(); }

 private:
  static void check_tag(const YAML::Mark& mark, const std::string& tag, std::string_view own) {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != own) {
      fail(mark, "the tag " + tag + " is not supported");
    }
  }

  YamlNode& add(const YAML::Mark& mark, YAML::anchor_t anchor, NodeType type) {
    if (nodes_.size() >= kMaxValues) {
      fail(mark, "the document has more than " + std::to_string(kMaxValues) + " values");
    }
    const auto id = static_cast<NodeId>(nodes_.size());
    if (!stack_.empty()) nodes_.at(stack_.back()).children.push_back(id);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = id;
    YamlNode& node = nodes_.emplace_back();
    node.type = type;
    node.mark = mark;
    return node;
  }
  void open(const YAML::Mark& mark, YAML::anchor_t anchor, NodeType type) {
    if (stack_.size() >= kMaxDepth) {
      fail(mark, "the document is nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    add(mark, anchor, type).open = true;
    stack_.push_back(static_cast<NodeId>(nodes_.size() - 1));
  }
  void close() {
    nodes_.at(stack_.back()).open = false;
    stack_.pop_back();
  }

  std::vector<YamlNode> nodes_;
  std::vector<NodeId> stack_;
  std::unordered_map<YAML::anchor_t, NodeId> anchors_;
  YAML::Mark start_;
};

std::size_t line_of(const YAML::Mark& mark) {
  return static_cast<std::size_t>(std::max(mark.line, 0)) + 1;
}

std::size_t column_of(const YAML::Mark& mark) {
  return static_cast<std::size_t>(std::max(mark.column, 0)) + 1;
}

Place place_of(const YAML::Mark& mark) {
  return {line_of(mark), column_of(mark)};
}

// Writes a tree as JSON: aliases and merges expanded, keys unique.
class Writer {
 public:
  explicit Writer(const std::vector<YamlNode>& nodes) : nodes_(nodes) {}

  Document write() {
    document_.line = line_of(nodes_.front().mark);
    document_.places.set(Places::kRoot, place_of(nodes_.front().mark));
    value(0, Places::kRoot, 0);
    document_.json = std::move(out_);
    return std::move(document_);
  }

 private:
  struct Entry {
    std::string key;
    NodeId value = 0;
    bool merged = false;
    YAML::Mark mark;  // of the key
  };

  const YamlNode& node(NodeId id) const { return nodes_[id]; }

  // The node that an alias stands for. An alias of an alias cannot be written.
  const YamlNode& target(NodeId id) const {
    const YamlNode& found = node(id);
    return found.type == NodeType::alias ? node(found.target) : found;
  }

  void count(const YamlNode& at) {
    if (++values_ > kMaxValues || out_.size() > kMaxJson) {
      fail(at.mark, "with its aliases expanded the document is too large");
    }
  }

  void value(NodeId id, Places::Id place, int depth) {
    const YamlNode& at = node(id);
    const YamlNode& found = target(id);
    count(at);
    if (depth > kMaxDepth) {
      fail(at.mark, "with its aliases expanded the document is nested deeper than " +
                        std::to_string(kMaxDepth) + " levels");
    }
    switch (found.type) {
      case NodeType::list: {
        out_ += '[';
        bool first = true;
        for (const NodeId child : found.children) {
          if (!std::exchange(first, false)) out_ += ',';
          value(child, document_.places.add_item(place, place_of(node(child).mark)), depth + 1);
        }
        out_ += ']';
        break;
      }
      case NodeType::map: {
        out_ += '{';
        bool first = true;
        for (const Entry& entry : entries(found, depth)) {
          if (!std::exchange(first, false)) out_ += ',';
          policy::append_json(out_, entry.key);
          out_ += ':';
          value(entry.value, document_.places.add_member(place, entry.key, place_of(entry.mark)),
                depth + 1);
        }
        out_ += '}';
        break;
      }
      default:
        out_ += found.scalar.json;
    }
  }

  // A key as kubectl makes it a text: 1 is "1", yes is "true".
  static std::string key_text(const YamlNode& key) {
    if (key.type != NodeType::scalar) fail(key.mark, "a key must be a text");
    switch (key.scalar.type) {
      case ScalarType::text:
        return key.text;
      case ScalarType::boolean:
      case ScalarType::integer:
        return key.scalar.json;
      default:
        fail(key.mark, "a key must be a text, not null or a fraction: put it in quotes");
    }
  }

  std::vector<Entry> entries(const YamlNode& map, int depth) {
    std::vector<Entry> out;
    std::unordered_map<std::string, std::size_t> places;
    bool merge_seen = false;
    for (std::size_t i = 0; i + 1 < map.children.size(); i += 2) {
      const YamlNode& key = target(map.children[i]);
      const YamlNode& written = node(map.children[i]);
      const NodeId child = map.children[i + 1];
      if (key.merge && written.type != NodeType::alias) {
        if (std::exchange(merge_seen, true)) fail(key.mark, "the key << is given twice");
        merge(key, child, depth, out, places);
        continue;
      }
      std::string text = key_text(key);
      const auto [place, fresh] = places.try_emplace(text, out.size());
      if (fresh) {
        out.push_back({std::move(text), child, false, written.mark});
        continue;
      }
      Entry& before = out[place->second];
      if (!before.merged) {
        fail(written.mark, "the key \"" + text + "\" is given twice (before in line " +
                               std::to_string(before.mark.line + 1) + ")");
      }
      before = {std::move(text), child, false, written.mark};
    }
    return out;
  }

  // << takes a map or a list of maps, of which the first that has a key wins.
  void merge(const YamlNode& key, NodeId from, int depth, std::vector<Entry>& out,
             std::unordered_map<std::string, std::size_t>& places) {
    if (depth > kMaxDepth) fail(key.mark, "merges are nested too deeply");
    const YamlNode& source = target(from);
    if (source.type == NodeType::list) {
      for (const NodeId item : source.children) {
        if (target(item).type != NodeType::map) fail(key.mark, "<< takes maps only");
        merge(key, item, depth + 1, out, places);
      }
      return;
    }
    if (source.type != NodeType::map) fail(key.mark, "<< takes maps only");
    for (Entry& entry : entries(source, depth + 1)) {
      count(key);
      const auto [place, fresh] = places.try_emplace(entry.key, out.size());
      if (fresh) {
        out.push_back({std::move(entry.key), entry.value, true, key.mark});
      } else if (!out[place->second].merged) {
        // The YAML specification keeps the written one, kubectl's reader the merged one.
        fail(key.mark, "<< comes after the key \"" + entry.key +
                           "\" that it has too, which readers take differently: put << first");
      }
    }
  }

  const std::vector<YamlNode>& nodes_;
  Document document_;
  std::string out_;
  std::size_t values_ = 0;
};

// The first place that is not UTF-8, or holds a NUL, if any.
std::optional<ReadError> bad_text(std::string_view text) {
  if (text.find('\0') == std::string_view::npos && simdjson::validate_utf8(text)) {
    return std::nullopt;
  }
  std::size_t line = 1;
  while (!text.empty()) {
    const std::string_view now = text.substr(0, text.find('\n'));
    if (const auto nul = now.find('\0'); nul != std::string_view::npos) {
      return ReadError{line, nul + 1, "the text holds a NUL: is this a binary or UTF-16 file?"};
    }
    if (!simdjson::validate_utf8(now)) {
      std::size_t good = 0;
      while (good < now.size() && (static_cast<unsigned char>(now[good]) & 0x80U) == 0)
        ++good;
      return ReadError{line, good + 1, "the text is not UTF-8"};
    }
    text.remove_prefix(std::min(text.size(), now.size() + 1));
    ++line;
  }
  return ReadError{line, 1, "the text is not UTF-8"};
}

// The lines, from 0, that end one document or begin another.
std::vector<int> marker_lines(std::string_view text) {
  std::vector<int> out;
  for (int line = 0; !text.empty(); ++line) {
    if (text.starts_with("---") || text.starts_with("...")) out.push_back(line);
    text.remove_prefix(std::min(text.size(), text.find('\n')));
    if (!text.empty()) text.remove_prefix(1);
  }
  return out;
}

}  // namespace

std::expected<std::vector<Document>, ReadError> read_yaml(std::string_view text) {
  std::vector<Document> out;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    const std::vector<int> markers = marker_lines(text);
    int last_line = -1;   // of the document before
    int nothing_at = -1;  // where the last document without a value was
    for (;;) {
      Builder builder;
      if (!parser.HandleNextDocument(builder)) break;
      if (builder.empty()) continue;
      const YamlNode& root = builder.nodes().front();
      if (root.type == NodeType::scalar && root.scalar.type == ScalarType::null) {
        // Where no value can begin (", a") yaml-cpp reads nothing, again and again.
        if (root.mark.pos == std::exchange(nothing_at, root.mark.pos)) {
          fail(root.mark, "no value can begin here");
        }
        continue;
      }
      // yaml-cpp takes whatever follows a document for another one; YAML wants a marker between.
      const auto marker = std::ranges::upper_bound(markers, last_line);
      if (last_line >= 0 && (marker == markers.end() || *marker > root.mark.line)) {
        fail(root.mark, "the document before has ended: --- must come before another");
      }
      for (const YamlNode& node : builder.nodes()) {
        // A value that is left out is said to be where the next one is.
        if (node.scalar.type == ScalarType::null && node.type == NodeType::scalar) continue;
        last_line = std::max(last_line, node.mark.line);
      }
      out.push_back(Writer(builder.nodes()).write());
    }
  } catch (const YAML::Exception& error) {
    return std::unexpected(ReadError{line_of(error.mark), column_of(error.mark), error.msg});
  }
  return out;
}

std::expected<std::vector<Document>, ReadError> read_documents(std::string_view text) {
  if (text.size() > kMaxInput) {
    return std::unexpected(
        ReadError{1, 1, "the input is larger than " + std::to_string(kMaxInput) + " bytes"});
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (auto error = bad_text(text)) return std::unexpected(std::move(*error));
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return std::vector<Document>{};
  if (text[first] != '{' && text[first] != '[') return read_yaml(text);
  auto documents = read_json(text);
  if (documents) return documents;
  // {a: b} is YAML; of a text that is neither, the JSON reader says more.
  if (auto yaml = read_yaml(text)) return yaml;
  return documents;
}

}  // namespace palisade::cli
