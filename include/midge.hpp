// midge.hpp - RAII over midge.h for C++17. Header only, no ABI of its own; works with
// -fno-exceptions and -fno-rtti. The contract at the head of midge.h holds here, too.
//
//   auto config = midge::config::create().value();
//   config.set("listen", "tcp://127.0.0.1:0").value();
//   auto broker = midge::broker::start(config).value();
//   auto queue = midge::queue::create(broker).value();
//   auto client = midge::client::create(broker, queue).value();
//   client.subscribe("ward/+/spo2").value();
//   broker.publish("ward/7/spo2", "97").value();
//   midge::event event;
//   while (queue.next(event, std::chrono::seconds(1))) use(event.message().payload());
//
// What can fail gives a midge::result: test it, or call value(), which throws midge::exception (or
// aborts without exceptions). Exceptions of callbacks never reach the library: a decision that
// throws is a no.
#pragma once
#include "midge.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>
#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

namespace midge {

using milliseconds = std::chrono::milliseconds;

/// For timeouts: without limit.
inline constexpr milliseconds forever{-1};

inline std::string_view view(midge_bytes b) noexcept {
  return b.len == 0 ? std::string_view{} : std::string_view{reinterpret_cast<const char *>(b.ptr), b.len};
}

/// A failure with its details, copied when it was made.
class error {
  midge_error_info info_{};

public:
  explicit error(midge_status status) noexcept {
    info_.struct_size = sizeof info_;
    if (midge_last_error(&info_) != MIDGE_OK || info_.status != status) {
      info_.status = status;
      info_.os_error = 0;
      info_.message[0] = '\0';
    }
  }
  midge_status status() const noexcept { return info_.status; }
  int os_error() const noexcept { return info_.os_error; }
  const char *name() const noexcept { return midge_status_name(info_.status); }
  std::string_view message() const noexcept { return info_.message; }
};

#if defined(__cpp_exceptions)
/// What result::value() throws.
struct exception : std::runtime_error {
  error err;
  explicit exception(const error &e)
      : std::runtime_error(std::string(e.name()) + ": " + std::string(e.message())), err(e) {}
};
#endif

/// A value or an error.
template <class T> class [[nodiscard]] result {
  std::variant<T, error> v_;

public:
  result(T value) : v_(std::in_place_index<0>, std::move(value)) {}
  result(error e) : v_(std::in_place_index<1>, e) {}
  explicit operator bool() const noexcept { return v_.index() == 0; }
  midge_status status() const noexcept { return *this ? MIDGE_OK : err().status(); }
  /// Only after a test for false.
  const error &err() const noexcept { return *std::get_if<1>(&v_); }
  T value() && {
    require();
    return std::move(*std::get_if<0>(&v_));
  }
  const T &value() const & {
    require();
    return *std::get_if<0>(&v_);
  }

private:
  void require() const {
    if (*this) return;
#if defined(__cpp_exceptions)
    throw exception(err());
#else
    std::abort();
#endif
  }
};

using ok_t = std::monostate;
using status = result<ok_t>;

inline status check(midge_status s) {
  if (s == MIDGE_OK) return ok_t{};
  return error(s);
}

namespace detail {

template <class F> void destroy(void *p) noexcept { delete static_cast<F *>(p); }

inline std::int32_t ms(milliseconds t) noexcept {
  if (t.count() < 0) return MIDGE_WAIT_FOREVER;
  constexpr auto most = std::numeric_limits<std::int32_t>::max();
  return t.count() > most ? most : static_cast<std::int32_t>(t.count());
}

/// Calls a decision of the host; an exception is a no.
template <class F, class... A> midge_status decide(F &f, A &&...args) noexcept {
#if defined(__cpp_exceptions)
  try {
    return f(std::forward<A>(args)...);
  } catch (...) {
    return MIDGE_E_DENIED;
  }
#else
  return f(std::forward<A>(args)...);
#endif
}

/// Sole owner of a number.
template <class H, midge_status (*Free)(H)> class owned {
  H h_{};

public:
  owned() = default;
  explicit owned(H h) noexcept : h_(h) {}
  owned(owned &&other) noexcept : h_(std::exchange(other.h_, H{})) {}
  owned &operator=(owned &&other) noexcept {
    if (this != &other) {
      reset();
      h_ = std::exchange(other.h_, H{});
    }
    return *this;
  }
  ~owned() { reset(); }
  void reset() noexcept { (void)Free(std::exchange(h_, H{})); }
  H get() const noexcept { return h_; }
};

} // namespace detail

/// A message: shared, never altered.
class message {
  const midge_message *m_ = nullptr;

public:
  message() = default;
  /// Takes another reference.
  explicit message(const midge_message *m) noexcept : m_(midge_message_ref(m)) {}
  message(const message &other) noexcept : message(other.m_) {}
  message(message &&other) noexcept : m_(std::exchange(other.m_, nullptr)) {}
  message &operator=(message other) noexcept {
    std::swap(m_, other.m_);
    return *this;
  }
  ~message() { midge_message_unref(m_); }

