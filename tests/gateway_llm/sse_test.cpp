#include "sse.h"

#include <string>

#include <gtest/gtest.h>

namespace palisade::gateway::llm {
namespace {

struct Wanted {
  const char* name;
  const char* data;
};

std::vector<SseEvent> read(SseReader& reader, std::string_view text, std::size_t step) {
  std::vector<SseEvent> events;
  for (std::size_t at = 0; at < text.size(); at += step)
    EXPECT_TRUE(reader.feed(text.substr(at, step), events));
  return events;
}

TEST(Sse, EventsWhateverTheBorders) {
  struct {
    const char* what;
    std::string text;
    std::vector<Wanted> events;  // those with data
    std::string rest;
  } const cases[] = {
      {"two", "data: a\n\ndata: b\n\n", {{"", "a"}, {"", "b"}}, ""},
      {"names", "event: x\ndata: a\nid: 7\nretry: 5\n\n", {{"x", "a"}}, ""},
      {"CRLF", "event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", {{"x", "a"}, {"", "b"}}, ""},
      {"CR", "data: a\r\rdata: b\r\r", {{"", "a"}, {"", "b"}}, ""},
      {"mixed", "data: a\r\n\ndata: b\n\rdata: c\r\n\r\n", {{"", "a"}, {"", "b"}, {"", "c"}}, ""},
      {"lines", "data: a\ndata\ndata: b\n\n", {{"", "a\n\nb"}}, ""},
      {"one space goes", "data:  a\ndata:b\n\n", {{"", " a\nb"}}, ""},
      {"comments", ": hello\n\n:\ndata: a\n\n", {{"", "a"}}, ""},
      {"comment within", "data: a\n: x\ndata: b\n\n", {{"", "a\nb"}}, ""},
      {"unknown fields", "dat: z\nDATA: z\ndata: a\n\n", {{"", "a"}}, ""},
      {"no data", "event: ping\n\ndata: a\n\n", {{"", "a"}}, ""},
      {"mark",
       "\xEF\xBB\xBF"
       "data: a\n\n",
       {{"", "a"}},
       ""},
      {"cut", "data: a\n\ndata: b\n", {{"", "a"}}, "data: b\n"},
      {"cut in a line", "data: a\n\ndata: {\"x", {{"", "a"}}, "data: {\"x"},
      {"blank lines", "\n\n\r\n\ndata: a\n\n\n\n", {{"", "a"}}, ""},
      {"colon in data", "data: a: b\n\n", {{"", "a: b"}}, ""},
      {"the name of an event without data is not the next one's",
       "event: x\n\ndata: a\n\n",
       {{"", "a"}},
       ""},
  };
  for (const auto& test : cases) {
    for (std::size_t step = 1; step <= test.text.size(); ++step) {
      SseReader reader(1000);
      const auto events = read(reader, test.text, step);
      std::vector<const SseEvent*> with_data;
      std::string raw;
      for (const SseEvent& event : events) {
        raw += event.raw;
        if (event.has_data) with_data.push_back(&event);
      }
      EXPECT_EQ(raw + reader.rest(), test.text) << test.what << ", by " << step;
      ASSERT_EQ(with_data.size(), test.events.size()) << test.what << ", by " << step;
      for (std::size_t i = 0; i < with_data.size(); ++i) {
        EXPECT_EQ(with_data[i]->name, test.events[i].name) << test.what << ", by " << step;
        EXPECT_EQ(with_data[i]->data, test.events[i].data) << test.what << ", by " << step;
      }
      // What a line feed of its own may leave behind is no part of an event.
      if (test.rest.empty()) {
        EXPECT_TRUE(reader.rest().empty() || reader.rest() == "\n") << test.what << ", by " << step;
      } else {
        EXPECT_EQ(reader.rest(), test.rest) << test.what << ", by " << step;
      }
    }
  }
}

TEST(Sse, CommentsAreGivenAtOnce) {
  SseReader reader(1000);
  std::vector<SseEvent> events;
  ASSERT_TRUE(reader.feed(": still there\n", events));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].raw, ": still there\n");
  EXPECT_FALSE(events[0].has_data);
}

TEST(Sse, AnEventIsGivenWithItsLastByte) {
  SseReader reader(1000);
  std::vector<SseEvent> events;
  ASSERT_TRUE(reader.feed("data: a\n", events));
  EXPECT_TRUE(events.empty());
  ASSERT_TRUE(reader.feed("\n", events));
  EXPECT_EQ(events.size(), 1U);
  ASSERT_TRUE(reader.feed("data: b\r\n\r", events));
  EXPECT_EQ(events.size(), 2U) << "a CR ends a line; its LF may come or not";
}

TEST(Sse, LargeEventsEndIt) {
  for (const std::string& text :
       std::vector<std::string>{"data: " + std::string(200, 'x'), std::string(200, 'x'),
                                ":" + std::string(200, 'x') + "\n\n"}) {
    SseReader reader(100);
    std::vector<SseEvent> events;
    bool good = reader.feed("data: first\n\n", events);
    for (std::size_t at = 0; good && at < text.size(); at += 7)
      good = reader.feed(text.substr(at, 7), events);
    EXPECT_FALSE(good);
    EXPECT_FALSE(reader.feed("\n\ndata: more\n\n", events)) << "and stays so";
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].data, "first");
  }
  SseReader reader(100);
  std::vector<SseEvent> events;
  for (int i = 0; i < 1000; ++i)
    ASSERT_TRUE(reader.feed("data: many small ones\n\n", events));
  EXPECT_EQ(events.size(), 1000U);
}

}  // namespace
}  // namespace palisade::gateway::llm
