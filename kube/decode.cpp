#include "decode.h"

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <simdjson.h>

namespace kube {

namespace {

using Json = nlohmann::json;
namespace dom = simdjson::dom;

// A parser's memory is ten times the largest text that it has read. Few are kept, however many
// threads read now and then, and none that has read a list.
constexpr std::size_t kKeptCapacity = 64 * 1024;
constexpr std::size_t kKeptParsers = 4;

class Parsers {
 public:
  std::unique_ptr<dom::parser> take() {
    {
      const std::scoped_lock lock(mutex_);
      if (!idle_.empty()) {
        auto out = std::move(idle_.back());
        idle_.pop_back();
        return out;
      }
    }
    return std::make_unique<dom::parser>();
  }
  void give_back(std::unique_ptr<dom::parser> parser) {
    if (parser->capacity() > kKeptCapacity) return;
    const std::scoped_lock lock(mutex_);
    if (idle_.size() < kKeptParsers) idle_.push_back(std::move(parser));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<dom::parser>> idle_;
};

Parsers& parsers() {
  static Parsers* const made = new Parsers;  // outlives the threads that still read at the end
  return *made;
}

// What a value is to whoever looks for managedFields.
enum class Place { kElsewhere, kList, kItems, kEvent, kObject, kMetadata };

Place place_of(Shape shape) {
  return shape == Shape::kObject ? Place::kObject
         : shape == Shape::kList ? Place::kList
                                 : Place::kEvent;
}

Place below(Place place, std::string_view key) {
  if (place == Place::kObject && key == "metadata") return Place::kMetadata;
  if (place == Place::kEvent && key == "object") return Place::kObject;
  if (place == Place::kList && key == "items") return Place::kItems;
  return Place::kElsewhere;
}

// The depth is simdjson's: 1,024 at most.
Json built(const dom::element& element, Place place) {
  switch (element.type()) {
    case dom::element_type::OBJECT: {
      Json out = Json::object();
      auto& members = out.get_ref<Json::object_t&>();
      const dom::object object = element.get_object().value_unsafe();
      for (const auto& [key, value] : object) {
        if (place == Place::kMetadata && key == "managedFields") continue;
        // Of several with one name the last counts.
        members.insert_or_assign(std::string(key), built(value, below(place, key)));
      }
      return out;
    }
    case dom::element_type::ARRAY: {
      const dom::array array = element.get_array().value_unsafe();
      Json out = Json::array();
      auto& items = out.get_ref<Json::array_t&>();
      items.reserve(array.size());
      const Place each = place == Place::kItems ? Place::kObject : Place::kElsewhere;
      for (const dom::element& item : array)
        items.push_back(built(item, each));
      return out;
    }
    case dom::element_type::STRING:
      return std::string(element.get_string().value_unsafe());
    case dom::element_type::INT64: {
      const std::int64_t number = element.get_int64().value_unsafe();
      if (number < 0) return number;
      return static_cast<std::uint64_t>(number);
    }
    case dom::element_type::UINT64:
      return element.get_uint64().value_unsafe();
    case dom::element_type::DOUBLE:
      return element.get_double().value_unsafe();
    case dom::element_type::BOOL:
      return element.get_bool().value_unsafe();
    case dom::element_type::NULL_VALUE:
      break;
  }
  return nullptr;
}

}  // namespace

std::optional<Json> decode(std::string_view text, Shape shape) {
  auto parser = parsers().take();
  dom::element root;
  const auto error = parser->parse(text.data(), text.size()).get(root);
  std::optional<Json> out;
  if (error == simdjson::SUCCESS) {
    out = built(root, place_of(shape));
  } else if (error == simdjson::NUMBER_ERROR) {
    // Integers beyond 64 bits are JSON, too.
    Json parsed = Json::parse(text, nullptr, false);
    if (!parsed.is_discarded()) out = std::move(parsed);
  }
  parsers().give_back(std::move(parser));
  return out;
}

}  // namespace kube
