"""The pure domain: room names, who may join, who is where, who is online, who types.

Nothing here awaits, reads a clock or does I/O: time is an argument, every change is returned as a value.
"""
