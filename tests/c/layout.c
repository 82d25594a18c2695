/* The layout of the structures on 64-bit systems: what programs were compiled with stays. */
#include <midge.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field)

SIZE(midge_broker, 8);
SIZE(midge_queue, 8);
SIZE(midge_client, 8);
SIZE(midge_decision, 8);
SIZE(midge_bytes, 16);
SIZE(midge_error_info, 256);
AT(midge_error_info, message, 16);
SIZE(midge_publish_args, 104);
AT(midge_publish_args, topic, 8);
AT(midge_publish_args, payload_free, 32);
AT(midge_publish_args, message_expiry_s, 48);
AT(midge_publish_args, correlation_data, 72);
AT(midge_publish_args, user_props_len, 96);
SIZE(midge_event, 136);
AT(midge_event, owner, 8);
AT(midge_event, status, 48);
AT(midge_event, client_id, 64);
AT(midge_event, message, 128);
SIZE(midge_hooks, 64);
AT(midge_hooks, on_auth, 24);
SIZE(midge_connect_info, 104);
SIZE(midge_acl_request, 72);
SIZE(midge_stats, 416);
AT(midge_stats, dropped, 208);
