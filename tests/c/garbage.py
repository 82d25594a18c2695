#!/usr/bin/env python3
"""Makes a C program of midge.h that gives every function every wrong argument, one at a time.

    garbage.py include/midge.h bindings/c/symbols.txt >garbage.c

For each parameter: NULL (refused with a message that names it, unless the header says that it may
be NULL), a text that is not UTF-8, numbers out of range, the null handle, handles that never were,
of another kind, and freed; and structures whose struct_size is too small, exact, longer and garbage.
Whatever a function gives back must stand in its @return. `garbage fork` calls every function in a
forked child instead. A function or a parameter that this script does not know is an error."""

import re
import sys
from pathlib import Path

header = Path(sys.argv[1]).read_text()
symbols = Path(sys.argv[2]).read_text().split()

HANDLES = {
    "midge_broker": "s.b",
    "midge_queue": "s.q",
    "midge_client": "s.c",
    "midge_decision": "s.d",
    "midge_receipt": "s.r",
    "midge_snapshot": "s.clients",
}
STRUCTS = [
    "midge_publish_args",
    "midge_event",
    "midge_stats",
    "midge_hooks",
    "midge_error_info",
    "midge_subscribe_args",
    "midge_receipt_info",
    "midge_receipt_outcome",
    "midge_client_info",
    "midge_session_info",
    "midge_subscription_info",
]
# What is beyond their known part must be zero.
READ_STRUCTS = ["midge_publish_args", "midge_hooks", "midge_subscribe_args"]
# Right values, by name, or by function and name.
RIGHT = {
    "key": '"limits.inflight"',
    "value": '"7"',
    "path": '"/nowhere"',
    "client_id": '"x"',
    "filter": '"a/b"',
    "topic": '"a/b"',
    "name": '"tcp"',
    "payload": '"x"',
    "len": "1",
    "cap": "1",
    "buf": "s.text",
    "qos": "0",
    "tag": "0",
    "reason": "0x98",
    "verdict": "0",
    "timeout_ms": "0",
    "n": "1",
    "ms": "1",
    "drain_ms": "0",
    "listener": "0",
    "id": "3",
    "index": "0",
    "retain": "false",
    "mask": "0",
    "max_events": "4",
    "max_bytes": "0",
    "overflow": "0",
    "on_event": "ignore",
    "on_log": "note",
    "level": "2",
    "user": "NULL",
    "user_free": "NULL",
    "status": "0",
    "m": "s.m",
    "args": "(midge_publish_args *)s.room",
    "h": "(midge_hooks *)s.room",
    "ev": "(midge_event *)s.room",
    "config": "s.config",
    "need": "&s.size",
    "count": "&s.size",
    "removed": "&s.size",
    "matched": "&s.matched",
    "port": "&s.port",
    "fd": "&s.fd",
    "wait_ms": "&s.fd",
    "val": "&s.bytes",
    "num": "&s.number",
    "bytes": "s.bytes",
    "asked": '(midge_bytes){(const uint8_t *)"a/b", 3}',
    "max": "0",
    "topic_len": "MIDGE_NUL_TERMINATED",
    "filter_len": "MIDGE_NUL_TERMINATED",
    "text": '"why"',
    "left": "&s.size",
    "total": "&s.size",
    "server_reference": '"other"',
    "code": "0x87",
    "packet": "4",
    "type": "2",
}
RIGHT_OF = {
    ("midge_config_set_int", "value"): "7",
    ("midge_config_get", "cap"): "sizeof s.text",
    ("midge_broker_addr", "cap"): "sizeof s.text",
    ("midge_message_prop", "key"): "&s.bytes",
    ("midge_message_origin", "client_id"): "&s.bytes",
    ("midge_broker_retained", "out"): "s.list",
    ("midge_broker_stats", "out"): "(midge_stats *)s.room",
    ("midge_last_error", "out"): "(midge_error_info *)s.room",
    ("midge_config_new", "out"): "&s.made",
    ("midge_config_clone", "out"): "&s.made",
    ("midge_broker_start", "out"): "&s.b2",
    ("midge_message_new", "out"): "&s.m2",
    ("midge_client_new", "out"): "&s.c2",
    ("midge_queue_new", "out"): "&s.q2",
    ("midge_client_subscribe_ex", "args"): "(midge_subscribe_args *)s.room",
    ("midge_decision_defer", "d"): "&s.d",
    ("midge_publish_receipt", "out"): "&s.r2",
    ("midge_client_publish_receipt", "out"): "&s.r2",
    ("midge_broker_send", "out"): "&s.r2",
    ("midge_receipt_state", "out"): "(midge_receipt_info *)s.room",
    ("midge_receipt_outcome_at", "out"): "(midge_receipt_outcome *)s.room",
    ("midge_snapshot_clients", "out"): "&s.s2",
    ("midge_snapshot_sessions", "out"): "&s.s2",
    ("midge_snapshot_subscriptions", "out"): "&s.s2",
    ("midge_snapshot_retained", "out"): "&s.s2",
    ("midge_snapshot_next_client", "out"): "(midge_client_info *)s.room",
    ("midge_snapshot_next_session", "out"): "(midge_session_info *)s.room",
    ("midge_snapshot_next_session", "s"): "s.sessions",
    ("midge_snapshot_next_subscription", "out"): "(midge_subscription_info *)s.room",
    ("midge_snapshot_next_subscription", "s"): "s.subscriptions",
    ("midge_snapshot_next_message", "out"): "s.list",
    ("midge_snapshot_next_message", "s"): "s.messages",
}
WRONG = {
    "qos": ["3", "255"],
    "overflow": ["7", "-1"],
    "mask": ["1u << 13", "1u << 31"],
    "max_events": ["0"],
    "reason": ["0", "0x7f", "0xff"],
    "verdict": ["MIDGE_E_WOULD_BLOCK"],
    "level": ["-1", "5"],
}
LENGTHS = {"len": "payload", "topic_len": "topic", "filter_len": "filter"}
NO_LIMITS = {
    "tag",
    "timeout_ms",
    "n",
    "ms",
    "drain_ms",
    "listener",
    "id",
    "index",
    "retain",
    "max_bytes",
    "status",
    "user",
    "cap",
    "value",
    "bytes",
    "asked",
    "max",
    "code",
    "packet",
    "type",
}
TOPICS = {"filter": ['""', '"a/#/b"'], "topic": ['""', '"a/#"']}

