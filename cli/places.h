// Where in a text each value of a document stands, by the paths that findings use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::cli {

// Counted from 1; 0 where it is not known.
struct Place {
  std::size_t line = 0;
  std::size_t column = 0;
};

class Places {
 public:
  using Id = std::uint32_t;
  static constexpr Id kRoot = 0;

  Places() { nodes_.emplace_back(); }

  void set(Id id, Place place);
  Id add_member(Id object, std::string_view key, Place place);
  Id add_item(Id list, Place place);

  // Of "items[1].spec.containers[0].securityContext" or metadata.annotations["a.b/c"]. Of what is
  // not there, the place of the nearest parent that is.
  [[nodiscard]] Place find(std::string_view path) const;

  // All places in the order in which they were added, for readers that know offsets first.
  template <class Change>
  void change_all(Change change) {
    for (Node& node : nodes_)
      change(node.line, node.column);
  }

 private:
  struct Node {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::string key;
    std::vector<Id> children;
  };
  Id add(Id parent, std::string_view key, Place place);

  std::vector<Node> nodes_;
};

}  // namespace palisade::cli
