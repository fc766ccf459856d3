"""The subcommands of `./ftgo bench`: what each is told, and how its figures are shown."""