PROGRAM = r"""/* Made by garbage.py. */
#include "check.h"

static void ignore(void *user, const midge_event *event) { (void)user; (void)event; }
static void note(void *user, int32_t level, const char *text) { (void)user; (void)level; (void)text; }

struct set {
  midge_config *config, *made;
  midge_broker b, b2;
  midge_queue q, q2;
  midge_client c, c2;
  midge_decision d;
  midge_receipt r, r2;
  midge_snapshot clients, sessions, subscriptions, messages, s2;
  midge_message *m, *m2;
  const midge_message *list[2];
  midge_bytes bytes;
  uint64_t number, room[1024];
  size_t size;
  uint32_t matched;
  int32_t fd;
  uint16_t port;
  char text[64];
};

/* Right arguments for everything. */
static struct set good(midge_broker b) {
  struct set s;
  midge_publish_args args = MIDGE_PUBLISH_ARGS_INIT;
  memset(&s, 0, sizeof s);
  s.b = b;
  s.d.id = b.id;
  s.fd = -1;
  args.topic = "a/b";
  if (midge_config_new(&s.config) != MIDGE_OK || midge_message_new(&args, &s.m) != MIDGE_OK ||
      midge_queue_new(b, 0, 4, 0, 0, &s.q) != MIDGE_OK || midge_client_new(b, NULL, s.q, &s.c) != MIDGE_OK ||
      midge_publish_receipt(b, &args, &s.r) != MIDGE_OK || midge_snapshot_clients(b, 0, &s.clients) != MIDGE_OK ||
      midge_snapshot_sessions(b, 0, &s.sessions) != MIDGE_OK ||
      midge_snapshot_subscriptions(b, NULL, 0, &s.subscriptions) != MIDGE_OK ||
      midge_snapshot_retained(b, "#", 1, 0, &s.messages) != MIDGE_OK)
    CHECK(!"right arguments");
  return s;
}

static void put(struct set *s, uint32_t size, size_t real, const void *value) {
  memset(s->room, 0, sizeof s->room);
  memcpy(s->room, value, real);
  memcpy(s->room, &size, sizeof size);
}

static void clean(struct set *s) {
  midge_config_free(s->config);
  midge_config_free(s->made);
  if (midge_broker_free(s->b2) | midge_queue_free(s->q2) | midge_client_free(s->c2) | midge_receipt_free(s->r2) |
      midge_snapshot_free(s->s2))
    CHECK(!"what was made is freed");
  midge_message_unref(s->m);
  midge_message_unref(s->m2);
  for (int n = 0; n < 2; n++) midge_message_unref(s->list[n]);
  if (s->fd >= 0) close(s->fd);
  (void)midge_receipt_free(s->r);
  (void)midge_snapshot_free(s->clients);
  (void)midge_snapshot_free(s->sessions);
  (void)midge_snapshot_free(s->subscriptions);
  (void)midge_snapshot_free(s->messages);
  (void)midge_client_free(s->c);
  (void)midge_queue_free(s->q);
}

static void expect(int line, midge_status got, midge_status wanted, const char *call, const char *argument) {
  if (got != wanted || (argument != NULL && strstr(last_message(), argument) == NULL)) {
    failed++;
    printf("garbage.c:%d: %s gives %s, not %s: %s\n", line, call, midge_status_name(got), midge_status_name(wanted), last_message());
  } else {
    passed++;
  }
}

/* A status that the documentation of the function names. */
static void documented(int line, midge_status got, const char *call, const char *statuses) {
  char name[64];
  snprintf(name, sizeof name, "%s ", midge_status_name(got));
  if (strstr(statuses, name) != NULL) {
    passed++;
  } else {
    failed++;
    printf("garbage.c:%d: %s gives %s, which its @return does not name\n", line, call, name);
  }
}
"""

