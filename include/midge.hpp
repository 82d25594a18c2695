// midge.hpp - modern C++ over midge.h: C++17, 20 and 23, with and without exceptions and RTTI. Header
// only, without an ABI of its own; one file, so that two are all there is to copy.
//
//   midge::config config;
//   config.listen("tcp://127.0.0.1:0").value();
//   auto broker = midge::broker::start(config).value();
//   auto vitals = broker.subscribe("ward/+/spo2").value();
//   broker.publish("ward/7/spo2", "97", midge::qos::at_least_once).value();
//   for (const midge::message &message : vitals) use(message.topic(), message.payload());
//
// CONTRACT, besides that at the head of midge.h, which holds here, too
//  Results     What can fail gives a midge::result<T>, used like std::expected<T, midge::error>. value()
//              of a failure throws midge::exception; without exceptions, and for * and ->, it aborts.
//  Exceptions  Nothing here throws but value() and the callables that are passed to results. Exceptions
//              of callbacks never reach the library: a decision that throws is a no, and on_exception of
//              the hooks is told. Out of memory ends the program.
//  Ownership   Brokers, queues, clients, receipts, snapshots, decisions and events are movable owners;
//              messages are shared references. Default-constructed and moved-from ones are empty: false
//              as a condition, and every use of them gives errc::invalid. A std::string_view or
//              midge::bytes out of an object is valid as long as that object.
//  Threads     Every function of a broker, queue, client, receipt or snapshot from any thread at any
//              time; moving, assigning and destroying one is for one thread alone.
//  Timeouts    Any std::chrono duration or time point, rounded up to milliseconds; negative or past is at
//              once; longer than 24 days is 24 days; only midge::forever is without limit.
#pragma once
#if !defined(__cplusplus) || (__cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L))
#error "midge.hpp needs C++17 or later (-std=c++17); midge.h is for C99 and C++11"
#endif
#include "midge.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>
#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif
#if defined(__cpp_lib_expected)
#include <expected>
#endif
#if defined(_WIN32)
// As winsock2.h has it, which brings all of windows.h along. Link to ws2_32 where descriptors are used.
extern "C" __declspec(dllimport) int __stdcall closesocket(std::uintptr_t);
#else
#include <unistd.h>
#endif

// The category and the exception are one in all shared objects of a program, whatever they hide.
#if defined(__GNUC__) && !defined(_WIN32)
#define MIDGE_SHARED_BY_ALL __attribute__((visibility("default")))
#else
#define MIDGE_SHARED_BY_ALL
#endif

