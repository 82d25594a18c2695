// midge.hpp, with and without exceptions and RTTI: what it does. Prints "N passed, M failed".
#include "check.hpp"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>

static int poll(pollfd *ready, unsigned long count, int timeout) { return WSAPoll(ready, count, timeout); }
#else
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#endif

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// ---- a client of bytes, of MQTT 5.0 --------------------------------------------------------------

#if defined(_WIN32)
using socket_number = SOCKET;
#else
using socket_number = int;
#endif

class raw_client {
  midge::descriptor fd_;

  socket_number socket() const { return static_cast<socket_number>(fd_.get()); }

public:
  raw_client(const midge::broker &broker, const std::string &id, const std::string &username = {})
      : fd_(broker.connect_fd().value()) {
    std::string body("\0\4MQTT\5", 7);
    body += username.empty() ? '\2' : '\x82';
    body += std::string("\0\0\5\x11\0\0\0\x3c", 8); // no keep alive; the session lasts for 60 seconds
    body += text(id);
    if (!username.empty()) body += text(username);
    send('\x10', body);
  }
  static std::string text(const std::string &t) { return std::string(1, '\0') + static_cast<char>(t.size()) + t; }
  void send(char type, const std::string &body) {
    const std::string packet = std::string(1, type) + static_cast<char>(body.size()) + body;
    CHECK(::send(socket(), packet.data(), packet.size(), 0) == static_cast<ssize_t>(packet.size()));
  }
  std::string read(std::size_t count) {
    std::string got;
    while (got.size() < count) {
      char byte = 0;
      pollfd ready{socket(), POLLIN, 0};
      if (::poll(&ready, 1, 20000) != 1 || ::recv(socket(), &byte, 1, 0) != 1) return {};
      got += byte;
    }
    return got;
  }
  // The next packet: its type and what follows.
  std::pair<int, std::string> receive() {
    const auto head = read(2);
    if (head.empty()) return {0, {}};
    return {static_cast<unsigned char>(head[0]) & 0xf0, read(static_cast<unsigned char>(head[1]))};
  }
  int connack() {
    const auto [type, body] = receive();
    return type == 0x20 ? static_cast<unsigned char>(body[1]) : -1;
  }
  int subscribe(const std::string &filter, char options = 1) {
    send('\x82', std::string("\0\1\0", 3) + text(filter) + options);
    const auto [type, body] = receive();
    return type == 0x90 ? static_cast<unsigned char>(body.back()) : -1;
  }
  void publish(const std::string &topic) { send('\x32', text(topic) + std::string("\0\7\0", 3)); }
  int puback(std::string *why = nullptr) {
    const auto [type, body] = receive();
    if (type != 0x40) return -1;
    if (why != nullptr) *why = body.size() > 7 ? body.substr(7) : "";
    return body.size() > 2 ? static_cast<unsigned char>(body[2]) : 0;
  }
  void acknowledge() {
    const auto [type, body] = receive();
    CHECK(type == 0x30);
    const auto at = 2 + static_cast<std::size_t>(body[1]);
    send('\x40', body.substr(at, 2));
  }
  void leave() { fd_.close(); }
};

static midge::broker start(midge::hooks hooks = {}) {
  midge::config config;
  config.listen("tcp://127.0.0.1:0").value();
  config.set("limits.inflight", 16).value();
  config.set("shutdown.wills", false).value();
  CHECK(config.get("limits.inflight").value() == "16");
  config.set_hooks(std::move(hooks)).value();
  auto copy = config.clone().value();
  return midge::broker::start(copy).value();
}

// ---- timeouts ----------------------------------------------------------------------------------

static constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
static_assert(midge::timeout(midge::forever).count() == MIDGE_WAIT_FOREVER);
static_assert(midge::timeout(0s).count() == 0 && midge::timeout(-1ms).count() == 0 && midge::timeout(-1h).count() == 0);
static_assert(midge::timeout(1ns).count() == 1 && midge::timeout(1001us).count() == 2 &&
              midge::timeout(1000us).count() == 1);
static_assert(midge::timeout(24h).count() == 86400000 && midge::timeout(24h * 25).count() == most);
static_assert(midge::timeout(std::chrono::hours::max()).count() == most &&
              midge::timeout(std::chrono::hours::min()).count() == 0);
