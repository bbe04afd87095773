# A fresh access token (EdDSA) for each handshake.
AUTH=token TLS=
. "$HERE/peers.d/_panda.sh"