namespace midge {

// ---- numbers -----------------------------------------------------------------------------------

/// What can go wrong. Goes into a std::error_code of midge::category().
enum class errc : int {
  ok = MIDGE_OK,
  invalid = MIDGE_E_INVALID,
  state = MIDGE_E_STATE,
  timeout = MIDGE_E_TIMEOUT,
  would_block = MIDGE_E_WOULD_BLOCK,
  limit = MIDGE_E_LIMIT,
  not_found = MIDGE_E_NOT_FOUND,
  no_memory = MIDGE_E_NOMEM,
  denied = MIDGE_E_DENIED,
  io = MIDGE_E_IO,
  address_in_use = MIDGE_E_ADDR_IN_USE,
  config = MIDGE_E_CONFIG,
  unsupported = MIDGE_E_UNSUPPORTED,
  abi = MIDGE_E_ABI,
  reentrant = MIDGE_E_REENTRANT,
  forked = MIDGE_E_FORKED,
  closed = MIDGE_E_CLOSED,
  panic = MIDGE_E_PANIC,
};

/// Quality of service.
enum class qos : std::uint8_t { at_most_once = 0, at_least_once = 1, exactly_once = 2 };

/// MQTT version of a client; unknown is none.
enum class protocol : std::uint8_t { unknown = 0, mqtt_3_1 = 3, mqtt_3_1_1 = 4, mqtt_5 = 5 };

/// What gives way when a queue is full.
enum class overflow : std::int32_t {
  drop_oldest = MIDGE_OVERFLOW_DROP_OLDEST,
  drop_newest = MIDGE_OVERFLOW_DROP_NEWEST
};

/// Whether retained messages come with a subscription.
enum class retain_handling : std::uint8_t {
  send = MIDGE_RETAIN_SEND,
  send_if_new = MIDGE_RETAIN_SEND_IF_NEW,
  do_not_send = MIDGE_RETAIN_DO_NOT_SEND,
};

/// Where a message came from.
enum class origin : std::uint32_t {
  client = MIDGE_ORIGIN_CLIENT,
  host = MIDGE_ORIGIN_HOST,
  will = MIDGE_ORIGIN_WILL,
  broker = MIDGE_ORIGIN_BROKER,
  bridge = MIDGE_ORIGIN_BRIDGE,
};

/// Why a message did not reach a receiver.
enum class drop_reason : std::uint32_t {
  queue_full = MIDGE_DROP_QUEUE_FULL,
  total_queue_full = MIDGE_DROP_TOTAL_QUEUE_FULL,
  packet_too_large = MIDGE_DROP_PACKET_TOO_LARGE,
  not_connected = MIDGE_DROP_NOT_CONNECTED,
  expired = MIDGE_DROP_EXPIRED,
  refused_by_hook = MIDGE_DROP_REFUSED_BY_HOOK,
  not_authorized = MIDGE_DROP_NOT_AUTHORIZED,
  session_ended = MIDGE_DROP_SESSION_ENDED,
  retained_full = MIDGE_DROP_RETAINED_FULL,
  rate_exceeded = MIDGE_DROP_RATE_EXCEEDED,
  observer_full = MIDGE_DROP_OBSERVER_FULL,
  refused_by_receiver = MIDGE_DROP_REFUSED_BY_RECEIVER,
  memory_full = MIDGE_DROP_MEMORY_FULL,
  reserved_topic = MIDGE_DROP_RESERVED_TOPIC,
};

/// Why a connection ended or was refused.
enum class end_reason : std::uint32_t {
  other = MIDGE_END_OTHER,
  by_client = MIDGE_END_BY_CLIENT,
  connection_lost = MIDGE_END_CONNECTION_LOST,
  keep_alive_timeout = MIDGE_END_KEEP_ALIVE_TIMEOUT,
  connect_timeout = MIDGE_END_CONNECT_TIMEOUT,
  taken_over = MIDGE_END_TAKEN_OVER,
  protocol_violation = MIDGE_END_PROTOCOL_VIOLATION,
  refused = MIDGE_END_REFUSED,
  by_server = MIDGE_END_BY_SERVER,
  too_slow = MIDGE_END_TOO_SLOW,
  memory_full = MIDGE_END_MEMORY_FULL,
  shutdown = MIDGE_END_SHUTDOWN,
  internal_error = MIDGE_END_INTERNAL_ERROR,
};

/// Packets that carry reason codes.
enum class packet : std::uint32_t {
  connack = MIDGE_PACKET_CONNACK,
  puback = MIDGE_PACKET_PUBACK,
  pubrec = MIDGE_PACKET_PUBREC,
  pubrel = MIDGE_PACKET_PUBREL,
  pubcomp = MIDGE_PACKET_PUBCOMP,
  suback = MIDGE_PACKET_SUBACK,
  unsuback = MIDGE_PACKET_UNSUBACK,
  disconnect = MIDGE_PACKET_DISCONNECT,
  auth = MIDGE_PACKET_AUTH,
};

/// MQTT reason codes.
enum class reason_code : std::uint8_t {
  success = MIDGE_RC_SUCCESS,
  granted_qos_1 = MIDGE_RC_GRANTED_QOS_1,
  granted_qos_2 = MIDGE_RC_GRANTED_QOS_2,
  disconnect_with_will = MIDGE_RC_DISCONNECT_WITH_WILL,
  no_matching_subscribers = MIDGE_RC_NO_MATCHING_SUBSCRIBERS,
  no_subscription_existed = MIDGE_RC_NO_SUBSCRIPTION_EXISTED,
  continue_authentication = MIDGE_RC_CONTINUE_AUTHENTICATION,
  re_authenticate = MIDGE_RC_RE_AUTHENTICATE,
  unspecified_error = MIDGE_RC_UNSPECIFIED_ERROR,
  malformed_packet = MIDGE_RC_MALFORMED_PACKET,
  protocol_error = MIDGE_RC_PROTOCOL_ERROR,
  implementation_specific_error = MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR,
  unsupported_protocol_version = MIDGE_RC_UNSUPPORTED_PROTOCOL_VERSION,
  client_identifier_not_valid = MIDGE_RC_CLIENT_IDENTIFIER_NOT_VALID,
  bad_user_name_or_password = MIDGE_RC_BAD_USER_NAME_OR_PASSWORD,
  not_authorized = MIDGE_RC_NOT_AUTHORIZED,
  server_unavailable = MIDGE_RC_SERVER_UNAVAILABLE,
  server_busy = MIDGE_RC_SERVER_BUSY,
  banned = MIDGE_RC_BANNED,
  server_shutting_down = MIDGE_RC_SERVER_SHUTTING_DOWN,
  bad_authentication_method = MIDGE_RC_BAD_AUTHENTICATION_METHOD,
  keep_alive_timeout = MIDGE_RC_KEEP_ALIVE_TIMEOUT,
  session_taken_over = MIDGE_RC_SESSION_TAKEN_OVER,
  topic_filter_invalid = MIDGE_RC_TOPIC_FILTER_INVALID,
  topic_name_invalid = MIDGE_RC_TOPIC_NAME_INVALID,
  packet_identifier_in_use = MIDGE_RC_PACKET_IDENTIFIER_IN_USE,
  packet_identifier_not_found = MIDGE_RC_PACKET_IDENTIFIER_NOT_FOUND,
  receive_maximum_exceeded = MIDGE_RC_RECEIVE_MAXIMUM_EXCEEDED,
  topic_alias_invalid = MIDGE_RC_TOPIC_ALIAS_INVALID,
  packet_too_large = MIDGE_RC_PACKET_TOO_LARGE,
  message_rate_too_high = MIDGE_RC_MESSAGE_RATE_TOO_HIGH,
  quota_exceeded = MIDGE_RC_QUOTA_EXCEEDED,
  administrative_action = MIDGE_RC_ADMINISTRATIVE_ACTION,
  payload_format_invalid = MIDGE_RC_PAYLOAD_FORMAT_INVALID,
  retain_not_supported = MIDGE_RC_RETAIN_NOT_SUPPORTED,
  qos_not_supported = MIDGE_RC_QOS_NOT_SUPPORTED,
  use_another_server = MIDGE_RC_USE_ANOTHER_SERVER,
  server_moved = MIDGE_RC_SERVER_MOVED,
  shared_subscriptions_not_supported = MIDGE_RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
  connection_rate_exceeded = MIDGE_RC_CONNECTION_RATE_EXCEEDED,
  maximum_connect_time = MIDGE_RC_MAXIMUM_CONNECT_TIME,
  subscription_identifiers_not_supported = MIDGE_RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
  wildcard_subscriptions_not_supported = MIDGE_RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
};

/// Kinds of events. They combine with |.
enum class event_type : std::uint32_t {
  none = 0,
  message = MIDGE_EV_MESSAGE,
  connect = MIDGE_EV_CONNECT,
  disconnect = MIDGE_EV_DISCONNECT,
  subscribe = MIDGE_EV_SUBSCRIBE,
  unsubscribe = MIDGE_EV_UNSUBSCRIBE,
  ack = MIDGE_EV_ACK,
  drop = MIDGE_EV_DROP,
  publish = MIDGE_EV_PUBLISH,
  deliver = MIDGE_EV_DELIVER,
  expire = MIDGE_EV_EXPIRE,
  session_end = MIDGE_EV_SESSION_END,
  will = MIDGE_EV_WILL,
  replaced = MIDGE_EV_REPLACED,
  all = MIDGE_EV_ALL,
};

/// What a client wants to do. They combine with |.
enum class acl_action : std::uint32_t {
  none = 0,
  publish = 1U << MIDGE_ACL_PUBLISH,
  subscribe = 1U << MIDGE_ACL_SUBSCRIBE,
  receive = 1U << MIDGE_ACL_RECEIVE,
};

/// What one session did with a message.
enum class outcome : std::uint32_t {
  sent = MIDGE_OUTCOME_SENT,
  queued = MIDGE_OUTCOME_QUEUED,
  dropped = MIDGE_OUTCOME_DROPPED
};

/// How serious a line of the log is.
enum class log_level : std::int32_t {
  off = MIDGE_LOG_OFF,
  error = MIDGE_LOG_ERROR,
  warn = MIDGE_LOG_WARN,
  info = MIDGE_LOG_INFO,
  debug = MIDGE_LOG_DEBUG,
};

/// How far a broker has come.
enum class broker_state : std::uint32_t { stopped = 0, running = 1, stopping = 2 };

constexpr event_type operator|(event_type a, event_type b) noexcept {
  return static_cast<event_type>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr event_type operator&(event_type a, event_type b) noexcept {
  return static_cast<event_type>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}
constexpr acl_action operator|(acl_action a, acl_action b) noexcept {
  return static_cast<acl_action>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}

/// Names for logs; static.
inline std::string_view name(errc e) noexcept { return midge_status_name(static_cast<midge_status>(e)); }
inline std::string_view name(drop_reason r) noexcept { return midge_drop_reason_name(static_cast<std::uint32_t>(r)); }
inline std::string_view name(end_reason r) noexcept { return midge_end_reason_name(static_cast<std::uint32_t>(r)); }
inline std::string_view name(reason_code r) noexcept { return midge_reason_code_name(static_cast<std::uint8_t>(r)); }
inline std::string_view name(packet p) noexcept { return midge_packet_name(static_cast<std::uint32_t>(p)); }
inline std::string_view name(event_type t) noexcept { return midge_event_name(static_cast<std::uint32_t>(t)); }

inline std::string_view version() noexcept { return midge_version(); }
/// Whether the library is the one of this header.
inline bool version_matches() noexcept { return midge_version_number() == MIDGE_VERSION_NUMBER; }

// ---- errors and results ------------------------------------------------------------------------

/// The category of errc. errc::timeout equals std::errc::timed_out, and so on where there is one.
MIDGE_SHARED_BY_ALL inline const std::error_category &category() noexcept {
  class kinds final : public std::error_category {
  public:
    constexpr kinds() noexcept = default;
    const char *name() const noexcept override { return "midge"; }
    std::string message(int value) const override {
      switch (static_cast<errc>(value)) {
        case errc::ok: return "success";
        case errc::invalid: return "an argument is not valid";
        case errc::state: return "not possible in this state";
        case errc::timeout: return "not in time";
        case errc::would_block: return "the answer comes later";
        case errc::limit: return "a bound would be exceeded";
        case errc::not_found: return "there is no such thing";
        case errc::no_memory: return "not enough memory";
        case errc::denied: return "refused";
        case errc::io: return "the operating system said no";
        case errc::address_in_use: return "the address of a listener is taken";
        case errc::config: return "the configuration does not fit";
        case errc::abi: return "the size of a structure is not understood";
        case errc::reentrant: return "a blocking function was called from a callback";
        case errc::forked: return "called in a forked child";
        case errc::closed: return "closed";
        case errc::panic: return "a panic inside the library was caught";
        case errc::unsupported: return "this build leaves out what that needs";
      }
      return "unknown";
    }
    std::error_condition default_error_condition(int value) const noexcept override {
      switch (static_cast<errc>(value)) {
        case errc::ok: return {};
        case errc::invalid: return std::errc::invalid_argument;
        case errc::timeout: return std::errc::timed_out;
        case errc::would_block: return std::errc::operation_would_block;
        case errc::no_memory: return std::errc::not_enough_memory;
        case errc::denied: return std::errc::permission_denied;
        case errc::io: return std::errc::io_error;
        case errc::address_in_use: return std::errc::address_in_use;
        case errc::reentrant: return std::errc::resource_deadlock_would_occur;
        case errc::unsupported: return std::errc::not_supported;
        case errc::state:
        case errc::limit:
        case errc::not_found:
        case errc::config:
        case errc::abi:
        case errc::forked:
        case errc::closed:
        case errc::panic: break;
      }
      return {value, *this};
    }
  };
  // Never destroyed: nothing is registered for the end of the process, and errors can be asked until then.
  alignas(kinds) static unsigned char room[sizeof(kinds)];
  static const auto *const made = ::new (static_cast<void *>(room)) kinds;
  return *made;
}
/// That of errc::ok is std::error_code().
inline std::error_code make_error_code(errc e) noexcept {
  return e == errc::ok ? std::error_code() : std::error_code(static_cast<int>(e), category());
}

// What is compiled with exceptions and what is compiled without have names of their own, so that both
// may be linked into one program and each does what it was compiled for.
#if defined(__cpp_exceptions)
inline namespace throwing {
#else
inline namespace aborting {
#endif

/// A failure with its details, copied when it was made.
class error {
  midge_error_info info_{};

public:
  /// No failure.
  error() noexcept : error(errc::ok, {}) {}
  /// The last failure on this thread, if that is the one of `status`.
  explicit error(midge_status status) noexcept {
    info_.struct_size = static_cast<std::uint32_t>(sizeof info_);
    if (midge_last_error(&info_) != MIDGE_OK || info_.status != status) {
      info_ = midge_error_info{};
      info_.status = status;
    }
  }
  /// A failure without a call, for code between the library and the host.
  error(errc kind, std::string_view message = {}) noexcept { // implicit, so that results can be made of it
    info_.struct_size = static_cast<std::uint32_t>(sizeof info_);
    info_.status = static_cast<midge_status>(kind);
    const auto length = message.size() < sizeof info_.message ? message.size() : sizeof info_.message - 1;
    if (length != 0) std::memcpy(info_.message, message.data(), length);
    info_.message[length] = '\0';
  }

  errc kind() const noexcept { return static_cast<errc>(info_.status); }
  midge_status status() const noexcept { return info_.status; }
  std::error_code code() const noexcept { return make_error_code(kind()); }
  operator std::error_code() const noexcept { return code(); }
  /// For example "MIDGE_E_TIMEOUT".
  std::string_view name() const noexcept { return midge::name(kind()); }
  /// What was wrong, naming the argument. Never has payloads or passwords in it.
  std::string_view message() const noexcept { return info_.message; }
  /// errno of the operating system, or 0.
  int os_error() const noexcept { return info_.os_error; }
  /// The reason code of a refusal (errc::denied), else success.
  reason_code reason() const noexcept { return static_cast<reason_code>(info_.reason); }
  /// Name and message, for a log.
  std::string what() const {
    std::string text(name());
    if (info_.message[0] != '\0') text.append(": ").append(info_.message);
    return text;
  }
  friend bool operator==(const error &a, const error &b) noexcept { return a.kind() == b.kind(); }
  friend bool operator!=(const error &a, const error &b) noexcept { return a.kind() != b.kind(); }
};

template <class Stream> auto operator<<(Stream &stream, const error &e) -> decltype(stream << e.what()) {
  return stream << e.what();
}

#if defined(__cpp_exceptions)
/// What value() of a failure throws.
class MIDGE_SHARED_BY_ALL exception : public std::system_error {
  midge::error error_;

public:
  explicit exception(const midge::error &e) : std::system_error(e.code(), std::string(e.message())), error_(e) {}
  const midge::error &error() const noexcept { return error_; }
};
#endif

template <class T> class result;

namespace detail {

[[noreturn]] inline void raise([[maybe_unused]] const error &e) {
#if defined(__cpp_exceptions)
  throw exception(e);
#else
  std::abort();
#endif
}

template <class T> struct is_result : std::false_type {};
template <class T> struct is_result<result<T>> : std::true_type {};
template <class T> using bare = std::remove_cv_t<std::remove_reference_t<T>>;

/// What a callable makes of a value, as a result.
template <class F, class... A> auto transformed(F &&f, A &&...a) {
  using U = std::invoke_result_t<F, A...>;
  if constexpr (std::is_void_v<U>) {
    std::invoke(std::forward<F>(f), std::forward<A>(a)...);
    return result<U>();
  } else {
    return result<bare<U>>(std::invoke(std::forward<F>(f), std::forward<A>(a)...));
  }
}

/// What results of all types have.
template <class D> class result_base {
  const D &self() const noexcept { return static_cast<const D &>(*this); }

public:
  explicit operator bool() const noexcept { return self().has_value(); }
  /// errc::ok, or what went wrong.
  errc kind() const noexcept { return self().has_value() ? errc::ok : self().error().kind(); }
  midge_status status() const noexcept { return static_cast<midge_status>(kind()); }
  std::error_code error_code() const noexcept { return make_error_code(kind()); }
  /// The error, or `other`.
  midge::error error_or(midge::error other) const noexcept { return self().has_value() ? other : self().error(); }
  friend bool operator==(const D &r, errc e) noexcept { return r.kind() == e; }
  friend bool operator!=(const D &r, errc e) noexcept { return r.kind() != e; }
#if !defined(__cpp_impl_three_way_comparison)
  friend bool operator==(errc e, const D &r) noexcept { return r.kind() == e; }
  friend bool operator!=(errc e, const D &r) noexcept { return r.kind() != e; }
#endif
};

} // namespace detail

/// A value or an error, used like std::expected<T, midge::error>. What is asked of a temporary comes by
/// value, so that `for (auto &c : *broker.clients())` is safe in every version of C++.
template <class T> class result : public detail::result_base<result<T>> {
  std::variant<T, midge::error> v_;

  template <class U>
  static constexpr bool converts =
      std::is_constructible_v<T, U &&> && !std::is_same_v<detail::bare<U>, result> &&
      !std::is_same_v<detail::bare<U>, midge::error> && !std::is_same_v<detail::bare<U>, errc>;
  void require() const {
    if (!has_value()) detail::raise(error());
  }

public:
  using value_type = T;
  using error_type = midge::error;
  template <class U> using rebind = result<U>;

  template <class U = T, std::enable_if_t<std::is_default_constructible_v<U>, int> = 0>
  result() noexcept(std::is_nothrow_default_constructible_v<T>) {}
  template <class U = T, std::enable_if_t<converts<U> && std::is_convertible_v<U &&, T>, int> = 0>
  result(U &&value) : v_(std::in_place_index<0>, std::forward<U>(value)) {}
  template <class U = T, std::enable_if_t<converts<U> && !std::is_convertible_v<U &&, T>, long> = 0>
  explicit result(U &&value) : v_(std::in_place_index<0>, std::forward<U>(value)) {}
  result(midge::error e) noexcept : v_(std::in_place_index<1>, e) {}
  result(errc e) noexcept : v_(std::in_place_index<1>, e) {}

  bool has_value() const noexcept { return v_.index() == 0; }

  T &value() & {
    require();
    return *std::get_if<0>(&v_);
  }
  const T &value() const & {
    require();
    return *std::get_if<0>(&v_);
  }
  T value() && {
    require();
    return std::move(*std::get_if<0>(&v_));
  }
  T &operator*() &noexcept { return *checked(); }
  const T &operator*() const &noexcept { return *checked(); }
  T operator*() &&noexcept { return std::move(*checked()); }
  T *operator->() noexcept { return checked(); }
  const T *operator->() const noexcept { return checked(); }

  /// The error; that of success if there is none.
  midge::error error() const noexcept { return has_value() ? midge::error() : *std::get_if<1>(&v_); }

  template <class U> T value_or(U &&other) const & {
    return has_value() ? **this : static_cast<T>(std::forward<U>(other));
  }
  template <class U> T value_or(U &&other) && {
    return has_value() ? std::move(*checked()) : static_cast<T>(std::forward<U>(other));
  }
  /// The value as an optional; the error is forgotten.
  std::optional<T> ok() && {
    if (has_value()) return std::optional<T>(std::move(*checked()));
    return std::nullopt;
  }

  /// f(value), which gives a result.
  template <class F> auto and_then(F &&f) & -> std::invoke_result_t<F, T &> {
    if (has_value()) return std::invoke(std::forward<F>(f), **this);
    return error();
  }
  template <class F> auto and_then(F &&f) const & -> std::invoke_result_t<F, const T &> {
    if (has_value()) return std::invoke(std::forward<F>(f), **this);
    return error();
  }
  template <class F> auto and_then(F &&f) && -> std::invoke_result_t<F, T &&> {
    if (has_value()) return std::invoke(std::forward<F>(f), std::move(*checked()));
    return error();
  }
  /// The result of what f makes of the value.
  template <class F> auto transform(F &&f) & -> decltype(detail::transformed(std::forward<F>(f), std::declval<T &>())) {
    if (has_value()) return detail::transformed(std::forward<F>(f), **this);
    return error();
  }
  template <class F>
  auto transform(F &&f) const & -> decltype(detail::transformed(std::forward<F>(f), std::declval<const T &>())) {
    if (has_value()) return detail::transformed(std::forward<F>(f), **this);
    return error();
  }
  template <class F>
  auto transform(F &&f) && -> decltype(detail::transformed(std::forward<F>(f), std::declval<T &&>())) {
    if (has_value()) return detail::transformed(std::forward<F>(f), std::move(*checked()));
    return error();
  }
  /// f(error), which gives a result<T>.
  template <class F> result or_else(F &&f) const & {
    if (has_value()) return *this;
    return std::invoke(std::forward<F>(f), error());
  }
  template <class F> result or_else(F &&f) && {
    if (has_value()) return std::move(*this);
    return std::invoke(std::forward<F>(f), error());
  }
#if defined(__cpp_lib_expected)
  operator std::expected<T, midge::error>() && {
    if (has_value()) return std::move(*checked());
    return std::unexpected(error());
  }
#endif

private:
  T *checked() noexcept {
    if (T *value = std::get_if<0>(&v_)) return value;
    std::abort();
  }
  const T *checked() const noexcept {
    if (const T *value = std::get_if<0>(&v_)) return value;
    std::abort();
  }
};

/// Success or an error.
template <> class result<void> : public detail::result_base<result<void>> {
  midge::error error_;

public:
  using value_type = void;
  using error_type = midge::error;
  template <class U> using rebind = result<U>;

  result() noexcept = default;
  result(midge::error e) noexcept : error_(e) {}
  result(errc e) noexcept : error_(e) {}

  bool has_value() const noexcept { return error_.kind() == errc::ok; }
  void value() const {
    if (!has_value()) detail::raise(error_);
  }
  void operator*() const noexcept {
    if (!has_value()) std::abort();
  }
  midge::error error() const noexcept { return error_; }
  template <class F> auto and_then(F &&f) const -> std::invoke_result_t<F> {
    if (has_value()) return std::invoke(std::forward<F>(f));
    return error_;
  }
  template <class F> auto transform(F &&f) const -> decltype(detail::transformed(std::forward<F>(f))) {
    if (has_value()) return detail::transformed(std::forward<F>(f));
    return error_;
  }
  template <class F> result or_else(F &&f) const {
    if (has_value()) return *this;
    return std::invoke(std::forward<F>(f), error_);
  }
#if defined(__cpp_lib_expected)
  operator std::expected<void, midge::error>() const {
    if (has_value()) return {};
    return std::unexpected(error_);
  }
#endif
};

/// Result of what gives nothing.
using status = result<void>;

/// A status of midge.h with its details.
inline status check(midge_status s) noexcept {
  if (s == MIDGE_OK) return {};
  return error(s);
}

// ---- texts, bytes, time ------------------------------------------------------------------------

namespace detail {

template <class C> using data_of = decltype(std::data(std::declval<const C &>()));
template <class C> using size_of = decltype(std::size(std::declval<const C &>()));
template <class C, class = void> struct element { using type = void; };
template <class C> struct element<C, std::void_t<data_of<C>, size_of<C>>> {
  using type = std::remove_cv_t<std::remove_pointer_t<data_of<C>>>;
};
template <class C> using element_t = typename element<bare<C>>::type;
/// Whether something lies in one piece, and its bytes are its value.
template <class C>
constexpr bool is_contiguous = std::is_trivially_copyable_v<element_t<C>> && !std::is_array_v<bare<C>>;
template <> inline constexpr bool is_contiguous<void> = false;
/// Of what arrays are literals, with a NUL at their end.
#if defined(__cpp_char8_t)
template <class T> constexpr bool is_character = std::is_same_v<T, char> || std::is_same_v<T, char8_t>;
#else
template <class T> constexpr bool is_character = std::is_same_v<T, char>;
#endif
template <class C, class = void> constexpr bool is_text = false;
template <class C>
constexpr bool is_text<C, std::enable_if_t<!std::is_void_v<element_t<C>>>> = is_contiguous<C> &&
                                                                             sizeof(element_t<C>) == 1;

} // namespace detail

/// Borrowed bytes: of a string, a string_view, a vector, an array, a span, or
/// whatever else lies in one piece. Of a `const char *`, and so of a literal, up to its NUL.
class bytes {
  const unsigned char *data_ = nullptr;
  std::size_t size_ = 0;

public:
  using value_type = unsigned char;
  using const_iterator = const unsigned char *;
  constexpr bytes() noexcept = default;
  bytes(const void *data, std::size_t size) noexcept : data_(static_cast<const unsigned char *>(data)), size_(size) {}
  bytes(const char *text) noexcept : bytes(text, text == nullptr ? 0 : std::strlen(text)) {}
#if defined(__cpp_char8_t)
  bytes(const char8_t *text) noexcept : bytes(reinterpret_cast<const char *>(text)) {}
#endif
  bytes(midge_bytes raw) noexcept : data_(raw.ptr), size_(raw.len) {}
  template <class C, std::enable_if_t<!std::is_void_v<detail::element_t<C>> && detail::is_contiguous<C> &&
                                          !std::is_same_v<detail::bare<C>, bytes>,
                                      int> = 0>
  bytes(const C &container) noexcept
      : bytes(static_cast<const void *>(std::data(container)), std::size(container) * sizeof(*std::data(container))) {}
  template <class T, std::size_t N,
            std::enable_if_t<std::is_trivially_copyable_v<T> && !detail::is_character<T>, int> = 0>
  bytes(const T (&array)[N]) noexcept : bytes(static_cast<const void *>(array), sizeof array) {}

  const unsigned char *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  const unsigned char *begin() const noexcept { return data_; }
  const unsigned char *end() const noexcept { return data_ + size_; }
  unsigned char operator[](std::size_t at) const noexcept { return data_[at]; }
  std::string_view text() const noexcept {
    return size_ == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char *>(data_), size_);
  }
  operator std::string_view() const noexcept { return text(); }
  std::string str() const { return std::string(text()); }
  std::vector<unsigned char> vec() const { return {begin(), end()}; }
#if defined(__cpp_lib_span)
  std::span<const std::byte> span() const noexcept {
    return std::as_bytes(std::span<const unsigned char>(data_, size_));
  }
  operator std::span<const std::byte>() const noexcept { return span(); }
#endif
  midge_bytes raw() const noexcept { return {data_, size_}; }
  friend bool operator==(const bytes &a, const bytes &b) noexcept { return a.text() == b.text(); }
  friend bool operator!=(const bytes &a, const bytes &b) noexcept { return !(a == b); }
};

template <class Stream> auto operator<<(Stream &stream, const bytes &b) -> decltype(stream << b.text()) {
  return stream << b.text();
}

/// A topic, a filter, or another text in UTF-8: of what bytes() takes, if its elements are single bytes.
/// A NUL inside is refused where it arrives.
class text {
  std::string_view view_{};

public:
  constexpr text() noexcept = default;
  text(const char *terminated) noexcept
      : view_(terminated == nullptr ? std::string_view() : std::string_view(terminated)) {}
#if defined(__cpp_char8_t)
  text(const char8_t *terminated) noexcept : text(reinterpret_cast<const char *>(terminated)) {}
#endif
  template <class C, std::enable_if_t<detail::is_text<C> && !std::is_same_v<detail::bare<C>, text>, int> = 0>
  text(const C &container) noexcept : view_(bytes(container).text()) {}
  std::string_view view() const noexcept { return view_; }
  operator std::string_view() const noexcept { return view_; }
  const char *data() const noexcept { return view_.data(); }
  std::size_t size() const noexcept { return view_.size(); }
  bool empty() const noexcept { return view_.empty(); }
};

struct forever_t {
  explicit constexpr forever_t(int) noexcept {}
};
/// For timeouts: without limit.
inline constexpr forever_t forever{0};

namespace detail {

/// A duration in units of `Period`, rounded up; negative, and what is no number, is 0.
template <class Period, class Rep, class P>
constexpr std::uint64_t rounded_up(std::chrono::duration<Rep, P> d, std::uint64_t most) noexcept {
  const double count = std::chrono::duration<double, Period>(d).count();
  if (!(count > 0)) return 0;
  if (count >= static_cast<double>(most)) return most;
  const auto whole = static_cast<std::uint64_t>(count);
  return static_cast<double>(whole) < count ? whole + 1 : whole;
}

} // namespace detail

/// How long to wait. Of any duration; of a time point, the time that is left until then.
class timeout {
  std::int32_t ms_;

public:
  constexpr timeout(forever_t) noexcept : ms_(MIDGE_WAIT_FOREVER) {}
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> d) noexcept
      : ms_(static_cast<std::int32_t>(
            detail::rounded_up<std::milli>(d, static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max())))) {}
  template <class Clock, class Duration>
  timeout(std::chrono::time_point<Clock, Duration> deadline) noexcept : timeout(deadline - Clock::now()) {}
  /// Milliseconds, or MIDGE_WAIT_FOREVER.
  constexpr std::int32_t count() const noexcept { return ms_; }
};

/// After how long a message expires: of any duration, rounded up to seconds, at least 1 and at most
/// 136 years; never by default.
class lifetime {
  std::uint32_t seconds_ = 0;

public:
  constexpr lifetime() noexcept = default;
  template <class Rep, class Period> constexpr lifetime(std::chrono::duration<Rep, Period> d) noexcept {
    const auto seconds = detail::rounded_up<std::ratio<1>>(d, std::numeric_limits<std::uint32_t>::max());
    seconds_ = seconds == 0 ? 1 : static_cast<std::uint32_t>(seconds);
  }
  /// Seconds, 0 for never.
  constexpr std::uint32_t count() const noexcept { return seconds_; }
};

namespace detail {

/// A text with a NUL behind it, for functions that take no length.
class terminated {
  char small_[128];
  std::unique_ptr<char[]> large_;
  const char *text_ = nullptr;

public:
  explicit terminated(std::string_view view) noexcept {
    if (!view.empty() && std::memchr(view.data(), '\0', view.size()) != nullptr) return;
    char *to = small_;
    if (view.size() >= sizeof small_) {
      large_ = std::make_unique<char[]>(view.size() + 1);
      to = large_.get();
    }
    if (!view.empty()) std::memcpy(to, view.data(), view.size());
    to[view.size()] = '\0';
    text_ = to;
  }
  terminated(const terminated &) = delete;
  terminated &operator=(const terminated &) = delete;
  explicit operator bool() const noexcept { return text_ != nullptr; }
  const char *get() const noexcept { return text_; }
};

inline error has_nul(const char *argument) noexcept {
  char message[64] = {};
  std::strncat(message, argument, 32);
  std::strcat(message, " has a NUL in it");
  return {errc::invalid, message};
}

inline std::string_view view(midge_bytes b) noexcept { return bytes(b).text(); }
inline std::optional<std::string_view> optional_view(midge_bytes b) noexcept {
  if (b.len == 0) return std::nullopt;
  return view(b);
}

template <class S> S sized() noexcept {
  S s{};
  s.struct_size = static_cast<std::uint32_t>(sizeof s);
  return s;
}

/// Sole owner of a handle.
template <class H, midge_status (*Free)(H)> class owned {
  H h_{};

public:
  owned() noexcept = default;
  explicit owned(H h) noexcept : h_(h) {}
  owned(owned &&other) noexcept : h_(other.release()) {}
  owned &operator=(owned &&other) noexcept {
    if (this != &other) {
      reset();
      h_ = other.release();
    }
    return *this;
  }
  ~owned() { reset(); }
  void reset() noexcept { (void)Free(release()); }
  H release() noexcept { return std::exchange(h_, H{}); }
  H get() const noexcept { return h_; }
  explicit operator bool() const noexcept { return h_.id != 0; }
};

template <class F> constexpr bool may_be_empty = std::is_pointer_v<F> || std::is_member_pointer_v<F>;
template <class S> constexpr bool may_be_empty<std::function<S>> = true;

} // namespace detail

/// A callable that is moved, not copied: std::function, lambdas that own what cannot be copied, functions.
template <class Signature> class function;
template <class R, class... A> class function<R(A...)> {
  struct base {
    base() = default;
    base(const base &) = delete;
    base &operator=(const base &) = delete;
    virtual ~base() = default;
    virtual R call(A... a) = 0;
  };
  template <class F> struct holder final : base {
    F f;
    template <class G> explicit holder(G &&g) : f(std::forward<G>(g)) {}
    R call(A... a) override { return static_cast<R>(std::invoke(f, std::forward<A>(a)...)); }
  };
  std::unique_ptr<base> f_;

public:
  function() noexcept = default;
  function(std::nullptr_t) noexcept {}
  template <class F, std::enable_if_t<!std::is_same_v<detail::bare<F>, function> &&
                                          std::is_invocable_r_v<R, std::decay_t<F> &, A...>,
                                      int> = 0>
  function(F &&f) {
    if constexpr (detail::may_be_empty<std::decay_t<F>>) {
      if (!f) return;
    }
    f_ = std::make_unique<holder<std::decay_t<F>>>(std::forward<F>(f));
  }
  explicit operator bool() const noexcept { return f_ != nullptr; }
  R operator()(A... a) const { return f_->call(std::forward<A>(a)...); }
};

/// Several callables as one, for visit().
template <class... F> struct overloaded : F... { using F::operator()...; };
template <class... F> overloaded(F...) -> overloaded<F...>;

// ---- messages ----------------------------------------------------------------------------------

/// What a message has besides topic and payload. All are valid for the call alone.
struct publish_options {
  midge::qos qos = midge::qos::at_most_once;
  bool retain = false;
  /// Receivers are told that the payload is UTF-8.
  bool utf8 = false;
  /// After which time the message expires.
  lifetime expiry{};
  text response_topic{};
  text content_type{};
  bytes correlation_data{};
  std::vector<std::pair<std::string_view, std::string_view>> user_properties{};
};

namespace detail {

/// Arguments for publishing, with what they point to.
class publish_args {
  midge_publish_args raw_ = sized<midge_publish_args>();
  std::vector<midge_bytes> properties_;

public:
  publish_args(text topic, bytes payload, const publish_options &options) noexcept {
    raw_.qos = static_cast<std::uint8_t>(options.qos);
    raw_.retain = options.retain;
    raw_.payload_utf8 = options.utf8;
    raw_.topic = topic.empty() ? "" : topic.data();
    raw_.topic_len = topic.size();
    raw_.payload = payload.data();
    raw_.payload_len = payload.size();
    raw_.message_expiry_s = options.expiry.count();
    if (!options.response_topic.empty()) raw_.response_topic = options.response_topic.data();
    raw_.response_topic_len = options.response_topic.size();
    if (!options.content_type.empty()) raw_.content_type = options.content_type.data();
    raw_.content_type_len = options.content_type.size();
    raw_.correlation_data = options.correlation_data.raw();
    properties_.reserve(options.user_properties.size() * 2);
    for (const auto &[key, value] : options.user_properties) {
      properties_.push_back(bytes(key).raw());
      properties_.push_back(bytes(value).raw());
    }
    raw_.user_props = properties_.empty() ? nullptr : properties_.data();
    raw_.user_props_len = properties_.size();
  }
  publish_args(const publish_args &) = delete;
  publish_args &operator=(const publish_args &) = delete;
  midge_publish_args *operator->() noexcept { return &raw_; }
  const midge_publish_args *get() const noexcept { return &raw_; }
};

template <class F> void destroy(void *p) noexcept { delete static_cast<F *>(p); }

/// Publishes a container that moves into the library.
template <class C, class Send>
auto give_away(text topic, C &&payload, const publish_options &options, Send send) noexcept {
  using container = bare<C>;
  auto box = std::make_unique<container>(std::forward<C>(payload));
  publish_args args(topic, bytes(*box), options);
  args->payload_user = box.get();
  args->payload_free = &destroy<container>;
  const midge_status s = send(args.get());
  if (s == MIDGE_OK) (void)box.release();
  return s;
}

} // namespace detail

/// A message: shared, never altered. Copying one takes a reference.
class message {
  const midge_message *m_ = nullptr;

