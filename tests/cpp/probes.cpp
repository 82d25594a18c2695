// What a C++ programmer writes without having read anything: one line each, which must compile and do
// what it looks like. Prints "N passed, M failed".
#include "check.hpp"

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;

// Members that begin empty and are filled later.
struct gateway {
  midge::broker broker;
  midge::queue queue;
  midge::client client;
  midge::subscription vitals;
  midge::message last;
  midge::receipt receipt;
  midge::decision decision;
  midge::event event;
  midge::descriptor socket;
  midge::snapshot<midge::client_info> clients;
};

static midge::result<midge::broker> start() { return midge::broker::start("tcp://127.0.0.1:0"); }

static void members_begin_empty() {
  gateway g;
  CHECK(!g.broker && !g.queue && !g.client && !g.vitals && !g.last && !g.receipt && !g.decision && !g.event &&
        !g.socket && !g.clients);
  CHECK(g.broker.publish("t", "x") == midge::errc::invalid);
  CHECK(g.queue.next(1s).error() == midge::errc::invalid);
  g.broker = start().value();
  g.vitals = g.broker.subscribe("#").value();
  if (g.broker) g.broker.publish("t", "x");
  if (auto message = g.vitals.next(10s)) g.last = *message;
  CHECK(g.last && g.last.topic() == "t");
  gateway moved = std::move(g);
  CHECK(moved.broker && !g.broker && g.broker.stop() == midge::errc::invalid); // NOLINT: what is left is defined
}

static void topics_and_payloads(const midge::broker &broker) {
  const auto all = broker.subscribe("#").value();
  const std::string topic = "ward/7", text = "97";
  const std::vector<std::uint8_t> vector{1, 2, 3};
  const std::vector<char> topic_in_vector{'w', '/', '7'};
  const std::array<std::byte, 2> array{std::byte{7}, std::byte{8}};
  const std::uint16_t numbers[] = {1, 2, 3};
  char buffer[16] = "in a buffer";
  struct {
    const unsigned char *p;
    std::size_t size() const { return 2; }
    const unsigned char *data() const { return p; }
  } own{vector.data()};
  CHECK(broker.publish("t", "literal"));
  CHECK(broker.publish("ward/"s + "7", "97"s + "%"));
  CHECK(broker.publish(topic, text));
  CHECK(broker.publish("ward/7!"sv.substr(0, 6), "97%"sv.substr(0, 2)));
  CHECK(broker.publish("t", vector));
  CHECK(broker.publish(topic_in_vector, array));
  CHECK(broker.publish("t", numbers));
  CHECK(broker.publish("t", buffer));
  CHECK(broker.publish("t", {buffer, 2}));
  CHECK(broker.publish("t", own));
  CHECK(broker.publish("t"));
  CHECK(broker.publish("t", ""));
  CHECK(broker.publish("t", "x", midge::qos::at_least_once, true));
#if defined(__cpp_lib_span)
  CHECK(broker.publish("t", std::span(vector).first(2)));
  CHECK(broker.publish("t", std::as_bytes(std::span(numbers))));
  CHECK(broker.publish(u8"t", u8"\u00e9"));
  std::span<const std::byte> span = all.next(10s)->payload_bytes();
  CHECK(span.size() == 7);
#else
  CHECK(all.next(10s)->payload_bytes().size() == 7);
#endif
#if __cplusplus >= 202002L
  CHECK(broker.publish(
      "t", "x", {.qos = midge::qos::exactly_once, .retain = true, .expiry = 10min, .content_type = "text/plain"}));
  CHECK(broker.publish("t", "x", {.user_properties = {{"unit", "%"}, {"bed", text}}}).value() == 1);
  CHECK(broker.subscribe("t", {.no_local = false, .retain_handling = midge::retain_handling::do_not_send},
                         {.max_events = 4}));
#endif
  const auto message = all.next(10s);
  CHECK(message->topic() == "ward/7" && message->payload() == "97%" && std::string(message->payload()) == "97%");
  CHECK(message->payload_bytes().vec().size() == 3 && message->payload_bytes()[0] == '9');
  std::map<std::string, midge::message, std::less<>> latest;
  for (const midge::message &m : all.messages(0s)) latest[std::string(m.topic())] = m;
  CHECK(latest.count("ward/7") == 1 && latest.at("w/7").payload_bytes() == midge::bytes(array));
  std::ostringstream out;
  out << message->topic() << " = " << message->payload_bytes();
  CHECK(out.str() == "ward/7 = 97%");
  CHECK(broker.clear_retained().value() == 1);
}