static_assert(midge::timeout(std::chrono::nanoseconds::max()).count() == most);
static_assert(midge::timeout(std::chrono::duration<double>(0.25)).count() == 250);
static_assert(midge::timeout(std::chrono::duration<double>(1e300)).count() == most);
static_assert(midge::lifetime().count() == 0 && midge::lifetime(-1s).count() == 1 &&
              midge::lifetime(1500ms).count() == 2);
static_assert(midge::lifetime(std::chrono::hours::max()).count() == std::numeric_limits<std::uint32_t>::max());
static_assert(std::is_nothrow_move_constructible_v<midge::event> && std::is_nothrow_move_assignable_v<midge::event>);
static_assert(!std::is_copy_constructible_v<midge::event> && std::is_nothrow_move_constructible_v<midge::broker>);
static_assert(std::is_nothrow_copy_constructible_v<midge::message> && !std::is_convertible_v<midge::broker, bool>);
static_assert(!std::is_convertible_v<const char *, midge::verdict>, "a text is no yes");
static_assert(!std::is_convertible_v<std::vector<int>, midge::text>, "a topic is made of bytes");

static void durations_that_are_no_numbers() {
  CHECK(midge::timeout(std::chrono::duration<float>(std::numeric_limits<float>::quiet_NaN())).count() == 0);
  CHECK(midge::timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity())).count() == most);
  CHECK(midge::timeout(std::chrono::duration<double>(-std::numeric_limits<double>::infinity())).count() == 0);
}

// ---- messages ----------------------------------------------------------------------------------

static void publish_and_receive() {
  auto broker = start();
  auto queue = midge::queue::create(broker, midge::event_type::drop, {16}).value();
  auto client = midge::client::create(broker, queue, "gui").value();
  CHECK(client.subscribe("ward/+/spo2", midge::qos::at_least_once, 7));
  CHECK(broker.port() != 0 && broker.url().value().rfind("mqtt://127.0.0.1:", 0) == 0);
  CHECK(broker.publish("ward/7/spo2", "97", midge::qos::at_least_once));
  midge::event event;
  CHECK(queue.next(event, 10s) && event.tag() == 7);
  midge::message kept = event.message();
  CHECK(!queue.next(event, 0ms) && !event);
  CHECK(kept && kept.topic() == "ward/7/spo2" && kept.payload() == "97" && kept.qos() == midge::qos::at_least_once &&
        !kept.retain());
  CHECK(std::string(kept.topic_c_str()) == "ward/7/spo2" && kept.origin() == midge::origin::host);
  midge::message copy = kept, moved = std::move(kept);
  CHECK(!kept && copy == moved); // NOLINT: what is left is defined

  CHECK(broker.publish_owned("ward/8/spo2", std::string(20000, 'x')));
  CHECK(broker.publish_owned("ward/8/spo2", std::vector<std::uint16_t>(3)));
  CHECK(queue.next(event, 10s) && event.message().payload().size() == 20000);
  CHECK(queue.next(event, 10s) && event.message().payload().size() == 6);
  auto wrong = broker.publish_owned("ward/#", std::string("x"));
  CHECK(!wrong && wrong.status() == MIDGE_E_INVALID && !wrong.error().message().empty());

  midge::publish_options options;
  options.user_properties = {{"unit", "%"}, {"bed", "7"}};
  options.content_type = "text/plain";
  options.response_topic = "answer";
  options.correlation_data = "42";
  options.expiry = 90s;
  options.utf8 = true;
  CHECK(client.publish("ward/9/spo2", "98", options).value() == 1);
  const auto full = queue.next(10s).value().message();
  const auto properties = full.user_properties();
  CHECK(properties.size() == 2 && properties[0].first == "unit" && properties[0].second == "%");
  CHECK(full.user_property("bed") == "7" && !full.user_property("room") && full.content_type() == "text/plain");
  CHECK(full.response_topic() == "answer" && full.correlation_data() == midge::bytes("42") && full.utf8());
  CHECK(full.expiry() == 90s && full.client_id() == "gui" && full.origin() == midge::origin::client);
  CHECK(!copy.expiry() && !copy.content_type() && !copy.correlation_data() && !copy.utf8());

  const auto made = midge::message::create("ward/9/spo2", "98").value();
  for (int n = 0; n < 2; ++n) {
    CHECK(broker.publish(made).value() == 1);
    CHECK(queue.next(event, 10s) && event.message().payload().data() == made.payload().data());
  }
  midge::subscribe_options own;
  own.no_local = true;
  own.qos = midge::qos::at_most_once;
  CHECK(client.subscribe("own", own) && client.publish("own") && broker.publish("own"));
  CHECK(queue.next(event, 10s) && event.message().client_id().empty() && !queue.try_next());
  CHECK(client.unsubscribe("own") && client.unsubscribe("own") == midge::errc::not_found);

  for (int n = 0; n < 20; ++n) broker.set_retained("kept/" + std::to_string(n), "1").value();
  auto some = broker.retained("kept/+", 5).value();
  CHECK(some.size() == 5 && some.total() == 20);
  CHECK(some.next()->topic() == "kept/0" && some.size() == 4 && some.next()->published_retained());
  CHECK(broker.stats().value().retained == 20 && broker.clear_retained("kept/#").value() == 20);
  CHECK(broker.quiesce(10s) && queue.fd().value() >= 0);
  CHECK(queue.wake() && queue.poll(event, 10s) == midge::errc::timeout);
  CHECK(broker.stop() && broker.join());
  CHECK(queue.poll(event, midge::forever) == midge::errc::closed);
}

