FLOOR=(floor_tokio queue)
. "$HERE/peers.d/_floor.sh"