  std::optional<midge_bytes> found(std::uint8_t id) const noexcept {
    midge_bytes value{};
    if (!midge_message_prop(m_, id, 0, nullptr, &value, nullptr)) return std::nullopt;
    return value;
  }

public:
  message() noexcept = default;
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
    message adopted;
    adopted.m_ = m;
    return adopted;
  }
  /// Makes one; the payload is copied.
  [[nodiscard]] static result<message> create(text topic, bytes payload = {},
                                              const publish_options &options = {}) noexcept {
    midge_message *m = nullptr;
    const detail::publish_args args(topic, payload, options);
    if (const auto s = midge_message_new(args.get(), &m); s != MIDGE_OK) return midge::error(s);
    return adopt(m);
  }

  explicit operator bool() const noexcept { return m_ != nullptr; }
  const midge_message *get() const noexcept { return m_; }
  const midge_message *release() noexcept { return std::exchange(m_, nullptr); }

  std::string_view topic() const noexcept { return detail::view(midge_message_topic(m_)); }
  /// The topic with a NUL.
  const char *topic_c_str() const noexcept { return midge_message_topic_text(m_); }
  std::string_view payload() const noexcept { return detail::view(midge_message_payload(m_)); }
  bytes payload_bytes() const noexcept { return midge_message_payload(m_); }
  /// Of this delivery.
  midge::qos qos() const noexcept { return static_cast<midge::qos>(midge_message_flags(m_) & 3U); }
  /// Whether it was retained before the subscription was made.
  bool retain() const noexcept { return (midge_message_flags(m_) & 4U) != 0; }
  /// Whether its publisher asked to retain it.
  bool published_retained() const noexcept { return (midge_message_flags(m_) & 8U) != 0; }
  midge::origin origin() const noexcept { return static_cast<midge::origin>(midge_message_origin(m_, nullptr)); }
  /// Client identifier of its publisher; empty for the host and the broker.
  std::string_view client_id() const noexcept {
    midge_bytes id{};
    midge_message_origin(m_, &id);
    return detail::view(id);
  }
  /// What was left until it expires when it was handed over.
  std::optional<std::chrono::seconds> expiry() const noexcept {
    std::uint64_t seconds = 0;
    if (!midge_message_prop(m_, MIDGE_PROP_MESSAGE_EXPIRY, 0, nullptr, nullptr, &seconds)) return std::nullopt;
    return std::chrono::seconds(static_cast<std::chrono::seconds::rep>(seconds));
  }
  bool utf8() const noexcept {
    std::uint64_t number = 0;
    return midge_message_prop(m_, MIDGE_PROP_PAYLOAD_FORMAT, 0, nullptr, nullptr, &number) && number == 1;
  }
  std::optional<std::string_view> content_type() const noexcept {
    const auto value = found(MIDGE_PROP_CONTENT_TYPE);
    return value ? std::optional(detail::view(*value)) : std::nullopt;
  }
  std::optional<std::string_view> response_topic() const noexcept {
    const auto value = found(MIDGE_PROP_RESPONSE_TOPIC);
    return value ? std::optional(detail::view(*value)) : std::nullopt;
  }
  std::optional<bytes> correlation_data() const noexcept {
    const auto value = found(MIDGE_PROP_CORRELATION_DATA);
    return value ? std::optional(bytes(*value)) : std::nullopt;
  }
  /// The first value of this name.
  std::optional<std::string_view> user_property(std::string_view name) const noexcept {
    midge_bytes key{}, value{};
    for (std::uint32_t n = 0; midge_message_prop(m_, MIDGE_PROP_USER, n, &key, &value, nullptr); ++n)
      if (detail::view(key) == name) return detail::view(value);
    return std::nullopt;
  }
  std::vector<std::pair<std::string_view, std::string_view>> user_properties() const noexcept {
    std::vector<std::pair<std::string_view, std::string_view>> all;
    midge_bytes key{}, value{};
    for (std::uint32_t n = 0; midge_message_prop(m_, MIDGE_PROP_USER, n, &key, &value, nullptr); ++n)
      all.emplace_back(detail::view(key), detail::view(value));
    return all;
  }
  /// Whether both are the same message, not only alike.
  friend bool operator==(const message &a, const message &b) noexcept { return a.m_ == b.m_; }
  friend bool operator!=(const message &a, const message &b) noexcept { return a.m_ != b.m_; }
};

