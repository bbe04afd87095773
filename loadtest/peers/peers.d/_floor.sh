# Shared by the floor-* peers: our own bare servers (loadgen/src/bin). Set before sourcing: FLOOR, a program and its mode.
ADAPTER=simple
version() { echo "own, bare ${FLOOR[*]}"; }
start() {
    "${SRV[@]}" "$TARGET/${FLOOR[0]}" "$PORT" "${FLOOR[@]:1}" >"$TMP/log" 2>&1 &
    PIDS=$!
}
