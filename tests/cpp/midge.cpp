// midge.hpp, with and without exceptions and RTTI. Prints "N passed, M failed".
#include <midge.hpp>

#include <atomic>
#include <cstdio>
#include <thread>

static int passed, failed;

#define CHECK(...)                                                  \
  do {                                                              \
    if (__VA_ARGS__) {                                              \
      passed++;                                                     \
    } else {                                                        \
      failed++;                                                     \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, #__VA_ARGS__); \
    }                                                               \
  } while (0)

using namespace std::chrono_literals;

static midge::broker start(midge::hooks hooks = {}) {
  auto config = midge::config::create().value();
  config.set("listen", std::string("tcp://127.0.0.1:0")).value();
  config.set("limits.inflight", 16).value();
  config.set("shutdown.wills", false).value();
  CHECK(config.get("limits.inflight").value() == "16");
  config.set_hooks(std::move(hooks)).value();
  auto copy = config.clone().value();
  return midge::broker::start(copy).value();
}

static void publish_and_receive() {
  auto broker = start();
  auto queue = midge::queue::create(broker, MIDGE_EV_DROP, 16).value();
  auto client = midge::client::create(broker, queue, "gui").value();
  CHECK(client.subscribe("ward/+/spo2", 1, 7));
  CHECK(broker.port() != 0 && broker.url().value().rfind("mqtt://127.0.0.1:", 0) == 0);
  CHECK(broker.publish("ward/7/spo2", "97", 1));
  midge::event event;
  CHECK(queue.next(event, 10s) && event->tag == 7);
  midge::message kept = event.message();
  CHECK(!queue.next(event, 0ms));
  CHECK(kept && kept.topic() == "ward/7/spo2" && kept.payload() == "97" && kept.qos() == 1 && !kept.retain());
  midge::message copy = kept, moved = std::move(kept);
  CHECK(!kept && copy.get() == moved.get());

  CHECK(broker.publish_owned("ward/8/spo2", std::string(20000, 'x')));
  CHECK(broker.publish_owned("ward/8/spo2", std::vector<std::uint16_t>(3)));
  CHECK(queue.next(event, 10s) && event.message().payload().size() == 20000);
  CHECK(queue.next(event, 10s) && event.message().payload().size() == 6);
  auto wrong = broker.publish_owned("ward/#", std::string("x"));
  CHECK(!wrong && wrong.status() == MIDGE_E_INVALID && !wrong.err().message().empty());

  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  const midge_bytes pair[] = {{reinterpret_cast<const std::uint8_t *>("unit"), 4},
                              {reinterpret_cast<const std::uint8_t *>("%"), 1}};
  args.topic = "ward/9/spo2";
  args.content_type = "text/plain";
  args.user_props = pair;
  args.user_props_len = 2;
  CHECK(client.publish(args).value() == 1);
  CHECK(queue.next(event, 10s));
  const auto properties = event.message().user_properties();
  CHECK(properties.size() == 1 && properties[0].first == "unit" && properties[0].second == "%");
  CHECK(event.message().property(MIDGE_PROP_CONTENT_TYPE) == "text/plain");
  CHECK(event.message().client_id() == "gui");

  const auto made = midge::message::create("ward/9/spo2", "98").value();
  for (int n = 0; n < 2; ++n) {
    CHECK(broker.publish(made).value() == 1);
    CHECK(queue.next(event, 10s) && event.message().payload().data() == made.payload().data());
  }

  for (int n = 0; n < 20; ++n) broker.set_retained(("kept/" + std::to_string(n)).c_str(), "1").value();
  CHECK(broker.retained("kept/+").value().size() == 20);
  CHECK(broker.disconnect("nobody", 0x98).status() == MIDGE_E_NOT_FOUND);
  CHECK(broker.stats().value().retained == 20);
  CHECK(broker.quiesce(10s));
  CHECK(queue.fd().value() >= 0);
  CHECK(queue.wake() && queue.poll(event, 10s) == MIDGE_E_TIMEOUT);
  CHECK(broker.stop() && broker.join());
  CHECK(queue.poll(event, midge::forever) == MIDGE_E_CLOSED);
}

static void hooks_and_dispatch() {
  std::atomic<int> started{0}, got{0};
  midge::hooks hooks;
  hooks.on_publish = [](const midge::message &in, midge::message &out) -> midge_status {
    if (in.topic() == "drop") return MIDGE_E_DENIED;
#if defined(__cpp_exceptions)
    if (in.topic() == "throw") throw 1;
#endif
    if (in.topic() == "old") out = midge::message::create("new", in.payload()).value();
    return MIDGE_OK;
  };
  hooks.on_thread_start = [&] { ++started; };
  auto broker = start(std::move(hooks));
  auto queue = midge::queue::create(broker).value();
  auto client = midge::client::create(broker, queue).value();
  client.subscribe("new").value();
  queue
      .dispatch([&got, text = std::string(100, 'x')](const midge_event &event) {
        ++got;
        if (midge::view(event.topic) != "new") got = -100;
#if defined(__cpp_exceptions)
        throw text;
#endif
      })
      .value();
  CHECK(broker.publish("old", "x"));
  CHECK(broker.publish("drop", "x").status() == MIDGE_E_DENIED);
#if defined(__cpp_exceptions)
  CHECK(broker.publish("throw", "x").status() == MIDGE_E_DENIED);
#endif
  broker.stop().value();
  broker.join().value();
  CHECK(got == 1 && started == 1);
}

static void handles_move() {
  auto broker = start();
  auto other = start();
  const auto id = broker.get().id;
  other = std::move(broker); // the other one ends here
  CHECK(other.get().id == id && broker.get().id == 0);
  CHECK(other.publish("t", "x"));
  auto queue = midge::queue::create(other).value();
  other = start(); // the queue outlives its broker
  midge::event event;
  CHECK(queue.poll(event, midge::forever) == MIDGE_E_CLOSED);
}

static void errors_are_values_or_exceptions() {
  auto config = midge::config::create().value();
  auto wrong = config.set("limits.inflght", "1");
  CHECK(!wrong && wrong.err().status() == MIDGE_E_NOT_FOUND);
  CHECK(std::string(wrong.err().name()) == "MIDGE_E_NOT_FOUND");
  CHECK(wrong.err().message().find("limits.inflight") != std::string_view::npos);
#if defined(__cpp_exceptions)
  bool thrown = false;
  try {
    config.set("clock", "sun").value();
  } catch (const midge::exception &e) {
    thrown = e.err.status() == MIDGE_E_CONFIG && std::string(e.what()).find("clock") != std::string::npos;
  }
  CHECK(thrown);
#endif
}

int main() {
  publish_and_receive();
  hooks_and_dispatch();
  handles_move();
  errors_are_values_or_exceptions();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