static void a_nul_inside_is_refused() {
  using namespace std::string_literals;
  auto broker = start();
  const auto nul = "a\0b"s;
  const auto invalid = midge::errc::invalid;
  CHECK(broker.publish(nul, "x") == invalid && broker.set_retained(nul, "x") == invalid &&
        broker.retained(nul).kind() == invalid);
  CHECK(broker.disconnect(nul) == invalid && broker.clear_session(nul) == invalid &&
        broker.send(nul, "t", "x") == invalid);
  CHECK(broker.subscribe(nul).kind() == invalid && broker.subscriptions_of(nul).kind() == invalid);
  CHECK(broker.disconnect(nul).error().message() == "client_id has a NUL in it");
  midge::config config;
  CHECK(config.set(nul, "1") == invalid && config.set("clock", nul) == invalid && config.load(nul) == invalid &&
        config.get(nul) == invalid);
  CHECK(!midge::has_feature(nul) && midge::has_feature("mqtt5") && midge::version_matches() &&
        !midge::version().empty());
  // Longer than what fits on the stack.
  CHECK(broker.disconnect(std::string(1000, 'x')) == midge::errc::not_found);
  CHECK(config.set("limits.inflight", std::numeric_limits<std::uint64_t>::max()).kind() == midge::errc::config);
}

// ---- events ------------------------------------------------------------------------------------

static void events_say_what_happened() {
  auto broker = start();
  auto queue = midge::queue::create(broker, midge::event_type::all).value();
  std::string story;
  const auto tell = [&story](const midge::event &event) {
    event.visit(
        [&](const midge::ev::connected &e) {
          story += "+" + std::string(e.client_id) + (e.protocol == midge::protocol::mqtt_5 ? "5 " : "? ");
        },
        [&](const midge::ev::disconnected &e) { story += "-" + std::string(midge::name(e.reason)) + " "; },
        [&](const midge::ev::subscribed &e) { story += "s" + std::string(e.filter) + " "; },
        [&](const midge::ev::published &e) { story += "p" + std::to_string(e.receivers) + " "; },
        [&](const midge::ev::delivered &e) { story += "d" + std::string(e.client_id) + " "; },
        [&](const midge::ev::acknowledged &e) { story += "a" + std::string(e.content.topic()) + " "; },
        [&](const midge::ev::dropped &e) { story += "x" + std::string(midge::name(e.reason)) + " "; },
        [&](const midge::ev::session_ended &) { story += "end "; }, [](const auto &) {});
  };
  const auto until = [&](midge::event_type type) {
    for (;;) {
      auto event = queue.next(20s);
      CHECK(event);
      if (!event) return;
      tell(*event);
      if (event->type() == type) return;
    }
  };
  raw_client pump(broker, "pump");
  CHECK(pump.connack() == 0 && pump.subscribe("dose") == 1);
  CHECK(broker.publish("dose", "1", midge::qos::at_least_once));
  pump.acknowledge();
  until(midge::event_type::ack);
  pump.leave();
  until(midge::event_type::disconnect);
  CHECK(broker.publish("dose", "1"));
  until(midge::event_type::drop);
  CHECK(broker.clear_session("pump"));
  until(midge::event_type::session_end);
  CHECK(story.find("+pump5 sdose ") == 0 && story.find("p1 ") != std::string::npos &&
        story.find("dpump ") != std::string::npos);
  CHECK(story.find("adose -connection_lost ") != std::string::npos &&
        story.find("xnot_connected ") != std::string::npos);
  CHECK(story.rfind("end ") == story.size() - 4);
}

