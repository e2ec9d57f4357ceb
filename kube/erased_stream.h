// A stream of Boost.Beast whose type does not tell what it runs over: what is composed of its
// operations, a WebSocket above all, is compiled once and not again for each kind of connection.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/core/stream_traits.hpp>
#include <boost/beast/websocket/teardown.hpp>
#include <boost/system/error_code.hpp>

namespace kube {

// Meets Beast's AsyncStream. Not thread-safe.
class ErasedStream {
 public:
  using executor_type = boost::asio::io_context::executor_type;

  // `stream` runs on `io` and outlives this.
  template <class Stream>
  ErasedStream(boost::asio::io_context& io, Stream& stream)
      : io_(&io), operations_(std::make_unique<Of<Stream>>(stream)) {}

  executor_type get_executor() { return io_->get_executor(); }

  template <class Sequence, class Handler>
  void async_read_some(const Sequence& buffers, Handler&& handler) {
    operations_->read(beginning<boost::asio::mutable_buffer>(buffers),
                      Done(std::forward<Handler>(handler)));
  }
  template <class Sequence, class Handler>
  void async_write_some(const Sequence& buffers, Handler&& handler) {
    operations_->write(beginning<boost::asio::const_buffer>(buffers),
                       Done(std::forward<Handler>(handler)));
  }

  // What Beast's WebSocket ends a stream with.
  friend void beast_close_socket(ErasedStream& stream) { stream.operations_->close(); }
  template <class Handler>
  friend void async_teardown(boost::beast::role_type role, ErasedStream& stream,
                             Handler&& handler) {
    stream.operations_->tear_down(role, Ended(std::forward<Handler>(handler)));
  }

 private:
  using Done = std::move_only_function<void(boost::system::error_code, std::size_t)>;
  using Ended = std::move_only_function<void(boost::system::error_code)>;
  template <class Buffer>
  using Buffers = std::vector<Buffer>;

  struct Operations {
    virtual ~Operations() = default;
    virtual void read(const Buffers<boost::asio::mutable_buffer>& buffers, Done done) = 0;
    virtual void write(const Buffers<boost::asio::const_buffer>& buffers, Done done) = 0;
    virtual void close() = 0;
    virtual void tear_down(boost::beast::role_type role, Ended ended) = 0;
  };
  template <class Stream>
  struct Of final : Operations {
    explicit Of(Stream& over) : stream(over) {}
    void read(const Buffers<boost::asio::mutable_buffer>& buffers, Done done) override {
      stream.async_read_some(buffers, std::move(done));
    }
    void write(const Buffers<boost::asio::const_buffer>& buffers, Done done) override {
      stream.async_write_some(buffers, std::move(done));
    }
    void close() override { boost::beast::close_socket(boost::beast::get_lowest_layer(stream)); }
    void tear_down(boost::beast::role_type role, Ended ended) override {
      using boost::beast::websocket::async_teardown;
      async_teardown(role, stream, std::move(ended));
    }
    Stream& stream;
  };

  // An operation need not take all: what is empty, and what comes after a few, is left out.
  template <class Buffer, class Sequence>
  static Buffers<Buffer> beginning(const Sequence& buffers) {
    constexpr std::size_t kMost = 16;
    Buffers<Buffer> out;
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto at = boost::asio::buffer_sequence_begin(buffers); at != end && out.size() < kMost;
         ++at) {
      if (const Buffer one(*at); one.size() > 0) out.push_back(one);
    }
    return out;
  }

  boost::asio::io_context* io_;
  std::unique_ptr<Operations> operations_;
};

}  // namespace kube
