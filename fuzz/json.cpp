// The JSON reader on any text, beside two others: it takes no more than they take, and reads what
// it takes as they do.
#include "fuzz/json_mutator.h"
#include "text.h"
#include "yaml_json.h"

namespace {

using namespace palisade;

// A member given twice, or a document that the reader's bounds end: why it may refuse what others
// take.
bool told_limit(std::string_view message) {
  return message.find("given twice") != std::string_view::npos ||
         message.find("nested deeper") != std::string_view::npos ||
         message.find("too large") != std::string_view::npos ||
         message.find("more than") != std::string_view::npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::view(data, size);
  const auto documents = cli::read_json(text);
  const fuzz::json plain = fuzz::json::parse(text, nullptr, false);
  if (!documents) {
    fuzz::check(documents.error().line >= 1 && documents.error().column >= 1,
                "lines and columns count from 1");
    fuzz::check_shown(cli::printable(documents.error().message), 16 * 1024);
    // To nlohmann a NUL is the end.
    fuzz::check(!plain.is_structured() || text.find('\0') != std::string_view::npos ||
                    told_limit(documents.error().message),
                "what others read is read, or refused for a bound", documents.error().message);
    return 0;
  }
  for (const cli::Document& document : *documents) {
    simdjson::dom::parser parser;
    const simdjson::padded_string padded(document.json);
    fuzz::check(parser.parse(padded).error() == simdjson::SUCCESS, "a document is JSON",
                document.json);
  }
  if (plain.is_structured()) {
    fuzz::check(documents->size() == 1 &&
                    fuzz::json::parse(documents->front().json, nullptr, false) == plain,
                "a document is read as others read it", text);
  }
  return 0;
}
