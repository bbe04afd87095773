FLOOR=(floor_epoll)
. "$HERE/peers.d/_floor.sh"
