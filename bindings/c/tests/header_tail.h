
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
#define MIDGE_PUBLISH_ARGS_INIT \
  { MIDGE_SIZE_OF(midge_publish_args), 0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, \
    { NULL, 0 }, NULL, 0, 0, 0, 0 }
#define MIDGE_SUBSCRIBE_ARGS_INIT \
  { MIDGE_SIZE_OF(midge_subscribe_args), 2, 0, 0, 0, 0, 0, NULL, 0 }
#define MIDGE_EVENT_INIT \
  { MIDGE_SIZE_OF(midge_event), 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0, { NULL, 0 }, { NULL, 0 }, \
    { NULL, 0 }, { NULL, 0 }, NULL }
#define MIDGE_HOOKS_INIT \
  { MIDGE_SIZE_OF(midge_hooks), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
