FLOOR=(floor_epoll coalesce)
. "$HERE/peers.d/_floor.sh"
