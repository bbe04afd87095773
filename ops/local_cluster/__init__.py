"""`ops/cluster`: edges, APIs and routers over real Kafka, Cassandra, PostgreSQL and Redis, as ordinary processes on one
machine.

Read `command_line` for the verbs, `lifecycle` for what `up` and `down` do, `process` for how a process is known again and
why nothing else is ever signalled. Each service is one module: its configuration, its command, and how it says that it is
ready. `links` and `disks` are what a cluster may be made with so that more can be done to it than to end processes; `link_proxy`
is a program of its own. Python's standard library only; Linux only, because it reads /proc.
"""