// ---- decisions ---------------------------------------------------------------------------------

/// Why something is refused.
struct refusal {
  reason_code reason = reason_code::not_authorized;
  /// Reason String for clients of MQTT 5.0.
  std::string text{};
  /// For use_another_server and server_moved.
  std::string server_reference{};
};

namespace detail {

inline midge_status refuse(const refusal &r) noexcept {
  return midge_refuse(static_cast<std::uint8_t>(r.reason), r.text.empty() ? nullptr : r.text.c_str(),
                      r.server_reference.empty() ? nullptr : r.server_reference.c_str());
}

} // namespace detail

/// An answer that is still owed, to be given from any thread. One that is destroyed unanswered is a no.
class decision {
  detail::owned<midge_decision, midge_decision_free> d_;

public:
  decision() noexcept = default;
  explicit decision(midge_decision d) noexcept : d_(d) {}
  explicit operator bool() const noexcept { return bool(d_); }
  midge_decision get() const noexcept { return d_.get(); }
  midge_decision release() noexcept { return d_.release(); }
  /// errc::closed if it comes too late.
  status allow() noexcept { return check(midge_decision_complete(d_.release(), MIDGE_OK)); }
  status refuse(const refusal &r = {}) noexcept {
    const auto d = d_.release();
    const auto s =
        midge_decision_refuse(d, static_cast<std::uint8_t>(r.reason), r.text.empty() ? nullptr : r.text.c_str(),
                              r.server_reference.empty() ? nullptr : r.server_reference.c_str());
    auto answered = check(s);
    if (s == MIDGE_E_INVALID) (void)midge_decision_free(d);
    return answered;
  }
};

/// What a callback says: true or false, a refusal, or later.
class verdict {
  midge_status status_;
  std::optional<refusal> refusal_{};
  explicit verdict(midge_status s) noexcept : status_(s) {}

public:
  template <class B, std::enable_if_t<std::is_same_v<B, bool>, int> = 0>
  verdict(B allowed) noexcept : status_(allowed ? MIDGE_OK : MIDGE_E_DENIED) {}
  verdict(refusal r) noexcept : status_(MIDGE_E_DENIED), refusal_(std::move(r)) {}
  verdict(reason_code reason) noexcept : verdict(refusal{reason}) {}
  static verdict allow() noexcept { return verdict(static_cast<midge_status>(MIDGE_OK)); }
  static verdict deny() noexcept { return verdict(static_cast<midge_status>(MIDGE_E_DENIED)); }
  /// No opinion: the next hooks are asked.
  static verdict pass() noexcept { return verdict(static_cast<midge_status>(MIDGE_PASS)); }
  /// The answer comes through the decision that the request has given: request.defer().
  static verdict later() noexcept { return verdict(static_cast<midge_status>(MIDGE_E_WOULD_BLOCK)); }
  /// What the callback of C returns.
  midge_status say() const noexcept { return refusal_ ? detail::refuse(*refusal_) : status_; }
};

/// What becomes of a message that was published.
class interception {
  midge_status status_ = MIDGE_OK;
  std::optional<refusal> refusal_{};
  message replace_{};

public:
  /// It goes on unchanged.
  static interception pass() noexcept { return {}; }
  /// It is dropped; a client sees success, a publish of the host errc::denied.
  static interception drop() noexcept {
    interception i;
    i.status_ = MIDGE_E_DENIED;
    return i;
  }
  interception() noexcept = default;
  /// This one goes on in its place.
  interception(message other) noexcept : replace_(std::move(other)) {}
  /// It is dropped, and its publisher is told why.
  interception(refusal r) noexcept : refusal_(std::move(r)) {}
  interception(reason_code reason) noexcept : interception(refusal{reason}) {}
  midge_status say(midge_message **replace) noexcept {
    if (refusal_) return detail::refuse(*refusal_);
    if (status_ == MIDGE_OK && replace_) *replace = const_cast<midge_message *>(replace_.release());
    return status_;
  }
};

namespace detail {

/// Puts the answer of the callback that is under way off.
inline decision defer() noexcept {
  midge_decision d{};
  return midge_decision_defer(&d) == MIDGE_E_WOULD_BLOCK ? decision(d) : decision();
}

} // namespace detail

