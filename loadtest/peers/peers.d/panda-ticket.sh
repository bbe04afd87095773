# Handshakes with resume tickets in place of tokens.
AUTH=ticket TLS=
WORKLOADS="W4"
. "$HERE/peers.d/_panda.sh"