/* What became of which message, in what visitors are given and in the event itself. */
static void events_tell_messages_apart() {
  constexpr std::uint64_t none = 0;
  auto broker = start();
  auto queue = midge::queue::create(broker, midge::event_type::all).value();
  const auto number_of = [&queue](midge::event_type type) {
    for (;;) {
      auto event = queue.next(20s);
      CHECK(event);
      if (!event) return none;
      if (event->type() != type) continue;
      const auto said = event->visit([](const midge::ev::published &e) { return e.message_number; },
                                     [](const midge::ev::delivered &e) { return e.message_number; },
                                     [](const midge::ev::acknowledged &e) { return e.message_number; },
                                     [](const midge::ev::dropped &e) { return e.message_number.value_or(0); },
                                     [](const auto &) -> std::uint64_t { return none; });
      CHECK(event->message_number().value_or(0) == said);
      return said;
    }
  };

  raw_client pump(broker, "pump");
  CHECK(pump.connack() == 0 && pump.subscribe("dose") == 1);
  CHECK(number_of(midge::event_type::subscribe) == none);
  CHECK(broker.publish("dose", "1", midge::qos::at_least_once));
  const auto first = number_of(midge::event_type::publish);
  CHECK(first != none);
  pump.acknowledge();
  CHECK(number_of(midge::event_type::ack) == first);

  pump.leave();
  CHECK(number_of(midge::event_type::disconnect) == none);
  CHECK(broker.publish("dose", "2"));
  const auto dropped = number_of(midge::event_type::drop);
  CHECK(dropped > first);
}

static void events_tell_connections_apart() {
  midge::hooks hooks;
  hooks.on_auth = [](const midge::connect_request &request) -> midge::verdict {
    if (request.username() != "nurse") return midge::refusal{midge::reason_code::banned, "until Monday"};
    return true;
  };
  auto broker = start(std::move(hooks));
  auto queue = midge::queue::create(broker, midge::event_type::connect | midge::event_type::disconnect |
                                                midge::event_type::session_end)
                   .value();
  const auto next = [&queue] { return queue.next(20s).value(); };

  raw_client refused(broker, "pump", "visitor");
  CHECK(refused.connack() == 0x8a);
  const auto no = next();
  const auto why = no.as<midge::ev::refused>();
  CHECK(why && why->username == "visitor" && why->refusal == "until Monday" && why->client_id == "pump");
  CHECK(no.username() == "visitor" && no.refusal() == "until Monday" && !no.session());
  CHECK(why && why->connection > 0 && no.connection() == why->connection);

  raw_client first(broker, "pump", "nurse");
  CHECK(first.connack() == 0);
  const auto in = next();
  const auto was = in.as<midge::ev::connected>();
  CHECK(was && was->username == "nurse" && in.refusal().empty());
  CHECK(was && in.connection() == was->connection && in.session() == was->session);
  CHECK(was && why && was->connection > why->connection && was->session > 0);

  raw_client second(broker, "pump", "nurse");
  CHECK(second.connack() == 0);
  const auto out = next(), ended = next(), again = next();
  const auto left = out.as<midge::ev::disconnected>();
  CHECK(left && was && left->connection == was->connection && left->session == was->session);
  const auto end = ended.as<midge::ev::session_ended>();
  CHECK(end && was && end->session == was->session && !ended.connection());
  const auto is = again.as<midge::ev::connected>();
  CHECK(is && was && is->connection > was->connection && is->session > was->session);
  int seen = 0;
  for (const auto &client : broker.clients().value()) {
    CHECK(is && client.connection == is->connection && client.session == is->session);
    ++seen;
  }
  for (const auto &session : broker.sessions().value()) {
    CHECK(is && session.session == is->session && session.username == "nurse");
    ++seen;
  }
  CHECK(seen == 2);
}