/// A client that wants to connect. All of it is valid until the callback returns.
class connect_request {
  const midge_connect_info *c_;

public:
  explicit connect_request(const midge_connect_info &c) noexcept : c_(&c) {}
  std::string_view client_id() const noexcept { return detail::view(c_->client_id); }
  std::optional<std::string_view> username() const noexcept { return detail::optional_view(c_->username); }
  std::optional<std::string_view> password() const noexcept { return detail::optional_view(c_->password); }
  std::string_view peer() const noexcept { return detail::view(c_->peer_addr); }
  std::string_view listener() const noexcept { return detail::view(c_->listener); }
  std::optional<std::string_view> will_topic() const noexcept { return detail::optional_view(c_->will_topic); }
  midge::protocol protocol() const noexcept { return static_cast<midge::protocol>(c_->protocol); }
  bool clean_start() const noexcept { return c_->clean_start != 0; }
  std::chrono::seconds keep_alive() const noexcept { return std::chrono::seconds(c_->keep_alive); }
  std::vector<std::pair<std::string_view, std::string_view>> user_properties() const noexcept {
    std::vector<std::pair<std::string_view, std::string_view>> all;
    for (std::size_t n = 0; n + 1 < c_->user_props_len; n += 2)
      all.emplace_back(detail::view(c_->user_props[n]), detail::view(c_->user_props[n + 1]));
    return all;
  }
  /// Puts the answer off: keep the decision and return verdict::later().
  decision defer() const noexcept { return detail::defer(); }
  const midge_connect_info &raw() const noexcept { return *c_; }
};

/// What a client wants to do. All of it is valid until the callback returns.
class acl_request {
  const midge_acl_request *r_;

public:
  explicit acl_request(const midge_acl_request &r) noexcept : r_(&r) {}
  acl_action action() const noexcept { return static_cast<acl_action>(1U << r_->action); }
  std::string_view client_id() const noexcept { return detail::view(r_->client_id); }
  std::optional<std::string_view> username() const noexcept { return detail::optional_view(r_->username); }
  std::string_view peer() const noexcept { return detail::view(r_->peer_addr); }
  /// Topic name, or filter of a subscription; of a shared one the filter alone, without $share and the
  /// group. A rule that looks how a filter begins is passed by wildcards: "#" and "+/plan" bring messages
  /// of "secret/plan", too: ask reaches(), or decide for each message with acl_action::receive.
  std::string_view topic() const noexcept { return detail::view(r_->topic); }
  /// Group of a shared subscription.
  std::optional<std::string_view> group() const noexcept { return detail::optional_view(r_->group); }
  /// Whether it is about any topic that a filter matches: "#", "+/plan" and "secret/+" reach "secret/#".
  /// True for what is no filter, so that a rule that denies with it does.
  bool reaches(text filter) const noexcept {
    const detail::terminated f(filter);
    return !f || midge_filter_reaches(r_->topic, f.get()) != MIDGE_E_NOT_FOUND;
  }
  midge::qos qos() const noexcept { return static_cast<midge::qos>(r_->qos); }
  bool retain() const noexcept { return r_->retain != 0; }
  /// Puts the answer off: keep the decision and return verdict::later(). Empty for acl_action::receive,
  /// which must be answered at once.
  decision defer() const noexcept { return detail::defer(); }
  const midge_acl_request &raw() const noexcept { return *r_; }
};

/// The callbacks that decide; what is empty is not asked. They run on the thread that handles the packet,
/// at the same time, too.
struct hooks {
  function<verdict(const connect_request &)> on_auth{};
  function<verdict(const acl_request &)> on_acl{};
  function<interception(const message &)> on_publish{};
  function<void()> on_thread_start{};
  function<void()> on_thread_stop{};
  /// Told what() of an exception of another callback; "unknown" if it has none.
  function<void(std::string_view)> on_exception{};
  /// What on_acl is asked for; none is publish and subscribe.
  acl_action acl_actions = acl_action::none;
};

namespace detail {

/// Calls a callback of the host; an exception gives `otherwise`.
template <class Told, class R, class F>
R guarded([[maybe_unused]] const Told &told, [[maybe_unused]] R otherwise, F &&f) noexcept {
#if defined(__cpp_exceptions)
  const auto tell = [&told](std::string_view what) noexcept {
    try {
      if (told) told(what);
    } catch (...) { // nothing is left to report it to
    }
  };
  try {
    return f();
  } catch (const std::exception &e) {
    tell(e.what());
  } catch (...) {
    tell("unknown");
  }
  return otherwise;
#else
  return f();
#endif
}

struct trampolines {
  static const hooks &of(void *user) noexcept { return *static_cast<const hooks *>(user); }
  static midge_status auth(void *user, const midge_connect_info *info, midge_decision) noexcept {
    return guarded(of(user).on_exception, midge_status{MIDGE_E_DENIED},
                   [&] { return of(user).on_auth(connect_request(*info)).say(); });
  }
  static midge_status acl(void *user, const midge_acl_request *request) noexcept {
    return guarded(of(user).on_exception, midge_status{MIDGE_E_DENIED},
                   [&] { return of(user).on_acl(acl_request(*request)).say(); });
  }
  static midge_status publish(void *user, const midge_message *in, midge_message **replace) noexcept {
    return guarded(of(user).on_exception, midge_status{MIDGE_E_DENIED},
                   [&] { return of(user).on_publish(message(in)).say(replace); });
  }
  static void thread_start(void *user) noexcept {
    guarded(of(user).on_exception, 0, [&] {
      of(user).on_thread_start();
      return 0;
    });
  }
  static void thread_stop(void *user) noexcept {
    guarded(of(user).on_exception, 0, [&] {
      of(user).on_thread_stop();
      return 0;
    });
  }
};

} // namespace detail

// ---- configuration -----------------------------------------------------------------------------

/// Settings before the start. Made with safe defaults and no listener.
class config {
  struct deleter {
    void operator()(midge_config *c) const noexcept { midge_config_free(c); }
  };
  std::unique_ptr<midge_config, deleter> c_;
  explicit config(midge_config *c) noexcept : c_(c) {}

public:
  /// Empty in a forked child, where create() says so.
  config() noexcept {
    midge_config *c = nullptr;
    if (midge_config_new(&c) == MIDGE_OK) c_.reset(c);
  }
  [[nodiscard]] static result<config> create() noexcept {
    midge_config *c = nullptr;
    if (const auto s = midge_config_new(&c); s != MIDGE_OK) return midge::error(s);
    return config(c);
  }
  explicit operator bool() const noexcept { return c_ != nullptr; }
  [[nodiscard]] result<config> clone() const noexcept {
    midge_config *c = nullptr;
    if (const auto s = midge_config_clone(c_.get(), &c); s != MIDGE_OK) return midge::error(s);
    return config(c);
  }
  /// Reads a file in TOML; all of it is set, or nothing.
  status load(text path) noexcept {
    const detail::terminated p(path);
    return p ? check(midge_config_load(c_.get(), p.get())) : detail::has_nul("path");
  }
  /// Adds a listener: "tcp://127.0.0.1:0", "unix:///run/midge.sock".
  status listen(text address) noexcept { return set("listen", address); }
  status set(text key, text value) noexcept {
    const detail::terminated k(key), v(value);
    if (!k || !v) return detail::has_nul(k ? "value" : "key");
    return check(midge_config_set(c_.get(), k.get(), v.get()));
  }
  template <class B, std::enable_if_t<std::is_same_v<B, bool>, int> = 0> status set(text key, B value) noexcept {
    return set(key, text(value ? "true" : "false"));
  }
  template <class N, std::enable_if_t<std::is_integral_v<N> && !std::is_same_v<N, bool>, int> = 0>
  status set(text key, N value) noexcept {
    const detail::terminated k(key);
    if (!k) return detail::has_nul("key");
    if constexpr (std::is_unsigned_v<N> && sizeof(N) >= sizeof(std::int64_t)) {
      if (value > static_cast<N>(std::numeric_limits<std::int64_t>::max()))
        return set(key, text(std::to_string(value)));
    }
    return check(midge_config_set_int(c_.get(), k.get(), static_cast<std::int64_t>(value)));
  }
  result<std::string> get(text key) const noexcept {
    const detail::terminated k(key);
    if (!k) return detail::has_nul("key");
    std::size_t need = 0;
    if (const auto s = midge_config_get(c_.get(), k.get(), nullptr, 0, &need); s != MIDGE_OK) return midge::error(s);
    std::string value(need, '\0');
    if (const auto s = midge_config_get(c_.get(), k.get(), value.data(), need, nullptr); s != MIDGE_OK)
      return midge::error(s);
    value.pop_back();
    return value;
  }
  /// Sets the callbacks; all that were set or added before are let go.
  status set_hooks(hooks h) noexcept { return give(std::move(h), &midge_config_set_hooks); }
  /// Adds callbacks behind those that are there, as midge_config_add_hooks() says.
  status add_hooks(hooks h) noexcept { return give(std::move(h), &midge_config_add_hooks); }
  const midge_config *get() const noexcept { return c_.get(); }

private:
  status give(hooks h, midge_status (*take)(midge_config *, const midge_hooks *)) noexcept {
    auto kept = std::make_unique<hooks>(std::move(h));
    auto raw = detail::sized<midge_hooks>();
    raw.acl_actions = static_cast<std::uint32_t>(kept->acl_actions);
    raw.user = kept.get();
    raw.user_free = &detail::destroy<hooks>;
    if (kept->on_auth) raw.on_auth = &detail::trampolines::auth;
    if (kept->on_acl) raw.on_acl = &detail::trampolines::acl;
    if (kept->on_publish) raw.on_publish = &detail::trampolines::publish;
    if (kept->on_thread_start) raw.on_thread_start = &detail::trampolines::thread_start;
    if (kept->on_thread_stop) raw.on_thread_stop = &detail::trampolines::thread_stop;
    const auto s = take(c_.get(), &raw);
    if (s == MIDGE_OK) (void)kept.release();
    return check(s);
  }
};

// ---- events ------------------------------------------------------------------------------------

/// What an event says, by its kind. Texts are valid as long as the event. Each connection and each session
/// of a broker has a number of its own, from 1 on and never used again. So has each message: all events about
/// one message have the same `message_number`.
namespace ev {

/// For a subscription of a client that uses the queue.
struct message {
  midge::message content;
  std::uint32_t tag;
};
struct connected {
  std::string_view client_id;
  std::optional<std::string_view> username;
  std::string_view peer;
  midge::protocol protocol;
  bool session_present;
  std::uint64_t connection, session;
};
struct refused {
  std::string_view client_id, peer;
  reason_code code;
  end_reason reason;
  std::string_view text;
  std::optional<std::string_view> username;
  /// What the refusal says beyond its reason, for example the text of midge::refusal; or empty.
  std::string_view refusal;
  std::uint64_t connection;
};
struct disconnected {
  std::string_view client_id;
  reason_code code;
  end_reason reason;
  std::string_view text;
  std::uint64_t connection, session;
};
struct subscribed {
  std::string_view client_id, filter;
  midge::qos qos;
  std::uint64_t connection, session;
};
struct subscribe_refused {
  std::string_view client_id, filter;
  reason_code code;
  std::uint64_t connection, session;
};
struct unsubscribed {
  std::string_view client_id, filter;
  std::uint64_t connection, session;
};
struct acknowledged {
  std::string_view client_id;
  midge::message content;
  std::uint64_t connection, session, message_number;
};
struct dropped {
  std::string_view client_id, topic;
  drop_reason reason;
  /// The connection whose message was not taken, and the session that it is about, if any; the message, if
  /// it was taken from its publisher.
  std::optional<std::uint64_t> connection, session, message_number;
};
struct published {
  midge::message content;
  std::uint32_t receivers;
  /// Those of the publisher, if a client published it.
  std::optional<std::uint64_t> connection, session;
  std::uint64_t message_number;
};
struct delivered {
  std::string_view client_id;
  midge::message content;
  midge::qos qos;
  std::uint64_t connection, session, message_number;
};
struct expired {
  midge::message content;
  std::uint64_t message_number;
};
struct session_ended {
  std::string_view client_id;
  std::uint64_t session;
};
struct will_sent {
  std::string_view client_id, topic;
  std::uint64_t session, message_number;
};
/// A reason code of a callback could not stand in its packet.
struct replaced {
  std::string_view client_id;
  midge::packet packet;
  reason_code given, sent;
  std::optional<std::uint64_t> connection, session;
};
/// An empty event, or a kind that this header does not know.
struct unknown {};

using any =
    std::variant<unknown, message, connected, refused, disconnected, subscribed, subscribe_refused, unsubscribed,
                 acknowledged, dropped, published, delivered, expired, session_ended, will_sent, replaced>;

} // namespace ev

