# Shared by the panda* peers. Set before sourcing: AUTH (token|ticket), TLS (empty, full or resumed).
#
# `panda serve` as it is, every message synced to disk, with one change: a session may send more commands a second than
# a person, because a few publishers here stand for thousands. Users, chats and tokens are made by one process, and
# another, started behind it on the same data folder, is measured: its memory holds nothing of that.
ADAPTER=panda
# Every command is acknowledged whether asked for or not; so they are counted.
FANOUT=(--ack)
PANDA=${PEERS_PANDA:-$TARGET/panda}
# Clients of a second connection bring tickets of the first: of TLS, of Panda, or of both.
[ "$AUTH" = token ] || CHURN=(--users 2000 --connections 2000 --first 2000)
version() {
    # Another binary is of another commit, which it does not say.
    local commit=${PEERS_PANDA:+of another build}
    echo "$("$PANDA" --version), ${commit:-$(git -C "$PROJECT" rev-parse --short HEAD 2>/dev/null || echo unknown)}"
}
launch() { "${SRV[@]}" "$PANDA" serve --config "$TMP/panda.toml" >>"$TMP/log" 2>&1 & PIDS=$!; }
ready() (
    { exec 3<>"/dev/tcp/127.0.0.1/$((PORT + 2))"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
    read -r -t 5 status <&3
    [[ $status == *" 200 "* ]]
)
start() {
    local url=http://127.0.0.1:$PORT tls= authority=()
    OPTS=(--opt "world=$TMP/world.json" --opt "auth=$AUTH")
    if [ -n "$TLS" ]; then
        make_cert || return 1
        url=https://127.0.0.1:$PORT authority=(--opt "authority=$TMP/cert.pem") EXTRA=(--tls "$TLS")
        tls="certificate = \"$TMP/cert.pem\"
key = \"$TMP/key.pem\""
    fi
    cat >"$TMP/panda.toml" <<END
data = "$TMP/data"
[http]
address = "127.0.0.1:$PORT"
$tls
[quic]
address = "127.0.0.1:$((PORT + 1))"
[health]
address = "127.0.0.1:$((PORT + 2))"
[edge]
commands_per_second = 1000000
[log]
level = "warn"
END
    launch
    await_ready &&
        "${CLI[@]}" "$TARGET/peerbench" "$@" --provision --adapter panda --addr "127.0.0.1:$PORT" "${OPTS[@]}" \
            "${authority[@]}" --opt "http=$url" --opt "key=$TMP/data/admin.key" || return 1
    stop
    launch
}