MAIN = r"""
static void in_a_child(struct set *set) {
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* a call that hangs here has failed */
    int line = forked(*set);
    if (line != 0) printf("garbage.c:%d: in a forked child\n", line);
    fflush(stdout);
    _exit(line != 0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv) {
  midge_broker broker = start();
  if (argc > 1 && strcmp(argv[1], "fork") == 0) {
    struct set set = good(broker);
    OK(midge_client_subscribe(set.c, "a/b", 0, 1));
    OK(midge_publish(broker, "a/b", "1", 1, 0, false));
    in_a_child(&set);
    midge_event event = MIDGE_EVENT_INIT; /* here everything is as it was */
    OK(midge_queue_next(set.q, 0, &event));
    midge_event_clear(&event);
    CHECK(everything(broker, 0) == 0);
    clean(&set);
  } else {
    every_function(broker);
    CHECK(everything(broker, 0) == 0); /* no harm was done */
  }
  OK(midge_broker_free(broker));
  return result();
}"""

declaration = re.compile(
    r"/\*\*((?:(?!\*/).)*)\*/\s*MIDGE_API\s+(?:MIDGE_MUST_USE\s+)?([^;]*?)(midge_\w+)\(([^;]*)\);",
    re.S,
)
functions = {}
for doc, result, name, rest in declaration.findall(header):
    doc = re.sub(r"\n \* ?", "\n", doc)
    parameters = []
    for part in re.sub(r"\s+", " ", rest).split(","):
        if part.strip() == "void":
            continue
        kind, parameter = re.fullmatch(r"\s*(.*?[ *])(\w+)\s*", part).groups()
        parameters.append((kind.replace("struct ", "").strip(), parameter))
    functions[name] = (doc, result.replace("struct ", "").strip(), parameters)