namespace detail {

/// The readable part of an event, owned or borrowed.
template <class D> class event_view {
  const midge_event &e() const noexcept { return static_cast<const D &>(*this).raw(); }
  static std::optional<std::uint64_t> number(std::uint64_t n) noexcept {
    return n == 0 ? std::nullopt : std::optional<std::uint64_t>(n);
  }

public:
  event_type type() const noexcept { return static_cast<event_type>(e().type); }
  explicit operator bool() const noexcept { return e().type != 0; }
  /// errc::ok, or errc::denied for what was refused.
  errc kind() const noexcept { return static_cast<errc>(e().status); }
  bool refused() const noexcept { return e().status != MIDGE_OK; }
  /// Number of the event in its queue, from 1.
  std::uint64_t seq() const noexcept { return e().seq; }
  /// Events lost just before this one because the queue was full.
  std::uint64_t lost() const noexcept { return e().lost; }
  /// When it came into the queue.
  std::chrono::system_clock::time_point time() const noexcept {
    return std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(
        std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(e().wall_ns))));
  }
  /// When it came into the queue: CLOCK_MONOTONIC, which is the steady clock.
  std::chrono::steady_clock::time_point steady_time() const noexcept {
    return std::chrono::steady_clock::time_point(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::nanoseconds(static_cast<std::chrono::nanoseconds::rep>(e().mono_ns))));
  }
  std::uint32_t code() const noexcept { return e().code; }
  std::uint32_t detail() const noexcept { return e().detail; }
  std::uint32_t tag() const noexcept { return e().tag; }
  std::string_view client_id() const noexcept { return view(e().client_id); }
  std::string_view peer() const noexcept { return view(e().peer_addr); }
  /// Topic name or filter.
  std::string_view topic() const noexcept { return view(e().topic); }
  std::string_view text() const noexcept { return view(e().text); }
  /// User name of a client that connected or was refused, if it has one.
  std::optional<std::string_view> username() const noexcept { return optional_view(e().username); }
  /// For a connection that was refused: what the refusal says beyond its reason, or empty.
  std::string_view refusal() const noexcept { return view(e().refusal); }
  /// Number of the connection that it concerns, if any: from 1 on and never used again.
  std::optional<std::uint64_t> connection() const noexcept { return number(e().connection); }
  /// Number of the session that it concerns, if any: from 1 on and never used again.
  std::optional<std::uint64_t> session() const noexcept { return number(e().session); }
  /// Number of the message that it is about, if any: the same in all events about one message.
  std::optional<std::uint64_t> message_number() const noexcept { return number(e().message_number); }
  /// The message, kept alive by what is returned; empty if the event has none.
  midge::message message() const noexcept { return midge::message(e().message); }
  std::string_view payload() const noexcept { return view(midge_message_payload(e().message)); }

  /// What it says, by its kind.
  ev::any what() const noexcept {
    const auto reason = static_cast<reason_code>(e().code);
    const auto quality = static_cast<midge::qos>(e().code & 3U);
    switch (type()) {
      case event_type::message: return ev::message{message(), tag()};
      case event_type::connect:
        if (refused())
          return ev::refused{client_id(), peer(),     reason,    static_cast<end_reason>(detail()),
                             text(),      username(), refusal(), e().connection};
        return ev::connected{client_id(),   username(),     peer(),     static_cast<midge::protocol>(detail()),
                             e().code != 0, e().connection, e().session};
      case event_type::disconnect:
        return ev::disconnected{client_id(), reason,         static_cast<end_reason>(detail()),
                                text(),      e().connection, e().session};
      case event_type::subscribe:
        if (refused()) return ev::subscribe_refused{client_id(), topic(), reason, e().connection, e().session};
        return ev::subscribed{client_id(), topic(), quality, e().connection, e().session};
      case event_type::unsubscribe: return ev::unsubscribed{client_id(), topic(), e().connection, e().session};
      case event_type::ack:
        return ev::acknowledged{client_id(), message(), e().connection, e().session, e().message_number};
      case event_type::drop:
        return ev::dropped{client_id(),  topic(),   static_cast<drop_reason>(e().code),
                           connection(), session(), message_number()};
      case event_type::publish: return ev::published{message(), e().code, connection(), session(), e().message_number};
      case event_type::deliver:
        return ev::delivered{client_id(), message(), quality, e().connection, e().session, e().message_number};
      case event_type::expire: return ev::expired{message(), e().message_number};
      case event_type::session_end: return ev::session_ended{client_id(), e().session};
      case event_type::will: return ev::will_sent{client_id(), topic(), e().session, e().message_number};
      case event_type::replaced:
        return ev::replaced{
            client_id(), static_cast<midge::packet>(detail()), static_cast<reason_code>(tag()), reason, connection(),
            session()};
      case event_type::none:
      case event_type::all: break;
    }
    return ev::unknown{};
  }
  /// Calls the one of several callables that takes what the event says: the others need not be there if
  /// one takes `const auto &`.
  template <class... F> decltype(auto) visit(F &&...f) const {
    return std::visit(overloaded<std::decay_t<F>...>{std::forward<F>(f)...}, what());
  }
  /// What it says, if it is of this kind: `event.as<midge::ev::dropped>()`.
  template <class E> std::optional<E> as() const noexcept {
    auto all = what();
    if (E *found = std::get_if<E>(&all)) return std::optional<E>(std::move(*found));
    return std::nullopt;
  }
};

} // namespace detail

/// A borrowed event, as callbacks get it.
class event_ref : public detail::event_view<event_ref> {
  const midge_event *e_;

public:
  explicit event_ref(const midge_event &e) noexcept : e_(&e) {}
  const midge_event &raw() const noexcept { return *e_; }
};

/// An event that owns what it says. Movable.
class event : public detail::event_view<event> {
  midge_event e_ = detail::sized<midge_event>();

public:
  event() noexcept = default;
  event(event &&other) noexcept : e_(std::exchange(other.e_, detail::sized<midge_event>())) {}
  event &operator=(event &&other) noexcept {
    if (this != &other) {
      clear();
      e_ = std::exchange(other.e_, detail::sized<midge_event>());
    }
    return *this;
  }
  ~event() { clear(); }
  void clear() noexcept { midge_event_clear(&e_); }
  /// Emptied, to be filled by a function of midge.h.
  midge_event *cleared() noexcept {
    clear();
    return &e_;
  }
  const midge_event &raw() const noexcept { return e_; }
};

// ---- receipts and snapshots --------------------------------------------------------------------

/// What became of a message that the host has published.
class receipt {
  detail::owned<midge_receipt, midge_receipt_free> r_;

public:
  struct entry {
    std::string_view client_id; // valid as long as the receipt
    midge::outcome outcome;
    std::optional<drop_reason> reason;
  };
  receipt() noexcept = default;
  explicit receipt(midge_receipt r) noexcept : r_(r) {}
  explicit operator bool() const noexcept { return bool(r_); }
  midge_receipt get() const noexcept { return r_.get(); }
  /// Waits until every receiver at QoS 1 or 2 is done with it.
  status wait(timeout t = forever) const noexcept { return check(midge_receipt_wait(r_.get(), t.count())); }
  bool acknowledged() const noexcept { return midge_receipt_wait(r_.get(), 0) == MIDGE_OK; }
  result<midge_receipt_info> state() const noexcept {
    auto info = detail::sized<midge_receipt_info>();
    if (const auto s = midge_receipt_state(r_.get(), &info); s != MIDGE_OK) return midge::error(s);
    return info;
  }
  /// Receivers that matched.
  std::uint64_t matched() const noexcept {
    auto info = detail::sized<midge_receipt_info>();
    return midge_receipt_state(r_.get(), &info) == MIDGE_OK ? info.matched : 0;
  }
  /// What each session did.
  std::vector<entry> outcomes() const noexcept {
    std::vector<entry> all;
    auto raw = detail::sized<midge_receipt_outcome>();
    while (midge_receipt_outcome_at(r_.get(), all.size(), &raw) == MIDGE_OK) {
      const auto what = static_cast<midge::outcome>(raw.outcome);
      const auto reason =
          what == midge::outcome::dropped ? std::optional(static_cast<drop_reason>(raw.reason)) : std::nullopt;
      all.push_back({detail::view(raw.client_id), what, reason});
    }
    return all;
  }
};

/// A connected client; texts are valid as long as the snapshot.
struct client_info {
  std::string_view client_id;
  std::optional<std::string_view> username;
  std::string_view peer, listener;
  midge::protocol protocol = midge::protocol::unknown;
  std::uint64_t queued = 0, inflight = 0, subscriptions = 0;
  /// Their numbers, as events have them.
  std::uint64_t connection = 0, session = 0;
};

/// A session, connected or not; texts are valid as long as the snapshot.
struct session_info {
  std::string_view client_id;
  bool connected = false, has_will = false;
  /// How long it outlives its connection; none for ever.
  std::optional<std::chrono::seconds> expiry;
  /// When the client was last connected, since the start of the broker; none if it is connected.
  std::optional<std::chrono::milliseconds> disconnected_at;
  std::uint64_t queued = 0, queued_bytes = 0, inflight = 0, subscriptions = 0;
  /// User name of the client that made it, if it had one: no other user may resume it.
  std::optional<std::string_view> username;
  /// Its number, as events have it.
  std::uint64_t session = 0;
};

/// A subscription of a session; texts are valid as long as the snapshot.
struct subscription_info {
  std::string_view client_id, filter;
  midge::qos qos = midge::qos::at_most_once;
  bool no_local = false, retain_as_published = false;
  midge::retain_handling retain_handling = midge::retain_handling::send;
  std::optional<std::uint32_t> subscription_id;
};

namespace detail {

inline bool next(midge_snapshot s, client_info &out) noexcept {
  auto raw = sized<midge_client_info>();
  if (midge_snapshot_next_client(s, &raw) != MIDGE_OK) return false;
  out = {view(raw.client_id),
         optional_view(raw.username),
         view(raw.peer_addr),
         view(raw.listener),
         static_cast<midge::protocol>(raw.protocol),
         raw.queued,
         raw.inflight,
         raw.subscriptions,
         raw.connection,
         raw.session};
  return true;
}
inline bool next(midge_snapshot s, session_info &out) noexcept {
  auto raw = sized<midge_session_info>();
  if (midge_snapshot_next_session(s, &raw) != MIDGE_OK) return false;
  const bool connected = raw.connected != 0, lasts = raw.expiry_s == std::numeric_limits<std::uint32_t>::max();
  out = {view(raw.client_id),
         connected,
         raw.has_will != 0,
         lasts ? std::nullopt : std::optional(std::chrono::seconds(raw.expiry_s)),
         connected ? std::nullopt
                   : std::optional(
                         std::chrono::milliseconds(static_cast<std::chrono::milliseconds::rep>(raw.disconnected_ms))),
         raw.queued,
         raw.queued_bytes,
         raw.inflight,
         raw.subscriptions,
         optional_view(raw.username),
         raw.session};
  return true;
}
inline bool next(midge_snapshot s, subscription_info &out) noexcept {
  auto raw = sized<midge_subscription_info>();
  if (midge_snapshot_next_subscription(s, &raw) != MIDGE_OK) return false;
  out = {view(raw.client_id),
         view(raw.filter),
         static_cast<midge::qos>(raw.qos),
         raw.no_local != 0,
         raw.retain_as_published != 0,
         static_cast<midge::retain_handling>(raw.retain_handling),
         raw.subscription_id == 0 ? std::nullopt : std::optional(raw.subscription_id)};
  return true;
}
inline bool next(midge_snapshot s, message &out) noexcept {
  const midge_message *raw = nullptr;
  if (midge_snapshot_next_message(s, &raw) != MIDGE_OK) return false;
  out = message::adopt(raw);
  return true;
}

struct sentinel {};

/// Walks along something that is read once: `Step` fills an item, or says that there is none any more.
template <class T, class Step> class reader {
  Step step_;
  mutable T item_{};
  bool more_ = false;

public:
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using reference = T &;
  using pointer = T *;
  using iterator_category = std::input_iterator_tag;
  explicit reader(Step step) noexcept : step_(std::move(step)) { ++*this; }
  T &operator*() const noexcept { return item_; }
  T *operator->() const noexcept { return &item_; }
  reader &operator++() noexcept {
    more_ = step_(item_);
    return *this;
  }
  void operator++(int) noexcept { ++*this; }
  friend bool operator==(const reader &r, sentinel) noexcept { return !r.more_; }
  friend bool operator!=(const reader &r, sentinel) noexcept { return r.more_; }
#if !defined(__cpp_impl_three_way_comparison)
  friend bool operator==(sentinel, const reader &r) noexcept { return !r.more_; }
  friend bool operator!=(sentinel, const reader &r) noexcept { return r.more_; }
#endif
};

} // namespace detail

