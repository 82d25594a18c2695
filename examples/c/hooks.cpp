// A C++ host that decides which clients may connect and where they may publish (answered later, from another
// thread, as if a database had been asked), and what a message looks like on its way.
//
//   g++ -std=c++17 hooks.cpp $(pkg-config --cflags --libs midge) -pthread -o hooks && ./hooks
#include <midge.hpp>

#include <condition_variable>
#include <deque>
#include <iostream>
#include <mutex>
#include <thread>

// Answers on a thread of its own. A decision that is thrown away unanswered is a no.
class directory {
  struct question {
    midge::decision decision;
    bool known;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<question> asked_;
  bool done_ = false;
  std::thread thread_{[this] { answer(); }};

  void answer() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return done_ || !asked_.empty(); });
      if (asked_.empty()) return;
      auto next = std::move(asked_.front());
      asked_.pop_front();
      lock.unlock();
      if (next.known) next.decision.allow();
      else next.decision.refuse({midge::reason_code::bad_user_name_or_password, "ask the head nurse"});
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
  midge::verdict ask(midge::decision decision, bool known) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      asked_.push_back({std::move(decision), known});
    }
    changed_.notify_all();
    return midge::verdict::later();
  }
};

int main() {
  directory people;
  midge::hooks hooks;
  hooks.on_auth = [&people](const midge::connect_request &request) {
    // Borrowed only for the time of the call: look now, answer later.
    return people.ask(request.defer(), request.username() == "nurse" && request.password() == "secret");
  };
  hooks.on_acl = [](const midge::acl_request &request) -> midge::verdict {
    if (request.topic().rfind("ward/", 0) == 0) return true;
    return midge::refusal{midge::reason_code::not_authorized, "your ward only"};
  };
  hooks.on_publish = [](const midge::message &message) -> midge::interception {
    if (message.topic() != "ward/raw") return midge::interception::pass();
    midge::publish_options options;
    options.qos = message.qos();
    return midge::message::create("ward/checked", message.payload(), options).value();
  };
  hooks.on_exception = [](std::string_view what) { std::cerr << "a callback has thrown: " << what << '\n'; };

  midge::config config;
  config.listen("tcp://127.0.0.1:0").value();
  config.set_hooks(std::move(hooks)).value();
  auto broker = midge::broker::start(config).value();
  std::cout << "port " << broker.port() << std::endl;

  auto messages = broker.subscribe("ward/#").value();
  broker.publish("ward/raw", "97").value();
  if (auto message = messages.next(std::chrono::seconds(5)))
    std::cout << message->topic() << " = " << message->payload() << std::endl;
  std::cin.get(); // serve until Enter
  broker.stop(std::chrono::seconds(2)).value();
  broker.join().value();
}
