# Resumed handshakes of TLS 1.3, with resume tickets in place of tokens.
AUTH=ticket TLS=resumed
WORKLOADS="W4"
. "$HERE/peers.d/_panda.sh"
