// An AdmissionReview's request, decoded once and read by every judge. Source:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::webhook {

enum class Operation : std::uint8_t { kUnknown, kCreate, kUpdate, kDelete, kConnect };
[[nodiscard]] std::string_view operation_name(Operation operation);  // "" for kUnknown

// Who asks, as the API server authenticated it.
struct User {
  std::string_view name;
  std::vector<std::string_view> groups;
  [[nodiscard]] bool in_group(std::string_view group) const;
};

// Views into the review's bytes and its parser: valid while these are.
struct Request {
  std::string_view uid;
  Operation operation = Operation::kUnknown;
  std::string_view operation_text;  // as sent
  std::string_view ns;              // "" for what is cluster-scoped
  std::string_view name;            // "" on a create with generateName, and of collections
  std::string_view group;
  std::string_view resource;  // plural
  std::string_view subresource;
  User user;
  bool dry_run = false;
  std::optional<simdjson::dom::element> object;      // objects both, never null
  std::optional<simdjson::dom::element> old_object;  // on UPDATE and DELETE
  std::int64_t now = 0;                              // seconds since 1970, of the wall clock

  // metadata.name of the object or the old object where the request gives none, as for each object
  // of a deleted collection.
  [[nodiscard]] std::string_view object_name() const;
};

// The member of an object; "" and false where it is absent or has another type.
[[nodiscard]] std::string_view text_at(const simdjson::dom::element& object, std::string_view key);
[[nodiscard]] bool object_at(const simdjson::dom::element& object, std::string_view key,
                             simdjson::dom::element& out);

// What a message may repeat of a review: short, never half a code point, and fit to be shown.
[[nodiscard]] std::string clipped(std::string_view text);

// "UPDATE pods team-a/fix-login-agent by jane", for messages and logs.
[[nodiscard]] std::string subject_of(const Request& request);

// `request` is the member of the review. The error says what is missing.
[[nodiscard]] std::expected<Request, std::string> decode_request(simdjson::dom::element request,
                                                                 std::int64_t now);

}  // namespace palisade::webhook
