/* uWebSockets, the native library of the Python package `socketify` driven through its C interface, so that no Python
 * runs. Speaks the `simple` adapter's protocol (loadgen/src/adapter/simple.rs); topics are uWebSockets' own
 * publish/subscribe. Authenticates nobody, stores nothing: the practical limit of a server in memory.
 * Usage: uws_server PORT */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct us_socket_context_options_t {
    const char *key_file_name, *cert_file_name, *passphrase, *dh_params_file_name, *ca_file_name, *ssl_ciphers;
    int ssl_prefer_low_memory_usage;
};
typedef struct { int port; const char *host; int options; } uws_app_listen_config_t;
typedef void app, ws, res, req, ctx;
typedef void (*ws_handler)(ws *, void *);
typedef void (*msg_handler)(ws *, const char *, size_t, int, void *);
typedef struct {
    int compression;
    unsigned int maxPayloadLength;
    unsigned short idleTimeout;
    unsigned int maxBackpressure;
    bool closeOnBackpressureLimit, resetIdleTimeoutOnSend, sendPingsAutomatically;
    unsigned short maxLifetime;
    void (*upgrade)(res *, req *, ctx *, void *);
    ws_handler open;
    msg_handler message;
    ws_handler drain;
    void *ping, *pong;
    void (*close)(ws *, int, const char *, size_t, void *);
    void *subscription;
} behavior;
void *socketify_create_loop(void);
void *socketify_get_native_loop(void *);
int socketify_loop_run(void *, int);
void *uws_get_loop_with_native(void *);
app *uws_create_app(int ssl, struct us_socket_context_options_t);
void uws_ws(int ssl, app *, const char *pattern, behavior, void *);
void uws_app_listen_with_config(int ssl, app *, uws_app_listen_config_t, void (*)(void *, uws_app_listen_config_t, void *), void *);
size_t uws_req_get_header(req *, const char *, size_t, const char **);
void uws_res_upgrade(int ssl, res *, void *, const char *, size_t, const char *, size_t, const char *, size_t, ctx *);
int uws_ws_send(int ssl, ws *, const char *, size_t, int opcode);
bool uws_ws_subscribe(int ssl, ws *, const char *, size_t);
bool uws_publish(int ssl, app *, const char *, size_t, const char *, size_t, int opcode, bool compress);

static app *server;
static void on_upgrade(res *r, req *q, ctx *c, void *u) {
    const char *k, *p, *e;
    size_t nk = uws_req_get_header(q, "sec-websocket-key", 17, &k);
    size_t np = uws_req_get_header(q, "sec-websocket-protocol", 22, &p);
    size_t ne = uws_req_get_header(q, "sec-websocket-extensions", 24, &e);
    uws_res_upgrade(0, r, NULL, k, nk, p, np, e, ne, c);
}
static void on_open(ws *w, void *u) {}
static void on_message(ws *w, const char *m, size_t n, int op, void *u) {
    char t[16];
    uint32_t ch;
    if (n >= 5 && m[0] == 'S') {
        memcpy(&ch, m + 1, 4);
        if (ch != UINT32_MAX) uws_ws_subscribe(0, w, t, snprintf(t, sizeof t, "c%u", ch));
        uws_ws_send(0, w, "R", 1, 2);
    } else if (n > 6 && m[0] == 'P') {
        char out[4096];
        if (n > sizeof out) return;
        memcpy(&ch, m + 2, 4);
        out[0] = 'D';
        memcpy(out + 1, m + 2, n - 2);
        if (m[1]) uws_ws_send(0, w, "A", 1, 2);
        uws_publish(0, server, t, snprintf(t, sizeof t, "c%u", ch), out, n - 1, 2, false);
    }
}
static void on_close(ws *w, int code, const char *m, size_t n, void *u) {}
static void on_listen(void *l, uws_app_listen_config_t c, void *u) {
    if (!l) exit(1);
}
int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: uws_server PORT\n");
        return 2;
    }
    void *loop = socketify_create_loop();
    uws_get_loop_with_native(socketify_get_native_loop(loop));
    struct us_socket_context_options_t o = {0};
    server = uws_create_app(0, o);
    behavior b = {0};
    b.maxPayloadLength = 16384;
    /* The longest that it takes: an idle row sends nothing for minutes. */
    b.idleTimeout = 960;
    b.maxBackpressure = 64 << 20;
    b.upgrade = on_upgrade;
    b.open = on_open;
    b.message = on_message;
    b.close = on_close;
    uws_ws(0, server, "/*", b, NULL);
    uws_app_listen_config_t c = {atoi(argv[1]), "127.0.0.1", 0};
    uws_app_listen_with_config(0, server, c, on_listen, NULL);
    return socketify_loop_run(loop, 0);
}
