# uWebSockets: the native library in the Python package `socketify`, driven from C (servers/uws_server.c), no Python runs.
ADAPTER=simple
SOCKETIFY=0.0.31
SERVER=$BUILD/bin/uws_server
available() {
    [ -x "$SERVER" ] && return
    [ "$(uname -m)" = x86_64 ] || { echo "the package has the library for x86_64 only"; return 1; }
    command -v pip >/dev/null && command -v cc >/dev/null || { echo "install pip and a C compiler"; return 1; }
}
prepare() {
    local folder=$BUILD/socketify
    [ -x "$SERVER" ] && return
    [ -d "$folder" ] || pip --quiet install --no-deps --target "$folder" "socketify==$SOCKETIFY"
    cc -O2 -Wall -Wextra -Wno-unused-parameter -o "$SERVER" "$HERE/servers/uws_server.c" \
        "$folder/socketify/libsocketify_linux_amd64.so" -Wl,-rpath,"$folder/socketify"
}
version() { echo "uWebSockets (native library of socketify $SOCKETIFY, libuv loop)"; }
start() {
    "${SRV[@]}" "$SERVER" "$PORT" >"$TMP/log" 2>&1 &
    PIDS=$!
}
