#include <algorithm>
#include <array>
#include <utility>

#include <policy/policy.h>
#include <policy/selector.h>

namespace palisade::policy {

using simdjson::dom::element;

Labels labels_of(element object) {
  Labels out;
  simdjson::dom::object labels;
  if (object.at_pointer("/metadata/labels").get(labels) != simdjson::SUCCESS) return out;
  for (const auto [key, value] : labels) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS || value.is_null())
      out.insert_or_assign(std::string(key), std::string(text));
  }
  return out;
}

bool Selector::matches(const Labels& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& wanted) {
    const auto label = labels.find(wanted.key);
    const bool there = label != labels.end();
    const auto listed = [&] {
      return std::ranges::find(wanted.values, label->second) != wanted.values.end();
    };
    switch (wanted.op) {
      case Operator::in:
        return there && listed();
      case Operator::not_in:
        return !there || !listed();
      case Operator::exists:
        return there;
      case Operator::does_not_exist:
        return !there;
    }
    return false;
  });
}

std::expected<Selector, std::string> Selector::parse(element selector, std::string_view at) {
  const auto wrong = [&](std::string_view field, std::string_view what) {
    return std::unexpected(std::string(at).append(field).append(" must be ").append(what));
  };
  Selector out;
  if (selector.is_null()) return out;
  simdjson::dom::object members;
  if (selector.get(members) != simdjson::SUCCESS) return wrong("", "a label selector");
  for (const auto [name, part] : members) {
    if (part.is_null()) continue;
    if (name == "matchLabels") {
      simdjson::dom::object labels;
      if (part.get(labels) != simdjson::SUCCESS) return wrong(".matchLabels", "an object");
      for (const auto [key, value] : labels) {
        std::string_view text;
        if (value.get(text) != simdjson::SUCCESS && !value.is_null())
          return wrong(".matchLabels." + shown(key, 64), "a text");
        out.requirements_.push_back({std::string(key), Operator::in, {std::string(text)}});
      }
    } else if (name == "matchExpressions") {
      simdjson::dom::array expressions;
      if (part.get(expressions) != simdjson::SUCCESS) return wrong(".matchExpressions", "a list");
      std::size_t index = 0;
      for (const element expression : expressions) {
        const std::string here = ".matchExpressions[" + std::to_string(index++) + "]";
        Requirement wanted;
        std::string_view text;
        if (expression["key"].get(text) != simdjson::SUCCESS || text.empty())
          return wrong(here + ".key", "the name of a label");
        wanted.key = text;
        static constexpr std::array kOperators{
            std::pair{std::string_view("In"), Operator::in},
            std::pair{std::string_view("NotIn"), Operator::not_in},
            std::pair{std::string_view("Exists"), Operator::exists},
            std::pair{std::string_view("DoesNotExist"), Operator::does_not_exist}};
        const auto op =
            expression["operator"].get(text) == simdjson::SUCCESS
                ? std::ranges::find(kOperators, text, &decltype(kOperators)::value_type::first)
                : kOperators.end();
        if (op == kOperators.end())
          return wrong(here + ".operator", "one of In, NotIn, Exists, DoesNotExist");
        wanted.op = op->second;
        simdjson::dom::array values;
        if (expression["values"].get(values) == simdjson::SUCCESS) {
          for (const element value : values) {
            if (value.get(text) != simdjson::SUCCESS) return wrong(here + ".values", "texts");
            wanted.values.emplace_back(text);
          }
        }
        const bool takes_values = wanted.op == Operator::in || wanted.op == Operator::not_in;
        if (takes_values == wanted.values.empty())
          return wrong(here + ".values", takes_values ? "a list that is not empty" : "left out");
        out.requirements_.push_back(std::move(wanted));
      }
    } else {
      return wrong("", "a label selector: it has no field \"" + shown(name, 64) + "\"");
    }
  }
  return out;
}

}  // namespace palisade::policy
