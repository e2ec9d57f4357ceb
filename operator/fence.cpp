#include <memory>
#include <utility>

#include <operator/fence.h>

namespace palisade::op {

namespace {

class Fenced : public kube::Transport {
 public:
  Fenced(std::shared_ptr<kube::Transport> inner, Term term)
      : inner_(std::move(inner)), term_(std::move(term)) {}

  kube::Result<kube::Response> send(const kube::Request& request, std::stop_token stop) override {
    if (request.method == "GET") return inner_->send(request, std::move(stop));
    const auto term = term_();
    if (!term || term->stop_requested())
      return std::unexpected(kube::Error{
          0, "NotLeading", request.method + ": another process leads, or nobody", {}, {}});
    std::stop_source either;
    const auto end = [&either] { either.request_stop(); };
    const std::stop_callback by_caller(std::move(stop), end);
    const std::stop_callback by_term(*term, end);
    return inner_->send(request, either.get_token());
  }

  kube::Result<kube::Response> stream(const kube::Request& request, const ChunkSink& sink,
                                      std::chrono::milliseconds idle,
                                      std::stop_token stop) override {
    return inner_->stream(request, sink, idle, std::move(stop));
  }

 private:
  const std::shared_ptr<kube::Transport> inner_;
  const Term term_;
};

}  // namespace

kube::TransportWrap fenced(Term term) {
  return [term = std::move(term)](std::shared_ptr<kube::Transport> inner) {
    return std::make_shared<Fenced>(std::move(inner), term);
  };
}

}  // namespace palisade::op