// ---- decisions ---------------------------------------------------------------------------------

static void hooks_decide() {
  std::atomic<int> started{0}, asked{0};
  std::mutex mutex;
  std::vector<midge::decision> owed;
  std::string told;
  midge::hooks hooks;
  hooks.on_auth = [&](const midge::connect_request &request) -> midge::verdict {
    if (request.username() != "nurse")
      return midge::refusal{midge::reason_code::bad_user_name_or_password, "who are you"};
    CHECK(request.protocol() == midge::protocol::mqtt_5 && request.clean_start() && request.keep_alive() == 0s &&
          !request.password());
    CHECK(request.peer() == "memory" && !request.will_topic() && request.user_properties().empty());
    return true;
  };
  hooks.on_acl = [&](const midge::acl_request &request) -> midge::verdict {
    CHECK(request.reaches("#") && request.reaches(request.topic()));
    CHECK(request.reaches("never") == (request.topic() == "#"));
    CHECK(request.reaches("no#filter") && request.reaches(std::string_view("a\0b", 3)));
    if (request.group()) return *request.group() != "g" || !request.reaches("secret/#");
    if (request.topic() == "full") return midge::reason_code::quota_exceeded;
    if (request.topic() != "later") return request.topic() != "secret";
    const std::lock_guard<std::mutex> lock(mutex);
    owed.push_back(request.defer());
    ++asked;
    return midge::verdict::later();
  };
  hooks.on_publish = [](const midge::message &in) -> midge::interception {
#if defined(__cpp_exceptions)
    if (in.topic() == "throw") throw std::runtime_error("thrown on purpose");
#endif
    if (in.topic() == "drop") return midge::interception::drop();
    if (in.topic() == "old") return midge::message::create("new", in.payload()).value();
    return midge::interception::pass();
  };
  hooks.on_exception = [&told](std::string_view what) { told = what; };
  hooks.on_thread_start = [&] { ++started; };
  auto broker = start(std::move(hooks));
  const auto next_decision = [&] {
    while (asked == 0) std::this_thread::yield();
    --asked;
    const std::lock_guard<std::mutex> lock(mutex);
    auto decision = std::move(owed.back());
    owed.pop_back();
    return decision;
  };

  CHECK(raw_client(broker, "nobody").connack() == 0x86);
  raw_client client(broker, "pump", "nurse");
  std::string why;
  CHECK(client.connack() == 0);
  client.publish("secret");
  CHECK(client.puback() == 0x87);
  CHECK(client.subscribe("$share/g/secret/#") == 0x87 && client.subscribe("$share/g/open/#") == 1);
  CHECK(client.subscribe("$share/g/#") == 0x87 && client.subscribe("$share/g/+/plan") == 0x87);
  client.publish("full");
  CHECK(client.puback() == 0x97);
  client.publish("later");
  std::thread([decision = next_decision()]() mutable {
    CHECK(decision.allow() && !decision && !decision.allow());
  }).join();
  CHECK(client.puback() == 0x10); // there is no subscriber
  client.publish("later");
  CHECK(next_decision().refuse({midge::reason_code::quota_exceeded, "tomorrow"}));
  CHECK(client.puback(&why) == 0x97 && why == "tomorrow");
  client.publish("later");
  { const auto forgotten = next_decision(); } // destroyed unanswered: a no
  CHECK(client.puback() == 0x87);
  client.publish("later");
  CHECK(next_decision().refuse({midge::reason_code::success, {}}) ==
        midge::errc::invalid); // no refusal; a no all the same
  CHECK(client.puback() == 0x87);

  const auto subscription = broker.subscribe("new").value();
  CHECK(broker.publish("old", "x") && broker.publish("drop", "x") == midge::errc::denied);
  CHECK(subscription.next(10s)->payload() == "x" && subscription.queue().fd());
#if defined(__cpp_exceptions)
  CHECK(broker.publish("throw", "x") == midge::errc::denied && told == "thrown on purpose");
#endif
  CHECK(broker.stop() && broker.join() && started == 1);
}