/// What there was at one moment, to be walked along once. Outlives its broker.
template <class T> class snapshot {
  detail::owned<midge_snapshot, midge_snapshot_free> s_;

  struct step {
    midge_snapshot s;
    bool operator()(T &out) const noexcept { return detail::next(s, out); }
  };

public:
  snapshot() noexcept = default;
  explicit snapshot(midge_snapshot s) noexcept : s_(s) {}
  explicit operator bool() const noexcept { return bool(s_); }
  midge_snapshot get() const noexcept { return s_.get(); }
  /// How many were not read yet.
  std::size_t size() const noexcept {
    std::size_t left = 0;
    return midge_snapshot_size(s_.get(), &left, nullptr) == MIDGE_OK ? left : 0;
  }
  bool empty() const noexcept { return size() == 0; }
  /// How many there were in all, those included that a bound has left out.
  std::size_t total() const noexcept {
    std::size_t all = 0;
    return midge_snapshot_size(s_.get(), nullptr, &all) == MIDGE_OK ? all : 0;
  }
  std::optional<T> next() const noexcept {
    T item{};
    if (!detail::next(s_.get(), item)) return std::nullopt;
    return std::optional<T>(std::move(item));
  }
  auto begin() const noexcept { return detail::reader<T, step>(step{s_.get()}); }
  detail::sentinel end() const noexcept { return {}; }
};

// ---- broker, queue, client ---------------------------------------------------------------------

/// A descriptor that is closed by its owner; on Windows a SOCKET.
class descriptor {
  int fd_ = -1;

public:
  descriptor() noexcept = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor &&other) noexcept : fd_(other.release()) {}
  descriptor &operator=(descriptor &&other) noexcept {
    if (this != &other) {
      close();
      fd_ = other.release();
    }
    return *this;
  }
  ~descriptor() { close(); }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void close() noexcept {
    if (fd_ < 0) return;
#if defined(_WIN32)
    (void)::closesocket(static_cast<std::uintptr_t>(release()));
#else
    (void)::close(release());
#endif
  }
};

/// Counters of a broker.
struct stats : midge_stats {
  broker_state how() const noexcept { return static_cast<broker_state>(state); }
  std::uint64_t dropped_for(drop_reason reason) const noexcept {
    const auto at = static_cast<std::size_t>(reason);
    return at < std::size(dropped) ? dropped[at] : 0;
  }
};

/// How a client inside the process subscribes.
struct subscribe_options {
  midge::qos qos = midge::qos::exactly_once;
  /// Comes back in event.tag().
  std::uint32_t tag = 0;
  /// What is published in the name of this client does not come back to it.
  bool no_local = false;
  midge::retain_handling retain_handling = midge::retain_handling::send;
};

/// Bounds of a queue.
struct queue_options {
  /// Most events that may wait.
  std::size_t max_events = 1024;
  /// Most bytes that may wait; 0 for 16 MiB.
  std::size_t max_bytes = 0;
  midge::overflow overflow = midge::overflow::drop_oldest;
};

class subscription;

/// A running broker. The destructor stops it at once and waits for its end; for a callback that does not
/// return as long as shutdown.patience_ms says, as midge_broker_free().
class broker {
  detail::owned<midge_broker, midge_broker_free> b_;
  explicit broker(midge_broker b) noexcept : b_(b) {}

  template <class T> static result<snapshot<T>> list(midge_status s, midge_snapshot raw) noexcept {
    if (s != MIDGE_OK) return midge::error(s);
    return snapshot<T>(raw);
  }

public:
  broker() noexcept = default;
  [[nodiscard]] static result<broker> start(const config &c) noexcept {
    midge_broker b{};
    if (const auto s = midge_broker_start(c.get(), &b); s != MIDGE_OK) return midge::error(s);
    return broker(b);
  }
  /// With default settings and one listener: broker::start("tcp://127.0.0.1:0").
  [[nodiscard]] static result<broker> start(text address) noexcept {
    return config::create().and_then([&](config c) -> result<broker> {
      if (auto set = c.listen(address); !set) return set.error();
      return start(c);
    });
  }
  /// Takes over a handle.
  static broker adopt(midge_broker b) noexcept { return broker(b); }
  explicit operator bool() const noexcept { return bool(b_); }
  midge_broker get() const noexcept { return b_.get(); }

  /// The TCP port of a listener, 0 if there is none.
  std::uint16_t port(std::uint32_t listener = 0) const noexcept {
    std::uint16_t p = 0;
    return midge_broker_addr(b_.get(), listener, nullptr, 0, &p) == MIDGE_OK ? p : std::uint16_t{0};
  }
  result<std::string> url(std::uint32_t listener = 0) const noexcept {
    char buffer[512];
    if (const auto s = midge_broker_addr(b_.get(), listener, buffer, sizeof buffer, nullptr); s != MIDGE_OK)
      return midge::error(s);
    return std::string(buffer);
  }

  /// Publishes as the host, on the calling thread: when this returns every queue has the message, or a
  /// counted drop. The payload is copied.
  status publish(text topic, bytes payload = {}, midge::qos quality = midge::qos::at_most_once,
                 bool retain = false) const noexcept {
    return check(midge_publish_n(b_.get(), topic.empty() ? "" : topic.data(), topic.size(), payload.data(),
                                 payload.size(), static_cast<std::uint8_t>(quality), retain));
  }
  /// With everything; the number of receivers.
  result<std::uint32_t> publish(text topic, bytes payload, const publish_options &options) const noexcept {
    return publish(*detail::publish_args(topic, payload, options).get());
  }
  /// A message made before, or received, any number of times: nothing is copied for queues.
  result<std::uint32_t> publish(const message &m) const noexcept {
    std::uint32_t matched = 0;
    if (const auto s = midge_publish_message(b_.get(), m.get(), &matched); s != MIDGE_OK) return midge::error(s);
    return matched;
  }
  result<std::uint32_t> publish(const midge_publish_args &args) const noexcept {
    std::uint32_t matched = 0;
    if (const auto s = midge_publish_ex(b_.get(), &args, &matched); s != MIDGE_OK) return midge::error(s);
    return matched;
  }
  /// Without a copy: the container moves into the broker; the number of receivers.
  template <class C, std::enable_if_t<!std::is_lvalue_reference_v<C> && !std::is_const_v<C> && detail::is_contiguous<C>,
                                      int> = 0>
  result<std::uint32_t> publish_owned(text topic, C &&payload, const publish_options &options = {}) const noexcept {
    std::uint32_t matched = 0;
    const auto s = detail::give_away(topic, std::forward<C>(payload), options, [&](const midge_publish_args *args) {
      return midge_publish_ex(b_.get(), args, &matched);
    });
    if (s != MIDGE_OK) return midge::error(s);
    return matched;
  }
  /// Keeps account of the receivers.
  [[nodiscard]] result<receipt> publish_receipt(text topic, bytes payload,
                                                const publish_options &options = {}) const noexcept {
    midge_receipt r{};
    const detail::publish_args args(topic, payload, options);
    if (const auto s = midge_publish_receipt(b_.get(), args.get(), &r); s != MIDGE_OK) return midge::error(s);
    return receipt(r);
  }
  /// To one session, whatever it has subscribed to.
  result<receipt> send(text client_id, text topic, bytes payload, const publish_options &options = {}) const noexcept {
    midge_receipt r{};
    const detail::terminated id(client_id);
    if (!id) return detail::has_nul("client_id");
    const detail::publish_args args(topic, payload, options);
    if (const auto s = midge_broker_send(b_.get(), id.get(), args.get(), &r); s != MIDGE_OK) return midge::error(s);
    return receipt(r);
  }

  /// A queue and a client in one: messages for a filter.
  [[nodiscard]] result<subscription> subscribe(text filter, const subscribe_options &options = {},
                                               const queue_options &bounds = {}) const noexcept;
  /// Calls f for each message for a filter, on a thread of its own, until what is returned is destroyed.
  /// Exceptions as for queue::dispatch().
  [[nodiscard]] result<subscription> on_message(text filter, function<void(const message &)> f,
                                                const subscribe_options &options = {}, const queue_options &bounds = {},
                                                function<void(std::string_view)> on_exception = {}) const noexcept;

  /// What there is, at most `max` of each; 0 for all.
  [[nodiscard]] result<snapshot<client_info>> clients(std::size_t max = 0) const noexcept {
    midge_snapshot raw{};
    const auto s = midge_snapshot_clients(b_.get(), max, &raw);
    return list<client_info>(s, raw);
  }
  [[nodiscard]] result<snapshot<session_info>> sessions(std::size_t max = 0) const noexcept {
    midge_snapshot raw{};
    const auto s = midge_snapshot_sessions(b_.get(), max, &raw);
    return list<session_info>(s, raw);
  }
  [[nodiscard]] result<snapshot<subscription_info>> subscriptions(std::size_t max = 0) const noexcept {
    midge_snapshot raw{};
    const auto s = midge_snapshot_subscriptions(b_.get(), nullptr, max, &raw);
    return list<subscription_info>(s, raw);
  }
  /// Of one session.
  [[nodiscard]] result<snapshot<subscription_info>> subscriptions_of(text client_id,
                                                                     std::size_t max = 0) const noexcept {
    midge_snapshot raw{};
    const detail::terminated id(client_id);
    if (!id) return detail::has_nul("client_id");
    const auto s = midge_snapshot_subscriptions(b_.get(), id.get(), max, &raw);
    return list<subscription_info>(s, raw);
  }
  /// The retained messages that match, in the order of their topics.
  [[nodiscard]] result<snapshot<message>> retained(text filter = "#", std::size_t max = 0) const noexcept {
    midge_snapshot raw{};
    const auto s = midge_snapshot_retained(b_.get(), filter.empty() ? "" : filter.data(), filter.size(), max, &raw);
    return list<message>(s, raw);
  }
  /// Without delivering it; an empty payload removes it.
  status set_retained(text topic, bytes payload) const noexcept {
    return check(midge_broker_set_retained_n(b_.get(), topic.empty() ? "" : topic.data(), topic.size(), payload.data(),
                                             payload.size()));
  }
  /// How many were removed.
  result<std::size_t> clear_retained(text filter = "#") const noexcept {
    std::size_t removed = 0;
    const auto s =
        midge_broker_clear_retained_n(b_.get(), filter.empty() ? "" : filter.data(), filter.size(), &removed);
    if (s != MIDGE_OK) return midge::error(s);
    return removed;
  }
  status disconnect(text client_id, reason_code reason = reason_code::administrative_action) const noexcept {
    const detail::terminated id(client_id);
    return id ? check(midge_broker_disconnect(b_.get(), id.get(), static_cast<std::uint8_t>(reason)))
              : detail::has_nul("client_id");
  }
  status clear_session(text client_id) const noexcept {
    const detail::terminated id(client_id);
    return id ? check(midge_broker_clear_session(b_.get(), id.get())) : detail::has_nul("client_id");
  }
  /// A connected, blocking socket that speaks MQTT.
  [[nodiscard]] result<descriptor> connect_fd() const noexcept {
    std::int32_t fd = -1;
    if (const auto s = midge_broker_connect_fd(b_.get(), &fd); s != MIDGE_OK) return midge::error(s);
    return descriptor(fd);
  }
  result<midge::stats> stats() const noexcept {
    midge::stats all{};
    all.struct_size = static_cast<std::uint32_t>(sizeof(midge_stats));
    if (const auto s = midge_broker_stats(b_.get(), &all); s != MIDGE_OK) return midge::error(s);
    return all;
  }

  /// For tests: waits until nothing is queued, in flight or unwritten.
  status quiesce(timeout t = forever) const noexcept { return check(midge_broker_quiesce(b_.get(), t.count())); }
  /// For tests: waits until n clients have subscriptions that match.
  status wait_subscribers(text topic, std::uint32_t n, timeout t = forever) const noexcept {
    return check(
        midge_broker_wait_subscribers_n(b_.get(), topic.empty() ? "" : topic.data(), topic.size(), n, t.count()));
  }
  /// For tests: moves a manual clock, in milliseconds rounded up.
  template <class Rep, class Period> status advance(std::chrono::duration<Rep, Period> d) const noexcept {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return check(midge_broker_advance(b_.get(), detail::rounded_up<std::milli>(d, most)));
  }

