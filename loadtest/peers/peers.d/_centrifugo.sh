# Shared by the centrifugo-* peers. Set before sourcing: NS (plain|hist), PROTO (pb|json), TLS (0|1).
# No registry has the server: it is $CENTRIFUGO_BIN, or on the PATH.
CENTRIFUGO=${CENTRIFUGO_BIN:-$(command -v centrifugo || true)}
ADAPTER=centrifugo-$PROTO
OPTS=(--opt "ns=$NS" --opt hmac=benchmark-secret-of-at-least-32-bytes)
available() { [ -n "$CENTRIFUGO" ] && [ -x "$CENTRIFUGO" ] || { echo "set CENTRIFUGO_BIN to a Centrifugo v6"; return 1; }; }
version() { "$CENTRIFUGO" version 2>&1 | head -n 1; }
start() {
    local tls=
    if [ "$TLS" = 1 ]; then
        make_cert || return 1
        tls=", \"tls\": {\"enabled\": true, \"cert_pem\": \"$TMP/cert.pem\", \"key_pem\": \"$TMP/key.pem\"}"
        EXTRA=(--tls full)
    fi
    cat >"$TMP/config.json" <<END
{
  "http_server": {"address": "127.0.0.1", "port": $PORT$tls},
  "log": {"level": "error"},
  "usage_stats": {"disabled": true},
  "client": {
    "allowed_origins": ["*"],
    "token": {"hmac_secret_key": "benchmark-secret-of-at-least-32-bytes"}
  },
  "channel": {
    "namespaces": [
      {"name": "plain", "allow_subscribe_for_client": true, "allow_publish_for_client": true},
      {"name": "hist", "allow_subscribe_for_client": true, "allow_publish_for_client": true,
       "history_size": 100, "history_ttl": "300s", "force_recovery": true}
    ]
  }
}
END
    "${SRV[@]}" "$CENTRIFUGO" -c "$TMP/config.json" >"$TMP/log" 2>&1 &
    PIDS=$!
}
