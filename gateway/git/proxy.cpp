#include <gateway/git/proxy.h>

#include "answer.h"
#include "fetch.h"
#include "push.h"
#include "refusal.h"

namespace palisade::gateway::git {

namespace {

constexpr std::string_view kPrefix = "/git/";

struct Route {
  std::string_view service;
  bool refs = false;
};

std::expected<Route, Refusal> route(const RequestHead& request) {
  std::string_view path = request.path();
  const std::string_view query = request.query();
  if (path.starts_with(kPrefix)) path.remove_prefix(kPrefix.size());
  Route out;
  if (path == "info/refs") {
    out.refs = true;
    if (query == "service=git-upload-pack")
      out.service = kUploadPack;
    else if (query == "service=git-receive-pack")
      out.service = kReceivePack;
    else
      return std::unexpected(
          refusal(403, "dumb_http", "only git's smart HTTP is served: use git 1.6.6 or later"));
  } else if (path == kUploadPack || path == kReceivePack) {
    out.service = path == kUploadPack ? kUploadPack : kReceivePack;
    if (request.target.find('?') != std::string::npos)
      return std::unexpected(refusal(400, "bad_request", "a query has no place here"));
  } else {
    return std::unexpected(refusal(404, "no_such_path", "only fetches and pushes are served here"));
  }
  const std::string_view method = out.refs ? "GET" : "POST";
  if (request.method != method)
    return std::unexpected(refusal(405, "method", "the method must be " + std::string(method)));
  return out;
}

std::expected<Repository, Refusal> repository(const Caller& caller) {
  if (!caller.grant || !caller.grant->repository) {
    return std::unexpected(refusal(403, "no_repository",
                                   "this workspace has no git through the gateway "
                                   "(spec.repository.via of the workspace)"));
  }
  auto out = parse_repository(caller.grant->repository->url);
  if (!out)
    return std::unexpected(
        refusal(403, "bad_grant", "the workspace's spec.repository.url " + out.error()));
  return std::move(*out);
}

}  // namespace

struct GitProxy::Impl {
  Services services;
  PushTools tools;
};

GitProxy::GitProxy(GitConfig config, Services services) : impl_(std::make_unique<Impl>()) {
  impl_->services = std::move(services);
  impl_->tools.room = std::make_shared<SpoolRoom>(config.max_spool_bytes);
  impl_->tools.config = std::move(config);
}

GitProxy::~GitProxy() = default;

std::uint64_t GitProxy::spooled_bytes() const {
  return impl_->tools.room->used();
}

Task<void> GitProxy::handle(Exchange& exchange, const Caller& caller) {
  Line line(impl_->services.record, caller);
  auto to = route(exchange.request());
  auto where = repository(caller);
  if (to) {
    line.set("service", to->service);
    line.set("request", to->refs ? "refs" : "pack");
    line.set("command", to->service == kReceivePack ? "push" : "fetch");
  }
  if (caller.grant && caller.grant->repository)
    line.set("repository", caller.grant->repository->url);
  std::optional<Refusal> why;
  if (!to)
    why = std::move(to.error());
  else if (!where)
    why = std::move(where.error());
  else if (to->refs && to->service == kReceivePack && caller.grant->repository->read_only)
    why = refusal(403, "read_only",
                  "this workspace may only read its repository (spec.repository.access)");
  if (why) {
    line.refused(*why);
    co_await answer_text(exchange, std::move(*why));
    co_return;
  }
  Upstream upstream(exchange, caller, impl_->tools.config, *impl_->services.keys,
                    std::move(*where));
  if (to->refs) {
    co_await serve_refs(exchange, upstream, to->service, line);
  } else if (to->service == kUploadPack) {
    co_await serve_fetch(exchange, upstream, impl_->tools.config, line);
  } else {
    Push push(exchange, *caller.grant->repository, upstream, impl_->tools, line);
    co_await push.serve(caller.workspace_uid);
  }
}

}  // namespace palisade::gateway::git
