# Full handshakes of TLS 1.3, each with a fresh access token.
AUTH=token TLS=full
WORKLOADS="W1 W4"
. "$HERE/peers.d/_panda.sh"
