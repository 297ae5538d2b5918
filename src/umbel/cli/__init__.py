"""The `umbel` command: run a script or a plan, explain it, list the platforms, see the demo.

Each command is a module that adds nothing to what the API can do. Typer and rich are imported only
when the command runs, so `import umbel` stays light.
"""
