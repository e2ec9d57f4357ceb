// Where the pods of a manifest are: a Pod itself, and the templates of what makes pods.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::cli {

struct PodPlace {
  std::string kind;            // of the object, e.g. Deployment
  std::string space;           // metadata.namespace, "" where none is written
  std::string name;            // metadata.name or generateName, "" where there is none
  std::string prefix;          // before each path of the pod, e.g. "spec.template."
  simdjson::dom::element pod;  // valid as long as the parser is
};

struct Contents {
  std::vector<PodPlace> pods;
  std::size_t others = 0;  // objects that make no pods themselves
  std::string problem;     // what is no Kubernetes object, "" where all are
};

// A document's pods; those of a v1 List and of typed lists (PodList) one by one, their items' place
// ("items[2].") before the path.
[[nodiscard]] Contents find_pods(simdjson::dom::element document);

}  // namespace palisade::cli
