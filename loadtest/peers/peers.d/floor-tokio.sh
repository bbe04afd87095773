FLOOR=(floor_tokio direct)
. "$HERE/peers.d/_floor.sh"
