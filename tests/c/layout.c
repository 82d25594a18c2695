/* The layout of the structures on 64-bit systems: what programs were compiled with stays. */
#include <midge.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#define AT(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field)

SIZE(midge_broker, 8);
SIZE(midge_queue, 8);
SIZE(midge_client, 8);
SIZE(midge_decision, 8);
SIZE(midge_receipt, 8);
SIZE(midge_snapshot, 8);
SIZE(midge_bytes, 16);
SIZE(midge_error_info, 256);
AT(midge_error_info, reason, 12);
AT(midge_error_info, message, 16);
SIZE(midge_publish_args, 128);
AT(midge_publish_args, topic, 8);
AT(midge_publish_args, payload_free, 32);
AT(midge_publish_args, message_expiry_s, 48);
AT(midge_publish_args, correlation_data, 72);
AT(midge_publish_args, user_props_len, 96);
AT(midge_publish_args, topic_len, 104);
SIZE(midge_subscribe_args, 32);
AT(midge_subscribe_args, tag, 8);
AT(midge_subscribe_args, filter, 16);
SIZE(midge_event, 192);
AT(midge_event, owner, 8);
AT(midge_event, status, 48);
AT(midge_event, detail, 60);
AT(midge_event, client_id, 64);
AT(midge_event, message, 128);
AT(midge_event, username, 136);
AT(midge_event, refusal, 152);
AT(midge_event, connection, 168);
AT(midge_event, session, 176);
AT(midge_event, message_number, 184);
SIZE(midge_hooks, 64);
AT(midge_hooks, on_auth, 24);
SIZE(midge_connect_info, 120);
AT(midge_connect_info, user_props, 104);
SIZE(midge_acl_request, 88);
AT(midge_acl_request, topic, 56);
AT(midge_acl_request, group, 72);
SIZE(midge_stats, 424);
AT(midge_stats, dropped, 208);
AT(midge_stats, left_running, 416);
SIZE(midge_receipt_info, 48);
AT(midge_receipt_info, matched, 8);
SIZE(midge_receipt_outcome, 32);
AT(midge_receipt_outcome, client_id, 16);
SIZE(midge_client_info, 112);
AT(midge_client_info, client_id, 8);
AT(midge_client_info, queued, 72);
AT(midge_client_info, connection, 96);
AT(midge_client_info, session, 104);
SIZE(midge_session_info, 96);
AT(midge_session_info, disconnected_ms, 16);
AT(midge_session_info, queued, 40);
AT(midge_session_info, username, 72);
AT(midge_session_info, session, 88);
SIZE(midge_subscription_info, 48);
AT(midge_subscription_info, client_id, 16);
