"""The offline subcommands of `vaylix`: one module per group, each with `register` and one function per verb."""
