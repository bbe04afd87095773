"""`ops/figures`: what one Panda process and a cluster of them do on this machine, by one command each.

Read `command_line` for the commands; `serve`, `cluster` and `takeover` say what each figure is and how it is taken; `load`
runs `panda-loadtest`, whose checker must be green; `table` prints. It prints and judges no speed. Linux only.
"""
