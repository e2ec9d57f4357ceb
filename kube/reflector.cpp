#include <algorithm>
#include <set>
#include <stdexcept>
#include <vector>

#include <kube/reflector.h>

#include "list_watch.h"

namespace kube {

struct Reflector::Impl {
  Impl(std::shared_ptr<const Client> client, Resource resource, ReflectorOptions options,
       EventHandler handler)
      : all{std::move(client), std::move(resource), std::move(options), std::move(handler)} {}
  Reflected all;
  std::vector<std::unique_ptr<ListWatch>> parts;
};

Reflector::Reflector(std::shared_ptr<const Client> client, Resource resource,
                     ReflectorOptions options, EventHandler handler)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(resource), std::move(options),
                                   std::move(handler))) {
  if (!impl_->all.resource.namespaced && impl_->all.resource != resources::kNamespaces &&
      !impl_->all.options.namespaces.empty())
    throw std::invalid_argument(impl_->all.resource.plural + " are in no namespace");
  for (const auto& [name, function] : impl_->all.options.indexes)
    impl_->all.cache.add_index(name, function);
  std::set<std::string> namespaces(impl_->all.options.namespaces.begin(),
                                   impl_->all.options.namespaces.end());
  if (namespaces.empty()) namespaces.emplace();
  for (const std::string& ns : namespaces)
    impl_->parts.push_back(std::make_unique<ListWatch>(impl_->all, ns));
}

Reflector::~Reflector() {
  stop();
}

void Reflector::start() {
  for (const auto& part : impl_->parts)
    part->start();
}

void Reflector::stop() {
  for (const auto& part : impl_->parts)
    part->ask_to_stop();
  for (const auto& part : impl_->parts)
    part->stop();
}

const Resource& Reflector::resource() const {
  return impl_->all.resource;
}

const Cache& Reflector::cache() const {
  return impl_->all.cache;
}

bool Reflector::has_synced() const {
  return std::ranges::all_of(impl_->parts, [](const auto& part) { return part->has_synced(); });
}

bool Reflector::has_synced(std::string_view ns) const {
  return std::ranges::any_of(impl_->parts, [&](const auto& part) {
    return (part->ns().empty() || part->ns() == ns) && part->has_synced();
  });
}

bool Reflector::wait_for_sync(std::chrono::milliseconds timeout, std::stop_token stop) const {
  const auto until = std::chrono::steady_clock::now() + timeout;
  return std::ranges::all_of(impl_->parts,
                             [&](const auto& part) { return part->wait_for_sync(until, stop); });
}

std::string Reflector::last_error() const {
  std::string out;
  for (const auto& part : impl_->parts) {
    if (const std::string error = part->last_error(); !error.empty())
      out += (out.empty() ? "" : "; ") + error;
  }
  return out;
}

std::string Reflector::last_error(std::string_view ns) const {
  for (const auto& part : impl_->parts) {
    if (part->ns().empty() || part->ns() == ns) return part->last_error();
  }
  return {};
}

std::chrono::milliseconds Reflector::silence() const {
  std::chrono::milliseconds out{0};
  for (const auto& part : impl_->parts)
    out = std::max(out, part->silence());
  return out;
}

// A watch of at most twice the least, ended by the client a little later, and a pause.
std::chrono::milliseconds Reflector::longest_silence() const {
  const ReflectorOptions& options = impl_->all.options;
  return 2 * options.watch_timeout_min + options.backoff_max * 2 + std::chrono::minutes(2);
}

}  // namespace kube