static void callbacks_get_events_and_messages() {
  std::atomic<int> got{0}, told{0};
  auto broker = start();
  auto queue = midge::queue::create(broker).value();
  auto client = midge::client::create(broker, queue).value();
  client.subscribe("new").value();
  const auto on_exception = [&told](std::string_view what) {
    told += what == "on purpose" ? 1 : what == "unknown" ? 10 : -100;
  };
  queue
      .dispatch(
          [&got, text = std::make_unique<std::string>("on purpose")](const midge::event_ref &event) {
            got += event.topic() == "new" && event.message() && event.type() == midge::event_type::message ? 1 : -100;
#if defined(__cpp_exceptions)
            throw std::runtime_error(*text);
#endif
          },
          on_exception)
      .value();
  CHECK(queue.next(0s) == midge::errc::state);
  const auto called = broker.on_message(
      "new",
      [&got](const midge::message &message) {
        got += message.payload() == "x" ? 10 : -100;
#if defined(__cpp_exceptions)
        throw 1;
#endif
      },
      {}, {}, on_exception);
  CHECK(called && broker.publish("new", "x") && broker.publish("new", "x"));
  broker.stop().value();
  broker.join().value();
  CHECK(got == 22);
#if defined(__cpp_exceptions)
  CHECK(told == 22);
#endif
}

// ---- receipts and snapshots ----------------------------------------------------------------------

static void receipts_and_snapshots() {
  auto broker = start();
  raw_client pump(broker, "pump", "nurse");
  CHECK(pump.connack() == 0 && pump.subscribe("dose", 1 | 4 | 8 | 16) == 1);
  midge::publish_options once;
  once.qos = midge::qos::at_least_once;
  auto receipt = broker.publish_receipt("dose", "1", once).value();
  CHECK(receipt.matched() == 1 && receipt.state()->outcomes == 1 && !receipt.acknowledged() &&
        receipt.wait(-1s) == midge::errc::timeout);
  const auto outcomes = receipt.outcomes();
  CHECK(outcomes.size() == 1 && outcomes[0].client_id == "pump" && outcomes[0].outcome != midge::outcome::dropped &&
        !outcomes[0].reason);
  std::thread([&] { pump.acknowledge(); }).join();
  CHECK(receipt.wait(20s) && receipt.acknowledged());
  receipt = broker.send("pump", "to/you", "x", once).value();
  pump.acknowledge();
  CHECK(receipt.wait(midge::forever));

  auto clients = broker.clients().value();
  const auto client = clients.next();
  CHECK(client && client->client_id == "pump" && client->username == "nurse" &&
        client->protocol == midge::protocol::mqtt_5);
  CHECK(client->peer == "memory" && client->subscriptions == 1 && !clients.next() && clients.empty());
  int sessions = 0;
  for (const auto &session : *broker.sessions()) {
    CHECK(session.client_id == "pump" && session.connected && session.expiry == 60s && !session.disconnected_at &&
          !session.has_will);
    ++sessions;
  }
  CHECK(sessions == 1);
  const auto subscription = broker.subscriptions()->next();
  CHECK(subscription && subscription->qos == midge::qos::at_least_once && subscription->no_local &&
        subscription->retain_as_published);
  CHECK(subscription->retain_handling == midge::retain_handling::send_if_new && !subscription->subscription_id);
  CHECK(broker.wait_subscribers("dose", 1, 20s) && broker.wait_subscribers("dose", 2, 0s) == midge::errc::timeout);
  CHECK(broker.disconnect("pump", midge::reason_code::server_busy));
  broker = {};
  CHECK(client->client_id == "pump" && receipt.acknowledged()); // both outlive the broker
}

// ---- handles, errors -----------------------------------------------------------------------------

static void handles_move() {
  auto broker = start();
  auto other = start();
  const auto id = broker.get().id;
  other = std::move(broker); // the other one ends here
  CHECK(other.get().id == id && broker.get().id == 0); // NOLINT: what is left is defined
  CHECK(other.publish("t", "x"));
  auto queue = midge::queue::create(other).value();
  other = start(); // the queue outlives its broker
  midge::event event;
  CHECK(queue.poll(event, midge::forever) == midge::errc::closed);
  auto &same = other;
  other = std::move(same);
  CHECK(other && other.publish("t"));
  auto kept = midge::broker::adopt(other.get()); // two owners: the first one frees it
  kept = {};
  CHECK(other.publish("t") == midge::errc::closed);
}