if sorted(functions) != sorted(symbols):
    sys.exit(f"the header and the symbols differ: {set(functions) ^ set(symbols)}")


def statuses(name):
    """What the documentation says that a function gives."""
    text = functions[name][0].partition("@return")[2]
    found = set(re.findall(r"MIDGE_(?:OK|E_\w+)", text))
    for other in re.findall(r"as (midge_\w+)\(\)", text):
        found |= statuses(other)
    return found


def about(doc, parameter):
    found = re.search(rf"@param {parameter}\s(.*?)(?=\n@|\Z)", doc, re.S)
    return found.group(1) if found else ""


def right(name, kind, parameter):
    if (name, parameter) in RIGHT_OF:
        return RIGHT_OF[name, parameter]
    if kind in HANDLES:
        return HANDLES[kind]
    return RIGHT[parameter]


out = []
at = PROGRAM.count("\n") + 1


def emit(line):
    out.append(line)


def here():
    return at + len(out) + 1


def call(name, changed=None, value=None):
    arguments = [value if p == changed else right(name, k, p) for k, p in functions[name][2]]
    return f"{name}({', '.join(arguments)})"


INIT = {
    "midge_publish_args": "MIDGE_PUBLISH_ARGS_INIT",
    "midge_event": "MIDGE_EVENT_INIT",
    "midge_hooks": "MIDGE_HOOKS_INIT",
    "midge_subscribe_args": "MIDGE_SUBSCRIBE_ARGS_INIT",
}


def struct_of(kind):
    return next((s for s in STRUCTS if re.fullmatch(rf"(const )?{s} ?\*", kind)), None)


def case(name, code, wanted, argument=None, size=None, beyond=False):
    """One call with fresh arguments."""
    setup = ""
    for kind, _ in functions[name][2]:
        struct = struct_of(kind)
        if struct:
            setup = f"{struct} v = {INIT.get(struct, '{0}')}; "
            if struct == "midge_publish_args":
                setup += 'v.topic = "a/b"; '
            if struct == "midge_subscribe_args":
                setup += 'v.filter = "a/b"; '
            setup += f"put(&s, {size or 'sizeof v'}, sizeof v, &v); "
            if beyond:
                setup += "memset((char *)s.room + sizeof v, 1, 8); "
    quoted = code.replace("\\", "\\\\").replace('"', '\\"')
    if functions[name][1] != "midge_status":
        emit(
            f'  {{ struct set s = good(broker); {setup}(void){code}; CHECK(!!"{name} returns"); {freed(name, code)}clean(&s); }}'
        )
        return
    named = '"' + "".join(f"{status} " for status in sorted(statuses(name))) + '"'
    argument = f'"{argument}"' if argument else "NULL"
    if wanted is None:
        check = f'documented({here()}, got, "{quoted}", {named});'
    else:
        check = f'expect({here()}, got, {wanted}, "{quoted}", {argument}); documented({here()}, got, "{quoted}", {named});'
    emit(
        f"  {{ struct set s = good(broker); {setup}midge_status got = {code}; {check} {freed(name, code)}clean(&s); }}"
    )


def freed(name, code):
    """What has to be done before the set is cleaned."""
    if name == "midge_queue_next":
        return "midge_event_clear((midge_event *)s.room); "
    if name == "midge_queue_fd":
        return "s.fd = -1; "
    if name == "midge_config_free" and "s.config" in code:
        return "s.config = NULL; "
    if name == "midge_message_unref" and "s.m" in code:
        return "s.m = NULL; "
    if name == "midge_message_ref" and "s.m" in code:
        return "midge_message_unref(s.m); "
    return ""