static void results_are_expected(const midge::broker &broker) {
  auto good = broker.url(), bad = broker.url(99);
  CHECK(good && good.has_value() && !bad && !bad.has_value());
  CHECK(good->size() > 7 && (*good).find("mqtt://") == 0);
  CHECK(bad.value_or("none") == "none" && good.value_or("none") != "none");
  CHECK(bad.error().code() == midge::errc::not_found && bad.error_code() == midge::errc::not_found);
  std::error_code code = bad.error();
  CHECK(code && code.category() == midge::category() && code.message() == "there is no such thing"s);
  CHECK(bad == midge::errc::not_found && bad.kind() != midge::errc::timeout && midge::errc::ok == good.kind());
  CHECK(broker.url().transform([](const std::string &u) { return u.size(); }).value_or(0U) > 7);
  CHECK(broker.url(99).transform(&std::string::size) == midge::errc::not_found);
  CHECK(broker.url().and_then([&](const std::string &u) { return broker.publish("url", u); }));
  CHECK(broker.url(99).or_else([](const midge::error &) { return midge::result<std::string>("unix"s); }).value() ==
        "unix");
  CHECK(broker.publish("t").and_then([&] { return broker.publish("t"); }).transform([] { return 7; }).value() == 7);
  CHECK(broker.subscribe("t").value().next(0s).error_code() == std::errc::timed_out);
  CHECK(broker.publish("a/#").error_code() == std::errc::invalid_argument);
  switch (broker.publish("a/#").kind()) {
    case midge::errc::invalid: passed++; break;
    default: failed++; break;
  }
  if (auto wrong = broker.publish("a/+"); !wrong)
    CHECK(wrong.error().message().find("topic") != std::string_view::npos);
  midge::result<int> number = 7, none = midge::errc::state, other;
  CHECK(*number + other.value() == 7 && none.error().name() == "MIDGE_E_STATE" && other.has_value());
  std::ostringstream out;
  out << bad.error();
  CHECK(out.str().find("MIDGE_E_NOT_FOUND: ") == 0);
#if defined(__cpp_lib_expected)
  std::expected<std::string, midge::error> expected = broker.url(99);
  CHECK(!expected && expected.error().kind() == midge::errc::not_found);
#endif
#if defined(__cpp_exceptions)
  try {
    broker.url(99).value();
    failed++;
  } catch (const std::system_error &e) {
    CHECK(e.code() == midge::errc::not_found);
  }
#endif
}

static void any_duration(const midge::broker &broker) {
  const auto queue = midge::queue::create(broker).value();
  const auto before = std::chrono::steady_clock::now() - 1h;
  CHECK(queue.next(-1s) == midge::errc::timeout);
  CHECK(queue.next(before - std::chrono::steady_clock::now()) == midge::errc::timeout);
  CHECK(queue.next(before) == midge::errc::timeout);
  CHECK(queue.next(std::chrono::system_clock::now() - 24h) == midge::errc::timeout);
  CHECK(queue.next(1us) == midge::errc::timeout);
  CHECK(queue.next(std::chrono::duration<double>(0.001)) == midge::errc::timeout);
  CHECK(queue.next(std::chrono::hours::min()) == midge::errc::timeout);
  CHECK(queue.next(std::chrono::nanoseconds::min()) == midge::errc::timeout);
  CHECK(queue.wake() && queue.next(std::chrono::hours::max()) == midge::errc::timeout);
  CHECK(queue.wake() && queue.next(midge::forever) == midge::errc::timeout);
  CHECK(queue.wake() && queue.next() == midge::errc::timeout);
  CHECK(broker.stop(500ms) && broker.join(1min) && queue.next() == midge::errc::closed);
}

