// What a client owes a server that is busy, and other writers of the same object.
// Sources: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/ and
// https://kubernetes.io/docs/reference/using-api/api-concepts/#updates-to-existing-resources
#pragma once

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include <kube/client.h>

namespace kube {

struct PatienceOptions {
  int most_tries = 5;
  // A server that asks for longer is not waited for: its answer is the caller's.
  std::chrono::seconds longest_wait{10};
};

// For Client::connect: what a server has refused with 429, or with 503 where it is GET, HEAD, PUT
// or DELETE, and a Retry-After in seconds, is asked for again then, within the request's deadline.
// Without a Retry-After, and after the last try, the answer is returned as it is. For whoever has
// no queue to try again from.
[[nodiscard]] TransportWrap patient(PatienceOptions options = {});

// Changes the object as it is read. False: there is nothing to write. May be called several times,
// each time with the object as it is by then.
using Change = std::function<Result<bool>(Json& object)>;

struct UpdateOptions {
  std::string subresource;
  int most_tries = 5;
};

// Reads the object, lets `change` change it and writes it back; where somebody else has written in
// between (409 Conflict) from the beginning, after a short pause. Returns the object as it is then;
// an error of `change` ends it.
[[nodiscard]] Result<Json> read_change_write(const Client& client, const Resource& resource,
                                             std::string_view ns, std::string_view name,
                                             const Change& change,
                                             const UpdateOptions& options = {},
                                             const std::stop_token& stop = {});

}  // namespace kube
