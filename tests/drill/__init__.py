"""The operator's stack on one machine, with a small Dify, traffic, and receivers that check what they are sent.

`make demo` keeps it running, `make drill` breaks it on purpose and watches the alerts arrive.
"""
