// A strict reader of the XML that reports are: refuses whatever is not well-formed.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::cli::testing {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;
  std::vector<Element> children;

  // All elements of that name below this one.
  [[nodiscard]] std::vector<const Element*> all(std::string_view wanted) const {
    std::vector<const Element*> out;
    for (const Element& child : children) {
      if (child.name == wanted) out.push_back(&child);
      for (const Element* deeper : child.all(wanted))
        out.push_back(deeper);
    }
    return out;
  }
};

class XmlReader {
 public:
  // Throws std::runtime_error where the text is not one well-formed document without a DTD.
  static Element read(std::string_view text) {
    XmlReader reader(text);
    return reader.document();
  }

 private:
  explicit XmlReader(std::string_view text) : text_(text) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("byte " + std::to_string(at_) + ": " + what);
  }
  [[nodiscard]] bool next_is(std::string_view part) const {
    return text_.substr(at_).starts_with(part);
  }
  void expect(std::string_view part) {
    if (!next_is(part)) fail("expected " + std::string(part));
    at_ += part.size();
  }
  bool take(std::string_view part) {
    if (!next_is(part)) return false;
    at_ += part.size();
    return true;
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n'))
      ++at_;
  }
  std::string name() {
    const std::size_t from = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '-' || text_[at_] == '_'))
      ++at_;
    if (at_ == from) fail("a name must be here");
    return std::string(text_.substr(from, at_ - from));
  }
  std::string characters(char end) {
    std::string out;
    while (at_ < text_.size() && text_[at_] != end) {
      if (text_[at_] == '<') fail("< in a text");
      if (text_[at_] != '&') {
        const auto byte = static_cast<unsigned char>(text_[at_]);
        if ((byte < 0x20 && byte != '\n') || byte == 0x7F) fail("a control character");
        out += text_[at_++];
        continue;
      }
      const auto semicolon = text_.find(';', at_);
      if (semicolon == std::string_view::npos) fail("& without ;");
      const std::string_view entity = text_.substr(at_ + 1, semicolon - at_ - 1);
      static const std::map<std::string_view, char> kKnown{
          {"amp", '&'},   {"lt", '<'},  {"gt", '>'},   {"quot", '"'},
          {"apos", '\''}, {"#9", '\t'}, {"#10", '\n'}, {"#13", '\r'}};
      const auto known = kKnown.find(entity);
      if (known == kKnown.end()) fail("the entity " + std::string(entity));
      out += known->second;
      at_ = semicolon + 1;
    }
    return out;
  }
  Element element() {
    expect("<");
    Element out;
    out.name = name();
    for (;;) {
      blanks();
      if (take("/>")) return out;
      if (take(">")) break;
      const std::string key = name();
      expect("=\"");
      if (!out.attributes.emplace(key, characters('"')).second) fail(key + " is given twice");
      expect("\"");
    }
    for (;;) {
      out.text += characters('<');
      if (take("</")) break;
      if (at_ >= text_.size()) fail("the end of " + out.name + " is missing");
      out.children.push_back(element());
    }
    if (name() != out.name) fail(out.name + " is closed by another name");
    expect(">");
    return out;
  }
  Element document() {
    if (!simdjson::validate_utf8(text_)) fail("not UTF-8");
    expect("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    blanks();
    Element root = element();
    blanks();
    if (at_ != text_.size()) fail("something follows the root element");
    return root;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace palisade::cli::testing