  /// Takes over a reference that the library has given.
  static message adopt(const midge_message *m) noexcept {
    message result;
    result.m_ = m;
    return result;
  }
  /// Makes one; the payload is copied.
  static result<message> create(const char *topic, std::string_view payload, std::uint8_t qos = 0,
                                bool retain = false) {
    midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
    args.topic = topic;
    args.payload = payload.data();
    args.payload_len = payload.size();
    args.qos = qos;
    args.retain = retain;
    midge_message *m = nullptr;
    if (auto s = midge_message_new(&args, &m); s != MIDGE_OK) return error(s);
    return adopt(m);
  }

  explicit operator bool() const noexcept { return m_ != nullptr; }
  const midge_message *get() const noexcept { return m_; }
  const midge_message *release() noexcept { return std::exchange(m_, nullptr); }
  std::string_view topic() const noexcept { return view(midge_message_topic(m_)); }
  std::string_view payload() const noexcept { return view(midge_message_payload(m_)); }
  std::uint8_t qos() const noexcept { return midge_message_flags(m_) & 3U; }
  bool retain() const noexcept { return (midge_message_flags(m_) & 4U) != 0; }
  std::string_view client_id() const noexcept {
    midge_bytes id{};
    midge_message_origin(m_, &id);
    return view(id);
  }
  /// The value of a text or bytes property, empty if there is none.
  std::string_view property(std::uint8_t id) const noexcept {
    midge_bytes value{};
    midge_message_prop(m_, id, 0, nullptr, &value, nullptr);
    return view(value);
  }
  std::vector<std::pair<std::string_view, std::string_view>> user_properties() const {
    std::vector<std::pair<std::string_view, std::string_view>> all;
    midge_bytes key{}, value{};
    for (std::uint32_t n = 0; midge_message_prop(m_, MIDGE_PROP_USER, n, &key, &value, nullptr); ++n)
      all.emplace_back(view(key), view(value));
    return all;
  }
};

/// The callbacks that decide; what is empty is not asked.
struct hooks {
  /// MIDGE_OK, MIDGE_E_DENIED, or MIDGE_E_WOULD_BLOCK and midge_decision_complete() later.
  std::function<midge_status(const midge_connect_info &, midge_decision)> on_auth;
  /// MIDGE_OK or MIDGE_E_DENIED.
  std::function<midge_status(const midge_acl_request &)> on_acl;
  /// MIDGE_OK, with another message in the second argument if that is to go on instead.
  std::function<midge_status(const message &, message &)> on_publish;
  std::function<void()> on_thread_start, on_thread_stop;
  /// Bits 1 << MIDGE_ACL_*; 0 is publish and subscribe.
  std::uint32_t acl_actions = 0;
};

/// Settings before the start.
class config {
  struct deleter {
    void operator()(midge_config *c) const noexcept { midge_config_free(c); }
  };
  std::unique_ptr<midge_config, deleter> c_;
  explicit config(midge_config *c) noexcept : c_(c) {}

public:
  static result<config> create() {
    midge_config *c = nullptr;
    if (auto s = midge_config_new(&c); s != MIDGE_OK) return error(s);
    return config(c);
  }
  result<config> clone() const {
    midge_config *c = nullptr;
    if (auto s = midge_config_clone(c_.get(), &c); s != MIDGE_OK) return error(s);
    return config(c);
  }
  /// Reads a file in TOML; all of it is set, or nothing.
  status load(const char *path) { return check(midge_config_load(c_.get(), path)); }
  status set(const char *key, const char *value) { return check(midge_config_set(c_.get(), key, value)); }
  status set(const char *key, const std::string &value) { return set(key, value.c_str()); }
  template <class N, std::enable_if_t<std::is_integral_v<N> && !std::is_same_v<N, bool>, int> = 0>
  status set(const char *key, N value) {
    return check(midge_config_set_int(c_.get(), key, static_cast<std::int64_t>(value)));
  }
  template <class B, std::enable_if_t<std::is_same_v<B, bool>, int> = 0> status set(const char *key, B value) {
    return set(key, value ? "true" : "false");
  }
  result<std::string> get(const char *key) const {
    std::size_t need = 0;
    if (auto s = midge_config_get(c_.get(), key, nullptr, 0, &need); s != MIDGE_OK) return error(s);
    std::string value(need, '\0');
    if (auto s = midge_config_get(c_.get(), key, value.data(), need, nullptr); s != MIDGE_OK) return error(s);
    value.pop_back();
    return value;
  }
  status set_hooks(hooks h) {
    auto owned = std::make_unique<hooks>(std::move(h));
    midge_hooks raw = MIDGE_HOOKS_INIT;
    raw.acl_actions = owned->acl_actions;
    raw.user = owned.get();
    raw.user_free = &detail::destroy<hooks>;
    if (owned->on_auth) raw.on_auth = &auth;
    if (owned->on_acl) raw.on_acl = &acl;
    if (owned->on_publish) raw.on_publish = &publish;
    if (owned->on_thread_start) raw.on_thread_start = &thread_start;
    if (owned->on_thread_stop) raw.on_thread_stop = &thread_stop;
    auto s = midge_config_set_hooks(c_.get(), &raw);
    if (s == MIDGE_OK) (void)owned.release();
    return check(s);
  }
  const midge_config *get() const noexcept { return c_.get(); }

private:
  static midge_status auth(void *user, const midge_connect_info *info, midge_decision d) noexcept {
    return detail::decide(static_cast<hooks *>(user)->on_auth, *info, d);
  }
  static midge_status acl(void *user, const midge_acl_request *request) noexcept {
    return detail::decide(static_cast<hooks *>(user)->on_acl, *request);
  }
  static midge_status publish(void *user, const midge_message *in, midge_message **replace) noexcept {
    message other;
    auto s = detail::decide(static_cast<hooks *>(user)->on_publish, message(in), other);
    if (s == MIDGE_OK && other) *replace = const_cast<midge_message *>(other.release());
    return s;
  }
  static void thread_start(void *user) noexcept { quietly(static_cast<hooks *>(user)->on_thread_start); }
  static void thread_stop(void *user) noexcept { quietly(static_cast<hooks *>(user)->on_thread_stop); }
  template <class F> static void quietly(F &f) noexcept {
#if defined(__cpp_exceptions)
    try {
      f();
    } catch (...) {
    }
#else
    f();
#endif
  }
};

/// A running broker. The destructor stops it at once and waits for its end.
class broker {
  detail::owned<midge_broker, midge_broker_free> b_;
  explicit broker(midge_broker b) noexcept : b_(b) {}

public:
  static result<broker> start(const config &c) {
    midge_broker b{};
    if (auto s = midge_broker_start(c.get(), &b); s != MIDGE_OK) return error(s);
    return broker(b);
  }
  /// The TCP port of a listener, 0 if there is none.
  std::uint16_t port(std::uint32_t listener = 0) const noexcept {
    std::uint16_t p = 0;
    return midge_broker_addr(b_.get(), listener, nullptr, 0, &p) == MIDGE_OK ? p : std::uint16_t{0};
  }
  result<std::string> url(std::uint32_t listener = 0) const {
    char buffer[512];
    if (auto s = midge_broker_addr(b_.get(), listener, buffer, sizeof buffer, nullptr); s != MIDGE_OK) return error(s);
    return std::string(buffer);
  }
  status publish(const char *topic, std::string_view payload, std::uint8_t qos = 0, bool retain = false) {
    return check(midge_publish(b_.get(), topic, payload.data(), payload.size(), qos, retain));
  }
  /// Without a copy: the container (with data() and size()) moves into the broker.
  template <class C, std::enable_if_t<!std::is_lvalue_reference_v<C> && !std::is_const_v<C>, int> = 0>
  status publish_owned(const char *topic, C &&payload, std::uint8_t qos = 0, bool retain = false) {
    auto box = std::make_unique<C>(std::forward<C>(payload));
    midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
    args.topic = topic;
    args.qos = qos;
    args.retain = retain;
    args.payload = box->data();
    args.payload_len = box->size() * sizeof(*box->data());
    args.payload_user = box.get();
    args.payload_free = &detail::destroy<C>;
    auto s = midge_publish_ex(b_.get(), &args, nullptr);
    if (s == MIDGE_OK) (void)box.release();
    return check(s);
  }
  /// A message made before, or received, any number of times: nothing is copied for queues.
  result<std::uint32_t> publish(const message &m) {
    std::uint32_t matched = 0;
    if (auto s = midge_publish_message(b_.get(), m.get(), &matched); s != MIDGE_OK) return error(s);
    return matched;
  }
  /// With everything; the number of receivers.
  result<std::uint32_t> publish(const midge_publish_args &args) {
    std::uint32_t matched = 0;
    if (auto s = midge_publish_ex(b_.get(), &args, &matched); s != MIDGE_OK) return error(s);
    return matched;
  }
  result<std::vector<message>> retained(const char *filter) const {
    std::vector<const midge_message *> raw(16);
    std::size_t count = 0;
    for (;;) {
      if (auto s = midge_broker_retained(b_.get(), filter, raw.data(), raw.size(), &count); s != MIDGE_OK)
        return error(s);
      std::vector<message> all;
      for (std::size_t n = 0; n < count && n < raw.size(); ++n) all.push_back(message::adopt(raw[n]));
      if (count <= raw.size()) return all;
      raw.resize(count);
    }
  }
  status set_retained(const char *topic, std::string_view payload) {
    return check(midge_broker_set_retained(b_.get(), topic, payload.data(), payload.size()));
  }
  status disconnect(const char *client_id, std::uint8_t reason) {
    return check(midge_broker_disconnect(b_.get(), client_id, reason));
  }
  result<midge_stats> stats() const {
    midge_stats s{};
    s.struct_size = sizeof s;
    if (auto st = midge_broker_stats(b_.get(), &s); st != MIDGE_OK) return error(st);
    return s;
  }
  status quiesce(milliseconds timeout) { return check(midge_broker_quiesce(b_.get(), detail::ms(timeout))); }
  status wait_subscribers(const char *topic, std::uint32_t n, milliseconds timeout) {
    return check(midge_broker_wait_subscribers(b_.get(), topic, n, detail::ms(timeout)));
  }
  status stop(milliseconds drain = milliseconds(0)) { return check(midge_broker_stop(b_.get(), detail::ms(drain))); }
  status join(milliseconds timeout = forever) { return check(midge_broker_join(b_.get(), detail::ms(timeout))); }
  midge_broker get() const noexcept { return b_.get(); }
};

/// What queue::next() fills. Cleared by the destructor and by the next next().
class event {
  midge_event e_ = MIDGE_EVENT_INIT;

public:
  event() = default;
  event(const event &) = delete;
  event &operator=(const event &) = delete;
  ~event() { midge_event_clear(&e_); }
  midge_event *cleared() noexcept {
    midge_event_clear(&e_);
    return &e_;
  }
  const midge_event *operator->() const noexcept { return &e_; }
  const midge_event &operator*() const noexcept { return e_; }
  /// The message, kept alive by what is returned; empty if the event has none.
  midge::message message() const noexcept { return midge::message(e_.message); }
};

/// A bounded queue of messages and events.
class queue {
  detail::owned<midge_queue, midge_queue_free> q_;
  explicit queue(midge_queue q) noexcept : q_(q) {}

public:
  static result<queue> create(const broker &b, std::uint32_t mask = 0, std::size_t max_events = 1024,
                              std::size_t max_bytes = 0, int overflow = MIDGE_OVERFLOW_DROP_OLDEST) {
    midge_queue q{};
    if (auto s = midge_queue_new(b.get(), mask, max_events, max_bytes, overflow, &q); s != MIDGE_OK) return error(s);
    return queue(q);
  }
  /// Whether something came.
  bool next(event &e, milliseconds timeout) noexcept { return poll(e, timeout) == MIDGE_OK; }
  /// As next(), and why not.
  midge_status poll(event &e, milliseconds timeout) noexcept {
    return midge_queue_next(q_.get(), detail::ms(timeout), e.cleared());
  }
  /// To be polled for reading, never to be read from or closed.
  result<int> fd() const {
    std::int32_t fd = -1;
    if (auto s = midge_queue_fd(q_.get(), &fd); s != MIDGE_OK) return error(s);
    return static_cast<int>(fd);
  }
  /// Calls f for each event on a thread of its own. An exception of f is swallowed.
  template <class F> status dispatch(F f) {
    auto owned = std::make_unique<F>(std::move(f));
    auto s = midge_queue_dispatch(q_.get(), &call<F>, owned.get(), &detail::destroy<F>);
    if (s == MIDGE_OK) (void)owned.release();
    return check(s);
  }
  status wake() { return check(midge_queue_wake(q_.get())); }
  midge_queue get() const noexcept { return q_.get(); }

private:
  template <class F> static void call(void *user, const midge_event *e) noexcept {
#if defined(__cpp_exceptions)
    try {
      (*static_cast<F *>(user))(*e);
    } catch (...) {
    }
#else
    (*static_cast<F *>(user))(*e);
#endif
  }
};

/// Subscriptions that end in a queue.
class client {
  detail::owned<midge_client, midge_client_free> c_;
  explicit client(midge_client c) noexcept : c_(c) {}

public:
  static result<client> create(const broker &b, const queue &q, const char *client_id = nullptr) {
    midge_client c{};
    if (auto s = midge_client_new(b.get(), client_id, q.get(), &c); s != MIDGE_OK) return error(s);
    return client(c);
  }
  status subscribe(const char *filter, std::uint8_t qos = 2, std::uint32_t tag = 0) {
    return check(midge_client_subscribe(c_.get(), filter, qos, tag));
  }
  status unsubscribe(const char *filter) { return check(midge_client_unsubscribe(c_.get(), filter)); }
  /// In the client's name; the number of receivers.
  result<std::uint32_t> publish(const midge_publish_args &args) {
    std::uint32_t matched = 0;
    if (auto s = midge_client_publish(c_.get(), &args, &matched); s != MIDGE_OK) return error(s);
    return matched;
  }
  midge_client get() const noexcept { return c_.get(); }
};

} // namespace midge