emit("static void every_function(midge_broker broker) {")
for name, (doc, result, parameters) in functions.items():
    status = result == "midge_status"
    if status and "@return" not in doc:
        sys.exit(f"{name} has no @return")
    if "@since" not in doc:
        sys.exit(f"{name} does not say since when it is there")
    for kind, parameter in parameters:
        texts = kind in ("const char *", "const char*")
        if kind in HANDLES:
            wanted = "MIDGE_OK" if name.endswith("_free") else "MIDGE_E_INVALID"
            case(name, call(name, parameter, f"({kind}){{0}}"), wanted)
            for other in [
                "0xdeadbeefcafeu",
                "UINT64_MAX",
                "s.b.id" if kind != "midge_broker" else "s.q.id",
                "s.q.id" if kind == "midge_client" else "s.c.id",
            ]:
                case(name, call(name, parameter, f"({kind}){{{other}}}"), "MIDGE_E_CLOSED")
            if kind in ("midge_queue", "midge_client", "midge_receipt", "midge_snapshot"):
                short = HANDLES[kind]
                free = f"(({kind}){{{kind}_free({short}) == MIDGE_OK ? {short}.id : 0}})"
                case(name, call(name, parameter, free), "MIDGE_E_CLOSED")
            continue
        if "*" in kind or parameter in ("on_event", "on_log", "user_free"):
            if parameter == "user":
                continue
            optional = "may be NULL" in about(doc, parameter) and "may be NULL if" not in " ".join(
                about(doc, parameter).split()
            )
            case(
                name,
                call(name, parameter, "NULL"),
                None if optional else "MIDGE_E_INVALID",
                None if optional or name == "midge_last_error" else parameter,
            )
            if texts and status:
                case(name, call(name, parameter, r'"\xff\xfe"'), "MIDGE_E_INVALID", parameter)
            for wrong in TOPICS.get(parameter, []):
                if not name.startswith("midge_client_unsubscribe"):
                    case(name, call(name, parameter, wrong), "MIDGE_E_INVALID", parameter)
            if struct_of(kind) and name != "midge_event_clear":
                for size in ["0", "3", "7", "5000", "UINT32_MAX"]:
                    case(
                        name,
                        call(name),
                        "MIDGE_E_ABI",
                        None if name == "midge_last_error" else parameter,
                        size,
                    )
                for size in ["sizeof v", "sizeof v + 64"]:
                    case(name, call(name), None, size=size)
                if struct_of(kind) in READ_STRUCTS:
                    case(name, call(name), "MIDGE_E_ABI", parameter, "sizeof v + 64", beyond=True)
            continue
        if parameter in LENGTHS:
            absurd = "SIZE_MAX" if parameter == "len" else "SIZE_MAX - 1"
            case(name, call(name, parameter, absurd), "MIDGE_E_INVALID", LENGTHS[parameter])
            continue
        if parameter in WRONG and status:
            for wrong in WRONG[parameter]:
                case(name, call(name, parameter, wrong), "MIDGE_E_INVALID", parameter)
        elif parameter not in NO_LIMITS and parameter not in WRONG:
            sys.exit(f"{name} has a parameter that is not known here: {parameter}")
    # And once as it should be.
    case(
        name,
        call(name)
        if name not in ("midge_broker_free", "midge_broker_stop")
        else f"{name}((midge_broker){{0}}{', 0' if 'stop' in name else ''})",
        None,
    )
emit("}")
emit("")
emit("/* The line of the first call that does not say MIDGE_E_FORKED, or 0. */")
emit("static int forked(struct set s) {")
for name, (_, result, _) in functions.items():
    if result == "midge_status" and name != "midge_last_error":
        emit(f"  if ({call(name)} != MIDGE_E_FORKED) return {here()};")
    elif name != "midge_last_error":
        emit(f"  (void){call(name)};")
emit("  return 0;")
emit("}")
print(PROGRAM + "\n".join(out) + MAIN)
