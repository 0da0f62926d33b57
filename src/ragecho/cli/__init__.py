"""The command line: thin commands over the client SDK and the roles. Modules are imported when their command is used."""