static void errors_are_values_or_exceptions() {
  midge::config config;
  auto wrong = config.set("limits.inflght", "1");
  CHECK(!wrong && wrong.error().status() == MIDGE_E_NOT_FOUND && wrong.error() == midge::error(midge::errc::not_found));
  CHECK(wrong.error().name() == "MIDGE_E_NOT_FOUND" && wrong.error().what().find("MIDGE_E_NOT_FOUND: ") == 0);
  CHECK(wrong.error().message().find("limits.inflight") != std::string_view::npos);
  CHECK(config.load("nowhere.toml").error().os_error() == ENOENT);
  CHECK(midge::broker::start("tcp:/").kind() == midge::errc::config);
  const std::error_code late = midge::errc::timeout;
  CHECK(late == std::errc::timed_out && late == midge::errc::timeout && late != midge::errc::closed);
  CHECK(std::string(late.category().name()) == "midge" && !late.message().empty());
  const midge::result<std::string> none;
  CHECK(none && none->empty() && none.error().kind() == midge::errc::ok && none.error_code() == std::error_code());
  CHECK(midge::error(midge::errc::state, std::string(500, 'x')).message().size() == 239);
  CHECK(midge::name(midge::end_reason::too_slow) == "too_slow" && midge::name(midge::packet::puback) == "PUBACK");
  CHECK(midge::name(midge::reason_code::banned) == "Banned" && midge::name(midge::event_type::drop) == "drop");
#if defined(__cpp_exceptions)
  bool thrown = false;
  try {
    config.set("clock", "sun").value();
  } catch (const midge::exception &e) {
    thrown = e.error() == midge::error(midge::errc::config) && std::string(e.what()).find("clock") != std::string::npos;
  }
  CHECK(thrown);
#endif
}

static void a_manual_clock_moves() {
  midge::config config;
  config.set("clock", "manual").value();
  auto broker = midge::broker::start(config).value();
  midge::publish_options soon;
  soon.retain = true;
  soon.expiry = 1500ms;
  CHECK(broker.publish("t", "x", soon) && broker.advance(1s) && broker.retained("t")->size() == 1);
  CHECK(broker.advance(-1h) && broker.advance(0.5s) && broker.retained("t")->size() == 1 && broker.advance(1min));
  CHECK(broker.retained("t")->empty());
}

// ---- the log -----------------------------------------------------------------------------------

#if !defined(_WIN32) // which has no bound of descriptors to lower
static void the_log_is_told() {
  auto broker = start();
  const auto lines = std::make_shared<std::atomic<int>>(0);
  const std::weak_ptr<std::atomic<int>> kept = lines;
  CHECK(midge::set_log([](midge::log_level, std::string_view) {}, static_cast<midge::log_level>(7)) ==
        midge::errc::invalid);
  const auto set = midge::set_log([lines](midge::log_level level, std::string_view line) {
    if (level == midge::log_level::warn && line.find("accept failed") != std::string_view::npos) ++*lines;
#if defined(__cpp_exceptions)
    throw std::runtime_error("lost");
#endif
  });
  CHECK(set);
  // A warning: the broker cannot accept, since the process has no descriptor left.
  midge::descriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), next(::dup(fd.get()));
  rlimit limit{};
  CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  rlimit none = limit;
  none.rlim_cur = static_cast<rlim_t>(next.get());
  next.close();
  CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(broker.port());
  to.sin_addr.s_addr = htonl(0x7f000001);
  CHECK(::connect(fd.get(), reinterpret_cast<const sockaddr *>(&to), sizeof to) == 0);
  while (*lines == 0) std::this_thread::yield();
  CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(midge::set_log({}, midge::log_level::off));
  while (kept.use_count() > 1) std::this_thread::yield(); // what was captured is let go
}
#endif

int main() {
  durations_that_are_no_numbers();
  publish_and_receive();
  a_nul_inside_is_refused();
  events_say_what_happened();
  events_tell_messages_apart();
  events_tell_connections_apart();
  hooks_decide();
  callbacks_get_events_and_messages();
  receipts_and_snapshots();
  handles_move();
  errors_are_values_or_exceptions();
  a_manual_clock_moves();
#if !defined(_WIN32)
  the_log_is_told();
#endif
  return results();
}
