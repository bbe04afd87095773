# Shared by the centrifuge-lib* peers: servers/centrifuge, on the library below Centrifugo, from the Go module proxy.
# Set before sourcing: NS (plain|hist).
ADAPTER=centrifugo-pb
OPTS=(--opt "ns=$NS" --opt hmac=benchmark-secret-of-at-least-32-bytes)
SERVER=$BUILD/bin/centrifuge-server
available() { [ -x "$SERVER" ] || command -v go >/dev/null || { echo "install Go"; return 1; }; }
prepare() { [ "$SERVER" -nt "$HERE/servers/centrifuge/main.go" ] || (cd "$HERE/servers/centrifuge" && go build -o "$SERVER" .); }
version() { sed -n 's/^require .*centrifugal\/centrifuge \(v[^ ]*\).*/centrifuge library \1/p' "$HERE/servers/centrifuge/go.mod"; }
start() {
    "${SRV[@]}" "$SERVER" "127.0.0.1:$PORT" benchmark-secret-of-at-least-32-bytes >"$TMP/log" 2>&1 &
    PIDS=$!
}
