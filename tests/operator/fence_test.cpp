// No write leaves a process that does not lead.
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include <operator/fence.h>

namespace palisade::op::testing {
namespace {

class Wire : public kube::Transport {
 public:
  bool hangs = false;
  std::vector<std::string> sent;  // methods
  std::vector<std::string> streamed;

  kube::Result<kube::Response> send(const kube::Request& request, std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    sent.push_back(request.method);
    changed_.notify_all();
    if (!hangs) return kube::Response{200, {}, "{}"};
    if (!changed_.wait_for(lock, stop, std::chrono::seconds(30), [] { return false; }) &&
        stop.stop_requested())
      return std::unexpected(kube::Error{0, kube::kTransportReasonCancelled, "cancelled", {}, {}});
    return std::unexpected(kube::Error{0, kube::kTransportReasonTimeout, "not stopped", {}, {}});
  }
  kube::Result<kube::Response> stream(const kube::Request& request, const ChunkSink&,
                                      std::chrono::milliseconds, std::stop_token) override {
    streamed.push_back(request.target);
    return kube::Response{200, {}, ""};
  }
  void await_sent() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !sent.empty(); }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
};

class Fence : public ::testing::Test {
 protected:
  [[nodiscard]] kube::Request request(const char* method) const {
    kube::Request out;
    out.method = method;
    out.target = "/api/v1/namespaces/a/pods";
    return out;
  }

  const std::shared_ptr<Wire> wire_ = std::make_shared<Wire>();
  std::optional<std::stop_source> term_;
  const std::shared_ptr<kube::Transport> fenced_ =
      fenced([this]() -> std::optional<std::stop_token> {
        if (!term_) return std::nullopt;
        return term_->get_token();
      })(wire_);
};

TEST_F(Fence, OnlyReadsPassWithoutATerm) {
  for (const char* write : {"POST", "PUT", "PATCH", "DELETE", "anything"}) {
    const auto answer = fenced_->send(request(write), {});
    ASSERT_FALSE(answer) << write;
    EXPECT_EQ(answer.error().reason, "NotLeading");
    EXPECT_TRUE(answer.error().is_retriable()) << "it says nothing of the object";
  }
  EXPECT_TRUE(wire_->sent.empty());
  EXPECT_TRUE(fenced_->send(request("GET"), {}));
  EXPECT_TRUE(fenced_->stream(request("GET"), nullptr, std::chrono::seconds(1), {}));
  EXPECT_EQ(wire_->sent, std::vector<std::string>{"GET"});
  EXPECT_EQ(wire_->streamed.size(), 1U);
}

TEST_F(Fence, WritesPassWhileTheTermLasts) {
  term_.emplace();
  EXPECT_TRUE(fenced_->send(request("POST"), {}));
  term_->request_stop();
  EXPECT_FALSE(fenced_->send(request("POST"), {})) << "the token was stopped, though still told";
  EXPECT_EQ(wire_->sent.size(), 1U);
}

TEST_F(Fence, AWriteUnderWayEndsWithTheTermOrByItsCaller) {
  wire_->hangs = true;
  for (const bool by_term : {true, false}) {
    SCOPED_TRACE(by_term);
    wire_->sent.clear();
    term_.emplace();
    std::stop_source caller;
    kube::Result<kube::Response> answer;
    {
      const std::jthread writing(
          [&] { answer = fenced_->send(request("PATCH"), caller.get_token()); });
      wire_->await_sent();
      (by_term ? *term_ : caller).request_stop();
    }
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().reason, kube::kTransportReasonCancelled);
  }
}

// A read is nobody's harm: the watches of who has lost the Lease go on until it ends.
TEST_F(Fence, AReadOutlivesTheTerm) {
  term_.emplace();
  term_->request_stop();
  EXPECT_TRUE(fenced_->send(request("GET"), {}));
}

}  // namespace
}  // namespace palisade::op::testing
