// A C++ host that decides: who may connect (answered later, from another thread, as if a database
// had been asked), who may publish where, and what a message looks like on its way.
//
//   g++ -std=c++17 hooks.cpp $(pkg-config --cflags --libs midge) -pthread -o hooks && ./hooks
#include <midge.hpp>

#include <condition_variable>
#include <deque>
#include <iostream>
#include <mutex>
#include <thread>

// Answers logins on a thread of its own.
class directory {
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<midge_decision, bool>> asked_;
  bool done_ = false;
  std::thread thread_{[this] { answer(); }};

  void answer() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return done_ || !asked_.empty(); });
      if (asked_.empty()) return;
      auto [decision, known] = asked_.front();
      asked_.pop_front();
      lock.unlock();
      (void)midge_decision_complete(decision, known ? MIDGE_OK : MIDGE_E_DENIED);
      lock.lock();
    }
  }

public:
  ~directory() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void ask(midge_decision decision, bool known) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      asked_.emplace_back(decision, known);
    }
    changed_.notify_all();
  }
};

int main() {
  directory people;
  midge::hooks hooks;
  hooks.on_auth = [&people](const midge_connect_info &info, midge_decision decision) -> midge_status {
    // Borrowed only for the time of the call: look now, answer later.
    people.ask(decision, midge::view(info.username) == "nurse" && midge::view(info.password) == "secret");
    return MIDGE_E_WOULD_BLOCK;
  };
  hooks.on_acl = [](const midge_acl_request &request) -> midge_status {
    const auto topic = midge::view(request.topic);
    const bool own = topic.rfind("ward/", 0) == 0;
    return own ? MIDGE_OK : MIDGE_E_DENIED;
  };
  hooks.on_publish = [](const midge::message &in, midge::message &out) -> midge_status {
    if (in.topic() == "ward/raw") out = midge::message::create("ward/checked", in.payload(), in.qos()).value();
    return MIDGE_OK;
  };

  auto config = midge::config::create().value();
  config.set("listen", "tcp://127.0.0.1:0").value();
  config.set_hooks(std::move(hooks)).value();
  auto broker = midge::broker::start(config).value();
  std::cout << "port " << broker.port() << std::endl;

  auto queue = midge::queue::create(broker, MIDGE_EV_CONNECT).value();
  auto client = midge::client::create(broker, queue).value();
  client.subscribe("ward/#").value();
  broker.publish("ward/raw", "97").value();
  midge::event event;
  if (queue.next(event, std::chrono::seconds(5)))
    std::cout << event.message().topic() << " = " << event.message().payload() << std::endl;
  std::cin.get(); // serve until Enter
  broker.stop(std::chrono::seconds(2)).value();
  broker.join().value();
}