  /// Without threads: does what there is to do, or waits for it. False if there was nothing.
  result<bool> poll(timeout t = std::chrono::milliseconds(0)) const noexcept {
    const auto s = midge_broker_poll(b_.get(), t.count());
    if (s != MIDGE_OK && s != MIDGE_E_TIMEOUT) return midge::error(s);
    return s == MIDGE_OK;
  }
  /// Without threads: a descriptor that is readable while poll() has something to do. It stays the broker's.
  result<std::int32_t> poll_fd() const noexcept {
    std::int32_t fd = -1;
    if (const auto s = midge_broker_poll_fd(b_.get(), &fd); s != MIDGE_OK) return midge::error(s);
    return fd;
  }
  /// Without threads: milliseconds until poll() must be called again, -1 without a deadline.
  result<std::int32_t> poll_timeout() const noexcept {
    std::int32_t ms = -1;
    if (const auto s = midge_broker_poll_timeout(b_.get(), &ms); s != MIDGE_OK) return midge::error(s);
    return ms;
  }

  /// Begins to stop: at most `drain` for clients to take what waits for them.
  status stop(timeout drain = std::chrono::milliseconds(0)) const noexcept {
    const auto ms = drain.count() < 0 ? std::numeric_limits<std::int32_t>::max() : drain.count();
    return check(midge_broker_stop(b_.get(), ms));
  }
  /// Waits until it has stopped: no thread, port or callback is left.
  status join(timeout t = forever) const noexcept { return check(midge_broker_join(b_.get(), t.count())); }
};

/// A bounded queue of messages and events.
class queue {
  detail::owned<midge_queue, midge_queue_free> q_;
  explicit queue(midge_queue q) noexcept : q_(q) {}

  struct step {
    midge_queue q;
    std::int32_t ms;
    bool operator()(event &out) const noexcept { return midge_queue_next(q, ms, out.cleared()) == MIDGE_OK; }
  };

public:
  /// Events that come within a time of each other.
  class range {
    step step_;

  public:
    range(midge_queue q, timeout t) noexcept : step_{q, t.count()} {}
    auto begin() const noexcept { return detail::reader<event, step>(step_); }
    detail::sentinel end() const noexcept { return {}; }
  };

  queue() noexcept = default;
  /// `mask` says which events of the broker come into it, besides messages.
  [[nodiscard]] static result<queue> create(const broker &b, event_type mask = event_type::none,
                                            const queue_options &bounds = {}) noexcept {
    midge_queue q{};
    const auto s = midge_queue_new(b.get(), static_cast<std::uint32_t>(mask), bounds.max_events, bounds.max_bytes,
                                   static_cast<std::int32_t>(bounds.overflow), &q);
    if (s != MIDGE_OK) return midge::error(s);
    return queue(q);
  }
  explicit operator bool() const noexcept { return bool(q_); }
  midge_queue get() const noexcept { return q_.get(); }

  /// The next event: errc::timeout if none came, errc::closed if none will come any more.
  [[nodiscard]] result<event> next(timeout t = forever) const noexcept {
    event e;
    if (const auto s = midge_queue_next(q_.get(), t.count(), e.cleared()); s != MIDGE_OK) return midge::error(s);
    return e;
  }
  /// As next(), into an event that is there.
  status next(event &e, timeout t = forever) const noexcept {
    return check(midge_queue_next(q_.get(), t.count(), e.cleared()));
  }
  /// As next(), without the details of a failure: errc::ok, errc::timeout, errc::closed.
  errc poll(event &e, timeout t = std::chrono::milliseconds(0)) const noexcept {
    return static_cast<errc>(midge_queue_next(q_.get(), t.count(), e.cleared()));
  }
  /// The next event if it is there.
  [[nodiscard]] std::optional<event> try_next() const noexcept { return next(std::chrono::milliseconds(0)).ok(); }

  /// `for (midge::event &event : queue)`: waits for each; ends when the queue is closed or woken.
  auto begin() const noexcept { return range(q_.get(), forever).begin(); }
  detail::sentinel end() const noexcept { return {}; }
  /// Waits for each event for that time, and ends when none has come; 0 for those that are there.
  range events(timeout t) const noexcept { return {q_.get(), t}; }

  /// Calls f(const event_ref &) for each event, on a thread of the queue. An exception of f ends with what()
  /// of it told to on_exception; the next event comes all the same.
  template <class F> status dispatch(F f, function<void(std::string_view)> on_exception = {}) noexcept {
    auto box = std::make_unique<receiver>(receiver{std::move(f), std::move(on_exception)});
    const auto s = midge_queue_dispatch(q_.get(), &called, box.get(), &detail::destroy<receiver>);
    if (s == MIDGE_OK) (void)box.release();
    return check(s);
  }
  /// Readable while there is something to read. Not to be read or closed. On Windows a SOCKET.
  result<int> fd() const noexcept {
    std::int32_t number = -1;
    if (const auto s = midge_queue_fd(q_.get(), &number); s != MIDGE_OK) return midge::error(s);
    return static_cast<int>(number);
  }
  /// Makes one waiting or the next reader return with errc::timeout.
  status wake() const noexcept { return check(midge_queue_wake(q_.get())); }

private:
  struct receiver {
    function<void(const event_ref &)> f;
    function<void(std::string_view)> on_exception;
  };
  static void called(void *user, const midge_event *e) noexcept {
    const auto &to = *static_cast<const receiver *>(user);
    detail::guarded(to.on_exception, 0, [&] {
      to.f(event_ref(*e));
      return 0;
    });
  }
};

/// A client inside the process: a name to publish in, and subscriptions, which end with it. It is no
/// client of MQTT: it has no session and no connection, and is not among clients().
class client {
  detail::owned<midge_client, midge_client_free> c_;
  explicit client(midge_client c) noexcept : c_(c) {}

public:
  client() noexcept = default;
  /// Without a client identifier it publishes as the host.
  [[nodiscard]] static result<client> create(const broker &b, const queue &q, text client_id = {}) noexcept {
    midge_client c{};
    const detail::terminated id(client_id);
    if (!id) return detail::has_nul("client_id");
    const auto s = midge_client_new(b.get(), client_id.empty() ? nullptr : id.get(), q.get(), &c);
    if (s != MIDGE_OK) return midge::error(s);
    return client(c);
  }
  explicit operator bool() const noexcept { return bool(c_); }
  midge_client get() const noexcept { return c_.get(); }

  status subscribe(text filter, const subscribe_options &options = {}) const noexcept {
    auto args = detail::sized<midge_subscribe_args>();
    args.filter = filter.empty() ? "" : filter.data();
    args.filter_len = filter.size();
    args.qos = static_cast<std::uint8_t>(options.qos);
    args.tag = options.tag;
    args.no_local = options.no_local;
    args.retain_handling = static_cast<std::uint8_t>(options.retain_handling);
    return check(midge_client_subscribe_ex(c_.get(), &args));
  }
  status subscribe(text filter, midge::qos quality, std::uint32_t tag = 0) const noexcept {
    subscribe_options options;
    options.qos = quality;
    options.tag = tag;
    return subscribe(filter, options);
  }
  status unsubscribe(text filter) const noexcept {
    return check(midge_client_unsubscribe_n(c_.get(), filter.empty() ? "" : filter.data(), filter.size()));
  }
  /// Publishes in its name; the number of receivers.
  result<std::uint32_t> publish(text topic, bytes payload = {}, const publish_options &options = {}) const noexcept {
    return publish(*detail::publish_args(topic, payload, options).get());
  }
  result<std::uint32_t> publish(const midge_publish_args &args) const noexcept {
    std::uint32_t matched = 0;
    if (const auto s = midge_client_publish(c_.get(), &args, &matched); s != MIDGE_OK) return midge::error(s);
    return matched;
  }
  /// Keeps account of the receivers.
  [[nodiscard]] result<receipt> publish_receipt(text topic, bytes payload,
                                                const publish_options &options = {}) const noexcept {
    midge_receipt r{};
    const detail::publish_args args(topic, payload, options);
    if (const auto s = midge_client_publish_receipt(c_.get(), args.get(), &r); s != MIDGE_OK) return midge::error(s);
    return receipt(r);
  }
};

/// Messages for a filter: a client with a queue of its own.
class subscription {
  midge::queue queue_;
  midge::client client_;

  struct step {
    midge_queue q;
    std::int32_t ms;
    bool operator()(message &out) const noexcept {
      event e;
      if (midge_queue_next(q, ms, e.cleared()) != MIDGE_OK) return false;
      out = e.message();
      return true;
    }
  };

public:
  /// Messages that come within a time of each other.
  class range {
    step step_;

  public:
    range(midge_queue q, timeout t) noexcept : step_{q, t.count()} {}
    auto begin() const noexcept { return detail::reader<message, step>(step_); }
    detail::sentinel end() const noexcept { return {}; }
  };

  subscription() noexcept = default;
  subscription(midge::queue q, midge::client c) noexcept : queue_(std::move(q)), client_(std::move(c)) {}
  explicit operator bool() const noexcept { return bool(queue_); }
  /// The next message: errc::timeout if none came, errc::closed if none will come any more.
  [[nodiscard]] result<message> next(timeout t = forever) const noexcept {
    return queue_.next(t).transform([](const event &e) { return e.message(); });
  }
  /// The next message if it is there.
  [[nodiscard]] std::optional<message> try_next() const noexcept { return next(std::chrono::milliseconds(0)).ok(); }
  /// `for (const midge::message &message : subscription)`: waits for each; ends when it is closed or woken.
  auto begin() const noexcept { return messages(forever).begin(); }
  detail::sentinel end() const noexcept { return {}; }
  /// Waits for each message for that time, and ends when none has come; 0 for those that are there.
  range messages(timeout t) const noexcept { return {queue_.get(), t}; }
  const midge::queue &queue() const noexcept { return queue_; }
  midge::queue &queue() noexcept { return queue_; }
  const midge::client &client() const noexcept { return client_; }
};

inline result<subscription> broker::subscribe(text filter, const subscribe_options &options,
                                              const queue_options &bounds) const noexcept {
  auto q = queue::create(*this, event_type::none, bounds);
  if (!q) return q.error();
  auto c = client::create(*this, *q);
  if (!c) return c.error();
  if (auto s = c->subscribe(filter, options); !s) return s.error();
  return subscription(std::move(*q), std::move(*c));
}

inline result<subscription> broker::on_message(text filter, function<void(const message &)> f,
                                               const subscribe_options &options, const queue_options &bounds,
                                               function<void(std::string_view)> on_exception) const noexcept {
  auto made = subscribe(filter, options, bounds);
  if (!made) return made;
  auto s = made->queue().dispatch([f = std::move(f)](const event_ref &e) { f(e.message()); }, std::move(on_exception));
  if (!s) return s.error();
  return made;
}

/// Has f(level, text) get what the library has to say, for all brokers of the process; an empty f ends
/// that. The one that was set before is let go. Exceptions of f are lost.
inline status set_log(function<void(log_level, std::string_view)> f, log_level level = log_level::warn) noexcept {
  using callable = function<void(log_level, std::string_view)>;
  if (!f) return check(midge_log_set(nullptr, static_cast<std::int32_t>(level), nullptr, nullptr));
  auto box = std::make_unique<callable>(std::move(f));
  const auto called = [](void *user, std::int32_t how, const char *line) noexcept {
    detail::guarded(function<void(std::string_view)>(), 0, [&] {
      (*static_cast<callable *>(user))(static_cast<log_level>(how), line);
      return 0;
    });
  };
  const auto s = midge_log_set(called, static_cast<std::int32_t>(level), box.get(), &detail::destroy<callable>);
  if (s == MIDGE_OK) (void)box.release();
  return check(s);
}

/// Whether the library has a feature: "tcp", "unix", "mqtt3.1", "mqtt3.1.1", "mqtt5".
inline bool has_feature(text name) noexcept {
  const detail::terminated n(name);
  return n && midge_has_feature(n.get());
}

} // namespace throwing or aborting
} // namespace midge

template <> struct std::is_error_code_enum<midge::errc> : std::true_type {};

#undef MIDGE_SHARED_BY_ALL
