"""The commands, a file each: options, help text, exit status. The work is done by the module that each calls."""
