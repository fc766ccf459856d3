"""The subcommands of `./ftgo bench`: their options, and how their figures are shown."""
