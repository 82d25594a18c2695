
#if defined(_WIN32) && !defined(MIDGE_STATIC)
#define MIDGE_API __declspec(dllimport)
#elif defined(__GNUC__)
#define MIDGE_API __attribute__((visibility("default")))
#else
#define MIDGE_API
#endif

#if defined(__GNUC__)
#define MIDGE_MUST_USE __attribute__((warn_unused_result))
#else
#define MIDGE_MUST_USE
#endif

/** For timeouts: without limit. Any other negative timeout is one that is over. */
#define MIDGE_WAIT_FOREVER INT32_MIN

/** For lengths of texts: it is NUL-terminated. */
#define MIDGE_NUL_TERMINATED SIZE_MAX

/** Version of this header as a number; compare it with midge_version_number(). */
#define MIDGE_VERSION_NUMBER (MIDGE_VERSION_MAJOR * 1000000 + MIDGE_VERSION_MINOR * 1000 + MIDGE_VERSION_PATCH)

#ifdef __cplusplus
#define MIDGE_SIZE_OF(type) static_cast<uint32_t>(sizeof(type))
#else
#define MIDGE_SIZE_OF(type) ((uint32_t)sizeof(type))
#endif

/** Start values of structures. */
#define MIDGE_PUBLISH_ARGS_INIT                                                                                        \
  {                                                                                                                    \
    MIDGE_SIZE_OF(midge_publish_args), 0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, {NULL, 0}, NULL, 0, 0, \
        0, 0                                                                                                           \
  }
#define MIDGE_SUBSCRIBE_ARGS_INIT \
  { MIDGE_SIZE_OF(midge_subscribe_args), 2, 0, 0, 0, 0, 0, NULL, 0 }
#define MIDGE_EVENT_INIT                                                                                           \
  {                                                                                                                \
    MIDGE_SIZE_OF(midge_event), 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, NULL, \
        {NULL, 0}, {NULL, 0}, 0, 0, 0                                                                              \
  }
#define MIDGE_HOOKS_INIT \
  { MIDGE_SIZE_OF(midge_hooks), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/** For tools that look for races and do not see the library's locks: what a thread did before
 *  MIDGE_HAPPENS_BEFORE(p) is done when another one has come to MIDGE_HAPPENS_AFTER(p), such as before a
 *  user pointer is given to the library, and first in a callback. Nothing without ThreadSanitizer, or
 *  helgrind and DRD (define MIDGE_VALGRIND, which needs Valgrind's headers). */
#if defined(__SANITIZE_THREAD__)
#define MIDGE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MIDGE_TSAN 1
#endif
#endif
#if defined(MIDGE_TSAN)
#ifdef __cplusplus
extern "C" {
#endif
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#ifdef __cplusplus
}
#endif
#define MIDGE_HAPPENS_BEFORE(pointer) __tsan_release(pointer)
#define MIDGE_HAPPENS_AFTER(pointer) __tsan_acquire(pointer)
#elif defined(MIDGE_VALGRIND)
#include <valgrind/helgrind.h>
#define MIDGE_HAPPENS_BEFORE(pointer) ANNOTATE_HAPPENS_BEFORE(pointer)
#define MIDGE_HAPPENS_AFTER(pointer) ANNOTATE_HAPPENS_AFTER(pointer)
#else
#define MIDGE_HAPPENS_BEFORE(pointer) ((void)(pointer))
#define MIDGE_HAPPENS_AFTER(pointer) ((void)(pointer))
#endif