static void events_are_values(const midge::broker &broker) {
  auto queue = midge::queue::create(broker, midge::event_type::connect | midge::event_type::drop).value();
  auto client = midge::client::create(broker, queue, "gui"s).value();
  CHECK(client.subscribe("t"s) && client.subscribe("u", midge::qos::at_least_once, 7));
  for (int n = 0; n < 6; n++) CHECK(client.publish(n % 2 == 0 ? "t" : "u", std::to_string(n)));
  std::vector<midge::event> kept;
  kept.push_back(queue.next(1s).value());
  kept.push_back(*queue.next(1s));
  midge::event moved = std::move(kept.front());
  CHECK(moved && !kept.front() && moved.payload() == "0" && kept.back().tag() == 7);
  std::optional<midge::event> maybe = queue.try_next();
  CHECK(maybe && maybe->topic() == "t" && maybe->message().payload() == "2");
  std::string seen;
  for (midge::event &event : queue.events(0s)) seen += event.payload();
  CHECK(seen == "345" && !queue.try_next().has_value());
  std::thread waker([&] { CHECK(queue.wake()); });
  for (const auto &event : queue) CHECK(event.seq() == 0); // none comes before it is woken
  waker.join();
  CHECK(moved.visit([](const midge::ev::message &m) { return m.content.topic() == "t"; },
                    [](const auto &) { return false; }));
  CHECK(moved.as<midge::ev::message>()->tag == 0 && !moved.as<midge::ev::dropped>());
  CHECK(std::holds_alternative<midge::ev::message>(moved.what()) && moved.type() == midge::event_type::message);
  CHECK(moved.time() <= std::chrono::system_clock::now() && moved.steady_time() <= std::chrono::steady_clock::now());
  CHECK(std::visit(midge::overloaded{[](const midge::ev::message &) { return 1; }, [](const auto &) { return 2; }},
                   moved.what()) == 1);
}

static void looking_around(const midge::broker &broker) {
  broker.set_retained("kept/a", "1"sv);
  broker.set_retained("kept/b"s, std::vector<std::uint8_t>{50});
  std::string topics;
  for (const auto &message : broker.retained("kept/#").value()) topics += message.topic();
  for (auto &message : *broker.retained("kept/b")) topics += message.payload();
  CHECK(topics == "kept/akept/b2" && broker.retained()->total() >= 2);
  for (const auto &c : broker.clients().value()) CHECK(c.client_id.empty());
  for (const auto &s : broker.sessions().value()) CHECK(!s.connected);
  CHECK(broker.subscriptions()->empty() && broker.subscriptions_of("nobody")->size() == 0 && !broker.clients()->next());
  CHECK(broker.clear_retained("kept/#").value() == 2);
  CHECK(broker.stats()->retained == 0 && broker.stats()->how() == midge::broker_state::running);
  CHECK(broker.stats()->dropped_for(midge::drop_reason::queue_full) == 0 &&
        midge::name(midge::drop_reason::queue_full) == "queue_full");
  CHECK(broker.disconnect("nobody"s) == midge::errc::not_found &&
        broker.clear_session("nobody") == midge::errc::not_found);
  CHECK(broker.connect_fd().value().get() >= 0);
  CHECK(broker.publish_receipt("t", "x")->wait(1s) && broker.send("nobody", "t", "x") == midge::errc::not_found);
}

static void callables() {
  midge::config config;
  auto own = std::make_unique<int>(0);
  midge::hooks hooks;
  hooks.on_acl = [own = std::move(own)](const midge::acl_request &r) { return r.topic() != "secret" && *own == 0; };
  hooks.on_auth = [](const midge::connect_request &c) -> midge::verdict {
    if (c.username() == "nurse") return true;
    return midge::refusal{midge::reason_code::banned, "until Monday"};
  };
  hooks.on_publish = [](const midge::message &m) -> midge::interception {
    if (m.topic() == "drop") return midge::interception::drop();
    if (m.topic() == "full") return midge::reason_code::quota_exceeded;
    if (m.topic() == "old") return *midge::message::create("new", m.payload());
    return {};
  };
  std::function<void()> function = [] {};
  hooks.on_thread_start = function;
  CHECK(config.listen("tcp://127.0.0.1:0") && config.set("limits.inflight", 16U) &&
        config.set("shutdown.wills", false));
  CHECK(config.set_hooks(std::move(hooks)) && config.get("limits.inflight").value() == "16");
  const auto broker = midge::broker::start(config).value();
  std::string got;
  {
    const auto subscription = broker.on_message("new", [&got](const midge::message &m) { got += m.payload(); }).value();
    CHECK(broker.publish("old", "x") && broker.publish("drop") == midge::errc::denied);
    CHECK(broker.publish("full").error().reason() == midge::reason_code::quota_exceeded);
    broker.stop();
    broker.join();
  }
  CHECK(got == "x");
}

int main() {
  members_begin_empty();
  const auto broker = start().value();
  topics_and_payloads(broker);
  results_are_expected(broker);
  events_are_values(broker);
  looking_around(broker);
  any_duration(broker);
  callables();
  return results();
}
