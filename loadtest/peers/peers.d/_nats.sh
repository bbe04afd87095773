# Shared by the nats-* peers. Set before sourcing: TRANSPORT (ws|tcp), JS (0|1), SYNC (empty or always), TLS (0|1).
# The server comes from the Go module proxy, or is $NATS_BIN.
ADAPTER=nats
OPTS=(--opt "transport=$TRANSPORT" --opt user=bench --opt pass=bench --opt "js=$JS")
# The stream acknowledges: what it does not is not stored.
[ "$JS" = 0 ] || FANOUT=(--ack)
NATS=${NATS_BIN:-$BUILD/bin/nats-server}
available() { [ -x "$NATS" ] || command -v go >/dev/null || { echo "install Go, or set NATS_BIN"; return 1; }; }
prepare() { [ -x "$NATS" ] || GOBIN="$BUILD/bin" go install "github.com/nats-io/nats-server/v2@${NATS_VERSION:-v2.15.2}"; }
version() { "$NATS" --version; }
start() {
    local ws= js= tls='no_tls: true' tcp=$PORT
    if [ "$TLS" = 1 ]; then
        make_cert || return 1
        EXTRA=(--tls full)
        tls="tls { cert_file: \"$TMP/cert.pem\", key_file: \"$TMP/key.pem\" }"
    fi
    [ "$JS" = 0 ] || js="jetstream { store_dir: \"$TMP/js\"${SYNC:+, sync_interval: $SYNC} }"
    if [ "$TRANSPORT" = ws ]; then
        tcp=$((PORT + 1))
        ws="websocket { listen: \"127.0.0.1:$PORT\", $tls }"
    fi
    cat >"$TMP/nats.conf" <<END
listen: "127.0.0.1:$tcp"
max_connections: 100000
authorization { user: bench, password: bench }
$ws
$js
END
    "${SRV[@]}" "$NATS" -c "$TMP/nats.conf" >"$TMP/log" 2>&1 &
    PIDS=$!
}
