"""The least there is to run: fork, exec, exit.

The default of `exec` and `spawn`, which are named after themselves with it.
"""

argv = ("/bin/true",)
