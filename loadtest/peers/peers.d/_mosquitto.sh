# Shared by the mosquitto-* peers. Set before sourcing: TRANSPORT (ws|tcp). Debian's package, or $MOSQUITTO_BIN.
ADAPTER=mqtt
OPTS=(--opt "transport=$TRANSPORT" --opt user=bench --opt pass=bench)
MOSQUITTO=${MOSQUITTO_BIN:-$(PATH=$PATH:/usr/sbin command -v mosquitto || true)}
available() { [ -n "$MOSQUITTO" ] || { echo "install mosquitto, or set MOSQUITTO_BIN"; return 1; }; }
# It ends its help with an error.
version() { { "$MOSQUITTO" -h || true; } | head -n 1; }
start() {
    local tcp=$PORT ws=
    printf 'bench:bench\n' >"$TMP/passwd"
    mosquitto_passwd -U "$TMP/passwd" || return 1
    if [ "$TRANSPORT" = ws ]; then
        # It does not start with WebSocket listeners alone.
        tcp=$((PORT + 1))
        ws="listener $PORT 127.0.0.1
socket_domain ipv4
protocol websockets"
    fi
    # As the user that it runs as, or it takes one that cannot read the file.
    cat >"$TMP/mosquitto.conf" <<END
user $(id -un)
password_file $TMP/passwd
persistence false
set_tcp_nodelay true
max_queued_messages 0
listener $tcp 127.0.0.1
$ws
END
    "${SRV[@]}" "$MOSQUITTO" -c "$TMP/mosquitto.conf" >"$TMP/log" 2>&1 &
    PIDS=$!
}
